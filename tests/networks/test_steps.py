"""Steps at work: stability over depth, learned coefficients, stochastic depth."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import timm
import torch
from amounts import slow
from timm.layers import DropPath
from timm.optim import create_optimizer_v2
from torch import nn

from timm_zerosnet import MultistepResNet, ZeroStabilityWarning

pytestmark = pytest.mark.filterwarnings('error::timm_zerosnet.ZeroStabilityWarning')


# --- stability


@pytest.mark.parametrize(
    'name, amp',
    [
        ('zerosnet20', True),
        ('zerosnet110_tra', False),
        slow('zerosnet20', False),
        slow('lmresnet110', False),
        slow('zerosnet164', False),
        slow('zerosnet164', True),
        slow('zerosnet326', False),
        slow('zerosnet1298', False),
    ],
)
def test_steps_of_sgd_stay_finite_at_every_depth(name, amp):
    torch.manual_seed(0)
    model = timm.create_model(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    for _ in range(2):
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            loss = nn.functional.cross_entropy(model(x), y)
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
    assert all(p.isfinite().all() for p in model.parameters())


def state_sizes(method, layers=(18, 18, 18), **kwargs):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ZeroStabilityWarning)
        model = MultistepResNet(layers, method=method, **kwargs)
    sizes = []
    for stage in model.stages:
        for block in stage.blocks:
            block.register_forward_hook(lambda module, args, out: sizes.append(out[0][0].square().mean().sqrt().item()))
    with torch.no_grad():
        model(torch.randn(4, 3, 8, 8))
    return np.array(sizes)


@pytest.mark.parametrize('method', ['zerosnet-opt', 'midpoint', 'euler', 'optimal(4)', 'ab3'])
def test_states_of_a_stable_method_grow_at_most_linearly(method):
    sizes = state_sizes(method)
    assert (sizes < 3 * (2 + np.arange(len(sizes)))).all()


def test_states_of_all_ones_grow_by_its_root():
    sizes = state_sizes('all-ones')
    for stage in (slice(8, 18), slice(26, 36), slice(44, 54)):
        np.testing.assert_allclose((sizes[stage][-1] / sizes[stage][0]) ** (1 / 9), 1.8393, rtol=0.02)
    assert sizes[-1] > 1e12


def warnings_of(create):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        create()
    return [str(w.message) for w in caught if w.category is ZeroStabilityWarning]


def test_all_ones_warns_once_with_its_root_and_with_what_overflows():
    (message,) = warnings_of(lambda: timm.create_model('multistep_resnet20', method='all-ones'))
    for part in ('not zero-stable', '1.8393', 'not consistent', 'sum a = 3', 'overflow float32 after about 146 blocks'):
        assert part in message
    sizes = state_sizes('all-ones', layers=(170, 1, 1), widths=(2, 2, 2))
    assert np.isfinite(sizes[:60]).all() and not np.isfinite(sizes[150:]).any()


def test_warnings_name_what_speaks_against_a_method_that_was_asked_for():
    (message,) = warnings_of(lambda: MultistepResNet(method='lm(1.05)'))
    assert 'not consistent' in message and 'sum b = 1 (must be 1 + sum i a[i] = 19/20)' in message
    assert 'not zero-stable' not in message and 'overflow' not in message
    (message,) = warnings_of(lambda: timm.create_model('zerosnet20_tra', lambda_init='-1/3'))
    assert 'not zero-stable' in message
    for name in ('zerosnet20', 'lmresnet20', 'zerosnet20_tra', 'preresnet20', 'multistep_resnet20'):
        assert warnings_of(lambda name=name: timm.create_model(name)) == []
    assert warnings_of(lambda: MultistepResNet(method='ab4')) == []


# --- learned coefficients


def scalars(model):
    return {n: p for n, p in model.named_parameters() if n.endswith(('.mu', '.k'))}


@pytest.mark.parametrize(
    'name, kwargs, mu',
    [
        ('zerosnet20_tra', {}, 1),
        ('zerosnet18_tra', {}, Fraction(-5, 9)),
        ('zerosnet20_tra', dict(lambda_init='-9/5'), Fraction(-5, 9)),
        ('zerosnet20_tra', dict(lambda_init=-1.8), Fraction(-5, 9)),
        ('zerosnet20_tra', dict(lambda_init=2), Fraction(1, 2)),
        ('zerosnet20_tra', dict(lambda_init='inf'), 0),
        ('zerosnet20_tra', dict(lambda_init=math.inf), 0),
        ('zerosnet20_tra', dict(lambda_init=-1), -1),
    ],
)
def test_lambda_init(name, kwargs, mu):
    model = timm.create_model(name, **kwargs)
    steps = scalars(model)
    assert len(steps) == sum(len(stage.blocks) for stage in model.stages) - 2
    assert all(p.item() == pytest.approx(float(mu), abs=1e-7) for p in steps.values())


@pytest.mark.parametrize('decay', [dict(), dict(filter_bias_and_bn=False)], ids=['filtered', 'all'])
@pytest.mark.parametrize('optimizer', ['sgd', slow('momentum')])
@pytest.mark.parametrize('name', ['zerosnet20_tra', 'lmresnet20'])
def test_learned_scalars_are_not_decayed_and_do_learn(name, optimizer, decay):
    torch.manual_seed(0)
    model = timm.create_model(name)
    before = {n: p.clone() for n, p in scalars(model).items()}
    weight = model.stages[0].blocks[0].conv1.weight.clone()
    optimizer = create_optimizer_v2(model, optimizer, lr=0.1, weight_decay=5e-4, **decay)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for _ in range(100):
        optimizer.step()
    assert len(before) in (5, 6, 7) and all(torch.equal(p, before[n]) for n, p in scalars(model).items())
    assert model.stages[0].blocks[0].conv1.weight.norm() < 0.997 * weight.norm()
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(torch.randn(4, 3, 16, 16)), torch.arange(4)).backward()
    optimizer.step()
    assert all((p != before[n]).all() for n, p in scalars(model).items())


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_constrained_mu_stays_in_the_stable_interval_and_can_come_back(dtype):
    model = timm.create_model('zerosnet20_tra', constrain_mu=True, dtype=dtype)
    step = model.stages[2].blocks[0].step
    for pushed in (-1e30, -1e7, -301.0, -9.1, -1.01, -1.0, 0.3, 2.99, 3.0, 5.3, 9.0, 1e5, 1.2345e7, 1e30):
        nn.init.constant_(step.mu, pushed)
        used = step.effective_mu()
        assert -1 <= used.item() < 3
        if -1 <= pushed < 2.9:
            assert torch.equal(used, step.mu)
        (gradient,) = torch.autograd.grad(used, step.mu)
        assert gradient.item() == 1
    nn.init.constant_(step.mu, 3.5)
    step.effective_mu().backward()
    torch.optim.SGD([step.mu], lr=1).step()
    assert step.mu.item() == step.effective_mu().item() == 2.5


def test_unconstrained_mu_is_used_as_it_is():
    step = timm.create_model('zerosnet20_tra').stages[2].blocks[0].step
    nn.init.constant_(step.mu, 7.0)
    assert step.effective_mu().item() == 7


# --- stochastic depth

DROPPED = {
    'zerosnet': (dict(method='zerosnet-opt'), [1 / 3, 5 / 9, 1 / 9], []),
    'lm': (dict(learn='k'), None, []),
    'ab3': (dict(method='ab3'), [1], [-16 / 12, 5 / 12]),
}


def dropping(kind, rate):
    """A block past the Euler steps, its history for many equal samples, and what a dropped sample's new state is."""
    torch.manual_seed(0)
    kwargs, a, b = DROPPED[kind]
    block = MultistepResNet(dtype=torch.float64, **kwargs).stages[0].blocks[-1]
    if a is None:
        a = [block.step.k.item(), 1 - block.step.k.item()]
    block.drop_path = DropPath(rate)
    one = [torch.randn(1, 16, 4, 4, dtype=torch.float64) for _ in range(5)]
    states, slopes = ([t.expand(2000, -1, -1, -1) for t in part] for part in (one[:3], one[3:]))
    want = sum(c * t for c, t in [*zip(a, one[:3], strict=False), *zip(b, one[3:], strict=False)])
    block.keep_states, block.keep_slopes = 2, 2 if b else 0
    return block, states, slopes if b else [], want


