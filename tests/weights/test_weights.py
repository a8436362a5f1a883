"""Every packaged weight is what the manifest says, and loads as timm's users load weights."""

import csv
import datetime
import json
import logging
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import yaml
from conftest import ROOT
from kinds import depth, slow_but
from places import CIFAR10_SAMPLE
from safetensors.torch import load_file

import timm_zerosnet  # noqa: F401
from timm_zerosnet import weights
from timm_zerosnet._errors import WeightError
from timm_zerosnet._files import sha256
from timm_zerosnet.maintain import tables
from timm_zerosnet.model_names import create
from timm_zerosnet.robustness import evaluate
from timm_zerosnet.robustness.data import load_labelled
from timm_zerosnet.weights import RECIPES, WEIGHTS

ROWS = weights.manifest()
FIELDS = {
    *('sha256', 'bytes', 'parameters', 'data', 'test_images', 'top1', 'top5', 'logged_top1', 'weights', 'recipe'),
    *('epochs', 'seed', 'hardware', 'wall_time', 'versions', 'date', 'note', 'command'),
}
SHALLOW = [name for name in weights.manifest() if depth(name.split('.')[0]) < 30 and 'seed' not in name]
MAY_BE_EMPTY = {'note', 'seed'}  # the seed 0 is false, too
CLASSIFIER = {'head.fc.weight', 'head.fc.bias'}
SAMPLE = CIFAR10_SAMPLE

every_weight = pytest.mark.parametrize('name', ROWS)
every_own_weight = pytest.mark.parametrize('name', slow_but(SHALLOW, weights.own_weights()))


def file_of(name):
    return WEIGHTS / f'{name}.safetensors'


def log_of(name):
    with open(WEIGHTS / 'logs' / name / 'summary.csv', newline='', encoding='utf-8') as file:
        return [row for row in csv.DictReader(file) if row['epoch'] != 'epoch']


def assert_equals_file(state_dict, name, but=frozenset()):
    stored = load_file(file_of(name))
    assert but <= stored.keys()
    assert state_dict.keys() - but == stored.keys() - but
    for key in stored.keys() - but:
        assert torch.equal(state_dict[key], stored[key].to(state_dict[key].dtype)), key


def test_the_weight_of_the_first_example_is_there():
    assert 'zerosnet20.cifar10' in ROWS


def test_nothing_else_lies_beside_the_weights():
    assert {path.stem for path in WEIGHTS.glob('*.safetensors')} == set(ROWS)
    assert {path.name for path in (WEIGHTS / 'logs').iterdir()} == set(ROWS)


def test_weights_fit_into_a_wheel():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob('*') if path.is_file()) <= 40e6


@every_weight
def test_row_is_complete(name):
    row = ROWS[name]
    assert row.keys() == FIELDS
    assert not [field for field in FIELDS - MAY_BE_EMPTY if not row[field]]
    assert row['versions'].keys() == {'torch', 'timm', 'scripts'} and all(row['versions'].values())
    assert row['test_images'] == 10_000 and row['weights'] in ('raw', 'ema')
    assert 0 < row['top1'] <= row['top5'] <= 100
    assert datetime.date.fromisoformat(row['date'])
    tag = re.fullmatch(r'\w+\.(cifar100?)(?:_([a-z]+))?(?:_seed(\d+))?', name)
    assert tag and row['data'] == tag[1]
    assert tag[2] is None or row['recipe'] == f'{tag[2]}.yaml'
    assert tag[3] is None or row['seed'] == int(tag[3])


@every_weight
def test_file_is_that_of_the_row(name):
    path, row = file_of(name), ROWS[name]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask  # 0644 where the umask is 022
    assert (sha256(path), path.stat().st_size) == (row['sha256'], row['bytes'])
    model = create(name, False)
    assert sum(parameter.numel() for parameter in model.parameters()) == row['parameters']


@every_weight
def test_types_of_the_stored_values(name):
    wide = {f'{key}.weight' for key, m in create(name, False).named_modules() if isinstance(m, NARROW)}
    for key, value in load_file(file_of(name)).items():
        assert value.dtype == (
            torch.float16 if key in wide else torch.int64 if key.endswith('num_batches_tracked') else torch.float32
        ), key


NARROW = (torch.nn.Conv2d, torch.nn.Linear)


@every_weight
def test_accuracy_is_that_of_the_last_epoch_in_the_log(name):
    """The best epoch on the test set would be published as the accuracy."""
    row, last = ROWS[name], log_of(name)[-1]
    assert row['logged_top1'] == round(float(last['eval_top1']), 2)
    assert row['epochs'] == int(last['epoch']) + 1
    assert abs(row['top1'] - row['logged_top1']) <= 0.3


@every_weight
def test_arguments_of_the_run_agree(name):
    row = ROWS[name]
    args = yaml.safe_load((WEIGHTS / 'logs' / name / 'args.yaml').read_text(encoding='utf-8'))
    assert args['model'].split('.')[0] == name.split('.')[0]
    assert args['seed'] == row['seed']
    assert args['num_classes'] in (None, create(name, False).num_classes)
    assert args['epochs'] == row['epochs'] or row['note']
    assert bool(args['model_ema']) >= (row['weights'] == 'ema')


