"""Weights of timm's own backbones: added as ours are, loaded by overlay, measured by name."""

import json
import re
import sys

import numpy as np
import pytest
import timm
import torch
from made_trainings import SAMPLE, Run, weights_folder  # noqa: F401
from places import STAND_IN
from safetensors.torch import load_file

import timm_zerosnet
from timm_zerosnet import cli, train, validate, weights
from timm_zerosnet._errors import UnknownModelError, WeightError
from timm_zerosnet.cifar import DATA_SETS
from timm_zerosnet.maintain import publish as publishing
from timm_zerosnet.maintain import tables
from timm_zerosnet.model_names import create, model_config
from timm_zerosnet.robustness import evaluate
from timm_zerosnet.robustness.data import LabelledImages, load_labelled
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import read_run
from timm_zerosnet.training.scripts import script_parser

MODEL, NAME = 'resnet10t', 'resnet10t.cifar10'  # timm's own weights are tested at another size, with another crop
MEAN, STD = (DATA_SETS['cifar10'][key] for key in ('mean', 'std'))
TEST = load_labelled(SAMPLE)
IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope='module')
def measured():
    """The backbone with ten classes, and its accuracy."""
    torch.manual_seed(0)
    small = {'input_size': (3, 32, 32), 'test_input_size': None}  # evaluated at 224 pixels it takes fifteen seconds
    network = timm.create_model(MODEL, num_classes=10, pretrained_cfg_overlay=small).eval()
    return network, evaluate(network, TEST.images, TEST.labels, mean=MEAN, std=STD).top1


@pytest.fixture
def trained(measured, folder, tmp_path):  # noqa: F811
    """A run of the backbone, and its network."""
    network, top1 = measured
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


def test_names_of_a_parallel_run(trained, folder):  # noqa: F811
    made, network = trained
    names = {f'module.{key}': value for key, value in network.state_dict().items()}
    torch.save({'state_dict': names, 'epoch': 39}, made.checkpoint)
    made.add(tag='cifar10')
    assert load_file(folder / f'{NAME}.safetensors').keys() == network.state_dict().keys()


