"""Linear multistep methods: exact coefficients, order of accuracy and zero stability.

A method is ``x[n+1] = sum_i a[i] x[n-i] + h sum_j b[j] f(x[n-j])``, ``i, j = 0..k-1``. Order and zero stability are
decided on fractions. Roots in floating point serve display only: numpy's err by 2e-4 at a quadruple root.

References:
    Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, chapter III.
    Dahlquist, Convergence and stability in the numerical integration of ordinary differential
    equations, Math. Scand. 4 (1956).
    Miller, On the location of zeros of certain classes of polynomials with applications to numerical analysis,
    J. Inst. Maths Applics 8 (1971): the exact decision of zero stability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from numbers import Rational, Real
from typing import Any, Callable, Iterable, Sequence, Union

import numpy as np

Coefficient = Union[int, float, str, Fraction]
Coefficients = Union[Coefficient, Iterable[Coefficient]]
LARGEST_FLOAT = float(np.finfo(np.float64).max)
ROUNDING = 1e-9  # by which a modulus in floating point may exceed 1
MOST_BITS = 2000  # a numerator or denominator that is longer is written as a float
Polynomial = tuple[Fraction, ...]  # ascending powers, the last entry is not zero


def as_fraction(value: Coefficient) -> Fraction:
    """The exact number that ``value`` stands for.

    Integers, fractions and strings such as ``'-9/5'`` stand for themselves; a float stands for the simplest
    fraction that rounds to it, so ``1/3`` is one third.

    Raises:
        ValueError: if ``value`` is no number, not finite, or decimal text beyond the range of a float, on either side.
    """
    try:
        return _exact(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(
            "coefficient: expected a finite number that a float can hold, such as 1, 0.5, Fraction(5, 9) or '-9/5', "
            f'got {shown(value)}'
        ) from None


def _exact(value: Coefficient) -> Fraction:
    if isinstance(value, Rational):
        # a numpy integer left inside a Fraction would wrap around
        return Fraction(int(value.numerator), int(value.denominator))
    if isinstance(value, Real):
        if not math.isfinite(value):
            raise ValueError
        return _simplest_fraction(value)
    text = str(value).strip()
    if '/' not in text:  # as a float first: the digits of 1e999999999 as a fraction would fill the memory
        number = float(text)
        if not math.isfinite(number):
            raise OverflowError
        if number == 0:
            if any(digit in '123456789' for digit in text.lower().partition('e')[0]):
                raise OverflowError
            return Fraction(0)
    return Fraction(text)


def shown(value: object, most: int = 60) -> str:
    """A given value as a message of one line shows it, shortened to ``most`` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of more than 4300 digits
        text = 'a number of thousands of digits'
    return text if len(text) <= most else f'{text[: most - 3]}...'


