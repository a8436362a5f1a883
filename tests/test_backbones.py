"""Weights of timm's own backbones: added as ours are, loaded by overlay, measured by name."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from test_adding import SAMPLE, Run, folder  # noqa: F401

import timm_zerosnet
from timm_zerosnet import cli, pretrained, publishing, tables, validate
from timm_zerosnet.backbones import create
from timm_zerosnet.cifar import DATA_SETS
from timm_zerosnet.pretrained import WeightError
from timm_zerosnet.robustness import evaluate
from timm_zerosnet.robustness.data import load_labelled
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import read_run
from timm_zerosnet.timm_scripts import script_parser

MODEL, NAME = 'test_resnet', 'test_resnet.cifar10'
MEAN, STD = (DATA_SETS['cifar10'][key] for key in ('mean', 'std'))
TEST = load_labelled(SAMPLE)
IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def trained(folder, tmp_path):  # noqa: F811
    """A run of the backbone, and its network."""
    torch.manual_seed(0)
    network = timm.create_model(MODEL, num_classes=10).eval()
    top1 = evaluate(network, TEST.images, TEST.labels, mean=MEAN, std=STD).top1
    (tmp_path / 'run').mkdir()
    normalisation = {'mean': list(MEAN), 'std': list(STD), 'interpolation': 'bilinear'}
    made = Run(tmp_path / 'run', top1, MODEL, num_classes=10, **normalisation)
    made.write_checkpoint(network)
    return made, network


@pytest.fixture
def added(trained):
    made, network = trained
    return made.add(tag='cifar10'), network


def test_row_and_file(added, folder):  # noqa: F811
    row, network = added
    assert row['command'] == (
        f'timm-zerosnet train short --model {MODEL} --dataset torch/cifar10 --dataset-download --data-dir data '
        '--num-classes 10 --mean 0.4914 0.4822 0.4465 --std 0.2023 0.1994 0.201 --interpolation bilinear --seed 1'
    )
    stored, own = load_file(folder / f'{NAME}.safetensors'), network.state_dict()
    assert stored.keys() == own.keys()
    assert all(torch.equal(value, own[key].to(value.dtype)) for key, value in stored.items())
    assert row['parameters'] == sum(p.numel() for p in network.parameters())
    assert f'| `{NAME}` | CIFAR-10 |' in tables.weights_table()


def test_loads_by_overlay(added):
    overlay = timm_zerosnet.weights_overlay(NAME)
    net = timm.create_model(MODEL, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    with torch.inference_mode():
        assert torch.allclose(net(IMAGE), added[1](IMAGE), atol=5e-3)
        assert torch.equal(net(IMAGE), create(NAME).eval()(IMAGE))
    config = timm.data.resolve_model_data_config(net)
    assert config['input_size'] == (3, 32, 32) and config['mean'] == MEAN and config['crop_pct'] == 1.0
    assert net.pretrained_cfg['label_names'][0] == 'airplane'
    other = timm.create_model(MODEL, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=7)
    assert other.num_classes == 7 and torch.equal(other.conv1[0].weight, net.conv1[0].weight)


def test_overlay_also_for_networks_of_this_package():
    overlay = timm_zerosnet.weights_overlay('zerosnet20.cifar100')
    net = timm.create_model('zerosnet20', pretrained=True, pretrained_cfg_overlay=overlay)
    expected = timm.create_model('zerosnet20.cifar100', pretrained=True).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize('name', ['resnet18', 'zerosnet20', 'resnet18.cifar10', ''])
def test_unknown_names_are_told_what_is_packaged(name):
    with pytest.raises(WeightError, match=f"no weights '{name}'; accepted: zerosnet20.cifar10, "):
        timm_zerosnet.weights_overlay(name)


def test_a_damaged_file_is_refused(added, folder):  # noqa: F811
    with (folder / f'{NAME}.safetensors').open('ab') as file:
        file.write(b'x')
    with pytest.raises(WeightError, match='it is damaged or was changed'):
        timm_zerosnet.weights_overlay(NAME)


def test_measured_by_name(added, tmp_path):
    assert round(evaluate(NAME, TEST.images, TEST.labels).top1, 2) == added[0]['top1']
    run([NAME, 'zerosnet20'], TEST, tmp_path / 'out', corruptions=['randn'], levels=[0.05], seeds=[0])
    found = {(cell.model, cell.corruption): cell.result.top1 for cell in read_run(tmp_path / 'out').cells}
    assert found.keys() >= {(NAME, 'clean'), (NAME, 'randn')} and round(found[NAME, 'clean'], 2) == added[0]['top1']


def test_predict_by_name(added, tmp_path, capsys):
    from PIL import Image

    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / 'black.png')
    assert cli.main(['predict', str(tmp_path / 'black.png'), '--model', NAME, '--json']) == 0
    assert 'airplane' in capsys.readouterr().out


def test_scripts_of_timm_are_given_the_overlay(added, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', sys.argv)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    for name in DATA_SETS['cifar10']['label_names']:
        (tmp_path / 'data' / 'validation' / name).mkdir(parents=True)
        (tmp_path / 'data' / 'validation' / name / '1.png').touch()
    scripts = Path(__file__).with_name('stand_in')
    words = ['--model', NAME, '--pretrained', '--data-dir', str(tmp_path / 'data'), '--timm-scripts', str(scripts)]
    assert validate.main(words) == 0
    given = json.loads(capsys.readouterr().out.splitlines()[-1])[0]
    namespace = script_parser(scripts / 'validate.py').parse_args(given[1:])
    assert namespace.model == MODEL and namespace.pretrained
    assert namespace.model_kwargs == {'pretrained_cfg_overlay': timm_zerosnet.weights_overlay(NAME)}


def test_neither_published_nor_offered_as_a_name(added):
    assert NAME in pretrained.manifest() and publishing.select() == ['zerosnet20.cifar10']
    with pytest.raises(publishing.PublishError, match=f"{NAME} is a network of timm's own"):
        publishing.select([NAME])
    with pytest.raises(WeightError) as error:
        timm.create_model('zerosnet32', pretrained=True)
    assert 'of all models: zerosnet20.cifar10.' in str(error.value)


def without(key):
    return lambda made: made.write_args(**{key: None})


def misfit(made):
    made.write_checkpoint(timm.create_model(MODEL, num_classes=11))


def spoiled(made):
    made.change(fc__bias=torch.full((10,), float('nan')))


@pytest.mark.parametrize(
    'spoil, message',
    [
        (without('mean'), 'the run has mean of its network: accepted is --mean 0.4914 0.4822 0.4465'),
        (without('std'), 'the run has std of its network: accepted is --std 0.2023 0.1994 0.201'),
        (misfit, 'the state dict does not fit: .*size mismatch for fc.weight'),
        (spoiled, re.escape('1 entries of the state dict hold NaN or infinity: fc.bias')),
    ],
)
def test_what_does_not_fit_is_refused(spoil, message, trained, folder):  # noqa: F811
    made, _ = trained
    spoil(made)
    with pytest.raises(WeightError, match=message):
        made.add(tag='cifar10')
    assert not (folder / f'{NAME}.safetensors').exists() and NAME not in pretrained.manifest()
