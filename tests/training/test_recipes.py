"""Recipes are arguments that train.py knows."""

import os
from pathlib import Path

import pytest
import yaml
from places import STAND_IN

from timm_zerosnet._errors import ScriptError
from timm_zerosnet.training import recipes
from timm_zerosnet.training.scripts import script_parser
from timm_zerosnet.weights import RECIPES

SCRIPTS = Path(os.environ.get('TIMM_SCRIPTS') or STAND_IN)
SCRIPT = SCRIPTS / 'train.py'


@pytest.fixture(scope='module')
def parser():
    return script_parser(SCRIPT)


def packaged(function):
    return pytest.mark.parametrize('path', sorted(RECIPES.glob('*.yaml')), ids=lambda path: path.stem)(function)


def test_the_packaged_recipes():
    assert {path.stem for path in RECIPES.glob('*.yaml')} == {'long', 'paper', 'short', 'zoo'}


@packaged
def test_every_key_is_an_argument_of_train_py(path, parser):
    values = recipes.read_recipe(path, SCRIPT, parser)
    defaults = vars(parser.parse_args([]))
    for key, value in values.items():
        if defaults[key] is not None and not isinstance(defaults[key], (list, dict)):
            number = isinstance(defaults[key], (int, float)) and not isinstance(defaults[key], bool)
            assert isinstance(value, (int, float) if number else type(defaults[key])), key


@packaged
def test_recipes_turn_off_what_timm_has_on(path):
    recipe = yaml.safe_load(path.read_text())
    assert recipe['smoothing'] == recipe['color_jitter'] == recipe['reprob'] == 0
    assert recipe['train_crop_mode'] == 'pad4' and recipe['hflip'] == 0.5 and recipe['val_interval'] == 1
    assert recipes.find_recipe(path.stem) == path and recipes.needed_version(path)


def write(folder, text):
    path = folder / 'mine.yaml'
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    'text, message',
    [
        ('epohcs: 3', r'mine.yaml has epohcs \(did you mean epochs\?\): expected arguments of .*train.py'),
        ('weight-decay: 3', r'weight-decay \(did you mean weight_decay\?\)'),
        ('zzzzzz: 1\nqqqqqq: 2', 'has zzzzzz, qqqqqq: expected'),
        ('- epochs', 'got a list'),
        ('batch_size:', 'has batch_size: None; expected one value, such as 128'),
        ('opt: {name: sgd}', "has opt: {'name': 'sgd'}; expected one value, such as 'sgd'"),
        ('amp: 1', 'has amp: 1; expected true or false'),
        ('epochs: [', 'not a readable YAML file'),
    ],
)
def test_refused(text, message, tmp_path, parser):
    with pytest.raises(ScriptError, match=message):
        recipes.read_recipe(write(tmp_path, text), SCRIPT, parser)


def test_recipe_newer_than_the_script(tmp_path, parser):
    script = tmp_path / 'train.py'
    needs = '# needs: train.py >= 1.0.29.dev0\n'
    with pytest.raises(ScriptError, match='needs train.py >= 1.0.29.dev0, got .* of an unknown version: .* know sizes'):
        recipes.read_recipe(write(tmp_path, f'{needs}sizes: 1'), script, parser)
    recipe = write(tmp_path, f'{needs}epochs: 1')
    assert recipes.read_recipe(recipe, script, parser) == {'epochs': 1}
    (tmp_path / 'timm').mkdir()
    (tmp_path / 'timm' / 'version.py').write_text("__version__ = '1.0.28'\n")
    with pytest.raises(ScriptError, match='train.py of 1.0.28: it is older'):
        recipes.read_recipe(recipe, script, parser)
    (tmp_path / 'timm' / 'version.py').write_text("__version__ = '1.0.31'\n")
    assert recipes.read_recipe(recipe, script, parser) == {'epochs': 1}
