"""Coefficients, order, roots and zero stability of single methods against constructions with a known answer."""

import copy
import dataclasses
import math
import pickle
import warnings
from decimal import Decimal
from fractions import Fraction as F

import numpy as np
import pytest
from amounts import examples
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from timm_zerosnet.design import design
from timm_zerosnet.methods import METHODS, optimal, parse_method, zerosnet
from timm_zerosnet.multistep import MultistepMethod, as_fraction

many = settings(deadline=None, max_examples=examples(200), derandomize=True)
finite = st.floats(allow_nan=False, allow_infinity=False)


def times(p, q):
    """Product of two polynomials, descending powers."""
    product = [F(0)] * (len(p) + len(q) - 1)
    for i, c in enumerate(p):
        for j, d in enumerate(q):
            product[i + j] += c * d
    return product


def method_of(*factors):
    """A method whose rho is the product of monic ``factors`` (descending powers), zero roots kept."""
    rho = [F(1)]
    for factor in factors:
        rho = times(rho, factor)
    return MultistepMethod([-c for c in rho[1:]], [0] * (len(rho) - 2) + [1])


def linear(root):
    return [F(1), -F(root)]


def pair(re, im):
    """The real quadratic with the roots re + im i and re - im i."""
    return [F(1), -2 * F(re), F(re) ** 2 + F(im) ** 2]


# as_fraction


@many
@given(finite)
@example(5e-324)
@example(2.2250738585072014e-308)
@example(1.7976931348623157e308)
@example(-1.7976931348623157e308)
@example(math.nextafter(1, 2))
def test_as_fraction_rounds_to_its_float(x):
    assert float(as_fraction(x)) == x
    assert as_fraction(-x) == -as_fraction(x)


@many
@given(st.floats(0, 1, width=32))
@example(2.0**-60 * (1 + 2.0**-23))  # the simplest fraction lies so near a tie that float64 takes it for one
def test_as_fraction_rounds_to_its_float32(x):
    assert np.float32(float(as_fraction(np.float32(x)))) == x


@many
@given(st.integers(1, 2**26 - 1).flatmap(lambda q: st.builds(F, st.integers(-q, q), st.just(q))))
@example(F(1, 3))
@example(F(5, 9))
@example(F(1, 9))
def test_as_fraction_recovers_quotients(fraction):
    # two fractions with denominators below 2^26 lie further apart than the floats that round to the same number
    assert as_fraction(fraction.numerator / fraction.denominator) == fraction


@pytest.mark.parametrize('kind, low', [(np.float16, 2**-7), (np.float32, 2**-5)])
@many
@given(data=st.data())
def test_as_fraction_has_the_smallest_denominator(kind, low, data):
    width = np.dtype(kind).itemsize * 8
    x = kind(data.draw(st.floats(low, 16, width=width)))
    found = as_fraction(x)
    assert kind(float(found)) == x
    smaller = np.arange(1, found.denominator)
    assert not (kind(np.rint(float(x) * smaller) / smaller) == x).any()


@many
@given(st.integers(-(2**1023), 2**1023).map(float))
@example(1e20)
@example(2.0**60)
def test_as_fraction_of_a_whole_float_is_itself(x):
    assert as_fraction(x) == int(x)


@pytest.mark.parametrize(
    'value, expected',
    [
        ('-9/5', F(-9, 5)),
        (' 5/9 ', F(5, 9)),
        ('0.1', F(1, 10)),
        ('1e-3', F(1, 1000)),
        (F(7, 3), F(7, 3)),
        (3, F(3)),
        (-0.0, F(0)),
        (True, F(1)),
        (np.float32(1 / 3), F(1, 3)),
        (np.float32(-0.1), F(-1, 10)),
        (np.float16(0.2), F(1, 5)),
        (np.float64(5 / 9), F(5, 9)),
        (Decimal('0.3'), F(3, 10)),
    ],
)
def test_as_fraction_of_other_numbers(value, expected):
    assert as_fraction(value) == expected


