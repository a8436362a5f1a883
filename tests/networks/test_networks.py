"""The networks as multistep methods: which there are, the update against a plain recurrence, the history."""

import copy
import math
import random
import warnings
import weakref

import numpy as np
import pytest
import timm
import torch
from amounts import slow
from kinds import depth, slow_but
from places import ROOT
from torch import nn
from torch.nn.functional import conv2d

from timm_zerosnet import MultistepMethod, MultistepResNet, ZeroStabilityWarning

pytestmark = pytest.mark.filterwarnings('error::timm_zerosnet.ZeroStabilityWarning')

CIFAR = (20, 32, 44, 56, 110, 164)
IMAGENET = (18, 34, 50, 101, 152)
ZOO = (
    [f'zerosnet{depth}{learned}' for depth in (*CIFAR, 326, 650, 1298, *IMAGENET) for learned in ('', '_tra')]
    + [f'{family}{depth}' for depth in (*CIFAR, *IMAGENET) for family in ('preresnet', 'lmresnet')]
    + [f'multistep_resnet{depth}' for depth in CIFAR]
)

OPT = ([1 / 3, 5 / 9, 1 / 9], [16 / 9])
METHODS = {
    'euler': ([1], [1]),
    'midpoint': ([0, 1], [2]),
    'momentum(0.5)': ([1.5, -0.5], [0.5]),
    'ab2': ([1], [3 / 2, -1 / 2]),
    'ab3': ([1], [23 / 12, -16 / 12, 5 / 12]),
    'ab4': ([1], [55 / 24, -59 / 24, 37 / 24, -9 / 24]),
    'zerosnet-opt': OPT,
    'optimal(4)': ([2 / 5, 12 / 25, 14 / 125, 1 / 125], [216 / 125]),
    'optimal(5)': (list(-np.poly([1] + [-1 / 7] * 4)[1:]), [(8 / 7) ** 4]),
    'all-ones': ([1, 1, 1], [1]),
}


def of_mu(block):
    mu = block.step.mu
    return [3 * (1 + mu) / 4, -mu, (1 + mu) / 4], [(3 - mu) / 2]


def of_k(block):
    return [block.step.k, 1 - block.step.k], [1]


def build(create=MultistepResNet, **kwargs):
    """A small network that may have an unstable method without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ZeroStabilityWarning)
        return create(**{'num_classes': 10, **kwargs})


def shaken(model, seed=0):
    """The network with norms and steps moved off their initial values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


def branch(block, pre):
    y = block.norm2(block.conv1(pre))
    if hasattr(block, 'conv3'):
        return conv2d(block.norm3(block.conv2(y)), block.conv3.weight)
    return conv2d(y, block.conv2.weight, padding=1)


def weighted_sum(weights, tensors):
    return sum((w * t for w, t in zip(weights, tensors, strict=False) if torch.is_tensor(w) or w != 0), 0)


def reference(model, x, terms, coefficients, shared=False, euler_at_change=False, raw_start=False):
    """``x[n+1] = sum a x + sum b f``, out of place and with all history; only modules are the network's."""
    levels = [model.stem(x)]
    states, slopes, n = [model.pool(levels[0])], [], 0
    for stage in model.stages:
        for block in stage.blocks:
            pre = block.norm1(states[0])
            f = branch(block, pre)
            change = f.shape != states[0].shape
            current = list(states)
            if change:
                sources = [pre if shared else states[0], *states[1:]]
                current = [proj(s) for proj, s in zip(block.state_proj, sources, strict=False)]
                slopes = [proj(s) for proj, s in zip(block.slope_proj, slopes, strict=False)]
            elif n == terms - 1 < len(block.state_proj):
                current[n] = block.state_proj[n](states[n])
            if n > 0 or not raw_start:
                states = current
            slopes = [f] + slopes
            if n < terms - 1 or (change and euler_at_change):
                new = current[0] + f
            else:
                a, b = coefficients(block)
                new = weighted_sum(a, current) + weighted_sum(b, slopes)
            states = [new] + states
            n += 1
        levels.append(new)
    return model.head(model.norm(new)), levels


