"""Linear multistep methods: exact coefficients, order of accuracy and zero stability.

A method is ``x[n+1] = sum_i a[i] x[n-i] + h sum_j b[j] f(x[n-j])``, ``i, j = 0..k-1``. Everything that
decides is computed on fractions; floating point serves display only, because the roots that numpy finds
err by 2e-4 at a quadruple root.

References:
    Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, chapter III.
    Dahlquist, Convergence and stability in the numerical integration of ordinary differential
    equations, Math. Scand. 4 (1956).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from numbers import Rational, Real
from typing import Callable, Sequence, Union

import numpy as np

Coefficient = Union[int, float, str, Fraction]
LARGEST = float(np.finfo(np.float64).max)
LONG = 2000  # bits; longer numbers are written as floats
Polynomial = tuple[Fraction, ...]  # ascending powers, the last entry is not zero; () is the zero polynomial


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
    if '/' not in text:  # first as a float: the digits of 1e999999999 would fill the memory
        number = float(text)
        if not math.isfinite(number):
            raise OverflowError
        if number == 0:
            if any(digit in '123456789' for digit in text.lower().partition('e')[0]):
                raise OverflowError
            return Fraction(0)
    return Fraction(text)


def shown(value: object, most: int = 60) -> str:
    """What was given, for a message of one line."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integers of more than 4300 digits
        text = f'a {type(value).__name__} of thousands of digits'
    return text if len(text) <= most else f'{text[: most - 3]}...'


