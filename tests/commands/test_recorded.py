"""Commands make a network, and prepare its images, as its checkpoint says that it was trained."""

import argparse
import json
import re
import shlex

import numpy as np
import pytest
import timm
import torch
from answers import IMAGES, images, logits, message, refused
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from places import STAND_IN
from safetensors.torch import load_file, save_file
from small_trainings import write_images

from timm_zerosnet import cli, validate
from timm_zerosnet._errors import WeightError
from timm_zerosnet.checkpoint import RECORD
from timm_zerosnet.cifar import DATA_SETS
from timm_zerosnet.recorded import PREPARATION, checkpoint_preprocessing
from timm_zerosnet.robustness.models import Source, describe_model


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
        assert (f'last.pth.tar was trained with {words}: used here, too' in said.err) == (not given)
    assert found[0] == found[1]
    line += ['--model-kwargs', other]
    assert f'last.pth.tar: expected {words}, as in its training, got --model-kwargs ' in refused(line, capsys)
    assert torch.equal(logits(Source(name, checkpoint=file).open()), logits(own))


def test_validate_takes_the_model_that_a_checkpoint_names(tmp_path, capsys):
    """Without it timm's script measures its own default network."""
    file, line = tmp_path / 'last.pth.tar', ['validate', '--timm-scripts', STAND_IN]
    own = trained(file, 'zerosnet20_tra')
    data = images(tmp_path / 'data', 10)
    assert cli.main([*map(str, [*line, '--data-dir', data, '--checkpoint', file])]) == 0
    said = capsys.readouterr()
    assert 'last.pth.tar says it is of zerosnet20_tra: measured as --model zerosnet20_tra' in said.err
    given = json.loads(said.out.splitlines()[-1])[0]
    assert given[given.index('--model') + 1] == 'zerosnet20_tra'

    bare, weights = tmp_path / 'bare.pth', own.state_dict()
    torch.save({'arch': 'zerosnet20_tra', 'state_dict': weights}, bare)
    assert cli.main([*map(str, [*line, '--data-dir', data, '--checkpoint', bare])]) == 0
    assert 'bare.pth says it is of zerosnet20_tra: measured as --model' in capsys.readouterr().err
    for record in ({'arch': 'multistepresnet'}, {'arch': 'zerosnet*'}, {'arch': 'all'}, {'arch': 5}):
        torch.save({**record, 'state_dict': weights}, bare)
        assert 'bare.pth does not say what it is of' in refused(
            [*line, '--data-dir', data, '--checkpoint', bare], capsys
        )
    torch.save({'args': argparse.Namespace(model=' '), 'arch': 'zerosnet20_tra', 'state_dict': weights}, bare)
    assert cli.main([*map(str, [*line, '--data-dir', data, '--checkpoint', bare])]) == 0
    capsys.readouterr()
    torch.save(weights, bare)
    (tmp_path / 'broken.pth').write_bytes(b'cut')
    for words, said in (
        (['--checkpoint', bare], 'no model: .*bare.pth does not say what it is of: give --model NAME'),
        (['--checkpoint', tmp_path], 'no model: .* does not say what it is of: give --model NAME'),
        (['--checkpoint', tmp_path / 'broken.pth'], 'broken.pth .3 bytes. cannot be read as a checkpoint'),
        (['--checkpoint', tmp_path / 'missing.pth'], 'missing.pth'),
        (
            ['--model', file],
            'expected a name, or a file with a name in each line; --model NAME --checkpoint .* weights',
        ),
        ([], '^timm-zerosnet validate: no model: give --model NAME, such as --model zerosnet20$'),
    ):
        assert re.search(said, refused([*line, '--data-dir', data, *words], capsys)), words


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
    assert said.err.endswith('--input-size 3 48 48, --crop-pct 0.9: used here, too\n')


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
        assert f'{checkpoint} was trained with --gp max: used here, too' in said.err
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
        assert f'was trained with --mean 0.5 0.5 0.5{size and f", --input-size 3 {size}"}: used here, too' in said.err


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