def fixed(method):
    return dict(terms=max(map(len, METHODS[method])), coefficients=lambda block: METHODS[method])


MU, K = dict(terms=3, coefficients=of_mu), dict(terms=2, coefficients=of_k, euler_at_change=True)
NARROW = dict(widths=(8, 8, 16, 16))
RAW = dict(block='bottleneck', start_projection='preact-raw', widths=(2, 3, 4))
UPDATES = [
    ('zerosnet20', {}, fixed('zerosnet-opt')),
    ('zerosnet20_tra', {}, MU),
    ('zerosnet164', {}, dict(fixed('zerosnet-opt'), raw_start=True)),
    ('zerosnet164_tra', dict(layers=(4, 2, 2)), dict(MU, raw_start=True)),
    ('zerosnet18_tra', NARROW, dict(MU, shared=True)),
    ('zerosnet50', NARROW, dict(fixed('zerosnet-opt'), shared=True)),
    ('lmresnet20', {}, K),
    ('lmresnet164', dict(layers=(3, 2, 2)), K),
    ('lmresnet18', NARROW, dict(K, shared=True)),
    ('preresnet20', {}, fixed('euler')),
    ('preresnet50', NARROW, dict(fixed('euler'), shared=True)),
    *(('multistep_resnet20', dict(method=method), fixed(method)) for method in METHODS),
    *(
        (None, dict(RAW, layers=layers, method=method), dict(fixed(method), raw_start=True))
        for layers in ((1, 1, 1), (2, 1, 3), (1, 2, 1), (5, 1, 1))
        for method in ('zerosnet-opt', 'midpoint', 'ab4', 'optimal(5)')
        if fixed(method)['terms'] <= sum(layers)
    ),
]


@pytest.mark.parametrize('name, kwargs, recipe', UPDATES, ids=[f'{n}-{k}' for n, k, _ in UPDATES])
def test_update_and_gradients_are_those_of_the_recurrence(name, kwargs, recipe):
    torch.manual_seed(0)
    create = MultistepResNet if name is None else lambda **kwargs: timm.create_model(name, **kwargs)
    model = shaken(build(create, dtype=torch.float64, **kwargs))
    size = 64 if model.stem_type == 'imagenet' else 16
    x = torch.randn(3, 3, size, size, dtype=torch.float64, requires_grad=True)

    def gradients(logits, levels):
        generator = torch.Generator().manual_seed(1)
        outputs = [logits, *levels]
        weights = [torch.randn(y.shape, generator=generator, dtype=y.dtype) for y in outputs]
        return torch.autograd.grad(outputs, [x, *model.parameters()], weights)

    want_logits, want_levels = reference(model, x, **recipe)
    features, levels = model.forward_intermediates(x)
    logits = model.forward_head(features)
    torch.testing.assert_close([logits, *levels], [want_logits, *want_levels], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model(x), want_logits, rtol=1e-9, atol=1e-9)
    want = gradients(want_logits, want_levels)
    for found, expected in zip(gradients(logits, levels), want, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9 * float(expected.abs().max() + 1))


@pytest.mark.parametrize(
    'kwargs', [dict(method='ab3'), dict(learn='mu'), dict(learn='k'), dict(method='optimal(4)')], ids=str
)
def test_gradcheck(kwargs):
    torch.manual_seed(0)
    model = shaken(
        MultistepResNet((3, 2), (2, 3), in_chans=1, num_classes=2, act_layer='silu', dtype=torch.float64, **kwargs)
    )
    steps = {n: p for n, p in model.named_parameters() if '.step.' in n or n.endswith(('conv1.weight', 'conv2.weight'))}
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)

    def run(x, *values):
        return torch.func.functional_call(model, dict(zip(steps, values, strict=True)), x)

    assert torch.autograd.gradcheck(run, (x, *steps.values()), fast_mode=True)


# --- the zoo


def test_registered_names():
    assert sorted(timm.list_models(module='zerosnet')) == sorted(ZOO)


