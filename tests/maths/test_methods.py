"""The named methods and families against their closed forms, and what they do on differential equations."""

import math
from fractions import Fraction as F

import numpy as np
import pytest
from amounts import examples, slow
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from timm_zerosnet import methods
from timm_zerosnet.methods import METHODS, lm, momentum, optimal, parse_method, zerosnet
from timm_zerosnet.multistep import MultistepMethod

many = settings(deadline=None, max_examples=examples(200), derandomize=True)
HAIR = F(1, 10**12)


def family(mu):
    return zerosnet(1 / mu if mu else 'inf')


def around(low, high):
    """Fractions in and around an interval, often at its ends or a hair away from them."""
    ends = [end + sign * F(1, 10**digits) for end in (low, high) for sign in (-1, 0, 1) for digits in (6, 12, 40)]
    return st.one_of(st.sampled_from(ends), st.fractions(low - 3, high + 3), st.fractions(low, high))


@pytest.mark.parametrize(
    'name, a, b, order, stable',
    [
        ('euler', '1', '1', 1, True),
        ('zerosnet-opt', '1/3 5/9 1/9', '16/9', 2, True),
        ('optimal(2)', '0 1', '2', 2, True),
        ('optimal(3)', '1/3 5/9 1/9', '16/9', 2, True),
        ('optimal(4)', '2/5 12/25 14/125 1/125', '216/125', 2, True),
        ('midpoint', '0 1', '2', 2, True),
        ('ab2', '1', '3/2 -1/2', 2, True),
        ('ab3', '1', '23/12 -4/3 5/12', 3, True),
        ('ab4', '1', '55/24 -59/24 37/24 -3/8', 4, True),
        ('all-ones', '1 1 1', '1', None, False),
        ('zerosnet(1)', '3/2 -1 1/2', '1', 2, True),
        ('zerosnet(-1)', '0 1', '2', 2, True),
        ('zerosnet(inf)', '3/4 0 1/4', '3/2', 2, True),
        ('zerosnet(1/3)', '3 -3 1', '0', 2, False),
        ('zerosnet(-1/3)', '-3/2 3 -1/2', '3', 3, False),
        ('lm(1.05)', '21/20 -1/20', '1', 0, True),
        ('lm(1)', '1', '1', 1, True),
        ('lm(0)', '0 1', '1', 0, True),
        ('lm(2)', '2 -1', '1', 0, False),
        ('momentum(0.9)', '19/10 -9/10', '1/10', 1, True),
        ('momentum(0)', '1', '1', 1, True),
        ('momentum(-1)', '0 1', '2', 2, True),
        ('momentum(1)', '2 -1', '0', 1, False),
    ],
)
def test_table(name, a, b, order, stable):
    method = parse_method(name)
    assert method == MultistepMethod(a.split(), b.split())
    assert (method.order, method.is_zero_stable, method.is_consistent) == (order, stable, order not in (None, 0))


@pytest.mark.parametrize(
    'name, roots',
    [
        ('euler', [1]),
        ('zerosnet-opt', [1, -1 / 3, -1 / 3]),
        ('zerosnet(1/3)', [1, 1, 1]),
        ('zerosnet(-1)', [1, -1]),
        ('zerosnet(-1/3)', [-1.25 - math.sqrt(33) / 4, 1, -1.25 + math.sqrt(33) / 4]),
        ('ab4', [1, 0, 0, 0]),
        ('optimal(4)', [1, -1 / 5, -1 / 5, -1 / 5]),
        ('lm(1.5)', [1, 1 / 2]),
        ('momentum(0.9)', [1, 0.9]),
    ],
)
def test_roots(name, roots):
    assert parse_method(name).roots == pytest.approx(roots, abs=1e-14)


def test_all_ones():
    method = METHODS['all-ones']
    assert sum(method.a) == 3 and method.parasitic_radius is None
    # the real root of z^3 = z^2 + z + 1
    surd = 3 * math.sqrt(33)
    largest = (1 + (19 + surd) ** (1 / 3) + (19 - surd) ** (1 / 3)) / 3
    assert method.spectral_radius == pytest.approx(largest, abs=1e-12) == pytest.approx(1.8393, abs=5e-5)
    assert '1.8393' in method.verdict and 'not zero-stable' in method.verdict and 'sum a = 3' in method.verdict


