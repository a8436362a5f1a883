"""What an error about weights advises is done here, as it says, and works."""

import argparse
import json
import re
import shlex

import numpy as np
import pytest
import timm
import torch
from golden_weights import load
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from places import STAND_IN
from safetensors.torch import load_file, save_file
from small_trainings import write_images

import timm_zerosnet
from timm_zerosnet import cli, validate, weights
from timm_zerosnet._errors import WeightError
from timm_zerosnet.checkpoint import RECORD
from timm_zerosnet.cifar import DATA_SETS
from timm_zerosnet.recorded import PREPARATION, checkpoint_preprocessing
from timm_zerosnet.robustness.models import Source, describe_model

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def message(*args, **kwargs):
    with pytest.raises(WeightError) as error:
        timm.create_model(*args, **kwargs)
    return str(error.value)


def logits(model):
    with torch.no_grad():
        return model.eval()(IMAGES)


def refused(line, capsys):
    """The last line that a command prints when it ends with code 2."""
    assert cli.main([str(word) for word in line]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def config(model):
    return {key: model.pretrained_cfg[key] for key in ('num_classes', 'mean', 'std', 'label_names')}


OTHER_TAG = next(name for name in weights.manifest() if name.startswith('zerosnet20.cifar10_'))


@pytest.mark.parametrize(
    'asked, fitting',
    [('zerosnet20', 'cifar100'), ('zerosnet20.cifar100', 'cifar10'), (OTHER_TAG, 'cifar100')],
)
@pytest.mark.parametrize('name', ['file', 'state_dict'])
def test_file_of_the_other_cifar(asked, fitting, name):
    """With ``num_classes=100`` alone it would be measured with the other data's mean and deviation."""
    file = weights.weight_file(f'zerosnet20.{fitting}')
    overlay = {'file': file} if name == 'file' else {'state_dict': load_file(file)}
    found = message(asked, pretrained=True, pretrained_cfg_overlay=overlay)
    advice = re.search(rf"for {fitting}, '(.*?)' with pretrained_cfg_overlay=dict\(file=...\) has its mean, std", found)
    model = timm.create_model(advice[1], pretrained=True, pretrained_cfg_overlay=dict(file=file))
    assert config(model) == DATA_SETS[fitting]
    assert torch.equal(logits(model), logits(timm.create_model(f'zerosnet20.{fitting}', pretrained=True)))


@pytest.mark.parametrize('classes', [7, 100])
def test_file_of_other_data(classes, tmp_path):
    own = timm.create_model('zerosnet20', num_classes=classes)
    file = str(tmp_path / 'own.safetensors')
    save_file(own.state_dict(), file)
    found = message('zerosnet20', pretrained=True, pretrained_cfg_overlay=dict(file=file))
    assert f'say num_classes={classes}, mean, std and label_names in the overlay' in found
    assert ('zerosnet20.cifar100' in found) == (classes == 100)
    said = dict(num_classes=classes, mean=(0.5,) * 3, std=(0.2,) * 3, label_names=[f'{i}' for i in range(classes)])
    model = timm.create_model('zerosnet20', pretrained=True, pretrained_cfg_overlay=dict(file=file, **said))
    assert config(model) == said and torch.equal(logits(model), logits(own))

    assert 'a num_classes argument beside it gives the network a new head' in found
    model = timm.create_model('zerosnet20', pretrained=True, num_classes=3, pretrained_cfg_overlay=dict(file=file))
    assert model.head.fc.weight.shape == (3, 64) and torch.equal(model.stem.conv.weight, own.stem.conv.weight)


def test_no_head_or_one_of_another_width(tmp_path):
    own = timm.create_model('zerosnet20', pretrained=True)
    file = str(tmp_path / 'headless.safetensors')
    save_file({key: value for key, value in own.state_dict().items() if not key.startswith('head.')}, file)
    for given in (dict(pretrained_cfg_overlay=dict(file=file)), dict(global_pool='catavgmax')):
        found = message('zerosnet20', pretrained=True, **given)
        assert 'num_classes=0 takes the backbone alone, another num_classes gives it a new head' in found
        for classes in (0, 3):
            model = timm.create_model('zerosnet20', pretrained=True, num_classes=classes, **given).eval()
            assert logits(model).shape[1] == (classes or model.head_hidden_size)
            with torch.no_grad():
                assert torch.equal(model.forward_features(IMAGES), own.eval().forward_features(IMAGES))


@pytest.mark.parametrize(
    'name, arguments',
    [
        ('zerosnet20', dict(projection='shared')),
        ('zerosnet20', dict(method='zerosnet(-3)')),
        ('zerosnet20', dict(euler_at_projection=True)),
        ('zerosnet18', dict(method='euler')),
        ('zerosnet20_tra', dict(projection='preact')),
        ('lmresnet20', dict(euler_at_projection=False)),
        ('lmresnet20', dict(learn='mu')),
    ],
)
def test_own_file_of_other_arguments(name, arguments, tmp_path):
    torch.manual_seed(0)
    own = timm.create_model(name, **arguments)
    file = str(tmp_path / 'own.safetensors')
    save_file(own.state_dict(), file)
    found = message(name, pretrained=True, pretrained_cfg_overlay=dict(file=file), **arguments)
    assert 'loads by timm.models.load_checkpoint(model, FILE) into a model that is made without pretrained' in found
    model = timm.create_model(name, **arguments)
    timm.models.load_checkpoint(model, file)
    assert torch.equal(logits(model), logits(own))


@pytest.mark.parametrize('name, arguments', [('zerosnet20', dict(learn='k')), ('zerosnet20_tra', dict(method='euler'))])
def test_networks_that_learn_their_method_and_those_that_take_one(name, arguments):
    found = message(name, pretrained=True, **arguments)
    assert "are zerosnet*_tra (learn='mu') and lmresnet* (learn='k'); multistep_resnet* take method=" in found
    for pattern, learnt in (('zerosnet*_tra', 'step.mu'), ('lmresnet*', 'step.k')):
        for model in timm.list_models(pattern)[:2]:
            parameters = timm.create_model(model, device='meta').no_weight_decay()
            assert parameters and all(key.endswith(learnt) for key in parameters)
    for model in timm.list_models('multistep_resnet*')[:2]:
        assert timm.create_model(model, device='meta', method='midpoint').method.name == 'midpoint'


def test_empty_network():
    packaged = timm.create_model('zerosnet20', pretrained=True)
    found = message('zerosnet20', pretrained=True, device='meta')
    assert "device='cpu'. Or make it there without pretrained=True, then call model.load_state_dict(WEIGHTS," in found
    assert torch.equal(logits(timm.create_model('zerosnet20', pretrained=True, device='cpu')), logits(packaged))
    model = timm.create_model('zerosnet20', device='meta')
    model.load_state_dict(packaged.state_dict(), assign=True)
    assert torch.equal(logits(model), logits(packaged))


def test_names_of_tags_and_weights():
    found = message('zerosnet20.imagenet')
    tags, packaged = re.search(r'Expected one of (.*); with weights: (.*)\.$', found).groups()
    assert all(timm.create_model(name, device='meta') for name in tags.split(', '))
    assert set(packaged.split(', ')) == {f'zerosnet20.{tag}' for tag in weights.weight_tags('zerosnet20')}
    found = message('zerosnet20_tra.cifar100', pretrained=True)
    of_it, of_all = re.search(r'of zerosnet20_tra these exist: (.*); of all models: (.*?)\. Expected', found).groups()
    assert of_it == 'zerosnet20_tra.cifar10' and set(of_all.split(', ')) == set(weights.own_weights())
    for name in (of_it, *packaged.split(', ')[:2], of_all.split(', ')[-1]):
        assert timm.create_model(name, pretrained=True)


def test_what_the_overlay_takes():
    with pytest.raises(WeightError, match='there are no weights .*: expected one of ') as error:
        timm_zerosnet.weights_overlay('resnet10t.cifar100')
    names = str(error.value).partition('expected one of ')[2].split(', ')
    assert names == list(weights.manifest())
    for name in names[-3:]:
        overlay = timm_zerosnet.weights_overlay(name)
        model = timm.create_model(name.partition('.')[0], pretrained=True, pretrained_cfg_overlay=overlay)
        assert logits(model).isfinite().all()


def test_network_of_timms(capsys):
    for name in ('resnet10t', 'resnet10t.cifar10'):
        found = refused(['info', name], capsys)
        call = re.search(r"timm_zerosnet\.weights_overlay\('(.*)'\) says how it loads", found)
        overlay = timm_zerosnet.weights_overlay(call[1])
        model = timm.create_model('resnet10t', pretrained=True, pretrained_cfg_overlay=overlay)
        assert config(model) == DATA_SETS['cifar10']


def test_what_a_file_may_hold(tmp_path):
    own = timm.create_model('zerosnet20', pretrained=True)
    torch.save(own, tmp_path / 'whole.pth')  # the pickled network
    found = message('zerosnet20', pretrained=True, pretrained_cfg_overlay=dict(file=str(tmp_path / 'whole.pth')))
    assert 'a safetensors file or a PyTorch checkpoint that holds nothing but tensors and plain values' in found
    torch.save({'state_dict': own.state_dict(), 'epoch': 3, 'note': 'text'}, tmp_path / 'plain.pth')
    save_file(own.state_dict(), tmp_path / 'own.safetensors')
    for name in ('plain.pth', 'own.safetensors'):
        given = dict(pretrained_cfg_overlay=dict(file=str(tmp_path / name)))
        assert torch.equal(logits(timm.create_model('zerosnet20', pretrained=True, **given)), logits(own))


def trained(path, name, state=(), **arguments):
    """A network whose arguments its checkpoint records, as train.py does it."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, **arguments)
    model.load_state_dict({**model.state_dict(), **dict(state)})
    nothing = dict.fromkeys(PREPARATION)
    args = argparse.Namespace(model=name, model_kwargs=arguments, **nothing)
    torch.save({'arch': name, 'args': args, 'state_dict': model.state_dict()}, path)
    return model


TRAININGS = [
    ('multistep_resnet20', dict(method='zerosnet(-3)'), {}, 'method=euler'),
    ('zerosnet20_tra', dict(constrain_mu=True), {'stages.1.blocks.2.step.mu': torch.tensor([-2.0])}, 'learn=k'),
    ('lmresnet20', dict(learn='mu', euler_at_projection=False), {}, 'euler_at_projection=True'),
    ('resnet10t', dict(act_layer='silu'), {}, 'act_layer=relu'),
]


@pytest.mark.parametrize('name, arguments, state, other', TRAININGS, ids=[name for name, *_ in TRAININGS])
def test_commands_measure_a_checkpoint_as_it_was_trained(name, arguments, state, other, tmp_path, capsys):
    """The method is not in the state dict: another one would measure another function without a word."""
    file, picture = tmp_path / 'last.pth.tar', tmp_path / 'noise.png'
    own = trained(file, name, state, **arguments)
    words = shlex.join(['--model-kwargs', *(f'{key}={value}' for key, value in arguments.items())])
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(picture)
    line = ['predict', picture, '--model', name, '--checkpoint', file, '--json']
    found = []
    for given in ([], shlex.split(words)):
        assert cli.main([*map(str, [*line, *given])]) == 0
        said = capsys.readouterr()
        found.append(json.loads(said.out))
        assert (f'last.pth.tar was trained with {words}, which hold here' in said.err) == (not given)
    assert found[0] == found[1]
    line += ['--model-kwargs', other]
    assert f'last.pth.tar: expected {words}, as in its training, got --model-kwargs ' in refused(line, capsys)
    assert torch.equal(logits(Source(name, checkpoint=file).open()), logits(own))


def test_checkpoint_of_a_training_without_arguments(tmp_path, capsys):
    own = trained(tmp_path / 'last.pth.tar', 'multistep_resnet20')
    line = ['info', 'multistep_resnet20', '--checkpoint', tmp_path / 'last.pth.tar', '--json']
    found = refused([*line, '--model-kwargs', 'method=ab2'], capsys)
    assert found.endswith('expected no method, as in its training, got --model-kwargs method=ab2')
    assert cli.main([*map(str, [*line, '--model-kwargs', 'method=zerosnet(-9/5)'])]) == 0
    assert json.loads(capsys.readouterr().out)['method']['a'] == [str(c) for c in own.method.a]


def test_pooling_of_the_training(tmp_path, capsys):
    trained(tmp_path / 'avg.pth.tar', 'zerosnet20')
    content = torch.load(tmp_path / 'avg.pth.tar', weights_only=False)
    content['args'].gp = 'max'  # as train.py records --gp
    torch.save(content, tmp_path / 'max.pth.tar')
    found = {name: Source('zerosnet20', checkpoint=tmp_path / f'{name}.pth.tar').open() for name in ('avg', 'max')}
    assert found['max'].head.global_pool.pool_type == 'max'
    assert not torch.allclose(logits(found['avg']), logits(found['max']))


PREPARED = dict(mean=(0.5, 0.4, 0.3), std=(0.25, 0.25, 0.2), interpolation='bicubic', crop_pct=0.9)


def prepared(path, **args):
    """A checkpoint of zerosnet20 whose images were prepared as train.py records it."""
    trained(path, 'zerosnet20')
    content = torch.load(path, weights_only=False)
    vars(content['args']).update(args)
    torch.save(content, path)
    return path


def preprocessing(**source):
    found = Source('zerosnet20', **source)
    return describe_model(found, found.open()).preprocessing


def test_preprocessing_of_the_training(tmp_path, capsys):
    """Measured with the normalisation or size of the name, a network may be many points less accurate."""
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in PREPARED.items()}
    file = prepared(tmp_path / 'last.pth.tar', input_size=[3, 48, 48], **lists)
    usual = preprocessing()
    assert preprocessing(checkpoint=file) == usual | PREPARED | {'input_size': (3, 48, 48)}
    given = dict(mean=(0.1,) * 3, preprocessing={'input_size': (32, 32), 'crop_pct': 1.0})
    found = preprocessing(checkpoint=file, **given)
    assert found == usual | PREPARED | {'input_size': (3, 32, 32), 'mean': (0.1,) * 3, 'crop_pct': 1.0}
    assert cli.main(['info', 'zerosnet20', '--checkpoint', str(file), '--json']) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)['config']['input_size'] == [3, 48, 48]
    assert 'was trained with --mean 0.5 0.4 0.3, --std 0.25 0.25 0.2, --interpolation bicubic, ' in said.err
    assert said.err.endswith('--input-size 3 48 48, --crop-pct 0.9, which hold here\n')


def test_preprocessing_of_a_tag_and_of_other_networks(tmp_path, capsys):
    file = prepared(tmp_path / 'tag.pth.tar', model='zerosnet20.cifar100', input_size=[3, 32, 32], crop_pct=1.0)
    cifar100 = {key: DATA_SETS['cifar100'][key] for key in ('mean', 'std')}
    assert preprocessing(checkpoint=file) == preprocessing() | cifar100
    file = prepared(tmp_path / 'unknown.pth.tar', model='zerosnet20.mine', mean=[0.5])
    assert preprocessing(checkpoint=file) == preprocessing() | {'mean': (0.5,) * 3}
    other = checkpoint_preprocessing(prepared(tmp_path / 'other.pth.tar', mean=[0.5] * 3), 'zerosnet32', {})
    assert other == {} == checkpoint_preprocessing(tmp_path / 'none.pth.tar', 'zerosnet20', {})


def test_grey_training_under_another_tag(tmp_path):
    grey = timm.create_model('zerosnet20', in_chans=1)
    nothing = dict.fromkeys(PREPARATION)
    args = argparse.Namespace(model='zerosnet20.cifar100', model_kwargs={}, **nothing | {'input_size': [1, 32, 32]})
    torch.save({'args': args, 'state_dict': grey.state_dict()}, tmp_path / 'grey.pth.tar')
    found = preprocessing(checkpoint=tmp_path / 'grey.pth.tar')
    mean, std = (np.mean(DATA_SETS['cifar100'][key]) for key in ('mean', 'std'))
    assert (found['input_size'], found['mean'], found['std']) == (
        (1, 32, 32),
        pytest.approx((mean,)),
        pytest.approx((std,)),
    )
    args.model = 'zerosnet20'
    torch.save({'args': args, 'state_dict': grey.state_dict()}, tmp_path / 'grey.pth.tar')
    assert checkpoint_preprocessing(tmp_path / 'grey.pth.tar', 'zerosnet20', {}) == {'input_size': (1, 32, 32)}


def test_validate_pools_as_in_the_training(tmp_path, capsys):
    """Also for a folder of checkpoints, which validate.py measures one by one."""
    (tmp_path / 'run').mkdir()
    file = prepared(tmp_path / 'run' / 'last.pth.tar', gp='max')
    prepared(tmp_path / 'run' / 'best.pth.tar', gp='max')
    write_images(tmp_path, classes=10)
    line = ['--timm-scripts', STAND_IN, '--data-dir', tmp_path, '--model', 'zerosnet20', '--checkpoint']
    for checkpoint in (file, file.parent):
        assert validate.main([*map(str, [*line, checkpoint])]) == 0
        said = capsys.readouterr()
        assert f'{checkpoint} was trained with --gp max, which hold here' in said.err
        arguments = json.loads(said.out)[0]
        assert arguments[arguments.index('--gp') + 1] == 'max'
    prepared(tmp_path / 'run' / 'other.pth.tar', gp='avg', mean=[0.5] * 3)
    assert validate.main([*map(str, [*line, file.parent])]) == 2
    said = capsys.readouterr().err
    assert 'run: its checkpoints were trained with several values of --gp, --mean: name one file' in said
    assert validate.main([*map(str, [*line, file.parent, '--gp', 'max', '--mean', '0.5', '0.5', '0.5'])]) == 0


def test_what_the_user_says_of_the_configuration_comes_first(tmp_path):
    overlay = {'pretrained_cfg_overlay': {'mean': (0.1,) * 3}}
    file = prepared(tmp_path / 'last.pth.tar', mean=[0.5] * 3, std=[0.25] * 3)
    assert checkpoint_preprocessing(file, 'zerosnet20', overlay) == {'std': (0.25,) * 3}
    file = prepared(tmp_path / 'last.pth.tar', model_kwargs=overlay)
    assert checkpoint_preprocessing(file, 'zerosnet20', {}) == {'mean': (0.1,) * 3}


def test_size_of_the_training_brings_its_crop(tmp_path):
    """Without an option, train.py crops by the share for training sizes, validate.py by that for tests."""
    name = 'resnet18.a1_in1k'
    trained(tmp_path / 'last.pth.tar', name)
    content = torch.load(tmp_path / 'last.pth.tar', weights_only=False)
    content['args'].input_size = [3, 224, 224]
    torch.save(content, tmp_path / 'last.pth.tar')
    config = timm.get_pretrained_cfg(name)
    assert (config.test_input_size, config.crop_pct, config.test_crop_pct) == ((3, 288, 288), 0.95, 1.0)
    found = checkpoint_preprocessing(tmp_path / 'last.pth.tar', name, {})
    assert found == {'input_size': (3, 224, 224), 'crop_pct': 0.95}


def test_arguments_of_other_scripts_and_spoiled_ones(tmp_path):
    state = timm.create_model('resnet10t', num_classes=10).state_dict()
    args = argparse.Namespace(model='resnet10t', input_size=224, mixup=0.8)  # as DeiT's script records them
    torch.save({'model': state, 'args': args}, tmp_path / 'other.pth')
    assert checkpoint_preprocessing(tmp_path / 'other.pth', 'resnet10t', {}) == {}
    for spoiled in (dict(mean=[0.5, 0.5]), dict(input_size=[32, 32]), dict(std=0.5)):
        file = prepared(tmp_path / 'last.pth.tar', **spoiled)
        with pytest.raises(WeightError, match='last.pth.tar says that it was trained with input_size .*does not take'):
            checkpoint_preprocessing(file, 'zerosnet20', {})


def test_model_without_a_configuration(tmp_path):
    from timm.models import register_model

    @register_model
    def network_without_configuration(pretrained=False, **kwargs):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))

    file = prepared(tmp_path / 'last.pth.tar', model='network_without_configuration', input_size=[3, 32, 32])
    found = checkpoint_preprocessing(file, 'network_without_configuration', {})
    assert found['input_size'] == (3, 32, 32) and len(found['mean']) == 3


def test_validate_prepares_images_as_in_the_training(tmp_path, capsys):
    file = prepared(tmp_path / 'last.pth.tar', input_size=[3, 48, 48], mean=[0.5] * 3)
    write_images(tmp_path, classes=10)
    line = ['--timm-scripts', STAND_IN, '--data-dir', tmp_path, '--model', 'zerosnet20', '--checkpoint', file]
    for given, size in (([], '48 48'), (['--img-size', '40'], '')):
        assert validate.main([*map(str, [*line, *given])]) == 0
        said = capsys.readouterr()
        assert f'was trained with --mean 0.5 0.5 0.5{size and f", --input-size 3 {size}"}, which hold here' in said.err


def test_convert_takes_another_name_for_the_same_function_alone(tmp_path, capsys):
    for method, code in (('zerosnet(-9/5)', 0), ('zerosnet(1)', 2)):
        trained(tmp_path / 'last.pth.tar', 'multistep_resnet20', method=method)
        line = ['convert', tmp_path / 'last.pth.tar', tmp_path / 'out.safetensors', '--model', 'zerosnet20']
        assert cli.main([*map(str, line)]) == code
        said = capsys.readouterr().err
        assert ('it was of multistep_resnet20: --model multistep_resnet20 takes it as it was' in said) == bool(code)


def test_info_names_the_classes_of_the_training(tmp_path, capsys):
    names = [f'flower{i}' for i in range(10)]
    for record, expected in ((None, None), ({'class_names': names}, names)):
        file = prepared(tmp_path / 'last.pth.tar', **{RECORD: record})
        assert cli.main(['info', 'zerosnet20', '--checkpoint', str(file), '--json']) == 0
        assert json.loads(capsys.readouterr().out)['label_names'] == expected


def test_features_of_a_file_with_another_classifier_or_none(tmp_path):
    for classes in (7, 0):
        own = timm.create_model('zerosnet20', num_classes=classes)
        save_file(own.state_dict(), tmp_path / 'own.safetensors')
        overlay = dict(file=str(tmp_path / 'own.safetensors'))
        found = timm.create_model('zerosnet20', pretrained=True, features_only=True, pretrained_cfg_overlay=overlay)
        with torch.no_grad():
            wanted = own.eval().forward_intermediates(IMAGES, intermediates_only=True)
            assert all(map(torch.equal, found.eval()(IMAGES), wanted))


def test_weights_of_a_url_or_the_hub_come_before_the_packaged_ones(tmp_path, monkeypatch):
    """timm would take the file that the model's own configuration names."""
    own = timm.create_model('zerosnet20')
    torch.save(own.state_dict(), tmp_path / 'own.pth')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    overlay = dict(url=(tmp_path / 'own.pth').as_uri())
    found = timm.create_model('zerosnet20', pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(logits(found), logits(own))
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(LocalEntryNotFoundError):
        timm.create_model('zerosnet20', pretrained=True, pretrained_cfg_overlay=dict(hf_hub_id='nobody/mine'))


def test_converted_checkpoint_of_a_method(tmp_path, capsys):
    own = trained(tmp_path / 'last.pth.tar', 'multistep_resnet20', method='optimal(4)')
    line = ['convert', tmp_path / 'last.pth.tar', tmp_path / 'out.safetensors']
    assert "--model-kwargs 'method=optimal(4)'" in refused([*line, '--model-kwargs', 'method=euler'], capsys)
    assert cli.main([*map(str, line)]) == 0
    said = capsys.readouterr()
    assert ': multistep_resnet20, ' in said.out and "was trained with --model-kwargs 'method=optimal(4)'" in said.err
    model = timm.create_model('multistep_resnet20', num_classes=10, method='optimal(4)')
    model.load_state_dict(load_file(tmp_path / 'out.safetensors'))
    assert torch.equal(logits(model), logits(own))


@pytest.mark.parametrize('name, arguments, state, other', TRAININGS[:3], ids=[name for name, *_ in TRAININGS[:3]])
def test_scripts_need_the_arguments_of_the_training(name, arguments, state, other, tmp_path, capsys):
    """timm's scripts do not read them from the file."""
    data, file = images(tmp_path / 'data', 10), tmp_path / 'last.pth.tar'
    trained(file, name, state, **arguments)
    (tmp_path / 'data' / 'train').symlink_to(data / 'validation')
    scripts = ['--model', name, '--data-dir', data, '--timm-scripts', STAND_IN]
    for line in (
        ['validate', *scripts, '--checkpoint', file],
        ['train', 'short', *scripts, '--batch-size', 10, '--initial-checkpoint', file],
        ['train', 'short', *scripts, '--batch-size', 10, '--resume', file],
    ):
        found = refused(line, capsys)
        advised = re.search(r'last.pth.tar: expected (--model-kwargs .*), as in its training, got none', found)[1]
        assert refused([*line, '--model-kwargs', other], capsys).startswith(found.rpartition(' got ')[0])
    line = ['validate', *scripts, '--checkpoint', file, *shlex.split(advised)]
    assert cli.main([*map(str, line)]) == 0


@pytest.mark.parametrize('name', ['zerosnet20', 'multistep_resnet20'])
def test_checkpoint_of_another_network_with_the_same_entries(name, tmp_path, capsys):
    other = {'zerosnet20': 'multistep_resnet20', 'multistep_resnet20': 'zerosnet20'}[name]
    data, file = images(tmp_path / 'data', 10), tmp_path / 'last.pth.tar'
    trained(file, other)
    said = f'last.pth.tar: expected a checkpoint of {name}, got one of {other}: name that network instead'
    line = ['validate', '--data-dir', data, '--timm-scripts', STAND_IN, '--checkpoint', file, '--model']
    assert said in refused([*line, name], capsys)
    assert said in message(name, pretrained=True, pretrained_cfg_overlay=dict(file=str(file)))
    assert cli.main([*map(str, [*line, other])]) == 0
    assert timm.create_model(other, pretrained=True, pretrained_cfg_overlay=dict(file=str(file), num_classes=10))


def test_overlay_of_a_checkpoint_that_says_how_it_was_trained(tmp_path):
    overlay = dict(file=str(tmp_path / 'last.pth.tar'), num_classes=10)
    for name, method in (('multistep_resnet20', 'zerosnet(-3)'), ('zerosnet20', 'optimal(4)')):
        own = trained(tmp_path / 'last.pth.tar', name, method=method)
        given = dict(pretrained=True, pretrained_cfg_overlay=overlay)
        found = message(name, **given)
        assert f'for the method {method}, not for the method zerosnet-opt: expected method={method!r} beside' in found
        assert torch.equal(logits(timm.create_model(name, method=method, **given)), logits(own))
        assert 'expected no method= beside pretrained=True' in message(name, method='midpoint', **given)


def images(folder, classes):
    for i in range(classes):
        path = folder / 'validation' / f'c{i:03}' / '0.png'
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((32, 32, 3), i, np.uint8)).save(path)
    return folder


def arguments_of_timm(capsys):
    """With which the stand-in for timm's script was called."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])[0][1:]


@pytest.mark.parametrize('count', [None, 10])
def test_validate_names_the_network_of_a_checkpoint(count, tmp_path, capsys):
    data = images(tmp_path / 'data', 10)
    file = weights.weight_file('zerosnet20.cifar100')
    line = ['validate', '--checkpoint', file, '--timm-scripts', STAND_IN]
    count = [] if count is None else ['--num-classes', count]
    found = refused([*line, '--data-dir', data, '--model', 'zerosnet20', *count], capsys)
    pattern = r'has 100 classes, the network 10: --model (zerosnet20.cifar100.*) or, for other data, --num-classes 100$'
    by_tag = re.search(pattern, found)[1]
    data = images(tmp_path / 'more', 100)
    for advised in (by_tag, 'zerosnet20 --num-classes 100'):
        words = [*line, '--data-dir', data, '--model', *advised.split()]
        assert cli.main([str(word) for word in words]) == 0
        assert arguments_of_timm(capsys)[:2] == ['--checkpoint', file]
    assert config(timm.create_model(by_tag.split()[0])) == DATA_SETS['cifar100']

    found = refused([*line, '--data-dir', data, '--model', 'zerosnet20', *count], capsys)
    assert f'give --model {by_tag} or --num-classes 100 or other data' in found


@pytest.mark.parametrize('kind', ['original', 'wrapped'])
def test_checkpoint_that_timms_script_does_not_read(kind, tmp_path, capsys):
    """timm's own ``--checkpoint`` does without our filter: it would end in a traceback."""
    data, file = images(tmp_path / 'data', 10), tmp_path / 'theirs.pth'
    own = load('cifar-ZeroSNet20_Opt')[0]
    if kind == 'wrapped':
        own = timm.create_model('zerosnet20', pretrained=True).state_dict()
    torch.save({'state_dict': {f'_orig_mod.module.module.{key}': value for key, value in own.items()}}, file)
    with pytest.raises(RuntimeError):
        timm.models.load_checkpoint(timm.create_model('zerosnet20'), str(file))
    line = ['validate', '--model', 'zerosnet20', '--data-dir', data, '--timm-scripts', STAND_IN, '--checkpoint']
    found = refused([*line, file], capsys)
    advised = re.search(r': timm-zerosnet (convert .*) writes what --checkpoint takes', found)[1]
    out = tmp_path / 'out.safetensors'
    assert cli.main(shlex.split(advised.replace('OUT.safetensors', str(out)))) == 0
    assert cli.main([str(word) for word in [*line, out]]) == 0
    timm.models.load_checkpoint(timm.create_model('zerosnet20'), str(out))  # as timm's script does it


@pytest.mark.parametrize('flag', ['--initial-checkpoint', '--resume'])
def test_train_names_what_takes_a_file(flag, tmp_path, capsys):
    for split in ('train', 'validation'):
        images(tmp_path, 10).joinpath('validation').rename(tmp_path / split)
    own, file = timm.create_model('zerosnet20', pretrained=True).state_dict(), tmp_path / 'wrapped.pth'
    torch.save({'state_dict': {f'module.module.{key}': value for key, value in own.items()}}, file)
    line = ['train', 'short', '--model', 'zerosnet20', '--data-dir', tmp_path, '--timm-scripts', STAND_IN]
    line += ['--batch-size', '10']
    found = refused([*line, flag, file], capsys)
    if flag == '--resume':
        advised = re.search(r'\): (.*) in place of --resume starts from its weights', found)[1]
        assert shlex.split(advised) == ['--pretrained', '--pretrained-path', str(file)]
    else:
        advised = re.search(r': timm-zerosnet (convert .*) writes what --initial-checkpoint takes', found)[1]
        assert cli.main(shlex.split(advised.replace('OUT', str(tmp_path / 'out')))) == 0
        timm.models.load_checkpoint(timm.create_model('zerosnet20'), str(tmp_path / 'out.safetensors'))
    overlay = {'file': str(file), 'num_classes': -1}  # as train.py has --pretrained-path
    model = timm.create_model('zerosnet20', pretrained=True, num_classes=10, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.stem.conv.weight, own['stem.conv.weight'])


def test_random_classifier(tmp_path, capsys):
    Image.new('RGB', (32, 32)).save(tmp_path / 'black.png')
    line = ['predict', tmp_path / 'black.png', '--model', 'zerosnet20', '--model-kwargs']
    assert 'expected num_classes=10, as its weights have, or a checkpoint of yours' in refused(
        [*line, 'num_classes=7'], capsys
    )
    torch.save(timm.create_model('zerosnet20', num_classes=7).state_dict(), tmp_path / 'own.pth')
    for advised in (['num_classes=10'], ['num_classes=7', '--checkpoint', tmp_path / 'own.pth']):
        assert cli.main([str(word) for word in [*line, *advised]]) == 0

    data = images(tmp_path / 'data', 7)
    line = ['validate', '--model', 'zerosnet20', '--num-classes', '7', '--data-dir', data, '--timm-scripts', STAND_IN]
    assert '--checkpoint FILE measures a network that was trained on other classes' in refused(line, capsys)
    assert cli.main([str(word) for word in [*line, '--checkpoint', tmp_path / 'own.pth']]) == 0


def test_average_that_is_not_there(tmp_path, capsys):
    torch.save({'state_dict': timm.create_model('zerosnet20').state_dict()}, tmp_path / 'own.pth')
    line = ['convert', tmp_path / 'own.pth', tmp_path / 'out.safetensors']
    assert 'expected --average raw' in refused([*line, '--average', 'ema'], capsys)
    assert cli.main([str(word) for word in [*line, '--average', 'raw']]) == 0