@pytest.mark.parametrize('name', slow_but([name for name in ZOO if depth(name) < 60], ZOO))
def test_every_name_builds_on_meta_with_its_depth(name):
    model = timm.create_model(name, device='meta')
    assert all(p.is_meta for p in model.parameters())
    per_block = 3 if hasattr(model.stages[0].blocks[0], 'conv3') else 2
    found = 2 + per_block * sum(len(stage.blocks) for stage in model.stages)
    assert found == depth(name)
    assert len(model.stages) == (3 if found in (*CIFAR, 326, 650, 1298) else 4)


COUNTS = {
    20: (277402, 277409, 272378, 272384),
    56: (860698, 860723, 855674, 855698),
    110: (1735642, 1735694, 1730618, 1730669),
    164: (1786234, 1786286, 1703674, 1703725),
    18: (12030888, 12030894, 11686824, None),
    34: (22139048, 22139062, 21794984, None),
    50: (31050408, 31050422, 25545384, None),
}


@pytest.mark.parametrize('depth', slow_but([20, 18], COUNTS))
def test_parameter_counts(depth):
    names = (f'zerosnet{depth}', f'zerosnet{depth}_tra', f'preresnet{depth}', f'lmresnet{depth}')
    for name, expected in zip(names, COUNTS[depth], strict=True):
        classes = 10 if depth in CIFAR else 1000
        model = timm.create_model(name, device='meta', num_classes=classes)
        assert expected is None or sum(p.numel() for p in model.parameters()) == expected, name


@pytest.mark.parametrize(
    'method, states, slopes',
    [('euler', 1, 0), ('midpoint', 2, 0), ('ab2', 1, 1), ('ab3', 1, 2), ('ab4', 1, 3)]
    + [('zerosnet-opt', 3, 0), ('optimal(4)', 4, 0), ('momentum(0.5)', 2, 0)],
)
def test_one_bare_projection_for_each_term_that_is_still_needed(method, states, slopes):
    model = timm.create_model('multistep_resnet20', method=method, device='meta')
    for stage in model.stages[1:]:
        for projections, count in ((stage.blocks[0].state_proj, states), (stage.blocks[0].slope_proj, slopes)):
            assert [type(p) for p in projections] == [nn.Conv2d] * count
            assert all(p.kernel_size == (1, 1) and p.stride == (2, 2) and p.bias is None for p in projections)
        for block in stage.blocks[1:]:
            assert not [*block.state_proj.parameters(), *block.slope_proj.parameters()]


# --- what blocks hand on


def record(model):
    """Hooks that note the lengths of the states and slopes that each block returns."""
    lengths = []
    for stage in model.stages:
        for block in stage.blocks:
            block.register_forward_hook(lambda module, args, out: lengths.append((len(out[0]), len(out[1]))))
    return lengths


SHORT = [(1, 1, 1), (2, 1, 3), (1, 2, 1)]
KINDS = [dict(method=method) for method in METHODS] + [
    dict(learn='mu'),
    dict(learn='k'),
    dict(learn='k', projection='preact', euler_at_projection=True),
    dict(learn='mu', projection='shared'),
    dict(method='zerosnet-opt', projection='shared'),
]


def requirements(layers, terms, a, b, euler_at_change, bottleneck):
    """States and slopes that block i must return: the newest, and what any later block reads."""
    count, starts = sum(layers), {sum(layers[:s]) for s in range(len(layers))}
    changes = [i in starts and (i > 0 or bottleneck) for i in range(count)]
    need = []
    for i in range(count):
        states, slopes = 1, 0
        for later in range(i + 1, count):
            euler = later < terms - 1 or (changes[later] and euler_at_change)
            states = max([states] + [1 + o - (later - i - 1) for o in range(terms) if not euler and a[o]])
            slopes = max([slopes] + [j - (later - i - 1) for j in range(1, terms) if not euler and b[j]])
        need.append((states, slopes))
    return need