def test_verdicts():
    assert METHODS['zerosnet-opt'].verdict == 'zero-stable; consistent, order 2'
    assert lm('1.05').verdict.startswith('zero-stable; not consistent: sum b = 1 (must be 1 + sum i a[i] = ')
    assert lm('1.05').verdict.endswith('(must be 1 + sum i a[i] = 19/20)')


@settings(many, max_examples=examples(400))
@given(around(F(-1), F(3)))
def test_family_region(mu):
    assert family(mu).is_zero_stable == (-1 <= mu < 3)


@pytest.mark.parametrize(
    'lam, stable',
    [
        (-1, True),
        (-1 - HAIR, True),
        (-1 + HAIR, False),
        (1 / 3, False),
        (F(1, 3) + HAIR, True),
        (F(1, 3) - HAIR, False),
        (-math.inf, True),
        (1e300, True),
        (1e-300, False),
        (-9 / 5, True),
    ],
)
def test_region_in_lambda(lam, stable):
    assert zerosnet(lam).is_zero_stable == stable


@many
@given(st.fractions(-50, 50))
@example(F(-3))
@example(F(0))
@example(F(-3) + HAIR)
def test_family_coefficients_and_order(mu):
    method = family(mu)
    a, b0 = (3 * (1 + mu) / 4, -mu, (1 + mu) / 4), (3 - mu) / 2
    assert methods.zerosnet_coefficients(mu) == (a, b0)
    assert method == MultistepMethod(a, [b0])
    assert method.order == (3 if mu == -3 else 2)


@many
@given(st.floats(-1, 3))
def test_family_parasitic_radius(mu):
    # rho(z) = (z - 1)(z^2 + (1 - 3 mu) z / 4 + (1 + mu) / 4)
    found = np.abs(np.roots([1, (1 - 3 * mu) / 4, (1 + mu) / 4])).max()
    assert family(F(mu)).parasitic_radius == pytest.approx(found, abs=1e-6)


def test_smallest_parasitic_radius_is_at_minus_nine_fifths():
    mus = [F(i, 900) for i in range(-960, 2760, 5)]
    radii = [family(mu).parasitic_radius for mu in mus]
    assert mus[int(np.argmin(radii))] == F(-5, 9)
    assert min(radii) == pytest.approx(1 / 3, abs=1e-14)
    # near the optimum, where the double root splits
    for side in (-1, 1):
        assert family(F(-5, 9) + side * F(1, 10**8)).parasitic_radius > 1 / 3 + 1e-9


@many
@given(around(F(0), F(2)))
def test_lm_region(k):
    method = lm(k)
    assert method == MultistepMethod([k, 1 - k], [1])
    assert method.is_zero_stable == (0 <= k < 2)
    assert method.is_consistent == (k == 1)


@many
@given(around(F(-1), F(1)))
def test_momentum_region(g):
    method = momentum(g)
    assert method == MultistepMethod([1 + g, -g], [1 - g])
    assert method.is_zero_stable == (-1 <= g < 1)
    assert method.is_consistent and method.order == (2 if g == -1 else 1)
    assert method.parasitic_radius == pytest.approx(abs(g), abs=1e-9)


@pytest.mark.parametrize('k', [*range(2, 13), 24, slow(64)])
def test_optimal(k):
    method, r = optimal(k), F(1, 2 * k - 3)
    assert method.is_zero_stable and method.order == 2 and method.steps == k
    assert method.b == ((1 + r) ** (k - 1),) + (0,) * (k - 1)
    assert method.parasitic_radius == pytest.approx(float(r), abs=1e-14)
    for z in (F(1), F(2), F(-3, 7)):
        assert sum(c * z**i for i, c in enumerate(method.rho)) == (z - 1) * (z + r) ** (k - 1)


@many
@given(st.lists(st.fractions('-9/10', '9/10', max_denominator=20), min_size=1, max_size=5))
def test_no_method_of_order_2_with_one_slope_is_better_than_optimal(roots):
    # the last parasitic root follows from order 2: sum 1 / (1 - z_i) = k - 3/2
    k = len(roots) + 2
    rest = k - F(3, 2) - sum(1 / (1 - z) for z in roots)
    assume(rest != 0)
    rho = [F(1)]
    for z in (1, *roots, 1 - 1 / rest):
        rho = [c - z * d for c, d in zip([*rho, F(0)], [F(0), *rho], strict=True)]
    a = [-c for c in rho[1:]]
    method = MultistepMethod(a, [1 + sum(i * c for i, c in enumerate(a))])
    assert method.order >= 2
    assert method.parasitic_radius >= optimal(k).parasitic_radius - 1e-12


