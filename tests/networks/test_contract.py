"""What timm asks of a model: feature maps, heads, arguments."""

import copy
import functools
import math

import pytest
import timm
import torch
from amounts import slow
from kinds import VARIED, create, depth, each_kind, images, is_imagenet, same, settle, slow_but
from timm.layers import BatchNormAct2d, GroupNormAct
from torch import nn

from timm_zerosnet import weights

NAMES = timm.list_models(module='zerosnet')


# --- feature maps


def levels(name):
    """Channels and reductions of the levels, from the networks' description."""
    bottleneck = depth(name) in (164, 326, 650, 1298, 50, 101, 152)
    if is_imagenet(name):
        channels, reductions = [64, 64, 128, 256, 512], [2, 4, 8, 16, 32]
    else:
        channels, reductions = [16, 16, 32, 64], [1, 1, 2, 4]
    return channels[:1] + [c * (4 if bottleneck else 1) for c in channels[1:]], reductions


@pytest.mark.parametrize(
    'name',
    slow_but(
        ['zerosnet20', *VARIED],
        [name for name in NAMES if depth(name) < 120 or name in ('zerosnet152', 'zerosnet326_tra')],
    ),
)
def test_features_only_needs_no_argument(name):
    model = timm.create_model(name, features_only=True, device='meta').eval()
    channels, reductions = levels(name)
    assert (model.feature_info.channels(), model.feature_info.reduction()) == (channels, reductions)
    own = timm.get_pretrained_cfg(name).input_size[-1]
    for size in (own, own * 3 // 2):
        with torch.no_grad():
            maps = model(torch.empty(2, 3, size, size, device='meta'))
        sides = [math.ceil(size / r) for r in reductions]
        assert [m.shape for m in maps] == [(2, c, n, n) for c, n in zip(channels, sides, strict=True)]


@pytest.mark.parametrize(
    'name',
    slow_but(
        ['zerosnet20', 'preresnet18'], ['zerosnet20', 'zerosnet164', 'preresnet18', 'lmresnet20', 'multistep_resnet20']
    ),
)
def test_features_are_those_of_the_whole_network(name):
    whole, features = settle(timm.create_model(name), name), timm.create_model(name, features_only=True).eval()
    features.model.load_state_dict(whole.state_dict(), strict=False)
    own = whole.pretrained_cfg['input_size'][-1]
    for size in (own, own * 3 // 2):
        x = images(name, batch=1, size=(size, size))
        with torch.no_grad():
            maps = features(x)
            assert len(maps) == len(features.feature_info)
            assert [m.shape[1] for m in maps] == features.feature_info.channels()
            same(whole.norm(maps[-1]), whole.forward_features(x))


def test_out_indices():
    whole = settle(create('zerosnet20'), 'zerosnet20')
    x = images('zerosnet20')
    every = whole.forward_intermediates(x, intermediates_only=True)
    cases = [(-2, -1), (3, 1), (0,), [1, 1], (0, 3), range(4), 2, 4, (-4, 2)]
    wanted = [(2, 3), (3, 1), (0,), (1, 1), (0, 3), range(4), (2, 3), range(4), (0, 2)]
    for indices, levels in zip(cases, wanted, strict=True):
        model = timm.create_model('zerosnet20', features_only=True, out_indices=indices).eval()
        missing, unexpected = model.model.load_state_dict(whole.state_dict(), strict=False)
        assert missing == [] and all(key.startswith(('head', 'norm', 'stages')) for key in unexpected)
        assert len(model.model.stages) == max(levels)
        found = model(x)
        assert len(found) == len(levels) and all(torch.equal(m, every[i]) for m, i in zip(found, levels, strict=True))
        assert model.feature_info.channels() == [m.shape[1] for m in found]
        assert model.feature_info.reduction() == [16 // m.shape[2] for m in found]


def test_features_by_fx_are_those_of_the_getter():
    ways = {'features_only': True, 'pretrained': True}
    getter, fx = (timm.create_model('zerosnet20', feature_cls=kind, **ways).eval() for kind in ('getter', 'fx'))
    x = torch.randn(2, 3, 16, 16)
    for one, other in zip(getter(x), fx(x), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize('kind', ['hook', 'list', 'dict', 'graph'])
def test_features_that_a_network_cannot_give_are_refused(kind):
    with pytest.raises(ValueError, match=f"feature_cls: expected 'getter', the default, or 'fx', .* got '{kind}'"):
        timm.create_model('zerosnet20', features_only=True, feature_cls=kind)


@pytest.mark.parametrize('indices', [(0, 99), range(5), [4], [-5], 5, 0, -1, ()], ids=str)
def test_impossible_levels_are_refused_with_their_number(indices):
    bad = next((i for i in indices if not -4 <= i < 4), []) if not isinstance(indices, int) else indices
    with pytest.raises(ValueError, match='there are 4') as caught:
        timm.create_model('zerosnet20', features_only=True, out_indices=indices)
    assert str(bad if bad != [] else indices) in str(caught.value) and 'expected' in str(caught.value)
    model = timm.create_model('zerosnet20')
    for call in (
        functools.partial(model.forward_intermediates, torch.randn(1, 3, 8, 8)),
        model.prune_intermediate_layers,
    ):
        with pytest.raises(ValueError, match='there are 4'):
            call(indices=indices)


@each_kind
def test_forward_intermediates(name):
    model, x = settle(create(name), name), images(name)
    final = model.forward_features(x)
    features, every = model.forward_intermediates(x)
    assert torch.equal(features, final) and len(every) == len(model.feature_info)
    assert torch.equal(model.norm(every[-1]), final)
    _, chosen = model.forward_intermediates(x, indices=[0, -1])
    assert len(chosen) == 2 and torch.equal(chosen[0], every[0]) and torch.equal(chosen[1], every[-1])
    chosen = model.forward_intermediates(x, indices=2, intermediates_only=True)
    assert len(chosen) == 2 and all(map(torch.equal, chosen, every[-2:]))
    normed = model.forward_intermediates(x, norm=True, intermediates_only=True)
    assert torch.equal(normed[-1], final) and all(map(torch.equal, normed[:-1], every[:-1]))
    ran = []
    model.stages[2].register_forward_hook(lambda *args: ran.append(2))
    for early in (True, False):
        chosen = model.forward_intermediates(x, indices=[1, 2], stop_early=early, norm=True, intermediates_only=True)
        assert all(map(torch.equal, chosen, every[1:3])) and ran == ([] if early else [2])
    with pytest.raises(ValueError, match="output_fmt: expected 'NCHW', got 'NLC'"):
        model.forward_intermediates(x, output_fmt='NLC')


def test_pruning_as_timm_asks_for_it():
    whole = settle(create('zerosnet20'), 'zerosnet20')
    x = images('zerosnet20')
    every = whole.forward_intermediates(x, intermediates_only=True)
    model = copy.deepcopy(whole)
    assert model.prune_intermediate_layers(indices=[0, -2]) == [0, 2]
    assert (len(model.stages), model.num_features, model.head_hidden_size) == (2, 32, 32)
    assert torch.equal(model(x), every[2])
    model = copy.deepcopy(whole)
    assert model.prune_intermediate_layers(1, prune_head=False) == [3]
    assert torch.equal(model(x), whole(x))


# --- heads


WIDTHS = [
    (64, ['zerosnet20', 'zerosnet20_tra', 'preresnet32', 'lmresnet20', 'multistep_resnet20']),
    (256, ['zerosnet164', 'preresnet164', 'lmresnet164', 'multistep_resnet164']),
    (512, ['zerosnet18', 'zerosnet34_tra', 'preresnet18', 'lmresnet34']),
    (2048, ['zerosnet50', 'zerosnet152_tra', 'preresnet101', 'lmresnet50']),
]


@pytest.mark.parametrize('name, width', [(name, width) for width, names in WIDTHS for name in names])
def test_widths_of_the_headless_network(name, width):
    kwargs = dict(layers=(1, 1, 1, 1)) if is_imagenet(name) else dict(layers=(1, 1, 1))
    model = timm.create_model(name, num_classes=0, **kwargs).eval()
    with torch.no_grad():
        out = model(images(name, batch=1))
        pre_logits = model.forward_head(model.forward_features(images(name, batch=1)), pre_logits=True)
    assert model.num_features == model.head_hidden_size == out.shape[1] == pre_logits.shape[1] == width
    assert torch.equal(out, pre_logits) and not [n for n, _ in model.named_parameters() if n.startswith('head')]


@each_kind
def test_classifier(name):
    model, x = create(name, num_classes=7).eval(), images(name)
    body = {key: value.clone() for key, value in model.state_dict().items() if not key.startswith('head')}
    assert isinstance(model.get_classifier(), nn.Linear) and model(x).shape == (2, 7)
    same(model.forward_head(model.forward_features(x)), model(x))
    model.reset_classifier(3)
    assert model.num_classes == model.get_classifier().out_features == 3 and model(x).shape == (2, 3)
    model.reset_classifier(5, 'catavgmax')
    assert model.head_hidden_size == 2 * model.num_features == model.get_classifier().in_features
    assert model(x).shape == (2, 5)
    model.reset_classifier(0, 'max')
    assert isinstance(model.get_classifier(), nn.Identity) and model.head_hidden_size == model.num_features
    assert torch.equal(model(x), model.forward_features(x).amax((2, 3)))
    model.reset_classifier(0, '')
    assert torch.equal(model(x), model.forward_features(x))
    assert all(torch.equal(value, body[key]) for key, value in model.state_dict().items() if key in body)


@pytest.mark.parametrize(
    'arguments', [(-1,), (-1, 'max'), (7, 'mean'), (0, 'mean'), ('many',), (2.5, 'catavgmax')], ids=str
)
def test_refused_classifier_leaves_the_network_as_it_was(arguments):
    model, x = create('zerosnet20', num_classes=7).eval(), images('zerosnet20')
    before, logits, layers = dict(model.state_dict()), model(x), dict(model.named_modules())
    with pytest.raises((ValueError, TypeError, AssertionError, RuntimeError)):
        model.reset_classifier(*arguments)
    assert model.num_classes == 7 and model.head_hidden_size == 64 and model.head.global_pool.pool_type == 'avg'
    assert all(value is layers[name] for name, value in model.named_modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(model(x), logits)


def test_negative_number_of_classes():
    message = 'num_classes: expected an integer >= 0, where 0 is no classifier, got -1'
    with pytest.raises(ValueError, match=message):
        create('zerosnet20').reset_classifier(-1)
    with pytest.raises(ValueError, match=message):
        create('zerosnet20', num_classes=-1)
    # of timm's train.py, which asks for a new head so
    overlay = dict(file=weights.weight_file('zerosnet20.cifar10'), num_classes=-1)
    assert create('zerosnet20', pretrained=True, pretrained_cfg_overlay=overlay, num_classes=3).num_classes == 3


@pytest.mark.parametrize('pool', ['avg', 'max', 'avgmax', 'catavgmax'])
def test_global_pool(pool):
    model = create('zerosnet20', global_pool=pool).eval()
    x = images('zerosnet20')
    y = model.forward_features(x)
    mean, top = y.mean((2, 3)), y.amax((2, 3))
    want = {'avg': mean, 'max': top, 'avgmax': (mean + top) / 2, 'catavgmax': torch.cat([mean, top], 1)}[pool]
    assert model.head_hidden_size == want.shape[1]
    same(model.forward_head(y, pre_logits=True), want)
    same(model(x), model.head.fc(want))
    model = create('zerosnet20', global_pool='', num_classes=0)
    assert model(x).shape == (2, 64, 4, 4)


def test_drop_rate():
    x = images('zerosnet20')
    model, plain = create('zerosnet20', drop_rate=0.5), create('zerosnet20')
    assert torch.equal(model.eval()(x), plain.eval()(x))
    pre_logits = model.train().forward_head(torch.ones(9, 64, 4, 4), pre_logits=True)
    assert set(pre_logits.unique().tolist()) == {0, 2}
    for rate in (1.0, -0.1, float('nan')):
        with pytest.raises(ValueError, match=f'drop_rate: expected 0 <= drop_rate < 1, got {rate}'):
            timm.create_model('zerosnet20', drop_rate=rate)


# --- arguments


@each_kind
@pytest.mark.parametrize('in_chans', [1, 4])
def test_in_chans(name, in_chans):
    model = create(name, in_chans=in_chans)
    assert model.in_chans == in_chans and model.stem.conv.weight.shape[1] == in_chans
    assert model(torch.randn(2, in_chans, 64, 64)).shape == (2, model.num_classes)


@pytest.mark.parametrize(
    'name, kwargs, norm, act',
    [
        ('zerosnet20', dict(act_layer='silu'), nn.BatchNorm2d, nn.SiLU),
        ('zerosnet20', dict(act_layer=nn.SiLU, norm_layer=nn.BatchNorm2d), nn.BatchNorm2d, nn.SiLU),
        ('lmresnet20', dict(norm_layer=BatchNormAct2d), nn.BatchNorm2d, nn.ReLU),
        ('zerosnet20_tra', dict(norm_layer='groupnorm1'), nn.GroupNorm, nn.ReLU),
        ('zerosnet164', dict(norm_layer=functools.partial(GroupNormAct, num_groups=4)), nn.GroupNorm, nn.ReLU),
        ('zerosnet18', dict(norm_layer='groupnorm', widths=(32, 64, 64, 96)), nn.GroupNorm, nn.ReLU),
    ],
    ids=str,
)
def test_norm_and_act_layer(name, kwargs, norm, act):
    model, default = create(name, **kwargs), create(name)
    kinds = (nn.BatchNorm2d, nn.GroupNorm, nn.ReLU, nn.SiLU)
    found = [next(k for k in kinds if isinstance(m, k)) for m in model.modules() if isinstance(m, kinds)]
    count = len([m for m in default.modules() if isinstance(m, nn.BatchNorm2d)])
    assert found.count(norm) == found.count(act) == count and len(found) == 2 * count
    assert model(images(name)).isfinite().all()


@pytest.mark.parametrize(
    'name, stride, reductions',
    [
        ('zerosnet20', 1, [1, 1, 1, 1]),
        ('lmresnet164', 2, [1, 1, 2, 2]),
        ('multistep_resnet20', 4, [1, 1, 2, 4]),
        ('zerosnet18', 8, [2, 4, 8, 8, 8]),
        ('zerosnet50_tra', 16, [2, 4, 8, 16, 16]),
        ('preresnet18', 32, [2, 4, 8, 16, 32]),
    ],
)
def test_output_stride(name, stride, reductions):
    model = create(name, output_stride=stride, features_only=True)
    assert model.feature_info.reduction() == reductions
    assert [64 // m.shape[-1] for m in model(images(name, size=(64, 64)))] == reductions
    strided = create(name)
    assert model.model.state_dict().keys() <= strided.state_dict().keys()
    for module in (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)):
        assert module.padding == module.dilation
    assert max(m.dilation[0] for m in model.modules() if isinstance(m, nn.Conv2d)) == levels(name)[1][-1] // stride


@pytest.mark.parametrize('name, accepted', [('zerosnet20', '1, 2, 4, 8, 16, 32'), ('zerosnet18', '4, 8, 16, 32')])
def test_illegal_output_strides_are_refused(name, accepted):
    for stride in (0, 3, 64, *([2] if is_imagenet(name) else [])):
        with pytest.raises(ValueError, match=f'output_stride: expected one of {accepted}, got {stride}'):
            timm.create_model(name, output_stride=stride)


@pytest.mark.parametrize('argument', ['bogus', 'img_size', 'lambda_', 'patch_size'])
def test_unknown_arguments_are_type_errors(argument):
    with pytest.raises(TypeError, match=argument):
        timm.create_model('zerosnet20', **{argument: 1})


@each_kind
@pytest.mark.parametrize('dtype', [slow(torch.float64), torch.bfloat16], ids=str)
def test_dtype(name, dtype):
    model = create(name, dtype=dtype, device='cpu')
    model.reset_classifier(0)
    model.reset_classifier(4)
    assert {p.dtype for p in model.parameters()} == {dtype}
    y = model(images(name).to(dtype))
    assert y.dtype == dtype and y.isfinite().all()
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    maps = create(name, dtype=dtype, features_only=True)(images(name).to(dtype))
    assert {m.dtype for m in maps} == {dtype}


@pytest.mark.parametrize('kwargs', [{}, slow(dict(norm_layer='groupnorm1'))], ids=str)
@each_kind
def test_meta_then_init_weights_is_what_the_constructor_does(name, kwargs):
    model, direct = create(name, device='meta', **kwargs), create(name, **kwargs)
    model.to_empty(device='cpu')
    for value in model.state_dict().values():
        value.fill_(float('nan') if value.is_floating_point() else 77)
    for built in (model, direct):
        torch.manual_seed(5)
        built.init_weights()
    for key, value in direct.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
