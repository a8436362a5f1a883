"""A size that does not fit into memory and channels that pictures do not have are refused before anything is made."""

import shlex

import pytest
import timm
import torch
from PIL import Image
from places import STAND_IN
from refusals import forbid_work, write_inputs  # noqa: F401

from timm_zerosnet import cli, memory
from timm_zerosnet.robustness.models import ModelError, Source, describe_model

TRAIN = 'train short --model zerosnet20 --data-dir images --batch-size 20 --output out --experiment one'
VALIDATE = 'validate --model zerosnet20 --data-dir images'
OVERLAY = '--model-kwargs pretrained_cfg_overlay="{\'input_size\':(3,100000,100000)}"'
SIZES = [
    f'info zerosnet20 {OVERLAY}',
    f'predict picture.png --model zerosnet20 {OVERLAY}',
    'robustness --model zerosnet20 --data images.npz --out out --img-size 100000',
    f'{TRAIN} --input-size 3 100000 100000',
    f'{TRAIN} --train-img-sizes 16 100000',
    f'{VALIDATE} --pretrained --input-size 3 100000 100000',
]
CHANNELS = [
    'predict picture.png --model zerosnet20 --model-kwargs in_chans=7',
    'robustness --model zerosnet20 --data images.npz --out out --in-chans 7',
    f'{TRAIN} --in-chans 7',
    f'{TRAIN} --in-chans 0',
    f'{TRAIN} --input-size 7 32 32',
    f'{VALIDATE} --pretrained --in-chans 7',
    f'{VALIDATE} --pretrained --in-chans 1',
    f'{VALIDATE} --pretrained --input-size 2 32 32',
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_inputs(tmp_path)
    Image.new('RGB', (32, 32)).save(tmp_path / 'picture.png')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TIMM_SCRIPTS', str(STAND_IN))
    return tmp_path


@pytest.mark.parametrize('line', SIZES)
def test_size_beyond_memory(line, folder, no_work, capsys):
    """100,000 x 100,000 pixels in three channels of four bytes are 111.76 GiB."""
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(memory, 'free_memory', lambda: 8 * 2**30)
        assert cli.main(shlex.split(line)) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert '100000x100000 pixels for model zerosnet20' in said and said.endswith('give a smaller size')
    assert 'take at least 111.76 GiB, 8.00 GiB are free' in said and not (folder / 'out').exists()


@pytest.mark.parametrize('line', CHANNELS)
def test_channels_that_pictures_do_not_have(line, folder, no_work, monkeypatch, capsys):
    monkeypatch.setattr(timm, 'create_model', None)
    assert cli.main(shlex.split(line)) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert 'expected' in said and 'got' in said and 'grey' in said and not (folder / 'out').exists()


@pytest.mark.parametrize('words', [[], ['--in-chans', '3'], ['--input-size', '1', '32', '32']])
def test_channels_that_pictures_have(words, folder, monkeypatch):
    begun = []
    monkeypatch.setattr('timm_zerosnet.validate.run_script', lambda *args: begun.append(args))
    assert cli.main([*VALIDATE.split(), '--pretrained', *words]) == 0 and len(begun) == 1


def test_channels_of_a_module_of_ones_own():
    net = timm.create_model('zerosnet20', in_chans=7)
    net.pretrained_cfg = {**net.pretrained_cfg, 'input_size': (7, 32, 32)}
    with pytest.raises(ModelError, match='expected 1 input channel, for grey pictures, or 3, for colour, got 7'):
        describe_model(Source('mine', net, mean=[0.5], std=[0.5]), net)


@pytest.mark.parametrize('name, size, values', [('zerosnet20', 48, 16 * 48**2), ('zerosnet18', 512, 64 * 256**2)])
def test_largest_activation_is_that_of_the_first_layer(name, size, values):
    net = timm.create_model(name).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    assert memory.largest_activation(net, (3, size, size)) == 4 * values
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert memory.largest_activation(net.double(), (3, size, size)) == 8 * values


def test_the_activation_counts_beside_the_image(monkeypatch):
    """At 1,000 pixels the image takes 12 MB, the first layer of zerosnet20 gives 64 MB."""
    net = timm.create_model('zerosnet20')
    for free, fits in ((75_999_999, False), (76_000_000, True), (11_000_000, False), (None, True)):
        monkeypatch.setattr(memory, 'free_memory', lambda free=free: free)
        if fits:
            memory.check_size(net, (3, 1000, 1000), 'zerosnet20')
        else:
            with pytest.raises(memory.SizeError, match='1000x1000 pixels for model zerosnet20: one image and its larg'):
                memory.check_size(net, (3, 1000, 1000), 'zerosnet20')


def test_all_images_at_a_size_that_does_not_fit(folder, monkeypatch, capsys):
    monkeypatch.setattr(memory, 'free_memory', lambda: 2**20)
    assert cli.main('corrupt images.npz --out out --size 200'.split()) == 2
    assert '10 images of 200x200 pixels take 0.00 GiB, 0.00 GiB are free' in capsys.readouterr().err


def test_memory_of_a_container(tmp_path):
    for name, text in (('memory.max', '1000'), ('memory.current', '700'), ('memory.stat', 'anon 1\ninactive_file 50')):
        (tmp_path / name).write_text(f'{text}\n')
    assert memory._free_of_container(tmp_path) == 350
    (tmp_path / 'memory.max').write_text('max\n')
    assert memory._free_of_container(tmp_path) is None
    assert memory._free_of_container(tmp_path / 'none') is None
    assert memory.free_memory() is None or memory.free_memory() > 2**20
