"""The design of one-slope methods against closed forms, exact decisions and searches that know nothing of them."""

import json
import math
import sys
from fractions import Fraction as F

import numpy as np
import pytest
import timm
import torch
import yaml
from amounts import examples, slow
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import STAND_IN
from small_trainings import command as train_command
from small_trainings import options, run, write_images
from timm.utils import ParseKwargs

from timm_zerosnet import cli, design, parse_method
from timm_zerosnet._files import MissingExtraError
from timm_zerosnet.methods import METHODS, zerosnet
from timm_zerosnet.multistep import MultistepMethod

many = settings(deadline=None, max_examples=examples(100), derandomize=True)
HAIR = F(1, 10**12)


def with_roots(*roots):
    """The one-slope method with these roots, all of them, and the b0 of a consistent one."""
    rho = [F(1)]
    for z in roots:
        rho = [c - z * d for c, d in zip([*rho, F(0)], [F(0), *rho], strict=True)]
    a = [-c for c in rho[1:]]
    return MultistepMethod(a, [1 + sum(i * c for i, c in enumerate(a))])


@pytest.mark.parametrize('k', range(2, 8))
def test_order_2_is_the_closed_form(k):
    r, found = F(1, 2 * k - 3), design.design(k, 2)
    assert found.method == design.smallest_radius(k, 2) == with_roots(F(1), *[-r] * (k - 1))
    assert found.method.b[0] == (1 + r) ** (k - 1) and found.method.order == 2 and found.method.is_zero_stable
    assert found.proven and found.radius == found.bound == pytest.approx(float(r), abs=1e-15)
    assert design.radius_bound(k, 2) == pytest.approx(float(r), abs=1e-15)


def test_three_steps_of_order_2_are_the_optimum_of_the_paper():
    found = design.smallest_radius(3, 2)
    assert found == METHODS['zerosnet-opt']
    assert (found.a, found.b[0]) == ((F(1, 3), F(5, 9), F(1, 9)), F(16, 9))


@pytest.mark.parametrize('k', [1, 2, 5, 64])
def test_order_1_is_euler(k):
    found = design.design(k, 1)
    assert found.method == METHODS['euler'] and found.radius == 0 and found.proven


@pytest.mark.parametrize(
    'k, p', [(3, 2), (4, 2), (5, 2), (7, 2), (4, 3), (5, 3), (6, 3), (8, 3), (6, 4), (8, 4), (8, 5)]
)
def test_random_methods_are_no_better(k, p):
    """Roots that are computed are those of a polynomial within rounding, to which the same bound applies."""
    best, rng = design.design(k, p), np.random.default_rng(k + p)
    centre = np.array([float(v) for v in best.free.values()])
    moved = rng.standard_normal((k - p, 5000)) * 10.0 ** rng.uniform(-9, 0, 5000)
    found = design.radii(k, p, *(centre[:, None] + moved))
    assert best.proven and found.min() > best.radius - 1e-9
    assert found.min() < best.radius + 0.1  # the search has come near


@pytest.mark.parametrize('k, known', [(4, 0.836014), (5, 0.5), (6, 0.357403)])
def test_order_3(k, known):
    x = (k - 1.5 - math.sqrt((7 * k - 10) / (12 * (k - 2)))) / (k - 1)
    found = design.design(k, 3)
    assert found.radius == pytest.approx(1 / x - 1, abs=1e-12) == pytest.approx(known, abs=1e-6)
    assert found.proven and found.radius == pytest.approx(design.radius_bound(k, 3), abs=1e-12)


def test_five_steps_of_order_3_are_exact():
    half, third = F(-1, 2), F(1, 3)
    assert design.smallest_radius(5, 3) == with_roots(F(1), half, half, half, third)


@pytest.mark.parametrize(
    'k, p', [*((k, 3) for k in (4, 6, 7, 9, 12)), (6, 4), (7, 4), (8, 4), (8, 5), (9, 5), (10, 6), (12, 7), (14, 8)]
)
def test_designs_are_exact_methods(k, p):
    found = design.design(k, p)
    method = found.method
    assert (method.steps, method.order, method.is_zero_stable) == (k, p, True) and not any(method.b[1:])
    assert found.radius <= method.parasitic_radius + 1e-9 <= found.radius * (1 + 1e-4) + 2e-9
    assert found.proven and design.radius_bound(k, p) <= found.radius + 1e-9
    assert design.member(k, p, *found.free.values()) == method


