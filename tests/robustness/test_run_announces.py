"""A run says how many cells it has before it reads images, and raises what it documents."""

import numpy as np
import pytest

from timm_zerosnet import cli
from timm_zerosnet.commands import robustness as commands
from timm_zerosnet.robustness import evaluate
from timm_zerosnet.robustness.corrupt import corrupt
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.measuring import duration
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.plan import count_conditions, plan_conditions
from timm_zerosnet.robustness.run import run

IMAGES = LabelledImages(np.zeros((2, 32, 32, 3), dtype=np.uint8), np.arange(2))
COMMAND = 'robustness --model zerosnet20 --data images.npz --device cpu --workers 0 --out out'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    np.savez(tmp_path / 'images.npz', x_test=IMAGES.images, y_test=IMAGES.labels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_cells_before_the_images_and_the_time_after_the_first(folder, monkeypatch, capsys):
    """One model, clean, two levels of const and two seeds of randn at two levels: 1 + 2 + 4."""
    said, load = [], commands.load_data

    def watched(*args, **kwargs):
        said.append(capsys.readouterr().err)
        return load(*args, **kwargs)

    monkeypatch.setattr(commands, 'load_data', watched)
    line = f'{COMMAND} --corruption const randn --levels 0.1 0.2 --seeds 2'
    assert cli.main(line.split()) == 0
    after = capsys.readouterr().err
    assert said == ['7 cells planned, each measured on all images\n']
    assert after.count(' took ') == 1 and ' left for 6 more' in after
    assert cli.main(f'{line} --seeds 3'.split()) == 0
    again = capsys.readouterr().err
    assert '2 of them are left to do' in again and ' left for 1 more' in again
    plural = line.replace('--model ', '--models ').replace('--corruption ', '--corruptions ')
    assert plural != line
    assert cli.main(f'{plural} --seeds 3'.split()) == 0
    assert 'all of them are measured already' in capsys.readouterr().err


@pytest.mark.parametrize('seeds', [100_000_000, 50_000])
def test_too_many_cells(seeds, folder, monkeypatch, capsys):
    monkeypatch.setattr(commands, 'load_data', None)
    assert cli.main([*COMMAND.split(), '--seeds', str(seeds)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f'expected at most 1,000,000 cells in a run, got {15 + 26 * seeds:,}: name fewer seeds' in said
    assert not (folder / 'out').exists()


@pytest.mark.parametrize('command', ['robustness --model zerosnet20 --data', 'corrupt'])
def test_a_cache_that_cannot_be(command, folder, monkeypatch, capsys):
    monkeypatch.setattr(commands, 'load_data', None)
    (folder / 'file').touch()
    assert cli.main(f'{command} images.npz --out out --cache file'.split()) == 2
    said = capsys.readouterr().err
    assert said.endswith('cannot write file: it is a file; name a folder with room by --cache\n')
    assert not (folder / 'out').exists()


@pytest.mark.parametrize('suite', ['zerosnet', 'cifar-c'])
@pytest.mark.parametrize('seeds', [range(1), range(4), (3, 3, 7), [5]])
def test_count_is_that_of_the_plan(suite, seeds):
    assert count_conditions(suite, None, None, seeds) == len(plan_conditions(suite, None, None, seeds))


@pytest.mark.parametrize(
    'seconds, text', [(0.04, '0.0 s'), (9.5, '9.5 s'), (42.4, '42 s'), (90, '2 min'), (3600 * 30 + 65, '30 h 1 min')]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


WRONG = {
    'name': dict(models=['zerosnet2O']),
    'tag': dict(models=['zerosnet20.foo']),
    'Hub id': dict(models=['hf-hub:no such id']),
    'folder': dict(models=['local-dir:none']),
    'no models': dict(models=[]),
    'no seeds': dict(seeds=[]),
    'negative seed': dict(seeds=[-1]),
    'suite': dict(suite='none'),
    'corruption': dict(corruptions=['none']),
    'level': dict(corruptions=['randn'], levels=[7]),
    'device': dict(device='none'),
    'batch size': dict(batch_size=0),
    'baseline': dict(baseline='none'),
    'class map': dict(class_map={'cat': 0}),
    'argument': dict(models=[Source('zerosnet20', arguments={'colour': 'red'})]),
}


@pytest.mark.parametrize('wrong', WRONG)
def test_a_run_raises_what_it_documents(wrong, tmp_path):
    with pytest.raises(ValueError):
        run(**{'models': ['zerosnet20'], 'data': IMAGES, 'out': tmp_path / 'out', 'device': 'cpu', **WRONG[wrong]})
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', ['zerosnet2O', 'zerosnet20.foo', '', 'org/name'])
def test_unknown_names_are_value_errors(name):
    with pytest.raises(ValueError, match='zerosnet2O|expected cifar10|timm knows no model'):
        Source(name).check()
    with pytest.raises(ValueError):
        evaluate(name, IMAGES.images, IMAGES.labels)


@pytest.mark.parametrize(
    'wrong',
    [dict(suite='none'), dict(layout='zip'), dict(corruptions=['none']), dict(levels=[9]), dict(size=0), dict(seed=-1)],
    ids=str,
)
def test_corrupt_raises_what_it_documents(wrong, tmp_path):
    with pytest.raises(ValueError):
        corrupt(IMAGES, tmp_path / 'out', **{'suite': 'cifar-c', **wrong})
    assert not (tmp_path / 'out').exists()