@pytest.mark.parametrize('name', METHODS)
def test_every_name(name):
    assert parse_method(name) is METHODS[name] is parse_method(f'  {name.upper()} \n')
    assert parse_method(METHODS[name]) is METHODS[name]
    assert str(METHODS[name]) == METHODS[name].name == name and METHODS[name].source


@pytest.mark.parametrize(
    'text, expected',
    [
        ('zerosnet(-9/5)', zerosnet(F(-9, 5))),
        (' ZeroSNet ( -9/5 ) ', METHODS['zerosnet-opt']),
        ('zerosnet(0.5)', zerosnet(F(1, 2))),
        ('zerosnet(INF)', zerosnet(math.inf)),
        ('zerosnet(-inf)', zerosnet('inf')),
        ('optimal(4)', optimal(4)),
        ('OPTIMAL( 2 )', METHODS['midpoint']),
        ('optimal(3.0)', METHODS['zerosnet-opt']),
        ('lm(1.05)', lm(F(21, 20))),
        ('lm(21/20)', lm(1.05)),
        ('momentum(-9e-1)', momentum(F(-9, 10))),
    ],
)
def test_families_by_name(text, expected):
    method = parse_method(text)
    assert method == expected and method.source
    assert parse_method(str(method)) == method


@pytest.mark.parametrize('lam', [1 / 3, 10 / 29, -1.8, np.float32(0.4), F(1, 3), 2, math.inf])
def test_name_of_a_number_means_the_same_method(lam):
    assert parse_method(str(zerosnet(lam))) == zerosnet(lam)


@pytest.mark.parametrize(
    'text, nearest',
    [
        ('zerosnet_opt', 'zerosnet-opt'),
        ('ab5', 'ab'),
        ('mid point', 'midpoint'),
        ('allones', 'all-ones'),
        ('optimall(3)', 'optimal(...)'),
        ('zerosnet', 'zerosnet'),
        ('momentum', 'momentum(...)'),
        ('eular', 'euler'),
    ],
)
def test_unknown_name_suggests_the_nearest(text, nearest):
    with pytest.raises(ValueError, match='unknown method') as error:
        parse_method(text)
    hint, accepted = str(error.value).split('? expected one of ')
    assert repr(text) in hint and nearest in hint.split('did you mean ')[1]
    assert all(name in accepted for name in (*METHODS, *methods.FAMILIES))


@pytest.mark.parametrize('text', ['', 'resnet(3)', 'ab2(1)', 'lm(1.05', 'lm 1.05', 'q'])
def test_no_such_method(text):
    with pytest.raises(ValueError, match='unknown method'):
        parse_method(text)


@pytest.mark.parametrize(
    'name, values',
    [
        ('zerosnet', ['0', '-0.0', 'nan', '', '1/0', 'x', 0, 0.0, math.nan, None]),
        ('optimal', ['1', '-3', '2.5', '', 'x', '65', 1, 2.5, math.inf, None]),
        ('lm', ['x', '', '1, 2', 'nan', 'inf', math.inf, None]),
        ('momentum', ['x', '', '1/0', 'nan', '-inf', math.nan, None]),
    ],
)
def test_refused_parameters(name, values):
    for value in values:
        for build, argument in ((parse_method, f'{name}({value})'), (methods.FAMILIES[name], value)):
            with pytest.raises(ValueError, match='expected .*, got '):
                build(argument)


@pytest.mark.parametrize('value', [None, 3, 1.5, ['euler'], b'euler', ([1], [1])], ids=repr)
def test_type_errors(value):
    with pytest.raises(TypeError, match='method: expected a MultistepMethod or a name, got'):
        parse_method(value)


def solve(method, slope, exact, n):
    """x(1) after n steps of size 1 / n from exact starting values."""
    h, k = 1 / n, method.steps
    a, b = [float(c) for c in method.a], [float(c) for c in method.b]
    x = [exact(i * h) for i in range(k)]
    f = [slope(i * h, x[i]) for i in range(k)]
    for i in range(k, n + 1):
        x.append(sum(a[j] * x[-1 - j] for j in range(k)) + h * sum(b[j] * f[-1 - j] for j in range(k)))
        f.append(slope(i * h, x[-1]))
    return x[-1]