def test_the_search_finds_what_is_proven():
    """Order 3 beyond six steps, and a case where the bound is attained."""
    for k, p in ((7, 3), (7, 4)):
        assert np.abs(design._search(k, p, 0)).max() == pytest.approx(design.design(k, p).radius, abs=1e-7)


def test_a_searched_design():
    found = design.design(9, 4)
    assert not found.proven and found.bound < found.radius < design.design(8, 4).radius
    assert found.radius == pytest.approx(0.452469, abs=1e-5)
    assert found.method.order == 4 and found.method.is_zero_stable and found.method.steps == 9
    assert found.method.parasitic_radius <= found.radius * (1 + 1e-4)


def test_a_search_needs_scipy_and_a_closed_form_does_not(monkeypatch):
    monkeypatch.setitem(sys.modules, 'scipy', None)
    assert design.design.__wrapped__(4, 3).proven
    with pytest.raises(MissingExtraError, match='scipy'):
        design.design.__wrapped__(9, 4)


@pytest.mark.parametrize('p', range(2, 9))
def test_an_order_needs_steps(p):
    """2p - 2 of them; one less is proven not to do, by the bound."""
    fewest = min(k for k in range(p, 30) if design.can_be_zero_stable(k, p))
    assert fewest == 2 * p - 2 and design.design(fewest, p).proven
    if fewest > p:
        with pytest.raises(ValueError, match=f'no zero-stable .* ask for {fewest} steps or a lower order'):
            design.design(fewest - 1, p)


def test_no_zero_stable_method_of_five_steps_and_order_4():
    # b0 = prod (1 - z) is at most 2^4
    assert (design.radii(5, 4, np.linspace(0.01, 16, 20_001)) > 1).all() and design.radius_bound(5, 4) > 1
    assert design.zero_stable_interval(5, 4) is None


@pytest.mark.parametrize('k', range(1, 9))
def test_order_k_leaves_one_method(k):
    method = design.member(k, k)
    assert (method.order, method.b[0], design.free_parameters(k, k)) == (k, k, ())
    assert method.is_zero_stable == (k <= 2)
    assert k != 3 or method == zerosnet('-1/3')


fractions = st.fractions(-3, 3, max_denominator=20)


@many
@given(st.data())
def test_members_have_the_order(data):
    k = data.draw(st.integers(1, 7))
    p = data.draw(st.integers(1, k))
    free = [data.draw(fractions.filter(bool) if i == 0 else fractions) for i in range(k - p)]
    method = design.member(k, p, *free)
    assert method.order >= p and not any(method.b[1:])
    a = (*method.a, *[F(0)] * k)
    assert [method.b[0], *a][: len(free)] == free
    if free:
        radius = design.radii(k, p, *map(float, free))
        assert radius == pytest.approx(method.parasitic_radius, abs=1e-2)
        assert np.prod(1 - design.parasitic_roots(k, p, *map(float, free))) == pytest.approx(float(free[0]), abs=1e-8)


@pytest.mark.parametrize('k', range(2, 8))
def test_order_conditions(k):
    assert design.order_conditions(k, 2) == (1, k - F(3, 2))
    w = [1 / (1 - z) for z in design.design(k, 2).method.roots[1:]]
    assert sum(w) == pytest.approx(k - 1.5, abs=1e-9)
    if k >= 4:
        w = np.array([1 / (1 - z) for z in design.design(k, 3).method.roots[1:]])
        _, first, second = map(float, design.order_conditions(k, 3))
        assert w.sum() == pytest.approx(first, abs=1e-9)
        assert (w.sum() ** 2 - (w**2).sum()) / 2 == pytest.approx(second, abs=1e-8)


@pytest.mark.parametrize('k, text', [(2, '0 < b0 <= 2'), (3, '0 < b0 <= 2'), (4, '2 <= b0 <= 12/5')])
def test_zero_stable_interval(k, text):
    found = design.zero_stable_interval(k, k - 1)
    assert str(found) == text
    for b0 in [found.low + HAIR, found.high, found.high - HAIR, (found.low + found.high) / 2]:
        assert design.member(k, k - 1, b0).is_zero_stable
    for b0 in [found.low - HAIR, found.high + HAIR, F(-1), F(100)]:
        assert not design.member(k, k - 1, b0).is_zero_stable
    assert not found.low or design.member(k, k - 1, found.low).is_zero_stable == found.has_low