@every_weight
def test_recipe_and_command_are_for_anyone(name):
    row = ROWS[name]
    assert (RECIPES / row['recipe']).is_file()
    model = name.split('.')[0]
    if name not in weights.backbone_weights():
        model += f'.{row["data"]}'
    start = f'timm-zerosnet train {Path(row["recipe"]).stem} --model {model} '
    assert row['command'].startswith(f'{start}--dataset torch/{row["data"]} --dataset-download --data-dir data')


@pytest.mark.parametrize(
    'name',
    slow_but(['zerosnet20.cifar10', 'lmresnet20.cifar10'], [name for name in ROWS if ROWS[name]['data'] == 'cifar10']),
)
def test_accuracy_on_the_sample(name):
    test = load_labelled(SAMPLE)
    expected = ROWS[name]['top1'] / 100
    four_sigma = 400 * (expected * (1 - expected) / len(test.labels)) ** 0.5
    assert abs(evaluate(name, test.images, test.labels).top1 - 100 * expected) <= four_sigma


@pytest.mark.parametrize('document', tables.DOCUMENTS)
def test_tables_are_those_of_the_manifest(document):
    text = (ROOT / document).read_text(encoding='utf-8')
    assert ':begin -->' in text
    assert text == tables.fill(text), 'run: timm-zerosnet weights tables'
    assert document != 'MODEL_CARD.md' or all(f'`{name}`' in text for name in ROWS)


def test_recorded_accuracies_of_validate_py_and_evaluate_are_those_of_the_manifest():
    with tables.ACCURACY.open(newline='', encoding='utf-8') as file:
        measured = {row['weight']: row for row in csv.DictReader(file)}
    assert measured.keys() == ROWS.keys(), 'run: python benchmarks/accuracy.py'
    for name, row in ROWS.items():
        assert (measured[name]['sha256'], int(measured[name]['images'])) == (row['sha256'], row['test_images'])
        for key in ('top1', 'top5'):
            found = [float(measured[name][f'{way}_{key}']) for way in ('validate', 'evaluate')]
            assert found == pytest.approx([row[key]] * 2, abs=0.011)  # an image, rounded


def test_a_recipe_has_a_row_for_each_weight_and_the_reported_resnet_of_its_depth(monkeypatch):
    like = {'data': 'cifar10', 'recipe': 'long.yaml', 'epochs': 70, 'wall_time': '5 h', 'top1': 93.5}
    rows = {'zerosnet44.cifar10': like, 'zerosnet110.cifar10': like | {'epochs': 45, 'top1': 94.0}}
    rows['zerosnet56.cifar100'] = like | {'data': 'cifar100', 'top1': 73.0, 'wall_time': ''}
    rows['preresnet20.cifar10'] = like | {'recipe': 'short.yaml'}
    monkeypatch.setattr(weights, 'manifest', lambda: rows)
    _, _, *lines = tables.recipe_table('long').splitlines()
    assert lines == [
        '| `zerosnet44.cifar10` | 70 | 5 h | 93.50 | 94.01 | -0.51 |',
        '| `zerosnet110.cifar10` | 45 | 5 h | 94.00 | - | - |',
        '| `zerosnet56.cifar100` | 70 | not recorded | 73.00 | 72.63 | +0.37 |',
    ]


def test_pairs_are_those_of_the_results():
    with (ROOT / 'benchmarks' / 'results' / 'robustness-pairs.csv').open(newline='', encoding='utf-8') as file:
        rows = [row for row in csv.DictReader(file)]
    lines = tables.pairs_table().splitlines()[2:]
    assert len(lines) == len(rows) >= 2
    for line, row in zip(lines, rows, strict=True):
        assert f'| `{row["a"]}` | `{row["b"]}` |' in line and f'{float(row["difference"]):+.2f} |' in line


@pytest.mark.parametrize(
    'document, field, value',
    [
        *(('README.md', 'top1', 12.34), ('docs/backbones.md', 'top1', 12.34)),
        *(('MODEL_CARD.md', 'epochs', 7), ('MODEL_CARD.md', 'top5', 12.34)),
        *(('MODEL_CARD.md', 'note', 'a | b'), ('MODEL_CARD.md', 'command', 'timm-zerosnet train other')),
        *(('MODEL_CARD.md', 'date', '1999-01-01'), ('MODEL_CARD.md', 'logged_top1', 12.34)),
    ],
)
def test_a_changed_manifest_changes_the_tables(document, field, value, monkeypatch, tmp_path):
    changed = {name: {**row, field: value} for name, row in ROWS.items()}
    monkeypatch.setattr(weights, 'manifest', lambda: changed)
    text = (ROOT / document).read_text(encoding='utf-8')
    made = tables.fill(text)
    assert made != text and str(value).replace('|', '\\|') in made

    monkeypatch.setattr(weights, 'PACKAGE', tmp_path / 'package')
    with pytest.raises(WeightError, match='run this in a checkout'):
        tables.write_tables()
    (tmp_path / document).parent.mkdir(exist_ok=True)
    (tmp_path / document).write_text(text, encoding='utf-8')
    assert tables.write_tables() == [tmp_path / document]
    assert (tmp_path / document).read_text(encoding='utf-8') == made
    assert tables.write_tables() == []
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == [tmp_path / document]