@pytest.mark.parametrize('block', [slow('basic'), 'bottleneck'])
@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_every_parameter_is_used_and_the_history_is_as_short_as_it_can_be(kind, block):
    steps = fixed(kind['method'])['terms'] if 'method' in kind else 3
    for layers in (layers for layers in (*SHORT, (4, 3, 2)) if steps <= sum(layers)):
        starts = ('bare', 'preact-raw') if block == 'bottleneck' else (None,)
        for start in starts:
            model = build(layers=layers, widths=(2, 3, 4), block=block, start_projection=start, **kind)
            lengths = record(model)
            model(torch.randn(2, 3, 8, 8)).square().sum().backward()
            assert [n for n, p in model.named_parameters() if p.grad is None] == []
            if 'learn' in kind:
                terms, a, b = {'mu': (3, [1, 1, 1], [1, 0, 0]), 'k': (2, [1, 1], [1, 0])}[kind['learn']]
            else:
                terms = fixed(kind['method'])['terms']
                a, b = (list(c) + [0] * (terms - len(c)) for c in METHODS[kind['method']])
            need = requirements(layers, terms, a, b, 'euler_at_projection' in kind, block == 'bottleneck')
            assert lengths == need, (layers, start)


@pytest.mark.parametrize('block', ['basic', slow('bottleneck')])
@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_pruned_networks_keep_what_their_levels_need(kind, block):
    """Parameters that the pruned stages alone used would get no gradient: DistributedDataParallel stops at them."""
    steps = fixed(kind['method'])['terms'] if 'method' in kind else 3
    x = torch.randn(2, 3, 8, 8)
    for layers in (layers for layers in (*SHORT, (4, 3, 2)) if steps <= sum(layers)):
        for start in ('bare', 'preact-raw'):
            whole = build(layers=layers, widths=(2, 3, 4), block=block, start_projection=start, **kind).eval()
            every = whole.forward_intermediates(x, intermediates_only=True)
            for last in range(4):
                pruned = copy.deepcopy(whole)
                lengths = record(pruned)
                take = pruned.prune_intermediate_layers([last])
                (level,) = pruned.forward_intermediates(x, take, intermediates_only=True)
                assert torch.equal(level, every[last])
                if last < 3:
                    level.square().sum().backward()
                    unused = [name for name, p in pruned.named_parameters() if p.grad is None]
                    assert unused == [], (layers, start, last)
                    assert not lengths or lengths[-1] == (1, 0)


@pytest.mark.parametrize('name, first, most', [('zerosnet110', 4, 6), ('lmresnet110', 3, 3), ('preresnet110', 2, 2)])
@torch.inference_mode()
def test_no_more_states_live_than_the_method_reads_and_a_stage_began_with(name, first, most):
    model = timm.create_model(name, num_classes=2).eval()
    born, counts = [], []

    def entered(block, inputs):
        born.append(weakref.ref(inputs[0][0]))
        counts.append(sum(state() is not None for state in born))

    for block in (block for stage in model.stages for block in stage.blocks):
        block.register_forward_pre_hook(entered)
    model(torch.rand(1, 3, 8, 8))
    assert max(counts[:18]) == first and max(counts) == most


@pytest.mark.parametrize('name', ['zerosnet20', 'preresnet20', 'lmresnet20', 'multistep_resnet20', 'zerosnet18'])
def test_identity_shortcuts_take_the_raw_state(name):
    model = timm.create_model(name).eval()
    block = model.stages[0].blocks[1]
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, block.norm1.num_features, 8, 8)
    (new, *_), _ = block([x, x, x], [])
    torch.testing.assert_close(new, x)  # sum a = 1, and the negative half of x is there
    change = model.stages[1].blocks[0]
    nn.init.zeros_(change.conv2.weight)
    (new, *_), _ = change([x, 0 * x, 0 * x], [])
    weight = change.state_proj[0].weight if name in ('zerosnet20', 'multistep_resnet20', 'zerosnet18') else None
    if weight is None:
        norm, conv = change.state_proj[0]
        want = conv2d(torch.relu(norm(x)), conv.weight, stride=2)
        torch.testing.assert_close(new, want)
    else:
        pre = x if 'zerosnet20' == name or 'multistep' in name else change.norm1(x)
        torch.testing.assert_close(new, conv2d(pre, weight, stride=2) / 3)