@pytest.mark.parametrize('kind', [np.int8, np.uint8, np.int64])
def test_numpy_integers_do_not_wrap(kind):
    assert as_fraction(kind(100)) * 10**20 == 10**22
    assert MultistepMethod(np.array([100, 101], kind), np.array([1], kind)) == MultistepMethod([100, 101], [1])
    assert MultistepMethod(np.array([100, 101], kind), [1]).rho == (-101, -100, 1)


@pytest.mark.parametrize(
    'value', [math.nan, math.inf, -math.inf, np.float32('nan'), 'nan', 'inf', 'abc', '', '1/0', None, 1j, [1]], ids=repr
)
def test_as_fraction_refuses(value):
    with pytest.raises(ValueError, match='expected a finite number that a float can hold'):
        as_fraction(value)


# construction


def test_floats_stand_for_their_fractions():
    method = MultistepMethod([1 / 3, 5 / 9, 1 / 9], [16 / 9])
    assert sum(method.a) == 1 and method == METHODS['zerosnet-opt']
    assert all(type(c) is F for c in method.a + method.b)


@pytest.mark.parametrize(
    'a, b, steps, expected_a, expected_b',
    [
        ([1], [1, 2, 3], 3, (1, 0, 0), (1, 2, 3)),
        ([0, 1], [2], 2, (0, 1), (2, 0)),
        ([1, 0, 0], [1, 0], 1, (1,), (1,)),
        ([1, 0, 0, 0], [0, 1, 0], 2, (1, 0), (0, 1)),
        ('1', 1, 1, (1,), (1,)),
        (np.array([0.5, 0.5]), iter(['3/2']), 2, (F(1, 2), F(1, 2)), (F(3, 2), 0)),
    ],
)
def test_padding_and_trimming(a, b, steps, expected_a, expected_b):
    method = MultistepMethod(a, b)
    assert (method.steps, method.a, method.b) == (steps, expected_a, expected_b)
    assert method.rho == (*(-c for c in reversed(expected_a)), 1)


@pytest.mark.parametrize(
    'a, b, named',
    [
        ([], [1], r'a: expected at least one .* got \[\]'),
        ([1], [], r'b: expected at least one .* got \[\]'),
        ([0, 0.0], [1], 'a: expected'),
        ([1], [0], 'b: expected'),
        ([2, -1], [], 'b: expected'),
        ([1, 1], [0], 'b: expected'),
        ([1, -1], [0], 'b: expected'),
        ([1, math.nan], 1, 'nan'),
        (1, [math.inf], 'inf'),
        (['x'], [1], 'x'),
    ],
)
def test_refused_coefficients(a, b, named):
    with pytest.raises(ValueError, match=named):
        MultistepMethod(a, b)


def test_zero_slopes_where_consistency_asks_for_them():
    assert MultistepMethod([2, -1], [0]).b == (0, 0)
    assert MultistepMethod([3, -3, 1], [0]).is_consistent


def test_frozen_compared_and_hashed_by_coefficients():
    method = MultistepMethod([1 / 2, '1/2'], [1.5], 'mine', 'here')
    same = MultistepMethod([F(1, 2), 0.5, 0], ['3/2', 0], 'yours')
    assert method == same and hash(method) == hash(same) and len({method, same}) == 1
    assert method != MultistepMethod([0.5, 0.5], [1]) and method != MultistepMethod([1], [1.5])
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.a = (F(1),)
    assert method.is_zero_stable and method.roots and method.order == 1
    for twin in (pickle.loads(pickle.dumps(method)), copy.deepcopy(method)):
        assert (twin, twin.name, twin.roots) == (method, 'mine', method.roots)


# order


@pytest.mark.parametrize(
    'a, b, order, constant',
    [
        ([1], [1], 1, F(1, 2)),
        ([1], ['3/2', '-1/2'], 2, F(5, 12)),
        ([1], ['23/12', '-16/12', '5/12'], 3, F(3, 8)),
        ([1], ['55/24', '-59/24', '37/24', '-9/24'], 4, F(251, 720)),
        ([1], [F(c, 720) for c in (1901, -2774, 2616, -1274, 251)], 5, F(95, 288)),
        ([0, 1], [2], 2, F(1, 3)),
        ([0, 1], ['7/3', '-2/3', '1/3'], 3, F(1, 3)),  # Nystrom
        ([-4, 5], [4, 2], 3, F(1, 6)),  # Dahlquist's unstable one of maximal order
        ([1], [2], 0, F(-1)),
        ([1, 1], [1], None, None),
    ],
)
def test_order_and_error_constant_of_the_literature(a, b, order, constant):
    method = MultistepMethod(a, b)
    assert (method.order, method.error_constant) == (order, constant)
    assert method.is_consistent == (order not in (None, 0))