def test_loads_by_overlay(added):
    overlay = timm_zerosnet.weights_overlay(NAME)
    net = timm.create_model(MODEL, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    with torch.inference_mode():
        assert torch.allclose(net(IMAGE), added[1](IMAGE), atol=5e-3)
        assert torch.equal(net(IMAGE), create(NAME).eval()(IMAGE))
    for use_test_size in (False, True):
        config = timm.data.resolve_model_data_config(net, use_test_size=use_test_size)
        assert config['input_size'] == (3, 32, 32) and config['crop_pct'] == 1.0 and config['crop_mode'] == 'center'
        assert config['mean'] == MEAN and config['std'] == STD and config['interpolation'] == 'bilinear'
    assert net.pretrained_cfg['label_names'][0] == 'airplane'
    assert net.pretrained_cfg['tag'] == 'cifar10' and not net.pretrained_cfg.get('hf_hub_id')
    other = timm.create_model(MODEL, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=7)
    assert other.num_classes == 7 and torch.equal(other.conv1[0].weight, net.conv1[0].weight)


def test_overlay_also_for_networks_of_this_package():
    overlay = timm_zerosnet.weights_overlay('zerosnet20.cifar100')
    net = timm.create_model('zerosnet20', pretrained=True, pretrained_cfg_overlay=overlay)
    expected = timm.create_model('zerosnet20.cifar100', pretrained=True).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize('name', ['resnet18', 'zerosnet20', 'resnet18.cifar10', ''])
def test_unknown_names_are_told_what_is_packaged(name):
    with pytest.raises(WeightError, match=f"no weights '{name}': expected one of zerosnet20.cifar10, "):
        timm_zerosnet.weights_overlay(name)


def test_a_damaged_file_is_refused(added, folder):  # noqa: F811
    with (folder / f'{NAME}.safetensors').open('ab') as file:
        file.write(b'x')
    with pytest.raises(WeightError, match='is damaged or was changed'):
        timm_zerosnet.weights_overlay(NAME)


def test_measured_by_name(added, tmp_path):
    assert round(evaluate(NAME, TEST.images, TEST.labels).top1, 2) == added[0]['top1']
    few = LabelledImages(TEST.images[:40], TEST.labels[:40])
    run([NAME, 'zerosnet20'], few, tmp_path / 'out', corruptions=['randn'], levels=[0.05], seeds=[0])
    found = {(cell.model, cell.corruption): cell.result.top1 for cell in read_run(tmp_path / 'out').cells}
    assert found.keys() >= {(NAME, 'clean'), (NAME, 'randn')}
    assert found[NAME, 'clean'] == evaluate(NAME, few.images, few.labels).top1


def test_arguments_go_with_the_name(added):
    net = create(NAME, num_classes=7, in_chans=1, pretrained_cfg_overlay={'mean': (0, 0, 0)})
    assert net.num_classes == 7 and net.conv1[0].weight.shape[1] == 1
    assert torch.equal(net.layer1[0].conv1.weight, create(NAME).layer1[0].conv1.weight)
    assert net.pretrained_cfg['mean'] == (0, 0, 0) and net.pretrained_cfg['std'] == STD


def test_own_checkpoint_by_name(added, tmp_path):
    torch.save(timm.create_model(MODEL, num_classes=7, in_chans=1).state_dict(), tmp_path / 'grey.pth')
    net = Source(NAME, checkpoint=tmp_path / 'grey.pth').open()
    assert net.num_classes == 7 and net.conv1[0].weight.shape[1] == 1 and net.pretrained_cfg['std'] == STD


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
    words = ['--model', NAME, '--pretrained', '--data-dir', str(tmp_path / 'data'), '--timm-scripts', str(STAND_IN)]
    assert validate.main(words) == 0
    given = json.loads(capsys.readouterr().out.splitlines()[-1])[0]
    namespace = script_parser(STAND_IN / 'validate.py').parse_args(given[1:])
    assert namespace.model == MODEL and namespace.pretrained
    assert namespace.model_kwargs == {'pretrained_cfg_overlay': timm_zerosnet.weights_overlay(NAME)}

    assert validate.main([*words, '--model-kwargs', "pretrained_cfg_overlay={'mean':(0,0,0)}", 'drop_rate=0.1']) == 0
    given = json.loads(capsys.readouterr().out.splitlines()[-1])[0]
    found = script_parser(STAND_IN / 'validate.py').parse_args(given[1:]).model_kwargs
    assert found.pop('drop_rate') == 0.1
    assert found == {'pretrained_cfg_overlay': {**timm_zerosnet.weights_overlay(NAME), 'mean': (0, 0, 0)}}


def test_train_says_how_to_go_on_from_it(added, tmp_path, capsys):
    words = ['--model', NAME, '--pretrained', '--data-dir', str(tmp_path), '--timm-scripts', str(STAND_IN)]
    assert train.main(['short', *words]) == 2
    advice = re.search(r'does not know resnet10t.cifar10: (.*) starts from', capsys.readouterr().err)[1].split()
    numbers = [*map(str, MEAN), '--std', *map(str, STD)]
    assert advice == [
        *('--model', MODEL, '--pretrained', '--pretrained-path', weights.weight_file(NAME)),
        *('--num-classes', 'N', '--mean', *numbers, '--interpolation', 'bilinear'),
    ]
    overlay = {'file': advice[4], 'num_classes': -1}  # as train.py has it
    net = timm.create_model(MODEL, True, pretrained_cfg_overlay=overlay, num_classes=7)
    assert net.num_classes == 7
    assert torch.equal(net.layer1[0].conv1.weight, create(NAME).layer1[0].conv1.weight)


def test_other_names_are_told(added, capsys):
    assert cli.main(['info', NAME]) == 2
    assert f"timm_zerosnet.weights_overlay('{NAME}') says how it loads" in capsys.readouterr().err
    with pytest.raises(UnknownModelError, match=r'\(cifar100\) for resnet10t; expected cifar10, c3_in1k$'):
        model_config(f'{MODEL}.cifar100')


def test_neither_published_nor_offered_as_a_name(added):
    assert NAME in weights.manifest() and publishing.select() == ['zerosnet20.cifar10']
    with pytest.raises(publishing.PublishError, match=f'expected a network of this package, got {NAME}'):
        publishing.select([NAME])
    with pytest.raises(WeightError) as error:
        timm.create_model('zerosnet164', pretrained=True)
    assert 'of all models: zerosnet20.cifar10.' in str(error.value)


def without(key):
    return has(**{key: None})


def has(**changes):
    return lambda made: made.write_args(**changes)


def misfit(made):
    made.write_checkpoint(timm.create_model(MODEL, num_classes=11))


def spoiled(**entries):
    return lambda made: made.change(**entries)


@pytest.mark.parametrize(
    'spoil, message',
    [
        (without('mean'), 'the run: expected --mean 0.4914 0.4822 0.4465, got that of its network'),
        (without('std'), 'the run: expected --std 0.2023 0.1994 0.201, got that of its network'),
        (has(interpolation=''), 'the run: expected --interpolation bilinear, got that of its network'),
        (
            has(pretrained=True),
            "the run began with weights: expected a network of timm's own that was trained from scratch",
        ),
        (has(model_kwargs={'pretrained_cfg_overlay': {'file': 'x'}}), 'the run has model_kwargs with pretrained_cfg_o'),
        (has(mean=0.5), 'the run: expected --mean 0.4914 0.4822 0.4465, got 0.5'),
        (misfit, 'the state dict does not fit resnet10t: .*size mismatch for fc.weight'),
        (spoiled(fc__bias=torch.full((10,), float('nan'))), 'dict for resnet10t.cifar10 hold NaN or infinity: fc.bias'),
        (spoiled(fc__weight=torch.full((10, 512), 1e6)), 'dict for resnet10t.cifar10 hold NaN or infinity: fc.weight'),
    ],
)
def test_what_does_not_fit_is_refused(spoil, message, trained, folder):  # noqa: F811
    made, _ = trained
    spoil(made)
    with pytest.raises(WeightError, match=message):
        made.add(tag='cifar10')
    assert not (folder / f'{NAME}.safetensors').exists() and NAME not in weights.manifest()
