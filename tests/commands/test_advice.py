"""What an error about weights advises is done here, as it says, and works."""

import json
import re
import shlex

import pytest
import timm
import torch
from answers import IMAGES, images, logits, message, refused
from golden_weights import load
from PIL import Image
from places import STAND_IN
from safetensors.torch import load_file, save_file

import timm_zerosnet
from timm_zerosnet import cli, weights
from timm_zerosnet._errors import WeightError
from timm_zerosnet.cifar import DATA_SETS


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