@pytest.mark.parametrize('kind', DROPPED)
def test_a_dropped_sample_keeps_its_history_alone(kind):
    block, states, slopes, want = dropping(kind, 1 - 1e-9)
    with torch.no_grad():
        (new, *old), new_slopes = block.train()(states, slopes)
    torch.testing.assert_close(new, want.expand_as(new), rtol=0, atol=1e-15)
    assert all(torch.equal(kept, given) for kept, given in zip(old, states, strict=False)) and len(old) == 2
    if kind == 'ab3':
        assert len(new_slopes) == 2 and not new_slopes[0].any() and torch.equal(new_slopes[1], slopes[0])
    with torch.no_grad():
        (kept, *_), _ = block.eval()(states, slopes)
    assert not torch.isclose(kept, want).all(dim=(1, 2, 3)).any()


@pytest.mark.parametrize('kind', DROPPED)
def test_the_mean_over_many_draws_is_the_undropped_update(kind):
    block, states, slopes, want = dropping(kind, 0.5)
    with torch.no_grad():
        (new, *_), new_slopes = block.train()(states, slopes)
        block.drop_path = nn.Identity()
        (undropped, *_), undropped_slopes = block(states, slopes)
    dropped = torch.isclose(new, want, rtol=0, atol=1e-12).all(dim=(1, 2, 3))
    assert 900 < dropped.sum() < 1100
    torch.testing.assert_close(new[~dropped], (2 * undropped - want)[~dropped])
    error = 5 * (undropped[:1] - want).abs() / len(new) ** 0.5
    assert ((new.mean(0) - undropped[0]).abs() <= error).all()
    if kind == 'ab3':
        assert torch.equal(new_slopes[0][dropped], torch.zeros_like(new_slopes[0][dropped]))
        torch.testing.assert_close(new_slopes[0][~dropped], 2 * undropped_slopes[0][~dropped])


def test_drop_path_rate_rises_from_block_to_block_and_rests_in_eval_mode():
    torch.manual_seed(0)
    model, plain = timm.create_model('zerosnet20', drop_path_rate=0.8), timm.create_model('zerosnet20')
    plain.load_state_dict(model.state_dict())
    rates = [getattr(block.drop_path, 'drop_prob', 0) for stage in model.stages for block in stage.blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.8, 9))
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(model.eval()(x), plain.eval()(x))
    assert not torch.equal(model.train()(x), plain.train()(x))
    for rate in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=f'drop_path_rate: expected 0 <= drop_path_rate < 1, got {rate}'):
            timm.create_model('zerosnet20', drop_path_rate=rate)
