"""The nearest names, also where their pieces come in another order; and names with nothing after the dot."""

import pytest
import timm
from places import STAND_IN

import timm_zerosnet
from timm_zerosnet import cli
from timm_zerosnet._errors import WeightError, nearest
from timm_zerosnet.model_names import create, model_config
from timm_zerosnet.robustness import evaluate, perturb
from timm_zerosnet.robustness.analysis.grids import find_model
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.zerosnet import default_cfgs


@pytest.mark.parametrize(
    'name, meant',
    [
        ('zerosnet_tra20', 'zerosnet20_tra'),
        ('tra_zerosnet1298', 'zerosnet1298_tra'),
        ('zerosnet_20_tra', 'zerosnet20_tra'),
        ('Zerosnet-TRA-110', 'zerosnet110_tra'),
        ('resnet_multistep20', 'multistep_resnet20'),
        ('multistep20_resnet', 'multistep_resnet20'),
        ('zeronset20', 'zerosnet20'),
        ('preresnet_20', 'preresnet20'),
        ('20preresnet', 'preresnet20'),
    ],
)
def test_nearest_name_comes_first(name, meant):
    assert nearest(name, default_cfgs, 3, 0.4)[0] == meant
    assert nearest(name, timm.list_models())[0] == meant


@pytest.mark.parametrize('name', ['zerosnet20', 'zerosnet_tra20', 'resnet18', 'x', ''])
def test_of_those_asked_for_each_once(name):
    found = nearest(name, [*default_cfgs, *default_cfgs], 2, 0.3)
    assert len(found) == len(set(found)) <= 2 and set(found) <= set(default_cfgs)


@pytest.mark.parametrize(
    'line',
    [
        'info zerosnet_tra20',
        'list zerosnet_tra20',
        'list zerosnet_tra20*',
        'publish zerosnet_tra20.cifar10 --namespace me --dry-run',
        'publish zerosnet_tra20 --namespace me --dry-run',
        'convert none.pth out.safetensors --model zerosnet_tra20',
        'predict none.png --model zerosnet_tra20',
        'robustness --model zerosnet_tra20.cifar10 --data none --out none',
    ],
)
def test_commands_name_it_first(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.split()) == 2
    found = capsys.readouterr().err
    assert any(f'{word} zerosnet20_tra' in found for word in ('nearest:', 'nearest are')), found


@pytest.mark.parametrize(
    'call, meant',
    [
        (lambda: find_model(['zerosnet20', 'zerosnet20_tra.cifar10'], 'zerosnet_tra20'), 'zerosnet20_tra.cifar10'),
        (lambda: perturb(None, 'noise_gaussian', 1, suite='cifar-c'), 'gaussian_noise'),
        (lambda: perturb(None, 'compression_jpeg', 1, suite='cifar-c'), 'jpeg_compression'),
        (lambda: perturb(None, 'randn', 0.1, suite='c-cifar'), 'cifar-c'),
        (lambda: timm_zerosnet.parse_method('opt-zerosnet'), 'zerosnet-opt'),
    ],
)
def test_other_names(call, meant):
    with pytest.raises(ValueError, match=f'did you mean {meant}'):
        call()


@pytest.mark.parametrize(
    'line',
    [
        'info zerosnet20.',
        'list zerosnet20.',
        'list resnet10t.',
        'convert none.pth out.safetensors --model zerosnet20.',
        'predict none.png --model zerosnet20.',
        'predict none.png --model resnet10t.',
        'predict none.png --model resnet18.',
        'robustness --model zerosnet20. --data none --out none',
        'publish zerosnet20. --namespace me --dry-run',
        'train short --model zerosnet20. --data-dir .',
        'validate --model zerosnet20. --pretrained --data-dir .',
    ],
)
def test_commands_refuse_an_empty_tag(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TIMM_SCRIPTS', str(STAND_IN))
    assert cli.main(line.split()) == 2
    found = capsys.readouterr().err
    assert 'has an empty tag' in found or 'no packaged weight' in found, found


@pytest.mark.parametrize('name', ['zerosnet20.', 'resnet10t.', 'resnet18.'])
def test_python_refuses_an_empty_tag(name):
    for call in (
        lambda: evaluate(name, [[[[0]]]], [0]),
        lambda: create(name, pretrained=False),
        lambda: timm_zerosnet.weights_overlay(name),
        lambda: model_config(name),
        lambda: Source(name).check(),
        lambda: Source(name).open(),
    ):
        with pytest.raises((WeightError, ValueError), match=f"'{name}' has an empty tag: expected '{name[:-1]}'"):
            call()


@pytest.mark.parametrize('name', ['preresnet18.cifar10', 'zerosnet50_tra.in1k'])
def test_network_without_tags_says_so(name, capsys):
    model = name.partition('.')[0]
    said = f"{model} has no tags and no weights: expected its name alone, '{model}'."
    with pytest.raises(WeightError, match=f'Invalid pretrained tag .* {said}'):
        timm.create_model(name)
    for line in (f'info {name}', f'predict none.png --model {name}'):
        assert cli.main(line.split()) == 2
        assert said in capsys.readouterr().err
    assert timm.create_model(model, device='meta').num_classes == 1000