@pytest.mark.parametrize('method', [*METHODS.values(), optimal(4), optimal(7), zerosnet(2), zerosnet('1/3')], ids=str)
def test_exact_for_polynomials_up_to_the_order(method):
    def residual(q):  # of x = t^q from t = 0, -1, .. to t = 1
        states = sum(a * F(-i) ** q for i, a in enumerate(method.a))
        slopes = sum(b * q * F(-i) ** (q - 1) for i, b in enumerate(method.b)) if q else 0
        return 1 - states - slopes

    if method.order is None:
        assert residual(0) != 0
    else:
        assert [residual(q) for q in range(method.order + 1)] == [0] * (method.order + 1)
        assert residual(method.order + 1) == math.factorial(method.order + 1) * method.error_constant != 0


# roots and zero stability

small = st.fractions(-2, 2, max_denominator=4)
points = st.one_of(  # (re, im >= 0) of a root, a good part of them on the unit circle
    st.tuples(st.fractions(-1, 1, max_denominator=4), st.just(F(0))),
    st.tuples(st.fractions('-1/2', '1/2', max_denominator=4), st.fractions(0, '3/4', max_denominator=4)),
    st.fractions('1/4', 4, max_denominator=4).map(lambda t: ((1 - t * t) / (1 + t * t), 2 * t / (1 + t * t))),
    st.tuples(small, small.map(abs)),
)
known_roots = st.dictionaries(points, st.sampled_from([1, 1, 1, 2, 3, 4]), min_size=1, max_size=4)


def built(roots):
    assume(any(point != (0, 0) for point in roots))
    return method_of(*(pair(re, im) if im else linear(re) for (re, im), n in roots.items() for _ in range(n)))


def stable(roots):
    return all(re**2 + im**2 < 1 or re**2 + im**2 == n == 1 for (re, im), n in roots.items())


@settings(many, max_examples=examples(400))
@given(known_roots)
@example({(F(1), F(0)): 1, (F(3, 5), F(4, 5)): 1, (F(-3, 5), F(4, 5)): 1, (F(0), F(1, 2)): 3})
@example({(F(3, 5), F(4, 5)): 2})
@example({(F(1), F(0)): 1, (F(3, 5), F(4, 5) + F(1, 10**15)): 1})
@example({(F(1), F(0)): 1, (F(3, 5), F(4, 5) - F(1, 10**15)): 4})
@example({(F(2), F(0)): 1, (F(1, 2), F(0)): 1})
def test_decision_for_known_roots(roots):
    assert built(roots).is_zero_stable == stable(roots)


@many
@given(known_roots)
def test_roots_with_their_multiplicities(roots):
    method = built(roots)
    exact = [
        complex(re, sign * im) for (re, im), n in roots.items() for sign in ((1, -1) if im else (1,)) for _ in range(n)
    ]
    assert len(method.roots) == method.steps == len(exact)
    for z in exact:
        assert sum(abs(z - found) < 1e-6 for found in method.roots) == exact.count(z)
    moduli = [abs(z) for z in method.roots]
    assert moduli == pytest.approx(sorted(map(abs, exact), reverse=True), abs=1e-6)
    assert method.spectral_radius == pytest.approx(max(map(abs, exact)), abs=1e-6)
    if 1 in exact:
        exact.remove(1)
        assert method.parasitic_radius == pytest.approx(max(map(abs, exact), default=0), abs=1e-6)
    else:
        assert method.parasitic_radius is None


