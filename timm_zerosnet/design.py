"""Design of one-slope methods: what an order leaves free, which choices are zero-stable, the smallest parasitic radius.

A one-slope method ``x[n+1] = sum_i a[i] x[n-i] + b0 f(x[n])`` of k steps has ``rho(z) = (z - 1) q(z)``; the roots
z_1 .. z_(k-1) of q are the parasitic ones. Let ``w_j = 1 / (1 - z_j)``, e_m the m-th elementary symmetric function of
the w_j, and u = z - 1. Then ``q(1 + u) = b0 (1 + e_1 u + e_2 u^2 + ...)``. Order p means ``rho = b0 z^(k-1) log z`` up
to u^p, that is, e_1 .. e_(p-1) are the coefficients of ``(1 + u)^(k-1) log(1 + u) / u``. All else follows from this.

*Which orders there are.* The coefficient of u^k in that series is -1 / (k (k + 1)), but e_k = 0: k steps reach order k
and no more. k - p parameters are left: b0 and a[0], a[1], ...; the other a follow from them, exactly.

*A bound.* The disc ``|z| <= r < 1`` is a disc of w, ``|z| <= 1`` the half-plane Re w >= 1/2. By the theorem of Gauss
and Lucas a disc or half-plane that holds all w_j also holds the roots of the derivatives of ``N(x) = prod (x - w_j)``.
The (k - p)-th is known from e_1 .. e_(p-1) alone. So no zero-stable method of k steps and order p has a smaller
parasitic radius than ``radius_bound``, the largest ``|1 - 1/w|`` among the roots w of that derivative. Where that is
above 1 there is none.

*Where the bound is attained.* Let x = 1 / (1 + r) and d_j = w_j - x. In the disc every d_j is 0 or has a positive real
part, so e_1(d) .. e_(p-1)(d), which the order fixes as well, are >= 0. Where the bound is that of a root z = -r, the
last of them is 0, so that at most p - 2 of the d_j are not 0. Then the method is unique: k - p + 1 parasitic roots are
-r, the other p - 2 follow. It is the optimum if these lie in the disc, which is decided by computing them.

*Order 2* is the simplest case, true of every k >= 2: sum w_j = k - 3/2, and Re w_j >= 1 / (1 + r) with equality at
z_j = -r alone. So r >= 1 / (2k - 3), reached by all z_j = -r: ``rho(z) = (z - 1)(z + r)^(k-1)``, b0 = (1 + r)^(k-1).

*Order 3*, for every k >= 4: sum d_j and sum d_j^2 are fixed. The latter is at most sum (Re d_j)^2, with Re d_j between
0 and 2 r / (1 - r^2), which for a fixed sum is largest where all but one are at the ends. So the roots of the optimum
are real, all of them -r or r but one in between, and r is the smallest that lets the sum of squares be as large as it
must be. Up to k = 6 none is r, and the bound above is attained: r = 1/x - 1 with
``x = (k - 3/2 - sqrt((7k - 10) / (12 (k - 2)))) / (k - 1)``.

*Order 4 and above*: the bound is attained with up to 8, 9, 11, 13, 14 steps at order 4, 5, 6, 7, 8. With more steps a
search over the roots takes the best that it finds.

References:
    Blondel, Gurbuzbalaban, Megretski, Overton, Explicit solutions for root optimization of a polynomial family with one
    affine constraint, IEEE Trans. Automatic Control 57 (2012): one condition, such as order 2, in general.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Iterator, NamedTuple, Sequence

import numpy as np
from tqdm import tqdm

from ._errors import counted
from ._files import need
from .methods import METHODS, optimal
from .multistep import Coefficient, MultistepMethod, as_fraction, satisfies_root_condition

MOST_STEPS = 64
MOST_SEARCHED = 12  # steps; a search with more takes minutes
RANDOM_STARTS = 8  # a search begins at so many random points, and at the design of one step less
CLOSE = 1e-4  # how far, relatively, a rational method may lie above the radius it approximates
SOURCE = 'this package: small parasitic radius of order {} with one slope'


class Interval(NamedTuple):
    """An interval of b0, with or without its ends."""

    low: Fraction
    has_low: bool
    high: Fraction
    has_high: bool

    def __str__(self) -> str:
        return f'{self.low} {"<=" if self.has_low else "<"} b0 {"<=" if self.has_high else "<"} {self.high}'


@dataclass(frozen=True)
class Design:
    """A method of small parasitic radius, and how small it can be.

    Args:
        steps: Number of history terms asked for.
        order: Order of accuracy asked for.
        method: Exact, of that order, zero-stable.
        radius: The smallest radius known. The method's own lies at most 0.01 % above it, because the coefficients are
            fractions, which those of the optimum need not be.
        bound: A radius that no such method undercuts.
        proven: Whether ``radius`` is the smallest there is.
    """

    steps: int
    order: int
    method: MultistepMethod
    radius: float
    bound: float
    proven: bool

    @property
    def free(self) -> dict[str, Fraction]:
        """The method's values of the parameters that the order leaves free."""
        a = (*self.method.a, *[Fraction(0)] * self.steps)
        values = {'b0': self.method.b[0], **{f'a{i}': a[i] for i in range(self.steps)}}
        return {name: values[name] for name in free_parameters(self.steps, self.order)}