def written(value: Fraction) -> str:
    """The number as a fraction, or as a float where a fraction would fill lines."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) <= MOST_BITS:
        return str(value)
    try:
        return f'{float(value):.17g}'
    except OverflowError:
        return 'inf' if value > 0 else '-inf'


def _simplest_fraction(value: Any) -> Fraction:
    """Of the numbers that round to a float of Python or numpy, the simplest fraction; a longer one is rounded first."""
    value = float(value) if isinstance(value, np.longdouble) else value
    kind = type(value)
    exact = Fraction(float(value))
    if exact.denominator == 1:
        return exact
    half_gap = Fraction(float(np.spacing(np.abs(value)))) / 2
    simplest = _simplest_between(abs(exact) - half_gap, abs(exact) + half_gap)
    # at the very ends of the interval a tie may round away from value
    if kind(float(simplest)) != abs(value):
        simplest = abs(exact)
    return simplest if exact >= 0 else -simplest


def _simplest_between(low: Fraction, high: Fraction) -> Fraction:
    whole = math.ceil(low)
    if whole <= high:
        return Fraction(whole)
    whole = math.floor(low)
    return whole + 1 / _simplest_between(1 / (high - whole), 1 / (low - whole))


def _trim(p: Sequence[Fraction]) -> Polynomial:
    end = len(p)
    while end and p[end - 1] == 0:
        end -= 1
    return tuple(p[:end])


def satisfies_root_condition(p: Sequence[Fraction]) -> bool:
    """Whether every root has modulus <= 1 and those of modulus 1 are simple; decided exactly.

    Args:
        p: Coefficients of a polynomial, ascending powers, the last one not zero.
    """
    scale = math.lcm(*(c.denominator for c in p))
    rest = _reduce([int(c * scale) for c in p])
    if len(rest) == 1:
        return True
    # the product of these roots has modulus 1 or more, so all of them must lie on the circle. A polynomial with all
    # roots there reads the same from both ends, up to its sign; then Cohn: they are simple iff the roots of the
    # derivative lie inside
    mirrored = rest[::-1]
    if rest != mirrored and rest != [-c for c in mirrored]:
        return False
    return len(_reduce([i * c for i, c in enumerate(rest)][1:])) == 1


def _reduce(p: list[int]) -> list[int]:
    """What the Schur-Cohn recursion leaves: a constant iff all roots of ``p`` lie inside the unit circle.

    A step takes away one root inside the circle. It keeps the roots on the circle with their multiplicities, and the
    number of those outside. It is possible while the roots' product has a modulus < 1.
    """
    while len(p) > 1 and abs(p[0]) < abs(p[-1]):
        p = [p[-1] * c - p[0] * mirrored for c, mirrored in zip(p, reversed(p), strict=True)][1:]
        content = math.gcd(*p)  # otherwise the integers double their length in each step
        p = [c // content for c in p]
    return p


def _without_common_roots(p: Polynomial, q: Polynomial) -> tuple[Polynomial, Polynomial]:
    """Both polynomials divided by their greatest common divisor; that of ``p``, which is monic, stays so."""
    polys = [_as_sympy(p), _as_sympy(q)]
    common = polys[0].gcd(polys[1])
    first, second = (
        tuple(Fraction(int(c.p), int(c.q)) for c in reversed(poly.quo(common).all_coeffs())) for poly in polys
    )
    return first, second


def _quotient(p: Polynomial, q: Polynomial, z: np.ndarray) -> np.ndarray:
    """``p / q``, not finite where ``q`` is 0."""
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.polyval([float(c) for c in reversed(p)], z) / np.polyval([float(c) for c in reversed(q)], z)


def _as_sympy(p: Sequence[Fraction]) -> Any:
    from sympy import QQ, Poly, Symbol  # torch needs it as well, but loads it late

    return Poly.from_list([QQ(c.numerator, c.denominator) for c in reversed(p)], Symbol('z'), domain=QQ)


def _find_roots(p: Sequence[Fraction]) -> tuple[complex, ...]:
    """Roots in floating point, each as often as its multiplicity, largest modulus first."""
    found = [
        complex(z)
        for factor, multiplicity in _as_sympy(p).sqf_list()[1]
        for z in np.roots([int(c.p) / int(c.q) for c in factor.monic().all_coeffs()])
        for _ in range(multiplicity)
    ]
    return tuple(sorted(found, key=lambda z: (-round(abs(z), 12), -z.real, z.imag)))


@dataclass(frozen=True, init=False)
class MultistepMethod:
    """An explicit linear multistep method with exact coefficients.

    ``x[n+1] = sum_i a[i] x[n-i] + h sum_j b[j] f(x[n-j])``

    Args:
        a: Weights of the states, newest first, at least one that is not zero. Each is an integer, a finite float (it
            stands for the simplest fraction that rounds to it), a Fraction or a string such as ``'5/9'``.
        b: Weights of the slopes, newest first, given likewise. They may all be zero only where consistency asks for it
            (a double root at 1, such as ZeroSNet's lambda = 1/3). The shorter of ``a`` and ``b`` is padded with zeros;
            zeros at the end of both are dropped.
        name: What to call the method; not compared.
        source: Where the method comes from; not compared.

    Raises:
        ValueError: if ``a`` or ``b`` is empty, all zero, not finite or beyond the range of a float.

    Examples:
        >>> MultistepMethod([1/3, 5/9, 1/9], [16/9]).order
        2
    """

    a: tuple[Fraction, ...]
    b: tuple[Fraction, ...]
    name: str = field(default='', compare=False)
    source: str = field(default='', compare=False)

    def __init__(self, a: Coefficients, b: Coefficients, name: str = '', source: str = ''):
        states = _read_coefficients('a', a)
        slopes = _read_coefficients('b', b, may_be_zero=sum(states) == 1 and _slope_weight(states) == 0)
        steps = max(len(_trim(states)), len(_trim(slopes)))
        padded = ((*_trim(c), *[Fraction(0)] * (steps - len(_trim(c)))) for c in (states, slopes))
        for field_name, value in zip(('a', 'b', 'name', 'source'), (*padded, name, source), strict=True):
            object.__setattr__(self, field_name, value)

    @property
    def steps(self) -> int:
        """Number k of history terms; the first k - 1 steps need a starting method."""
        return len(self.a)

    @property
    def rho(self) -> Polynomial:
        """Characteristic polynomial ``z^k - a[0] z^(k-1) - ... - a[k-1]``, ascending powers."""
        return tuple(-c for c in reversed(self.a)) + (Fraction(1),)

    @cached_property
    def is_zero_stable(self) -> bool:
        """Whether every root of rho has modulus <= 1 and those of modulus 1 are simple; decided exactly."""
        return satisfies_root_condition(self.rho)

    @property
    def formula(self) -> str:
        """The update as it is written in papers, without h."""
        terms = [(c, f'x[n{-i or ""}]') for i, c in enumerate(self.a)]
        terms += [(c, f'f(x[n{-j or ""}])') for j, c in enumerate(self.b)]
        text = ''
        for c, term in terms:
            if c:
                sign = '-' if c < 0 else '+' if text else ''
                text += f' {sign} ' if text else sign
                text += term if abs(c) == 1 else f'{written(abs(c))} {term}'
        return f'x[n+1] = {text}'

    @property
    def is_consistent(self) -> bool:
        """Whether ``sum a = 1`` and ``sum b = 1 + sum_i i a[i]``."""
        return self.order is not None and self.order >= 1

    @cached_property
    def order(self) -> int | None:
        """Order of accuracy p, from ``C_0 = ... = C_p = 0 != C_(p+1)``; None if even ``sum a != 1``."""
        p = 0
        while self._order_condition(p) == 0:
            p += 1
        return p - 1 if p else None

    @property
    def error_constant(self) -> Fraction | None:
        """``C_(p+1)``, the first order condition that does not vanish; None if the order is None."""
        return None if self.order is None else self._order_condition(self.order + 1)

    def _order_condition(self, q: int) -> Fraction:
        k = self.steps
        states = Fraction(k) ** q - sum(c * Fraction(k - 1 - i) ** q for i, c in enumerate(self.a))
        slopes = sum(c * Fraction(k - 1 - j) ** (q - 1) for j, c in enumerate(self.b)) if q else 0
        return (states - q * slopes) / math.factorial(q)

    @cached_property
    def roots(self) -> tuple[complex, ...]:
        """Roots of rho in floating point, each as often as its multiplicity, largest modulus first."""
        return _find_roots(self.rho)

    @property
    def spectral_radius(self) -> float:
        """Largest modulus among the roots of rho."""
        return max(abs(z) for z in self.roots)

    @property
    def parasitic_radius(self) -> float | None:
        """Largest modulus once one root z = 1 is taken out, 0 for one step; None if rho(1) is not 0."""
        if sum(self.a) != 1:
            return None
        *quotient, _ = accumulate(reversed(self.rho))  # of the division by z - 1 (Horner), descending powers
        return max((abs(z) for z in _find_roots(quotient[::-1])), default=0.0)

    def amplification(self, z: complex | np.ndarray) -> np.ndarray:
        """How much a step amplifies solutions of ``x' = z x`` (h = 1): the largest root modulus of ``rho - z sigma``.

        The region of absolute stability is where this is at most 1. Roots are eigenvalues in floating point: near a
        root of multiplicity m their modulus may be off by some 1e-16 to the power of 1/m.

        Args:
            z: Complex numbers of any shape; for a residual block, eigenvalues of the Jacobian of its branch.

        Returns:
            Floats of the shape of ``z``; for Euler's method ``|1 + z|``.
        """
        z = np.asarray(z, dtype=complex)
        a, b = np.array(self.a, dtype=float), np.array(self.b, dtype=float)
        companion = np.zeros((*z.shape, self.steps, self.steps), dtype=complex)
        companion[..., 0, :] = a + z[..., None] * b
        companion[..., np.arange(1, self.steps), np.arange(self.steps - 1)] = 1
        return np.abs(np.linalg.eigvals(companion)).max(-1)

    def boundary_locus(self, angles: np.ndarray) -> np.ndarray:
        """``rho / sigma`` at ``exp(i angle)``: the z with a root there; the region's boundary is part of this curve."""
        rho, sigma = _without_common_roots(self.rho, _trim(self.b[::-1])) if any(self.b) else (self.rho, self.b)
        return _quotient(rho, sigma, np.exp(1j * np.asarray(angles)))

    @cached_property
    def stability_interval(self) -> float | None:
        """The smallest x <= 0 such that [x, 0] is in the region of absolute stability; None if 0 is not.

        Euler -2, Adams-Bashforth -1, -6/11, -3/10 (Hairer, Norsett and Wanner, Solving ODEs II, chapter V.1). What lies
        between the points where a root may leave the circle is decided exactly; the points themselves are found in
        floating point, so that near roots of high multiplicity the interval may come out too short.
        """
        if not self.is_zero_stable:
            return None
        rho, sigma = _without_common_roots(self.rho, _trim(self.b[::-1]))
        angles = np.linspace(0, math.pi, 20_001)[1:-1]
        locus = _quotient(rho, sigma, np.exp(1j * angles))
        before, after = locus[:-1], locus[1:]
        crosses = np.isfinite(before) & np.isfinite(after) & (np.sign(before.imag) * np.sign(after.imag) < 0)
        low, high = angles[:-1][crosses], angles[1:][crosses]
        for _ in range(50):
            middle = (low + high) / 2
            sides = (np.sign(_quotient(rho, sigma, np.exp(1j * angle)).imag) for angle in (low, middle))
            same = np.equal(*sides)
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        on_axis = _quotient(rho, sigma, np.array([1.0, -1.0]))
        ends = [*_quotient(rho, sigma, np.exp(1j * low)).real, *on_axis.real]
        reached = 0.0
        for end in sorted((float(x) for x in ends if np.isfinite(x) and x < 0), reverse=True):
            # eigenvalues in floating point would be wrong near multiple roots, and near 0
            third = (Fraction(reached) - Fraction(end)) / 3
            x = -_simplest_between(-Fraction(reached) + third, -Fraction(end) - third)
            slopes = (*sigma, *[Fraction(0)] * (len(rho) - len(sigma)))
            if end < reached and not satisfies_root_condition([r - x * s for r, s in zip(rho, slopes, strict=True)]):
                break
            reached = end
        return reached

    @property
    def verdict(self) -> str:
        """Consistency and zero stability in words, with what speaks against them."""
        if self.is_zero_stable:
            stable = 'zero-stable'
        else:
            roots = ', '.join(_format_root(z) for z in self.roots)
            stable = (
                f'not zero-stable: the roots of its characteristic polynomial are {roots}; every modulus must '
                'be at most 1, and roots of modulus 1 simple'
            )
        if self.is_consistent:
            return f'{stable}; consistent, order {self.order}'
        sums, weight = [sum(values, Fraction(0)) for values in (self.a, self.b)], _slope_weight(self.a)
        wrong = {
            f'sum a = {written(sums[0])} (must be 1)': sums[0] != 1,
            f'sum b = {written(sums[1])} (must be 1 + sum i a[i] = {written(weight)})': sums[1] != weight,
        }
        return f'{stable}; not consistent: {", ".join(text for text, is_wrong in wrong.items() if is_wrong)}'

    @property
    def text(self) -> str:
        """The coefficients as ``parse_method`` reads them, such as ``'a(1/3,5/9,1/9) b(16/9)'``."""
        return self._text(str)

    def __str__(self) -> str:
        return self.name or self._text(written)

    def _text(self, write: Callable[[Fraction], str]) -> str:
        a, b = (','.join(write(c) for c in _trim(coefficients) or (Fraction(0),)) for coefficients in (self.a, self.b))
        return f'a({a}) b({b})'


def _read_coefficients(key: str, given: Coefficients, may_be_zero: bool = False) -> list[Fraction]:
    values = [given] if isinstance(given, (str, int, float, Fraction, Real)) else list(given)
    exact = [as_fraction(v) for v in values]
    if not exact or not (may_be_zero or any(exact)):
        raise ValueError(f'{key}: expected at least one coefficient that is not zero, got {shown(given)}')
    if any(abs(c) > LARGEST_FLOAT for c in exact):
        raise ValueError(f'{key}: expected coefficients that a float can hold, got {shown(given)}')
    return exact


def _slope_weight(a: Sequence[Fraction]) -> Fraction:
    """What sum b is of a consistent method: rho'(1)."""
    return sum((i * c for i, c in enumerate(a)), Fraction(1))


def _format_root(z: complex) -> str:
    return f'{z.real:.4f}' if abs(z.imag) < 1e-12 else f'{z.real:.4f}{z.imag:+.4f}i'


class ZeroStabilityWarning(UserWarning):
    """A network is built with a method that is not zero-stable or not consistent."""
