"""A training that is not finished is packed, and goes on elsewhere."""

import checkpoints
import pytest
import torch
import yaml
from places import STAND_IN
from small_trainings import command, kill, options, read_checkpoint, rows, start, wait_for, write_images


@pytest.fixture(name='stopped')
def stopped_run(tmp_path, monkeypatch):
    """The folder of a run that was killed after some of its epochs, and its images."""
    monkeypatch.setattr(checkpoints, 'FOLDER', tmp_path / 'checkpoints')
    images = write_images(tmp_path / 'images')
    line = [f'timm_zerosnet.{part}' if part == 'train' else part for part in command(STAND_IN)]
    process = start(*line, *options(images, tmp_path / 'runs', 'net', epochs=50), '--opt', 'muon')
    wait_for(process, tmp_path / 'runs' / 'net', 2)
    kill(process)
    return tmp_path / 'runs' / 'net', images


def test_a_packed_run_goes_on(stopped, tmp_path):
    folder, images = stopped
    began_with = {'pretrained': True, 'pretrained_path': 'gone/mine.pth'}
    args = yaml.safe_load((folder / 'args.yaml').read_text(encoding='utf-8')) | began_with
    (folder / 'args.yaml').write_text(yaml.safe_dump(args), encoding='utf-8')
    checkpoints.pack(folder)
    stored = tmp_path / 'checkpoints' / 'net'
    assert str(tmp_path) not in (stored / 'args.yaml').read_text(encoding='utf-8')
    assert str(tmp_path).encode() not in (stored / 'last.pth.tar').read_bytes()
    before, packed = read_checkpoint(folder / 'last.pth.tar'), read_checkpoint(stored / 'last.pth.tar')
    assert (stored / 'last.pth.tar').stat().st_size < 0.65 * (folder / 'last.pth.tar').stat().st_size
    assert packed['epoch'] == before['epoch'] and packed['state_dict']['stem.conv.weight'].dtype == torch.float16

    there = checkpoints.unpack('net', tmp_path / 'elsewhere')
    after = read_checkpoint(there / 'last.pth.tar')
    for key, value in before['state_dict'].items():
        assert after['state_dict'][key].dtype == value.dtype
        torch.testing.assert_close(after['state_dict'][key], value, atol=1e-4, rtol=1e-3)
    for key, state in before['optimizer']['state'].items():
        for name, value in state.items():
            torch.testing.assert_close(after['optimizer']['state'][key][name], value, atol=1e-6, rtol=1e-2)
    epochs = len(rows(there))
    process = start('timm_zerosnet.train', '--continue', there, '--timm-scripts', STAND_IN, '--data-dir', images)
    wait_for(process, there, epochs + 2)  # of which one may be a second header
    kill(process)
    done = [row['epoch'] for row in rows(there) if row['epoch'] != 'epoch']
    assert done == [*map(str, range(len(done)))] and len(done) > epochs
    assert 'net | zerosnet20' in checkpoints.table()


def test_what_is_no_run_is_refused(stopped, tmp_path):
    folder, _ = stopped
    with pytest.raises(checkpoints.WeightError, match='expected one of none, nothing is packed, got net'):
        checkpoints.unpack('net', tmp_path / 'elsewhere')
    checkpoints.pack(folder)
    with pytest.raises(checkpoints.WeightError, match='exists: expected a new folder'):
        checkpoints.unpack('net', folder.parent)
    for path in folder.glob('*.pth.tar'):
        path.unlink()
    with pytest.raises(checkpoints.WeightError, match='expected the folder of a run with a checkpoint'):
        checkpoints.pack(folder)


def test_the_table_of_the_repository_is_that_of_its_checkpoints():
    readme = checkpoints.FOLDER / 'README.md'
    assert not checkpoints.names() and not readme.exists() or checkpoints.table() in readme.read_text(encoding='utf-8')