@every_weight
def test_pretrained_equals_the_file(name):
    assert_equals_file(create(name).state_dict(), name)


@every_own_weight
def test_without_classes_nothing_is_random(name):
    """A layer left random: features from any random state are the same, and every parameter is the file's."""
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = timm.create_model(name, pretrained=True, num_classes=0).eval()
        assert_equals_file({**model.state_dict(), **dict.fromkeys(CLASSIFIER)}, name, CLASSIFIER)
        with torch.inference_mode():
            features.append(model(x))
    assert features[0].shape == (2, model.num_features) and torch.equal(*features)


@every_own_weight
def test_another_head_leaves_the_rest(name, caplog):
    """A config that names the wrong head makes another class count fail, or more than the head new."""
    with caplog.at_level(logging.INFO, logger='timm'):
        model = timm.create_model(name, pretrained=True, num_classes=7)
    assert_equals_file(model.state_dict(), name, CLASSIFIER)
    assert model.head.fc.weight.shape == (7, model.num_features)
    assert len([record for record in caplog.records if 'head.fc.weight' in record.getMessage()]) == 1


@every_own_weight
@pytest.mark.parametrize('kwargs', [{}, {'num_classes': 7}], ids=str)
def test_grey_input_leaves_the_rest(name, kwargs):
    """The stem is timm's sum over the colours, not rounded to the float16 of the file; the rest is the file."""
    model = timm.create_model(name, pretrained=True, in_chans=1, **kwargs)
    stem = 'stem.conv.weight'
    assert_equals_file(model.state_dict(), name, {stem, *(CLASSIFIER if kwargs else ())})
    assert torch.equal(model.stem.conv.weight, load_file(file_of(name))[stem].float().sum(1, keepdim=True))


@every_own_weight
def test_feature_maps_come_from_the_file(name):
    backbone = timm.create_model(name, pretrained=True, features_only=True)
    state_dict = {key.removeprefix('model.'): value for key, value in backbone.state_dict().items()}
    kept = {key: value for key, value in state_dict.items() if not key.startswith(('head.', 'norm.'))}
    stored = load_file(file_of(name))
    assert kept.keys() == {key for key in stored if not key.startswith(('head.', 'norm.'))}
    assert all(torch.equal(value, stored[key].to(value.dtype)) for key, value in kept.items())


@pytest.mark.parametrize('kwargs', [{}, {'num_classes': 5}, {'features_only': True}], ids=str)
@pytest.mark.parametrize('name', ['zerosnet1298', 'zerosnet18', 'preresnet56.cifar100', 'zerosnet152_tra'])
def test_pretrained_without_a_weight_names_those_that_exist(name, kwargs):
    """A random network with a line in the log would pass for a pretrained one."""
    model = name.split('.')[0]
    same = ', '.join(row for row in ROWS if row.split('.')[0] == model) or 'none'
    with pytest.raises(WeightError) as error:
        timm.create_model(name, pretrained=True, **kwargs)
    assert f'of {model} these exist: {same}; ' in str(error.value)
    assert f'of all models: {", ".join(weights.own_weights())}.' in str(error.value)


@pytest.mark.parametrize('pretrain', [False, True])
@pytest.mark.parametrize('how', [('zerosnet20.cifar1000', None), ('zerosnet20', 'cifar1000')])
def test_unknown_tag_names_the_accepted_ones(how, pretrain):
    """A wrong tag would give a random network with a line in the log."""
    with pytest.raises(WeightError) as error:
        timm.create_model(how[0], pretrained=pretrain, pretrained_cfg=how[1])
    message = str(error.value)
    assert '(cifar1000)' in message and 'zerosnet20.cifar100,' in message
    assert re.search(r'with weights: .*\bzerosnet20\.cifar10\b', message)


OFFLINE = """
import json, socket
def refuse(*args, **kwargs):
    raise SystemExit('a connection was attempted')
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
import timm, timm_zerosnet
from timm_zerosnet import model_names, weights
print(json.dumps({name: model_names.create(name).num_classes for name in weights.manifest()}))
"""


@pytest.mark.parametrize('environment', [{'HF_TOKEN': 'hf_garbage'}, {'HF_HUB_OFFLINE': '1'}], ids=str)
@pytest.mark.slow
def test_packaged_names_load_without_network_and_home(environment, tmp_path):
    """Dead links, offline mode and a refused token keep nobody from weights that are packaged."""
    (tmp_path / 'file').touch()
    nowhere = str(tmp_path / 'file' / 'home')  # cannot be made
    done = subprocess.run(
        [sys.executable, '-c', OFFLINE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={'PATH': os.environ['PATH'], 'HOME': nowhere, 'PYTHONPATH': str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stderr
    classes = json.loads(done.stdout.splitlines()[-1])
    assert classes.keys() == ROWS.keys() and set(classes.values()) <= {10, 100}