def written(value: Fraction) -> str:
    """The number as a fraction, or as a float where that would fill lines."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) <= LONG:
        return str(value)
    try:
        return f'{float(value):.17g}'
    except OverflowError:
        return 'inf' if value > 0 else '-inf'


def _simplest_fraction(value) -> Fraction:
    kind = type(value)
    exact = Fraction(float(value))
    if exact.denominator == 1:
        return exact
    half_gap = Fraction(float(np.spacing(np.abs(value)))) / 2
    simplest = _simplest_between(abs(exact) - half_gap, abs(exact) + half_gap)
    # at the very edge of the interval ties may round away from value
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


def _monic(p: Polynomial) -> Polynomial:
    return tuple(c / p[-1] for c in p)


def _primitive(p: Polynomial) -> Polynomial:
    """``p`` times the positive number that makes its coefficients integers without a common factor."""
    scale = math.lcm(*(c.denominator for c in p))
    whole = [int(c * scale) for c in p]
    content = math.gcd(*whole)
    return tuple(Fraction(c // content) for c in whole)


def _derivative(p: Polynomial) -> Polynomial:
    return tuple(i * c for i, c in enumerate(p))[1:]


def _divide(p: Polynomial, q: Polynomial) -> tuple[Polynomial, Polynomial]:
    rest, quotient = list(p), [Fraction(0)] * max(len(p) - len(q) + 1, 0)
    for shift in reversed(range(len(quotient))):
        quotient[shift] = factor = rest[shift + len(q) - 1] / q[-1]
        for i, c in enumerate(q):
            rest[shift + i] -= factor * c
    return _trim(quotient), _trim(rest)


def _gcd(p: Polynomial, q: Polynomial) -> Polynomial:
    while q:
        p, q = q, _primitive(_divide(p, q)[1])  # unscaled, the fractions grow exponentially
    return _monic(p)


def _inside_unit_circle(p: Polynomial) -> bool:
    """Whether all roots have modulus < 1 (Schur-Cohn recursion)."""
    while len(p) > 1:
        if abs(p[0]) >= abs(p[-1]):
            return False
        p = _primitive(_trim([p[-1] * c - p[0] * r for c, r in zip(p, reversed(p), strict=True)][1:]))
    return True


def _zero_stable(rho: Polynomial) -> bool:
    """Whether all roots have modulus <= 1 and those of modulus 1 are simple."""
    repeated = _gcd(rho, _derivative(rho))
    simple = _divide(rho, repeated)[0]
    # a root on the circle is its own reciprocal conjugate, so it is a root of both
    circle = _gcd(simple, _trim(simple[::-1]))
    inside = _divide(simple, circle)[0]
    # Cohn: a self-reciprocal polynomial with simple roots has them all on the circle iff those of its
    # derivative lie inside
    return all(_inside_unit_circle(p) for p in (repeated, inside, _derivative(circle) or circle))


def _factors(p: Polynomial) -> list[tuple[Polynomial, int]]:
    """Square-free factors with their multiplicities (Yun's algorithm)."""
    shared = _gcd(p, _derivative(p))
    rest, derived = _divide(p, shared)[0], _divide(_derivative(p), shared)[0]
    found, multiplicity = [], 1
    while len(rest) > 1:
        derived = _minus(derived, _derivative(rest))
        factor = _gcd(rest, derived) if derived else _monic(rest)
        if len(factor) > 1:
            found.append((factor, multiplicity))
        rest = _divide(rest, factor)[0]
        derived = _divide(derived, factor)[0] if derived else ()
        multiplicity += 1
    return found


def _minus(p: Polynomial, q: Polynomial) -> Polynomial:
    size = max(len(p), len(q))
    return _trim([(p[i] if i < len(p) else Fraction(0)) - (q[i] if i < len(q) else Fraction(0)) for i in range(size)])


def _roots(p: Polynomial) -> tuple[complex, ...]:
    """Roots for display, repeated by multiplicity, largest modulus first."""
    found = [
        complex(z)
        for factor, times in _factors(p)
        for z in np.roots([float(c) for c in reversed(factor)])
        for _ in range(times)
    ]
    return tuple(sorted(found, key=lambda z: (-round(abs(z), 12), -z.real, z.imag)))


@dataclass(frozen=True)
class MultistepMethod:
    """An explicit linear multistep method with exact coefficients.

    ``x[n+1] = sum_i a[i] x[n-i] + h sum_j b[j] f(x[n-j])``

    Args:
        a: Weights of the states, newest first, at least one that is not zero. Ints, finite floats (the simplest
            fraction that rounds to it), Fractions or strings such as ``'5/9'``.
        b: Weights of the slopes, newest first, likewise; all zero only where consistency asks for it (a double root
            at 1, such as ZeroSNet's lambda = 1/3). The shorter of ``a`` and ``b`` is padded with zeros, zeros at the
            end of both are dropped.
        name: What to call it; not compared.
        source: Where it comes from; not compared.

    Raises:
        ValueError: if ``a`` or ``b`` is empty, all zero, not finite or beyond the range of a float.

    Example:
        >>> MultistepMethod([1/3, 5/9, 1/9], [16/9]).order
        2
    """

    a: tuple[Fraction, ...]
    b: tuple[Fraction, ...]
    name: str = field(default='', compare=False)
    source: str = field(default='', compare=False)

    def __post_init__(self):
        for key in ('a', 'b'):
            given = getattr(self, key)
            values = [given] if isinstance(given, (str, Real)) else list(given)
            exact = _trim([as_fraction(v) for v in values])
            if not exact and not (key == 'b' and values and self._slope_weight == 0 and sum(self.a) == 1):
                raise ValueError(f'{key}={given!r}: accepted is at least one coefficient, not all of them zero')
            if any(abs(c) > LARGEST for c in exact):
                raise ValueError(f'{key}: expected coefficients that a float can hold, got {shown(given)}')
            object.__setattr__(self, key, exact)
        steps = max(len(self.a), len(self.b))
        for key in ('a', 'b'):
            exact = getattr(self, key)
            object.__setattr__(self, key, exact + (Fraction(0),) * (steps - len(exact)))

    @property
    def steps(self) -> int:
        """Number k of history terms; the first k - 1 steps need a starting method."""
        return len(self.a)

    @property
    def _slope_weight(self) -> Fraction:
        """What sum b must be for a consistent method: rho'(1)."""
        return sum((i * c for i, c in enumerate(self.a)), Fraction(1))

    @property
    def rho(self) -> Polynomial:
        """Characteristic polynomial ``z^k - a[0] z^(k-1) - ... - a[k-1]``, ascending powers."""
        return tuple(-c for c in reversed(self.a)) + (Fraction(1),)

    @cached_property
    def is_zero_stable(self) -> bool:
        """Whether every root of rho has modulus <= 1 and those of modulus 1 are simple; decided exactly."""
        return _zero_stable(self.rho)

    @property
    def formula(self) -> str:
        """The update as it is written in papers, without h."""
        terms = [(c, f'x[n{-i or ""}]') for i, c in enumerate(self.a)]
        terms += [(c, f'f(x[n{-j or ""}])') for j, c in enumerate(self.b)]
        text = ''
        for c, what in terms:
            if c:
                sign = '-' if c < 0 else '+' if text else ''
                text += f' {sign} ' if text else sign
                text += what if abs(c) == 1 else f'{written(abs(c))} {what}'
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
        return _roots(self.rho)

    @property
    def spectral_radius(self) -> float:
        """Largest modulus among the roots of rho."""
        return max(abs(z) for z in self.roots)

    @property
    def parasitic_radius(self) -> float | None:
        """Largest modulus once one root z = 1 is taken out, 0 for one step; None if rho(1) is not 0."""
        quotient, rest = _divide(self.rho, (Fraction(-1), Fraction(1)))
        if rest:
            return None
        return max((abs(z) for z in _roots(quotient)), default=0.0)

    def amplification(self, z: complex | np.ndarray) -> np.ndarray:
        """How much a step amplifies solutions of ``x' = z x`` (h = 1): the largest root modulus of ``rho - z sigma``.

        The region of absolute stability is where this is at most 1.

        Args:
            z: Complex numbers of any shape; for a residual block, eigenvalues of the Jacobian of its branch.

        Returns:
            Floats of the shape of ``z``; for Euler's method ``|1 + z|``.
        """
        z = np.asarray(z, dtype=complex)
        companion = np.zeros((*z.shape, self.steps, self.steps), dtype=complex)
        companion[..., 0, :] = np.array([float(c) for c in self.a]) + z[..., None] * np.array(
            [float(c) for c in self.b]
        )
        companion[..., np.arange(1, self.steps), np.arange(self.steps - 1)] = 1
        return np.abs(np.linalg.eigvals(companion)).max(-1)

    def boundary_locus(self, angles: np.ndarray) -> np.ndarray:
        """``rho / sigma`` at ``exp(i angle)``: the z with a root there; the region's boundary is part of this curve."""
        zeta = np.exp(1j * np.asarray(angles))
        rho = np.polyval([1, *(-float(c) for c in self.a)], zeta)
        with np.errstate(divide='ignore', invalid='ignore'):
            return rho / np.polyval([float(c) for c in self.b], zeta)

    @cached_property
    def stability_interval(self) -> float | None:
        """The smallest x <= 0 such that [x, 0] is in the region of absolute stability; None if 0 is not.

        Euler -2, Adams-Bashforth -1, -6/11, -3/10 (Hairer, Norsett and Wanner, Solving ODEs II, chapter V.1).
        """
        if not self.is_zero_stable:
            return None
        locus = self.boundary_locus(np.linspace(0, math.pi, 20_001)[1:])
        before, after = locus[:-1], locus[1:]
        crosses = np.isfinite(before) & np.isfinite(after) & (before.imag * after.imag < 0)
        weight = before.imag[crosses] / (before.imag[crosses] - after.imag[crosses])
        ends = [*(before.real[crosses] + weight * (after.real - before.real)[crosses]), locus[-1].real]
        reached = 0.0
        for end in sorted((float(x) for x in ends if np.isfinite(x) and x < -1e-9), reverse=True):
            if self.amplification((reached + end) / 2) > 1:
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
        return (
            f'{stable}; not consistent: sum a = {written(sum(self.a))} (must be 1), sum b = '
            f'{written(sum(self.b))} (must be 1 + sum i a[i] = {written(self._slope_weight)})'
        )

    @property
    def text(self) -> str:
        """The coefficients as ``parse_method`` reads them, such as ``'a(1/3,5/9,1/9) b(16/9)'``."""
        return self._text(str)

    def __str__(self) -> str:
        return self.name or self._text(written)

    def _text(self, write: Callable[[Fraction], str]) -> str:
        return ' '.join(f'{key}({",".join(map(write, _trim(c) or (0,)))})' for key, c in (('a', self.a), ('b', self.b)))


def _format_root(z: complex) -> str:
    return f'{z.real:.4f}' if abs(z.imag) < 1e-12 else f'{z.real:.4f}{z.imag:+.4f}i'


class ZeroStabilityWarning(UserWarning):
    """A network is built with a method that is not zero-stable or not consistent."""