@many
@given(st.fractions(-5, 5))
def test_interval_of_the_family_in_lambda(mu):
    """b0 = (3 - mu) / 2 with mu = 1 / lambda: 0 < b0 <= 2 is lambda <= -1 or lambda > 1/3."""
    lam, b0 = 1 / mu if mu else 'inf', (3 - mu) / 2
    found = design.zero_stable_interval(3, 2)
    if b0:
        assert design.member(3, 2, b0) == zerosnet(lam)
    assert (found.low < b0 <= found.high) == (lam == 'inf' or lam <= -1 or lam > F(1, 3))


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((1, 2), 'expected an order of at most 1, got 2: no one-slope method of 1 step has it; ask for 2 steps or'),
        ((4, 5), 'expected an order of at most 4, got 5: no one-slope method of 4 steps has it; ask for 8 steps or a'),
        ((3, 3), 'expected an order that 3 steps reach with zero stability, got 3: .*; ask for 4 steps or a lower'),
        ((0, 1), 'expected steps to be an integer from 1 to 64, got 0'),
        ((65, 1), 'expected steps to be an integer from 1 to 64, got 65'),
        ((3, 0), 'expected order to be an integer from 1 to 64, got 0'),
        ((2.5, 1), 'expected steps to be an integer from 1 to 64, got 2.5'),
        ((True, 1), 'expected steps to be an integer from 1 to 64, got True'),
        ((20, 4), 'at order 4, got 20; ask for 12 steps or another'),
        (
            (16, 8),
            'expected at most 12 steps, or a number of steps that needs no search, at order 8, got 16; ask for 14',
        ),
        ((20, 11), 'at order 11, got 20; ask for a lower order'),
        ((18, 11), 'no zero-stable one-slope method of 18 steps has it; ask for a lower order'),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        design.design(*arguments)


def test_refused_parameters():
    with pytest.raises(ValueError, match=r'expected 2 free parameters \(b0, a0\), got 1'):
        design.member(4, 2, 1)
    with pytest.raises(ValueError, match='expected order = steps - 1, .* got steps=4, order=2'):
        design.zero_stable_interval(4, 2)


# coefficients as text


@many
@given(st.lists(fractions, min_size=1, max_size=5).filter(any), st.lists(fractions, min_size=1, max_size=5).filter(any))
def test_text_stands_for_the_method(a, b):
    method = MultistepMethod(a, b)
    assert parse_method(method.text) == parse_method(str(method)) == method


@pytest.mark.parametrize('text', ['a(1/3,5/9,1/9) b(16/9)', ' A( 1/3, 5/9 1/9 )b (16/9, 0) '])
def test_text_forms(text):
    assert parse_method(text) == METHODS['zerosnet-opt']


@pytest.mark.parametrize(
    'text, message',
    [
        ('a(1/3', 'unknown method'),
        ('a(x) b(1)', "expected a finite number that a float can hold, .*, got 'x'"),
        *((text, "got ''") for text in ('a(1) b()', 'a(,1) b(2)', 'a(1,,2) b(1)', 'a(1, , 2) b(1)', 'a(1) b(2,)')),
        ('b(1) a(1)', r'unknown method .*a\(...\) b\(...\)'),
    ],
)
def test_text_that_is_no_method(text, message):
    with pytest.raises(ValueError, match=message):
        parse_method(text)