def order_conditions(steps: int, order: int) -> tuple[Fraction, ...]:
    """What an order asks of the parasitic roots of a one-slope method.

    Args:
        steps: Number k of history terms, 1 to 64.
        order: Order of accuracy p, 1 to k.

    Returns:
        ``e_0 = 1, e_1, .. e_(p-1)``: the elementary symmetric functions that ``1 / (1 - z_j)`` over the k - 1 parasitic
        roots must have. ``order_conditions(k, 2)`` is ``(1, k - 3/2)``.

    Raises:
        ValueError: for a number out of its range; no one-slope method of k steps has an order above k.
    """
    _check(steps, order)
    return tuple(
        sum((math.comb(steps - 1, m - i) * Fraction((-1) ** i, i + 1) for i in range(m + 1)), Fraction(0))
        for m in range(order)
    )


def _check(steps: int, order: int) -> None:
    for name, value in (('steps', steps), ('order', order)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_STEPS:
            raise ValueError(f'expected {name} to be an integer from 1 to {MOST_STEPS}, got {value!r}')
    if order > steps:
        raise ValueError(
            f'expected an order of at most {steps}, got {order}: no one-slope method of '
            f'{counted(steps, "step")} has it{_advice(steps, order)}'
        )


def _advice(steps: int, order: int) -> str:
    enough = [
        k
        for k in range(max(steps + 1, order), MOST_STEPS + 1)
        if can_be_zero_stable(k, order) and (k <= MOST_SEARCHED or order == 3 or _solve_by_bound(k, order))
    ]
    return f'; ask for {enough[0]} steps or a lower order' if enough else '; ask for a lower order'


def free_parameters(steps: int, order: int) -> tuple[str, ...]:
    """Names of the coefficients that the order leaves free, steps - order of them: ``'b0', 'a0', 'a1', ..``"""
    _check(steps, order)
    return ('b0', *(f'a{i}' for i in range(steps)))[: steps - order]


def _coefficients(steps: int, order: int, free: Sequence[Fraction]) -> tuple[list[Fraction], Fraction]:
    """``a`` and ``b0``; affine in ``free``."""
    known = order_conditions(steps, order)
    b0 = free[0] if free else 1 / known[-1]
    top = [Fraction(1)]  # coefficients of q from z^(k-1) down to z^order
    for a in free[1:]:
        top.append(top[-1] - a)
    powers = [b0 * e for e in known] + [Fraction(0)] * (steps - order)  # q in powers of z - 1
    for m, wanted in zip(range(steps - 1, order - 1, -1), top, strict=False):
        powers[m] = wanted - sum(powers[j] * math.comb(j, m) * (-1) ** (j - m) for j in range(m + 1, steps))
    return _states(powers), b0


def _states(powers: Sequence[Fraction]) -> list[Fraction]:
    """``a`` of ``rho = (z - 1) q``, for a monic q in ascending powers of z - 1."""
    count = len(powers)
    q = [sum(powers[j] * math.comb(j, m) * (-1) ** (j - m) for j in range(m, count)) for m in range(count)]
    return [Fraction(high - low) for high, low in zip(reversed(q), [*reversed(q[:-1]), 0], strict=True)]


def member(steps: int, order: int, *free: Coefficient) -> MultistepMethod:
    """The one-slope method with given free parameters.

    Args:
        steps: Number of history terms, 1 to 64.
        order: Order of accuracy that it has at least, 1 to ``steps``.
        *free: Values of ``free_parameters(steps, order)``, converted by ``as_fraction``; b0 is not 0.

    Raises:
        ValueError: for a number out of its range, or another count of free parameters.
    """
    names = free_parameters(steps, order)
    if len(free) != len(names):
        raise ValueError(f'expected {len(names)} free parameters ({", ".join(names) or "none"}), got {len(free)}')
    a, b0 = _coefficients(steps, order, [as_fraction(v) for v in free])
    return MultistepMethod(a, [b0])


def radii(steps: int, order: int, *free: np.ndarray) -> np.ndarray:
    """Parasitic radii of many methods at once, in floating point.

    Args:
        steps: Number of history terms, 2 to 64.
        order: Order of accuracy, 1 to ``steps`` - 1.
        *free: Arrays that broadcast against each other, one for each of ``free_parameters(steps, order)``.

    Returns:
        Floats of the arrays' common shape. A double root is off by about 1e-8.
    """
    return np.abs(parasitic_roots(steps, order, *free)).max(-1)


def parasitic_roots(steps: int, order: int, *free: np.ndarray) -> np.ndarray:
    """The parasitic roots behind ``radii``: ``(*shape, steps - 1)``, in no particular order."""
    count = len(free_parameters(steps, order))
    zero, ones = [Fraction(0)] * count, np.eye(count, dtype=int)
    base = np.array(_coefficients(steps, order, zero)[0], dtype=float)
    slopes = [np.array(_coefficients(steps, order, [Fraction(int(i)) for i in one])[0], dtype=float) for one in ones]
    a = base + sum(np.asarray(v)[..., None] * (slope - base) for v, slope in zip(free, slopes, strict=True))
    q = 1 - np.cumsum(a, -1)[..., :-1]  # of z^(k-2), .., z^0
    companion = np.zeros((*q.shape, steps - 1))
    companion[..., 0, :] = -q
    companion[..., np.arange(1, steps - 1), np.arange(steps - 2)] = 1
    return np.linalg.eigvals(companion)


def zero_stable_interval(steps: int, order: int) -> Interval | None:
    """All b0 with which a one-slope method of one free parameter (order k - 1 with k steps) is zero-stable, exactly.

    Two steps, order 1: 0 < b0 <= 2. Three, order 2: 0 < b0 <= 2, in ZeroSNet's family with b0 = (3 - 1/lambda) / 2
    lambda <= -1 or lambda > 1/3. Five and more: none.

    Returns:
        The interval, None if no method is zero-stable.

    Raises:
        ValueError: if the order is not ``steps`` - 1, or out of its range.
    """
    _check(steps, order)
    if order != steps - 1:
        raise ValueError(f'expected order = steps - 1, which leaves b0 free alone, got steps={steps}, order={order}')
    if not can_be_zero_stable(steps, order):
        return None
    # Hurwitz's conditions on d_j = w_j - 1/2, of which the order fixes all but e_n(d) = 1/b0 + shift
    n, known = steps - 1, order_conditions(steps, order)
    shift = Fraction(sum(e * Fraction(-1, 2) ** (n - i) for i, e in enumerate(known)))
    high, low = -1 / shift, Fraction(0)
    if n == 3:
        _, first, second = _shifted(known, n, Fraction(1, 2))
        low = Fraction(1 / (first * second - shift))
    has_low, has_high = (b0 != 0 and member(steps, order, b0).is_zero_stable for b0 in (low, high))
    return Interval(low, has_low, high, has_high)


def _shifted(e: Sequence[Any], n: int, x: Any) -> list[Any]:
    """The elementary symmetric functions ``e_0 .. e_m`` of ``w_j - x``, from those of the n numbers w_j."""
    return [sum(math.comb(n - i, m - i) * (-x) ** (m - i) * e[i] for i in range(m + 1)) for m in range(len(e))]


def _order_polynomial(steps: int, order: int) -> tuple[Fraction, ...]:
    """The known derivative of N as a polynomial in z, ascending powers: its roots lie in every disc of the z_j."""
    n, powers = steps - 1, [Fraction(0)] * order
    for i, e in enumerate(order_conditions(steps, order)):
        scale = (-1) ** i * e * math.factorial(n - i) / math.factorial(order - 1 - i)
        for j in range(i + 1):
            powers[j] += scale * math.comb(i, j) * (-1) ** j
    return tuple(powers)


def can_be_zero_stable(steps: int, order: int) -> bool:
    """Whether the bound leaves room for a zero-stable one-slope method; decided exactly. False is a proof of none."""
    return satisfies_root_condition(_order_polynomial(steps, order))


def radius_bound(steps: int, order: int) -> float:
    """A radius that no zero-stable one-slope method undercuts; above 1 where there is none.

    1 / (2k - 3) at order 2, 0 at order 1.

    Raises:
        ValueError: for a number out of its range.
    """
    return float(np.abs(_numeric_roots(_order_polynomial(steps, order))).max(initial=0))


def _numeric_roots(ascending: Sequence[Fraction]) -> np.ndarray:
    return np.roots([float(c / ascending[-1]) for c in reversed(ascending)])


def smallest_radius(steps: int, order: int) -> MultistepMethod:
    """The method of ``design``: exact coefficients, order and zero stability."""
    return design(steps, order).method


@functools.lru_cache(typed=True)
def design(steps: int, order: int, seed: int = 0, progress: bool = False) -> Design:
    """The zero-stable one-slope method with the smallest parasitic radius.

    Args:
        steps: Number of history terms, 1 to 64, or 1 to 12 where no proof gives the optimum, so that it is searched for
            (some seconds).
        order: Order of accuracy that the method has exactly. Order 1 is Euler, whose older states are not used.
        seed: Seed of the search's random starting points.
        progress: Whether to show the progress of a search on standard error.

    Returns:
        The method with what is known of its radius.

    Raises:
        ValueError: for a number out of its range, or where there is no zero-stable method, or none was found.
        MissingExtraError: for a search without scipy.
    """
    bound = radius_bound(steps, order)
    if order == 1:
        return Design(steps, order, METHODS['euler'], 0.0, 0.0, True)
    if order == 2:
        return Design(steps, order, optimal(steps), bound, bound, True)
    if not can_be_zero_stable(steps, order):
        raise ValueError(
            f'expected an order that {steps} steps reach with zero stability, got {order}: no zero-stable one-slope '
            f'method of {counted(steps, "step")} has it{_advice(steps, order)}'
        )
    optimum = _solve_order_3(steps) if order == 3 else _solve_by_bound(steps, order)
    if optimum:
        radius, kept = optimum
        return Design(steps, order, _rational(steps, order, kept, radius), radius, radius, True)
    if steps > MOST_SEARCHED:
        within_reach = [
            k
            for k in range(order, steps)
            if can_be_zero_stable(k, order) and (k <= MOST_SEARCHED or _solve_by_bound(k, order))
        ]
        advice = f'ask for {within_reach[-1]} steps or another order' if within_reach else 'ask for a lower order'
        raise ValueError(
            f'expected at most {MOST_SEARCHED} steps, or a number of steps that needs no search, at order {order}, got '
            f'{steps}; {advice}'
        )
    roots = _search(steps, order, seed, progress)
    radius = float(np.abs(roots).max())
    return Design(steps, order, _rational(steps, order, _to_keep(roots, order), radius), radius, bound, False)


def _solve_by_bound(steps: int, order: int) -> tuple[float, Sequence[complex]] | None:
    """The bound and ``1 / (1 - z)`` of the k - p roots to keep, where the bound is attained."""
    bound = radius_bound(steps, order)
    x = 1 / (1 + bound)
    if np.abs(_numeric_roots(_order_polynomial(steps, order)) + bound).min() > 1e-9:
        return None
    e = _shifted([float(c) for c in order_conditions(steps, order)], steps - 1, x)
    others = np.roots([(-1) ** m * e[m] for m in range(order - 1)])
    inside = (np.abs(1 - 1 / (x + others)) <= bound + 1e-9).all()
    return (bound, [x] * (steps - order)) if inside else None


def _solve_order_3(steps: int) -> tuple[float, Sequence[complex]]:
    """The smallest radius of order 3 and ``1 / (1 - z)`` of all roots but one -r and the one in between."""
    n, (_, first, e2) = steps - 1, map(float, order_conditions(steps, 3))

    def excess(r: float) -> tuple[float, int]:  # of the largest sum d^2 over what the order asks for; number of roots r
        x, width = 1 / (1 + r), 2 * r / (1 - r * r)
        total = first - n * x
        whole = math.floor(total / width)
        asked = first * first - 2 * e2 - 2 * x * first + n * x * x
        return whole * width**2 + (total - whole * width) ** 2 - asked, whole

    low, high = 1 / (2 * steps - 3), 0.999
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (low, middle) if excess(middle)[0] >= 0 else (middle, high)
    ends = excess(high)[1]
    return high, [1 / (1 - high)] * ends + [1 / (1 + high)] * (n - 2 - ends)


def _rational(steps: int, order: int, kept: Sequence[complex], radius: float) -> MultistepMethod:
    """The method with the simplest rational ``kept`` that keeps the radius; the order gives the other p - 1 roots.

    The order's conditions are linear in these: of ``q(1 + u) / b0 = G(u) H(u)``, with G of the kept roots, they are
    ``H = (known series) / G`` up to u^(p-1).
    """
    known = order_conditions(steps, order)
    for digits in range(2, 25):
        product = np.array([Fraction(1)])
        for w in kept:
            real, square = (Fraction(v).limit_denominator(math.isqrt(10**digits)) for v in (w.real, abs(w) ** 2))
            product = np.convolve(product, [1, real] if w.imag == 0 else [1, 2 * real, square])
        rest: list[Fraction] = []
        for m in range(order):
            rest.append(known[m] - sum(product[i] * rest[m - i] for i in range(1, min(m, len(product) - 1) + 1)))
        e = np.convolve(product, rest)
        if e[-1] == 0:
            continue
        method = MultistepMethod(_states([c / e[-1] for c in e]), [1 / e[-1]], source=SOURCE.format(order))
        is_close = (method.parasitic_radius or 0.0) <= radius * (1 + CLOSE)
        if is_close and method.order == order and method.is_zero_stable:  # the slowest question last
            return method
    raise ValueError(
        f'expected to find a zero-stable method of {steps} steps and order {order}, got none: ask for another order'
    )


def _to_keep(roots: np.ndarray, order: int) -> list[complex]:
    """``1 / (1 - z)`` of all roots but p - 1, one of each pair; those left out are single, so that they move little."""
    radius = np.abs(roots).max()
    ends = [end for end in (-radius, radius) for z in roots if abs(z - end) < 1e-3 * radius]
    inner = [
        complex(z.real, 0 if abs(z.imag) < 1e-6 else z.imag)
        for z in roots
        if min(abs(z - radius), abs(z + radius)) >= 1e-3 * radius
    ]
    singles = [*(z for z in inner if z.imag >= 0), *dict.fromkeys(ends)]
    kept, left = [1 / (1 - complex(z)) for z in ends], order - 1
    for z in singles:
        w, size = 1 / (1 - complex(z)), 1 if z.imag == 0 else 2
        if size <= left:
            left -= size
            if z in ends:
                kept.remove(w)
        elif z not in ends:
            kept.append(w)
    for _ in range(left):
        kept.pop()
    return kept


def _search(steps: int, order: int, seed: int, progress: bool = False) -> np.ndarray:
    """Parasitic roots of small radius that satisfy the order up to rounding.

    The unknowns are r and the factors ``z^2 + r b z + r^2 c`` of q with ``|c| <= 1, |b| <= 1 + c``. These inequalities
    say that the roots have modulus at most r, and they make real and complex pairs one smooth family. The order's
    conditions are put on the logarithm of q(1 + u), where the factors' contributions add up.
    """
    need('robustness')
    from scipy.optimize import minimize

    n = steps - 1
    pairs, odd = divmod(n, 2)
    wanted = _log_series(np.array([[float(e)] for e in order_conditions(steps, order)]))[1:, 0]

    def factors(x):
        r, b, c = x[0], x[1 : 1 + pairs + odd], np.append(x[1 + pairs + odd :], np.zeros(odd))
        f = np.zeros((order, pairs + odd))
        f[0], f[1], f[2] = 1 + r * b + r * r * c, 2 + r * b, 1
        if odd:
            f[0, -1], f[1, -1], f[2, -1] = 1 + r * b[-1], 1, 0
        return r, b, c, f

    def residual(x):
        return _log_series(factors(x)[-1])[1:].sum(-1) - wanted

    def jacobian(x):
        r, b, c, f = factors(x)
        inverse = _inverse_series(f)
        by_c = inverse[1:]
        by_b = by_c + inverse[:-1]
        if odd:
            by_b[:, -1] = by_c[:, -1]
        by_r = (by_b * b + by_c * 2 * r * c).sum(-1, keepdims=True)
        return np.hstack([by_r, r * by_b, r * r * by_c[:, :pairs]])

    bound_by_c = np.hstack([np.zeros((pairs, 1)), np.eye(pairs, pairs + odd), np.zeros((pairs, pairs))])
    sums = np.hstack([np.zeros((pairs, 1 + pairs + odd)), np.eye(pairs)])
    triangle = np.vstack([sums - bound_by_c, sums + bound_by_c])
    constraints = [
        {'type': 'eq', 'fun': residual, 'jac': jacobian},
        {'type': 'ineq', 'fun': lambda x: triangle @ x + 1, 'jac': lambda x: triangle},
    ]
    limits = [(radius_bound(steps, order), 0.999), *[(-2, 2)] * pairs, *[(-1, 1)] * odd, *[(-1, 1)] * pairs]
    slope = np.eye(len(limits))[0]
    best = None
    starts = _starts(steps, order, seed, progress)
    what = f'searching {steps} steps, order {order}'
    for x in tqdm(starts, what, RANDOM_STARTS + 1, leave=False, unit='start', disable=not progress):
        found = minimize(
            lambda x: x[0], x, jac=lambda x: slope, method='SLSQP', bounds=limits, constraints=constraints,
            options={'maxiter': 300, 'ftol': 1e-14},
        )  # fmt: skip
        if np.abs(residual(found.x)).max() < 1e-9 and (best is None or found.x[0] < best[0]):
            best = found.x
    if best is None:
        raise ValueError(f'expected to find a zero-stable method of {steps} steps and order {order}, got none')
    r, b, c, _ = factors(best)
    roots = [z for i in range(pairs) for z in np.roots([1, r * b[i], r * r * c[i]])]
    return np.array([*roots, -r * b[-1]] if odd else roots, dtype=complex)


def _inverse_series(f: np.ndarray) -> np.ndarray:
    """Coefficients (rows) of 1 / f as a power series, for each column."""
    inverse = np.zeros_like(f)
    inverse[0] = 1 / f[0]
    for m in range(1, len(f)):
        inverse[m] = -(f[1 : m + 1] * inverse[m - 1 :: -1][:m]).sum(0) / f[0]
    return inverse


def _log_series(f: np.ndarray) -> np.ndarray:
    """Coefficients of log f likewise; the constant one is left at 0."""
    inverse, series = _inverse_series(f), np.zeros_like(f)
    for m in range(1, len(f)):
        series[m] = sum(i * f[i] * inverse[m - i] for i in range(1, m + 1)) / m
    return series


def _starts(steps: int, order: int, seed: int, progress: bool) -> Iterator[np.ndarray]:
    """Where the search begins: the design of one step less with a further root 0, then random points."""
    pairs, odd = divmod(steps - 1, 2)
    before = design(steps - 1, order, seed, progress)
    roots = sorted([*before.method.roots[1:], 0j], key=lambda z: (z.imag == 0, z.real, abs(z.imag)))
    two = np.array(roots[: 2 * pairs]).reshape(pairs, 2)
    b, c = -two.sum(-1).real / before.radius, two.prod(-1).real / before.radius**2
    yield np.array([before.radius, *b, *(-z.real / before.radius for z in roots[2 * pairs :]), *c])
    rng = np.random.default_rng(seed)
    for _ in range(RANDOM_STARTS):
        c = rng.uniform(-1, 1, pairs)
        b = rng.uniform(-1, 1, pairs) * (1 + c)
        yield np.array([rng.uniform(before.bound, 0.95), *b, *rng.uniform(-1, 1, odd), *c])
