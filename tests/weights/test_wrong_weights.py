"""A damaged or wrong weight file is an error that says what is wrong: never code run, never a partly random network."""

import io
import pickle
import re
from pathlib import Path

import pytest
import timm
import torch
from amounts import slow_but
from golden_weights import MODELS, load
from safetensors.torch import load_file, save_file

import timm_zerosnet  # noqa: F401
from timm_zerosnet import cli, weights
from timm_zerosnet._errors import WeightError
from timm_zerosnet._files import sha256
from timm_zerosnet.checkpoint import checkpoint_filter_fn
from timm_zerosnet.weights import WEIGHTS

NAME = 'zerosnet20.cifar10'
GOOD = (WEIGHTS / f'{NAME}.safetensors').read_bytes()
WAYS = [{}, {'num_classes': 5}, {'features_only': True}]
SMALL = [case for case, name in MODELS.items() if name.startswith(('zerosnet20', 'lmresnet20', 'preresnet20'))]

in_every_way = pytest.mark.parametrize('kwargs', WAYS, ids=str)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def as_torch_file(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def flipped(position):
    return GOOD[:position] + bytes([GOOD[position] ^ 1]) + GOOD[position + 1 :]


LFS = (
    b'version https://git-lfs.github.com/spec/v1\n'
    b'oid sha256:79ab13414f5de62970f6740ae4e55026dd1ff9d5a3ba724b4b4e344bb8063069\nsize 574600\n'
)
DAMAGES = {
    **{f'cut after {tenth} tenths': GOOD[: len(GOOD) * tenth // 10] for tenth in range(10)},
    'cut in the header': GOOD[:100],
    'one byte short': GOOD[:-1],
    'pointer': LFS,
    'page': b'<!DOCTYPE html><html><body>404: Not Found</body></html>\n',
    'renamed': as_torch_file({'state_dict': {}}),
    'bit of the length': flipped(0),
    'bit of the header': flipped(60),
    'bit of the data': flipped(len(GOOD) - 1000),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A weights folder of its own, with the manifest and as yet no weight."""
    (tmp_path / 'manifest.json').write_bytes((WEIGHTS / 'manifest.json').read_bytes())
    monkeypatch.setattr(weights, 'WEIGHTS', tmp_path)
    weights.manifest.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    weights.manifest.cache_clear()


def create_from(path, model='zerosnet20', overlay=(), **kwargs):
    return timm.create_model(
        model, pretrained=True, pretrained_cfg_overlay={'file': str(path), **dict(overlay)}, **kwargs
    )


def refusal(path, *args, **kwargs):
    """The message for a file that must be refused: it names the file and is one line."""
    with pytest.raises(WeightError) as error:
        create_from(path, *args, **kwargs)
    message = str(error.value)
    assert str(path) in message and '\n' not in message
    return message


def assert_names_both_sums(message, path):
    assert str(path) in message and 'Reinstall timm-zerosnet' in message
    assert sha256(path) in message and weights.manifest()[NAME]['sha256'] in message


@pytest.mark.parametrize('damage', DAMAGES)
def test_damaged_packaged_file(damage, folder, capsys):
    """A cut file, a pointer or a page of HTML gives an error of the header that nobody understands."""
    path = folder / f'{NAME}.safetensors'
    path.write_bytes(DAMAGES[damage])
    for kwargs in WAYS:
        assert_names_both_sums(refusal(path, **kwargs), path)
    assert cli.main(['weights', 'verify']) == 1
    assert_names_both_sums(capsys.readouterr().err, path)


def test_undamaged_packaged_file(folder, capsys):
    (folder / f'{NAME}.safetensors').write_bytes(GOOD)
    create_from(folder / f'{NAME}.safetensors')
    for name in weights.manifest():
        (folder / f'{name}.safetensors').write_bytes((WEIGHTS / f'{name}.safetensors').read_bytes())
    assert cli.main(['weights', 'verify']) == 0
    assert capsys.readouterr().out.splitlines() == [f'{name}: ok' for name in weights.manifest()]


def test_verify_tells_of_every_damaged_file(folder, capsys):
    rows = len(weights.manifest())
    assert cli.main(['weights', 'verify']) == 1
    assert capsys.readouterr().err.count('does not exist: expected a file of sha256') == rows


def test_damaged_and_missing_file_of_an_installation(checkout, bare):
    path = checkout / 'weights' / f'{NAME}.safetensors'
    path.write_bytes(GOOD[:5000])
    code = """
import pathlib, sys, timm, timm_zerosnet
for _ in range(2):
    for kwargs in ({}, {'num_classes': 5}, {'features_only': True}):
        try:
            timm.create_model('zerosnet20', pretrained=True, **kwargs)
        except timm_zerosnet._errors.WeightError as error:
            print(error)
    pathlib.Path(sys.argv[1]).unlink(missing_ok=True)
"""
    done = bare('-c', code, path, path=checkout)
    lines = done.stdout.splitlines()
    assert len(lines) == 6 and all(str(path) in line and 'Reinstall' in line for line in lines), done.stderr
    assert all('(5000 bytes)' in line for line in lines[:3]) and all('does not exist' in line for line in lines[3:])


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth.tar', '.pth', '.bin'])
@pytest.mark.parametrize('how', ['torch', 'old torch', 'pickle'])
def test_nothing_is_unpickled(suffix, how, tmp_path, folder):
    mark = tmp_path / 'mark'
    content = {'state_dict': {'stem.conv.weight': torch.zeros(1)}, 'bomb': Bomb(mark)}
    buffer = io.BytesIO()
    if how == 'pickle':
        pickle.dump(content, buffer, protocol=2)
        pickle.loads(buffer.getvalue())
    else:
        torch.save(content, buffer, _use_new_zipfile_serialization=how == 'torch')
        torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert mark.is_file(), 'the bomb works'
    mark.unlink()
    path = folder / f'{NAME}{suffix}'  # the first is that of the manifest
    path.write_bytes(buffer.getvalue())
    for kwargs in WAYS:
        refusal(path, **kwargs)
    assert not mark.exists()


UNREADABLE = {
    'cut.safetensors': GOOD[:-10],
    'cut in the header.safetensors': GOOD[:500],
    'empty.safetensors': b'',
    'garbage.safetensors': bytes(range(256)) * 9,
    'page.safetensors': DAMAGES['page'],
    'renamed.safetensors': as_torch_file({'state_dict': {}}),
    'garbage.pth': bytes(range(256)) * 9,
    'empty.pth': b'',
    'page.pth': DAMAGES['page'],
    'pointer.bin': LFS,
    'cut.pth.tar': as_torch_file({'a': 1})[:-50],
    'list.pth': as_torch_file([1, 2]),
    'tensor.pth': as_torch_file(torch.zeros(3)),
    'numbers.pth': as_torch_file({1: torch.zeros(3)}),
    'renamed.pth': GOOD,
}


@in_every_way
@pytest.mark.parametrize('name', UNREADABLE)
def test_unreadable_file_of_an_overlay(name, kwargs, tmp_path):
    (tmp_path / name).write_bytes(UNREADABLE[name])
    assert 'cannot be read as a checkpoint' in refusal(tmp_path / name, **kwargs)


@in_every_way
def test_missing_file_of_an_overlay(kwargs, tmp_path):
    assert 'none.pth does not exist or is no file' in refusal(tmp_path / 'none.pth', **kwargs)
    assert f'{tmp_path} is a folder: name a file in it' in refusal(tmp_path, **kwargs)


def own(model='zerosnet20', **kwargs):
    return timm.create_model(model, **kwargs).state_dict()


def stored(**changes):
    return {**load_file(WEIGHTS / f'{NAME}.safetensors'), **changes}


def third():
    return dict(list(sorted(stored().items()))[::3])


def spoiled(key, value):
    tensor = stored()[key].float()
    tensor.view(-1)[0] = value
    return stored(**{key: tensor})


WRONG = {
    'deeper': ('zerosnet20', lambda: own('zerosnet32'), r'72 not of this network \(stages.0.blocks.3.conv1.weight, '),
    'shallower': ('zerosnet32', stored, r'60 missing \(stages.0.blocks.3.conv1.weight, '),
    'other family': ('zerosnet20', lambda: own('preresnet20'), r'\d+ missing \(stages.1.blocks.0.state_proj'),
    'learned mu': ('zerosnet20', lambda: own('zerosnet20_tra'), r'7 not of this network \(stages.0.blocks.2.step.mu, '),
    'no mu': ('zerosnet20_tra', stored, r'7 missing \(stages.0.blocks.2.step.mu, '),
    'learned k': ('preresnet20', lambda: own('lmresnet20'), r'6 not of this network \(stages.0.blocks.1.step.k, '),
    "timm's resnet18": ('preresnet18', lambda: own('resnet18'), r'\d+ of another shape \('),
    "timm's resnet20": ('zerosnet20', lambda: own('resnet18'), r'\d+ missing \(.*\d+ not of this network \('),
    'original with lambdas': ('zerosnet20', lambda: load('cifar-ZeroSNet20_Tra-scalar_-1.5')[0], r'9 not .*step.mu'),
    'original with k': ('preresnet20', lambda: load('lm-20-scalar_1.0')[0], r'9 not .*step.k'),
    'nothing of ours': ('zerosnet20', lambda: {'net.a': torch.zeros(2)}, r'1 not of this network \(net.a\)'),
    'empty': ('zerosnet20', dict, r'the 0 given, 101 missing \('),
    'a third of the keys': ('zerosnet20', third, r'and the 41 given, \d\d missing \(norm'),
    'one more': ('zerosnet20', lambda: stored(extra=torch.zeros(1)), r'1 not of this network \(extra\)'),
    'one more in the head': ('zerosnet20', lambda: stored(**{'head.x': torch.zeros(1)}), r'1 not .* \(head.x\)'),
    'no tensor': ('zerosnet20', lambda: stored(**{'norm.bias': 3}), r'1 that are no tensors \(norm.bias\)'),
    'no tensor in the head': ('zerosnet20', lambda: stored(**{'head.fc.bias': 'x'}), r'1 that are no tensors'),
    'four channels': (
        'zerosnet20',
        lambda: own(in_chans=4),
        r'stem.conv.weight \(16, 4, 3, 3\), expected .*\(16, 3, 3, 3\)',
    ),
    'wider': ('zerosnet20', lambda: own(widths=(32, 64, 128)), r'\d+ of another shape \(norm.bias \(128,\), expected'),
    'NaN': ('zerosnet20', lambda: spoiled('norm.weight', float('nan')), r'1 entries .* NaN or infinity: norm.weight'),
    'infinity': ('zerosnet20', lambda: spoiled('stem.conv.weight', float('inf')), r'NaN or infinity: stem.conv'),
    'NaN in the head': ('zerosnet20', lambda: spoiled('head.fc.bias', float('nan')), r'NaN or infinity: head.fc.bias'),
}


@pytest.mark.parametrize('case', slow_but(list(WRONG)[::2], WRONG))
def test_wrong_checkpoint(case, tmp_path):
    """Entries that match in part, loaded without a word, leave a network that is partly random."""
    model, make, expected = WRONG[case]
    path = tmp_path / 'wrong.pth.tar'
    torch.save({'state_dict': make(), 'epoch': 3}, path)
    for kwargs in (*WAYS, {'in_chans': 1}):
        message = refusal(path, model, **kwargs)
        assert re.search(expected, message) and model in message, message


def test_wrong_state_dict_in_memory():
    with pytest.raises(WeightError, match=r'^state_dict: .* 1 not of this network \(net.a\)'):
        timm.create_model(
            'zerosnet20', pretrained=True, pretrained_cfg_overlay=dict(state_dict={'net.a': torch.zeros(2)})
        )


def test_missing_head_where_it_is_needed(tmp_path):
    headless = {key: value for key, value in stored().items() if not key.startswith('head.')}
    save_file(headless, tmp_path / 'headless.safetensors')
    with pytest.raises(WeightError, match=r'headless.safetensors: the classifier .* is missing, .*num_classes=0 takes'):
        create_from(tmp_path / 'headless.safetensors')
    assert create_from(tmp_path / 'headless.safetensors', num_classes=0).num_classes == 0


@pytest.mark.parametrize('head', [{'head.fc.bias': torch.zeros(7)}, {'head.fc.weight': torch.zeros(10, 65)}], ids=str)
def test_head_that_contradicts_itself_or_the_width(head, tmp_path):
    save_file(stored(**head), tmp_path / 'head.safetensors')
    with pytest.raises(WeightError, match=r'the classifier of the checkpoint is \{.*that of zerosnet20 \{'):
        create_from(tmp_path / 'head.safetensors')


def test_pooling_that_doubles_the_width():
    with pytest.raises(WeightError, match=r'head.fc.weight.: \(10, 64\)}, that of .*\(10, 128\)}: num_classes=0'):
        timm.create_model('zerosnet20', pretrained=True, global_pool='catavgmax')


@pytest.mark.parametrize('method', ['zerosnet(5)', 'euler'])
def test_weights_under_another_method(method):
    with pytest.raises(WeightError, match=f'are for the method zerosnet-opt, not for the method {re.escape(method)}'):
        timm.create_model('zerosnet20', pretrained=True, method=method)
    timm.create_model('zerosnet20', pretrained=True, method='zerosnet(-9/5)')


PREFIXES = ['', 'module.', '_orig_mod.', 'module._orig_mod.', '_orig_mod.module.', 'module.module.']
PREFIXES += ['_orig_mod._orig_mod.', 'module._orig_mod.module.module._orig_mod.']


@pytest.mark.parametrize('prefix', PREFIXES)
@pytest.mark.parametrize('case', SMALL)
def test_filter_is_idempotent(case, prefix):
    original = {prefix + key: value for key, value in load(case)[0].items()}
    model = timm.create_model(MODELS[case])
    once = checkpoint_filter_fn({'state_dict': original}, model)
    twice = checkpoint_filter_fn(once, model)
    assert once.keys() == twice.keys() == model.state_dict().keys()
    assert all(twice[key] is once[key] for key in once)


def test_what_is_around_a_state_dict_in_any_order():
    model = timm.create_model('zerosnet20')
    own = model.state_dict()
    prefixed = {f'module.{key}': value for key, value in own.items()}
    for wrapped in ({'model': {'state_dict': prefixed}}, {'net': {'model': prefixed}, 'epoch': 3}):
        found = checkpoint_filter_fn(wrapped, model)
        assert found.keys() == own.keys() and all(found[key] is own[key] for key in own)


def test_prefix_that_not_all_entries_have():
    model = timm.create_model('zerosnet20')
    mixed = {('module.' if key.startswith('stages') else '') + key: value for key, value in model.state_dict().items()}
    with pytest.raises(WeightError, match=r'not of this network \(module.stages'):
        checkpoint_filter_fn(mixed, model)


@pytest.fixture
def of_100_classes(tmp_path):
    state_dict = {f'module.{key}': value for key, value in load('cifar-ZeroSNet20_Opt')[0].items()}
    weight = torch.randn(100, 64)
    path = tmp_path / 'theirs.pth.tar'
    torch.save({'state_dict': {**state_dict, 'module.fc.weight': weight, 'module.fc.bias': weight[:, 0]}}, path)
    return path, weight


def test_original_with_100_classes(of_100_classes):
    """The advice is followed in tests/commands/test_advice.py."""
    path, weight = of_100_classes
    assert 'has 100 classes, the network 10' in refusal(path)
    for model in (create_from(path, overlay=dict(num_classes=100)), create_from(path, 'zerosnet20.cifar100')):
        assert model.num_classes == 100 and torch.equal(model.head.fc.weight, weight)
    fresh = create_from(path, num_classes=7)
    assert fresh.head.fc.weight.shape == (7, 64)
    assert torch.equal(fresh.stem.conv.weight, model.stem.conv.weight)
