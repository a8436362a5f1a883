"""The launcher of timm's scripts, on stand-ins for them; the real ones are run where a checkout is at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from timm_zerosnet import timm_scripts, train, validate
from timm_zerosnet.pretrained import RECIPES

CHECKOUT = os.environ.get('TIMM_SCRIPTS')
STAND_IN = """
import json, sys
from timm.data import transforms_factory
knows_pad4 = getattr(transforms_factory.transforms_imagenet_train, 'knows_pad4', False)
print(json.dumps([sys.argv, sys.path[0], __name__, knows_pad4]))
"""


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    from timm.data import transforms_factory

    monkeypatch.setattr(transforms_factory, 'transforms_imagenet_train', transforms_factory.transforms_imagenet_train)
    monkeypatch.delenv('TIMM_SCRIPTS', raising=False)
    for name in ('train.py', 'validate.py'):
        (tmp_path / name).write_text(STAND_IN)
    return tmp_path


@pytest.mark.parametrize('how', ['--timm-scripts DIR', '--timm-scripts=DIR', 'TIMM_SCRIPTS'])
def test_runs_the_script_with_recipe_device_and_crop(scripts, how, capsys, monkeypatch):
    option = [part.replace('DIR', str(scripts)) for part in how.split()] if '--' in how else []
    if not option:
        monkeypatch.setenv('TIMM_SCRIPTS', str(scripts))
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    before = list(sys.argv), list(sys.path)
    assert train.main(['short', '--model', 'zerosnet20', *option, '--epochs', '2']) == 0
    argv, first, name, knows_pad4 = json.loads(capsys.readouterr().out)
    assert argv[1:] == [
        *('--config', str(RECIPES / 'short.yaml'), '--model', 'zerosnet20', '--epochs', '2', '--device', 'cpu')
    ]
    assert first == str(scripts) and name == '__main__' and knows_pad4
    assert (sys.argv, sys.path) == before


def test_device_that_was_given_stays(scripts, capsys, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert validate.main(['--timm-scripts', str(scripts), '--device=xpu']) == 0
    assert json.loads(capsys.readouterr().out)[0][1:] == ['--device=xpu']


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], 'usage'),
        (['--model', 'zerosnet20'], 'the first argument is the recipe'),
        (['shrot'], 'accepted: a YAML file or one of paper, short'),
        (['short'], 'name a checkout'),
        (['short', '--timm-scripts'], '--timm-scripts needs'),
        (['short', '--timm-scripts', 'nowhere'], 'nowhere/train.py does not exist'),
    ],
)
def test_errors_of_train(arguments, message, capsys, monkeypatch):
    monkeypatch.delenv('TIMM_SCRIPTS', raising=False)
    assert train.main(arguments) == 2
    out, err = capsys.readouterr()
    assert message in out + err and 'Traceback' not in err


def test_errors_of_validate(capsys, monkeypatch):
    monkeypatch.delenv('TIMM_SCRIPTS', raising=False)
    assert validate.main(['--model', 'zerosnet20']) == 2
    assert 'name a checkout' in capsys.readouterr().err


@pytest.mark.parametrize('path', sorted(RECIPES.glob('*.yaml')), ids=lambda p: p.stem)
def test_recipes_turn_off_what_timm_has_on(path):
    recipe = yaml.safe_load(path.read_text())
    assert recipe['smoothing'] == recipe['color_jitter'] == recipe['reprob'] == 0
    assert recipe['train_crop_mode'] == 'pad4' and recipe['hflip'] == 0.5 and recipe['val_interval'] == 1
    assert timm_scripts.find_recipe(path.stem) == path


@pytest.mark.skipif(not CHECKOUT, reason="TIMM_SCRIPTS names no checkout of timm's scripts")
@pytest.mark.timeout(900)
def test_real_scripts_train_and_validate_to_the_image(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (('train', 64), ('validation', 20)):
        for i in range(count):
            path = tmp_path / split / f'class{i % 10}' / f'{i:03d}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    run = [sys.executable, '-m', 'timm_zerosnet.train', 'short', '--model', 'zerosnet20', '--data-dir', str(tmp_path)]
    sizes = ['--train-img-sizes', '16', '32', '--batch-size', '16', '--epochs', '2', '--warmup-epochs', '0']
    subprocess.run([*run, *sizes, '--output', str(tmp_path / 'out'), '--experiment', 'x'], check=True)
    rows = (tmp_path / 'out/x/summary.csv').read_text().splitlines()
    logged = float(dict(zip(rows[0].split(','), rows[-1].split(','), strict=True))['eval_top1'])
    command = [sys.executable, '-m', 'timm_zerosnet.validate', '--model', 'zerosnet20', '--data-dir', str(tmp_path)]
    command += ['--split', 'validation', '--checkpoint', str(tmp_path / 'out/x/last.pth.tar'), '--workers', '1']
    done = subprocess.run(
        [*command, '--results-file', str(tmp_path / 'r.json')], check=True, capture_output=True, text=True
    )
    measured = json.loads(done.stdout.split('--result')[1])
    assert measured['top1'] == pytest.approx(logged, abs=1e-3)
    assert Path(tmp_path / 'out/x/last.pth.tar').is_file()