def test_a_network_of_a_design_trains():
    text = design.smallest_radius(5, 3).text
    network = timm.create_model('multistep_resnet20', method=text, num_classes=3)
    assert network.method == design.smallest_radius(5, 3)
    optimizer, x = torch.optim.SGD(network.parameters(), 0.1), torch.randn(4, 3, 16, 16)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(network(x), torch.tensor([0, 1, 2, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_timm_leaves_the_text_as_it_is():
    import argparse

    parser = argparse.ArgumentParser()
    parser.add_argument('--model-kwargs', nargs='*', action=ParseKwargs)
    text = design.smallest_radius(4, 3).text
    assert parser.parse_args(['--model-kwargs', f'method={text}']).model_kwargs == {'method': text}
    assert yaml.safe_load(f'method: {text}') == {'method': text}


def test_the_train_command_takes_a_design(tmp_path):
    text = design.smallest_radius(4, 2).text
    images = write_images(tmp_path / 'images')
    line = train_command(STAND_IN, '--model-kwargs', f'method={text}')
    line = ['multistep_resnet20' if word == 'zerosnet20' else word for word in line]
    run(f'timm_zerosnet.{line[0]}', *line[1:], *options(images, tmp_path, 'designed', epochs=1))
    assert yaml.safe_load((tmp_path / 'designed' / 'args.yaml').read_text())['model_kwargs'] == {'method': text}
    assert (tmp_path / 'designed' / 'last.pth.tar').is_file()


# the command


@pytest.fixture
def command(capsys):
    def run(*words):
        assert cli.main([str(word) for word in words]) == 0
        return capsys.readouterr().out

    return run


def test_command(command):
    text = command('stability', 'design', '--steps', 3, '--order', 2)
    lines = dict(line.strip().split('  ', 1) for line in text.splitlines()[1:])
    lines = {name: value.strip() for name, value in lines.items()}
    assert lines['text form'] == 'a(1/3,5/9,1/9) b(16/9)' and lines['roots'] == '1, -0.333333 (double)'
    assert lines['zero-stable set'].startswith('0 < b0 <= 2 (') and 'lambda <= -1 or lambda > 1/3' in text
    assert lines['order'] == '2' and lines['error constant'] == '11/27' and '-0.5 <= z <= 0' in text
    assert lines['smallest radius'].startswith('0.333333, proven: ') and 'r >= 1/(2k - 3)' in text
    pasted = command('stability', lines['text form'])
    assert '16/9 f(x[n])' in pasted and 'order 2' in pasted


def test_command_where_the_optimum_is_no_fraction(command):
    text = command('stability', 'design', '--steps', 4, '--order', 3)
    assert '2 <= b0 <= 12/5' in text and '0.836014, proven' in text and 'within 0.01 %' in text
    assert 'free parameters         b0, a0\n' in command('stability', 'design', '--steps', 4, '--order', 2)
    assert 'this method alone' in command('stability', 'design', '--steps', 2, '--order', 2)


def test_command_says_what_is_not_proven(command):
    text = command('stability', 'design', '--steps', 9, '--order', 4)
    assert 'the smallest that a search found; no method has less than 0.375349' in text


def test_a_search_shows_its_progress_on_standard_error(capsys):
    design.design.cache_clear()
    assert cli.main('stability design --steps 9 --order 4'.split()) == 0
    assert 'searching 9 steps, order 4' in capsys.readouterr().err
    design.design.cache_clear()
    design.design(9, 4)
    assert cli.main('stability design --steps 8 --order 4'.split()) == 0
    assert capsys.readouterr().err == ''


def test_command_as_json(command):
    found = json.loads(command('stability', 'design', '--steps', 4, '--order', 3, '--json'))
    method = MultistepMethod(found['a'], found['b'])
    assert method == parse_method(found['design']['text']) == design.smallest_radius(4, 3)
    assert found['design']['free_parameters'] == {'b0': found['b'][0]} and found['design']['proven'] is True
    assert found['design']['zero_stable_set'] == '2 <= b0 <= 12/5'
    assert 'design' not in json.loads(command('stability', 'euler', '--json'))


@pytest.mark.parametrize('suffix, start', [slow('png', b'\x89PNG'), ('svg', b'<?xml'), slow('pdf', b'%PDF')])
def test_plot_of_each_format(suffix, start, command, tmp_path):
    path = tmp_path / f'design.{suffix}'
    assert str(path) in command('stability', 'design', '--steps', 3, '--order', 2, '--plot', path)
    assert path.read_bytes().startswith(start) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize('k, p', [(2, 2), (6, 3)])
def test_plot_of_each_number_of_free_parameters(k, p, command, tmp_path):
    command('stability', 'design', '--steps', k, '--order', p, '--plot', tmp_path / 'plot.png')
    pixels = np.asarray(Image.open(tmp_path / 'plot.png').convert('RGB'))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_the_region_is_drawn_to_its_boundary():
    """Two parameters, order 1, three steps: the triangle of roots in the unit circle, with corners that are known."""
    from timm_zerosnet import design_plot

    points = design_plot._outline(design.design(3, 1)) + (1, 1)
    # q(1) = b0 >= 0, q(-1) >= 0 and the product of its roots <= 1, for q = z^2 + (1 - a0) z + (b0 + a0 - 2)
    b0, a0 = points.T
    slack = np.minimum(np.minimum(b0, b0 + 2 * a0 - 2), 3 - b0 - a0)
    assert np.abs(slack).max() < 1e-2 and (slack > -1e-6).all()
    assert (np.ptp(b0), np.ptp(a0)) == pytest.approx((4, 4), abs=0.3)