@many
@given(st.lists(st.floats(-2, 2), min_size=1, max_size=6))
def test_product_over_the_roots_and_decision_for_arbitrary_floats(a):
    assume(any(a))
    method = MultistepMethod(a, [0] * (len(a) - 1) + [1])
    product = np.poly(method.roots)
    assert np.allclose(product, [1, *(-c for c in a)], rtol=0, atol=1e-8)
    largest = max(abs(np.roots([1, *(-c for c in a)])), default=0)
    if abs(largest - 1) > 1e-3:
        assert method.is_zero_stable == (largest < 1)


@pytest.mark.parametrize('root', [F(-1, 5), F(1), F(3, 2)])
def test_quadruple_root_is_accurate(root):
    method = method_of(linear(-2), *[linear(root)] * 4)
    assert method.roots[0] == pytest.approx(-2, abs=1e-14)
    assert method.roots[1:] == pytest.approx([complex(root)] * 4, abs=1e-14)


@pytest.mark.parametrize('n', [*range(1, 13), 30])
def test_roots_of_unity(n):
    unity = [F(1)] + [F(0)] * (n - 1) + [F(-1)]
    assert method_of(unity).is_zero_stable
    assert method_of(unity, linear(F(1, 2)), linear(F(1, 2))).is_zero_stable
    assert not method_of(unity, unity).is_zero_stable
    assert not method_of(unity, linear(1)).is_zero_stable
    assert method_of(unity, linear(-1)).is_zero_stable == (n % 2 == 1)


@pytest.mark.parametrize(
    'rho',
    [
        [1, 1, 0, -1, -1, -1, -1, -1, 0, 1, 1],  # Lehmer: 1.1763, its reciprocal, eight on the circle
        [1, -1, -1, -1, 1],  # the smallest Salem number of degree 4
        [1, -3, 1],
        [1, 0, -3, 0, 1],
    ],
    ids=['lehmer', 'salem', 'golden', 'golden-even'],
)
def test_self_reciprocal_polynomials_with_roots_off_the_circle(rho):
    assert not method_of([F(c) for c in rho]).is_zero_stable


@pytest.mark.parametrize('n', [1, 2, 3, 4])
@pytest.mark.parametrize('side', [-1, 1])
def test_a_hair_off_the_circle(side, n):
    hair = F(side, 10**30)
    assert method_of(linear(1), *[linear(-1 - hair)] * n).is_zero_stable == (side < 0)
    assert method_of(linear(-1), *[linear(1 + hair)] * n).is_zero_stable == (side < 0)


# absolute stability

PLANE = np.linspace(-3, 1, 41) + 1j * np.linspace(-2, 2, 41)[:, None]


def test_amplification_of_euler_is_the_disc():
    assert METHODS['euler'].amplification(PLANE) == pytest.approx(np.abs(1 + PLANE), abs=1e-12)


def test_amplification_of_two_step_methods():
    """Roots of a quadratic: ``z^2 - (a0 + b0 z) z - (a1 + b1 z)``."""
    for name in ('midpoint', 'ab2'):
        method = METHODS[name]
        (a0, a1), (b0, b1) = ([float(c) for c in row] for row in (method.a, method.b))
        half, root = (a0 + b0 * PLANE) / 2, np.sqrt(((a0 + b0 * PLANE) / 2) ** 2 + a1 + b1 * PLANE)
        expected = np.maximum(np.abs(half + root), np.abs(half - root))
        assert method.amplification(PLANE) == pytest.approx(expected, abs=1e-7)


@many
@given(st.floats(0.01, 2 * math.pi - 0.01))
def test_locus_is_where_a_root_lies_on_the_circle(angle):
    for name in ('euler', 'zerosnet-opt', 'ab3', 'ab4'):
        method, zeta = METHODS[name], np.exp(1j * angle)
        z = complex(method.boundary_locus(np.array([angle]))[0])
        rho = np.polyval([1, *(-float(c) for c in method.a)], zeta)
        assert rho == pytest.approx(z * np.polyval([float(c) for c in method.b], zeta), abs=1e-9)
        assert method.amplification(z) >= 1 - 1e-6