@pytest.mark.parametrize(
    'kwargs, parts',
    [
        (dict(method=MultistepMethod([0, 1], [0, 2])), ['expected a method whose b[0] is not 0', 'b[0] is 0']),
        (dict(method='zerosnet(1/3)'), ['b[0] is 0']),
        (dict(method='optimal(10)'), ['10 steps', 'layers=(3, 3, 3) are 9 blocks', 'at most 9 steps']),
        (dict(method=MultistepMethod([0, 1], ['1e39'])), ['up to 3.4e+38', 'float32']),
        (dict(learn='mu', lambda_init='1e-400'), ['that a float can hold']),
        (dict(method='ab3', learn='mu'), ["method='ab3'", "learn='mu'"]),
        (dict(learn='mu', lambda_init=0), ['lambda: expected a number other than 0', 'got 0']),
        (dict(learn='mu', lambda_init=float('nan')), ['lambda: expected', 'got nan']),
        (dict(learn='mu', lambda_init=1 / 3), ['b[0] is 0']),
        (dict(learn='mu', lambda_init='much'), ['lambda: expected', "got 'much'"]),
        (dict(lambda_init=2), ['lambda_init=2', "learn='mu' only", '_tra']),
        (dict(constrain_mu=True), ['constrain_mu=True', "learn='mu' only"]),
        (dict(learn='lambda'), ["got 'lambda'", "learn: expected one of None, 'mu', 'k'"]),
        (dict(layers=(3, 0, 3)), ['(3, 0, 3)', 'at least one block']),
        (dict(layers=(3, 3)), ['(3, 3)', '(16, 32, 64)']),
        (dict(block='wide'), ["got 'wide'", "block: expected one of 'basic', 'bottleneck'"]),
        (dict(stem='svhn'), ["got 'svhn'", "stem: expected one of 'cifar', 'imagenet'"]),
        (dict(projection='pool'), ["got 'pool'", "projection: expected one of 'bare', 'preact', 'shared'"]),
        (dict(start_projection='raw'), ["got 'raw'", 'start_projection: expected one of', "'preact-raw'"]),
    ],
)
def test_errors_name_the_value_and_what_is_expected(kwargs, parts):
    with pytest.raises(ValueError) as caught:
        build(**kwargs)
    assert all(part in str(caught.value) for part in parts), caught.value


# --- random numbers


def test_initial_weights_follow_torch_seed_and_other_generators_rest():
    python, numpy = random.getstate(), np.random.get_state()[1].copy()
    for name in ('zerosnet20', 'lmresnet20'):
        torch.manual_seed(3)
        first = timm.create_model(name).state_dict()
        second = timm.create_model(name).state_dict()
        torch.manual_seed(3)
        again = timm.create_model(name).state_dict()
        assert all(torch.equal(value, again[key]) for key, value in first.items())
        assert not torch.equal(first['stem.conv.weight'], second['stem.conv.weight'])
    assert random.getstate() == python and (np.random.get_state()[1] == numpy).all()


def test_initial_weights_have_the_spread_of_the_papers():
    torch.manual_seed(0)
    for name in ('zerosnet56', 'zerosnet18'):
        for module in timm.create_model(name).modules():
            if isinstance(module, nn.Conv2d):
                want = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
                assert module.weight.std().item() == pytest.approx(want, rel=5 / math.sqrt(module.weight.numel()))
    steps = [p for n, p in timm.create_model('lmresnet164').named_parameters() if n.endswith('.k')]
    assert all(1 <= k.item() <= 1.1 for k in steps) and len({k.item() for k in steps}) == len(steps)


@pytest.mark.slow
def test_importing_draws_no_random_numbers(bare):
    code = """
import random, numpy, timm, torch
before = random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
import timm_zerosnet
assert before == (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
"""
    done = bare('-c', code, path=ROOT)
    assert done.returncode == 0, done.stderr