EQUATIONS = {
    'decay': (lambda t, x: -x, lambda t: math.exp(-t)),
    'secant': (lambda t, x: x * x * math.sin(t), lambda t: 1 / math.cos(t)),
}
CONVERGENT = [
    *(METHODS[name] for name in METHODS if name != 'all-ones'),
    *map(zerosnet, (2, 1, -3, -1, 'inf')),
    *map(optimal, (2, 4, 6)),
    *map(momentum, (0.5, -0.5, -1)),
    lm(1),
]


@pytest.mark.parametrize('equation', EQUATIONS)
@pytest.mark.parametrize('method', CONVERGENT, ids=str)
def test_observed_order(method, equation):
    slope, exact = EQUATIONS[equation]
    steps = [80, 160, 320]
    errors = [abs(solve(method, slope, exact, n) - exact(1)) for n in steps]
    fitted = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert fitted == pytest.approx(method.order, abs=0.2)


def test_order_without_zero_stability_diverges():
    slope, exact = EQUATIONS['decay']
    errors = [abs(solve(zerosnet('-1/3'), slope, exact, n) - exact(1)) for n in (20, 40, 80)]
    assert zerosnet('-1/3').order == 3 and errors[0] > 1 and errors[1] > 1e6 * errors[0] and errors[2] > 1e6 * errors[1]


def perturbed(method, which, n):
    """n further states of x' = 0 when all starting values are 0 but one, which is 1."""
    x = [float(i == which) for i in range(method.steps)]
    a = [float(c) for c in method.a]
    for _ in range(n):
        x.append(sum(c * x[-1 - j] for j, c in enumerate(a)))
    return np.array(x)


@pytest.mark.parametrize('method', [*CONVERGENT, zerosnet('10/29'), lm(0), lm(1.05), lm(1.9), momentum(0.9)], ids=str)
def test_perturbations_stay_bounded(method):
    for which in range(method.steps):
        x = np.abs(perturbed(method, which, 2000))
        assert x[:400].max() >= 1 and x.max() <= x[:400].max() + 1e-9


def test_perturbations_grow_without_zero_stability():
    n = np.arange(301)
    assert (perturbed(lm(2), 1, 299) == n).all()
    assert (perturbed(zerosnet('1/3'), 2, 298) == n * (n - 1) / 2).all()
    for method in (zerosnet('-1/3'), METHODS['all-ones']):
        x = perturbed(method, method.steps - 1, 298)
        assert x[1:][-50:] / x[:-1][-50:] == pytest.approx(np.full(50, method.roots[0].real), rel=1e-9)
        assert abs(x[-1]) > 1e70


@pytest.mark.parametrize('value', ['1e999', '-1e999', '1e999999999999', '1e-999999999999', '9' * 400, '9' * 9999])
@pytest.mark.parametrize('family', ['lm', 'momentum'])
def test_parameters_beyond_a_float_are_refused_when_they_are_parsed(family, value):
    """The roots of such a method overflow, and 10**999999999999 does not fit a memory."""
    with pytest.raises(ValueError, match='expected .*, got ') as error:
        parse_method(f'{family}({value})')
    assert len(str(error.value)) < 250
    with pytest.raises(ValueError, match='expected .*, got '):
        parse_method(f'zerosnet({value})')


def test_zero_is_zero_with_any_exponent():
    assert parse_method('lm(0e999999999999)') == methods.lm(0)


def test_long_fractions_within_reach_are_methods():
    """Their quotient fits a float, while numerator and denominator do not, and Python writes no such integers."""
    near_one = 1 + F(1, 10**5000)
    for method in (methods.lm(near_one), methods.momentum(-near_one), MultistepMethod([near_one, F(-1, 7**3000)], [1])):
        assert all(math.isfinite(abs(z)) for z in method.roots) and math.isfinite(method.spectral_radius)
        assert len(method.formula) < 200 and len(method.verdict) < 600 and len(str(method)) < 200
    assert methods.lm(near_one).is_zero_stable and not methods.lm(2 + F(1, 10**400)).is_zero_stable


@pytest.mark.parametrize('size', ['1.7e308', '-1.7e308', '1e-300', '1e200'])
def test_figures_of_the_largest_coefficients_are_finite(size):
    for method in (methods.lm(size), methods.momentum(size), MultistepMethod([size, size, 1], [size])):
        assert all(math.isfinite(abs(z)) for z in method.roots) and math.isfinite(method.spectral_radius)
        assert np.isfinite(method.amplification(0)) and 'inf' not in method.verdict