@pytest.mark.parametrize(
    'name, end',
    [
        ('euler', -2),
        ('ab2', -1),
        ('ab3', F(-6, 11)),
        ('ab4', F(-3, 10)),
        ('midpoint', 0),
        ('zerosnet-opt', F(-1, 2)),
        ('all-ones', None),
    ],
)
def test_stability_interval(name, end):
    method = METHODS[name]
    assert method.stability_interval == (None if end is None else pytest.approx(float(end), abs=1e-6))
    if end:
        assert method.amplification(float(end) * 0.999) <= 1 < method.amplification(float(end) * 1.001)


@many
@given(st.one_of(st.floats(-50, -1.001), st.floats(0.34, 50)))
def test_stability_interval_of_the_family(lam):
    method = zerosnet(lam)
    end = method.stability_interval
    inside = np.linspace(end, 0, 30)[1:-1]
    assert end <= 0 and (method.amplification(inside) <= 1 + 1e-9).all()
    assert method.amplification(end - 1e-3) > 1


CIRCLE = [linear(-1), pair(F(3, 5), F(4, 5)), pair(0, 1), [F(1)] * 3, [F(1)] * 5]  # monic, with simple roots on it


@pytest.mark.parametrize(
    'text, end',
    [
        ('a(0,0,0,0,1) b(1,1,1,1,1)', -2),  # the fifth roots of unity stay where they are
        ('a(11/5,-11/5,1) b(1,-6/5,1)', -2),
        ('a(0,1) b(1,1)', -2),
        ('a(1,-1) b(1)', -3),  # both roots move along the circle
        ('a(3/5) b(-19/10)', F(-4, 19)),  # the root, which begins inside, leaves through 1
        ('a(-1) b(1)', 0),
        ('a(-64/441,0,1,64/441) b(-1,-1/2,4/3)', 0),  # the curve crosses the axis at 0
        ('a(-84/815,0,84/815,1) b(-2/3,2,12,9)', 0),
    ],
)
def test_stability_interval_with_roots_on_the_circle(text, end):
    assert parse_method(text).stability_interval == (pytest.approx(float(end), abs=1e-6) if end else 0)


@pytest.mark.parametrize(
    'method, end',
    [
        ('a(1) b(1e10,-9999999999)', -1e-10),
        ('a(1) b(1e-300)', -2e300),
        (design(15, 9).method, -2.883638684638e-12),  # by a computation of 50 digits
    ],
    ids=str,
)
def test_stability_interval_of_any_scale(method, end):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert parse_method(method).stability_interval == pytest.approx(end, rel=1e-6, abs=0)


def test_locus_where_both_polynomials_vanish():
    method = parse_method('a(0,0,0,1) b(1,1,1,1)')  # (z^4 - 1) / (z^3 + z^2 + z + 1) is z - 1
    angles = np.linspace(0, 2 * np.pi, 17)
    assert np.allclose(method.boundary_locus(angles), np.exp(1j * angles) - 1)


def test_longer_floats_are_rounded_first():
    assert as_fraction(np.longdouble('0.1')) == F(1, 10)


inside = st.fractions(F(-9, 10), F(9, 10), max_denominator=10)


@settings(many, max_examples=examples(60))
@given(
    st.lists(inside, max_size=3),
    st.lists(st.fractions(-2, 2, max_denominator=10), min_size=1, max_size=4),
    st.lists(st.sampled_from(CIRCLE), max_size=2, unique_by=str),
    st.sampled_from(CIRCLE),
)
def test_stability_interval_is_where_nothing_grows(roots, b, common, own):
    """Whether roots stay on the circle (common to rho and sigma), begin on it, or lie inside."""
    rho, sigma = own if len(roots) < 2 else linear(1), b
    for factor in map(linear, roots):
        rho = times(rho, factor)
    for factor in common:
        rho, sigma = times(rho, factor), times(sigma, factor)
    assume(any(b) and len(sigma) < len(rho))
    method = MultistepMethod([-c for c in rho[1:]], [F(0)] * (len(rho) - 1 - len(sigma)) + sigma)
    assume(method.is_zero_stable)
    end, grid = method.stability_interval, -np.arange(0, 8, 2e-3)
    grown = method.amplification(grid) > 1 + 1e-6
    assert grid[grown][0] - 1e-3 <= end <= grid[grown][0] + 3e-3 if grown.any() else end <= grid[-1]
