"""Named multistep methods: one row each, and the families that take a parameter."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Callable, Union

from ._errors import nearest
from .multistep import Coefficient, MultistepMethod, as_fraction, shown, written

CHEN = 'Chen, Jin, Shang 2022, Zero Stability Well Predicts Performance of Convolutional Neural Networks'


def zerosnet_coefficients(mu):  # without types: TorchScript, which compiles it for ZeroSNetStep, would refuse Any
    """``a`` and ``b[0]`` of ZeroSNet's family for ``mu = 1 / lambda``.

    Args:
        mu: A number, a fraction or a tensor; the coefficients are of the same kind.
    """
    return (3 * (1 + mu) / 4, -mu, (1 + mu) / 4), (3 - mu) / 2


def zerosnet(lam: Coefficient, name: str = '') -> MultistepMethod:
    """ZeroSNet's family: three states, one slope, order 2; zero-stable iff lambda <= -1 or lambda > 1/3.

    Args:
        lam: lambda, any number but 0; ``inf`` stands for ``mu = 1 / lambda = 0``.
        name: What to call the method, by default ``zerosnet(lambda)``.

    Raises:
        ValueError: if lambda is 0 or no number.
    """
    try:
        infinite = str(lam).strip().lower().lstrip('+-') in ('inf', 'infinity')
        mu = Fraction(0) if infinite else 1 / as_fraction(lam)
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f'lambda: expected a number other than 0 that a float can hold, or inf for 1/lambda = 0, got {shown(lam)}'
        ) from None
    a, b0 = zerosnet_coefficients(mu)
    text = lam if isinstance(lam, str) else 'inf' if infinite else written(as_fraction(lam))
    return MultistepMethod(a, (b0,), name or f'zerosnet({text})', CHEN)


def optimal(k: Coefficient) -> MultistepMethod:
    """``rho(z) = (z - 1)(z + r)^(k-1)``, ``r = 1 / (2k - 3)``: order 2 with the smallest parasitic radius.

    Args:
        k: Number of steps, an integer >= 2. ``optimal(2)`` is the midpoint rule, ``optimal(3)`` zerosnet-opt.

    Raises:
        ValueError: if k is no such integer.
    """
    given = as_fraction(k)
    if given.denominator != 1 or not 2 <= given <= 64:
        raise ValueError(f'optimal: expected an integer number of steps from 2 to 64, got {shown(k)}')
    steps = int(given)
    r = Fraction(1, 2 * steps - 3)
    power: list[Fraction] = [math.comb(steps - 1, i) * r**i for i in range(steps)]  # (z + r)^(k-1), descending powers
    return MultistepMethod(
        [high - low for high, low in zip(power, [*power[1:], Fraction(0)], strict=True)],
        [(1 + r) ** (steps - 1)],
        f'optimal({steps})',
        'this package: smallest parasitic radius of order 2 with one slope',
    )


def lm(k: Coefficient) -> MultistepMethod:
    """LM-ResNet's ``x[n+1] = k x[n] + (1 - k) x[n-1] + f(x[n])``; zero-stable iff 0 <= k < 2, consistent iff k = 1."""
    k = as_fraction(k)
    return MultistepMethod([k, 1 - k], [1], f'lm({written(k)})', 'Lu et al. 2018, Beyond Finite Layer Neural Networks')


def momentum(g: Coefficient) -> MultistepMethod:
    """Momentum ResNet: ``a = (1 + g, -g)``, ``b = (1 - g)``; zero-stable iff -1 <= g < 1."""
    g = as_fraction(g)
    return MultistepMethod(
        [1 + g, -g], [1 - g], f'momentum({written(g)})', 'Sander et al. 2021, Momentum Residual Networks'
    )


FAMILIES: dict[str, Callable[[str], MultistepMethod]] = {
    'zerosnet': zerosnet,
    'optimal': optimal,
    'lm': lm,
    'momentum': momentum,
}

ADAMS = 'Bashforth and Adams 1883'

METHODS: dict[str, MultistepMethod] = {
    method.name: method
    for method in (
        MultistepMethod(
            [1], [1], 'euler', 'He et al. 2016, Identity Mappings in Deep Residual Networks (PreActResNet)'
        ),
        zerosnet('-9/5', 'zerosnet-opt'),
        MultistepMethod([0, 1], [2], 'midpoint', 'Nystrom 1925 (leapfrog, explicit midpoint rule)'),
        MultistepMethod([1], ['3/2', '-1/2'], 'ab2', ADAMS),
        MultistepMethod([1], ['23/12', '-16/12', '5/12'], 'ab3', ADAMS),
        MultistepMethod([1], ['55/24', '-59/24', '37/24', '-9/24'], 'ab4', ADAMS),
        MultistepMethod([1, 1, 1], [1], 'all-ones', f'{CHEN}: its example that is not zero-stable'),
    )
}

MethodLike = Union[str, MultistepMethod]


def split_coefficients(text: str) -> list[str]:
    """The texts between commas or spaces; one that a comma leaves empty stays, since it is no coefficient."""
    return re.split(r'\s*,\s*|\s+', text.strip())


def parse_method(method: MethodLike) -> MultistepMethod:
    """The method that a name stands for.

    Args:
        method: A ``MultistepMethod`` (returned as it is) or a string: a name of ``METHODS`` such as ``'ab2'``, or a
            family with its parameter, such as ``'zerosnet(-9/5)'``, ``'optimal(4)'``, ``'lm(1.05)'`` or
            ``'momentum(0.9)'``, or the coefficients, newest first, such as ``'a(1/3,5/9,1/9) b(16/9)'``
            (``MultistepMethod.text`` writes them so).

    Raises:
        ValueError: for an unknown name (the nearest ones are suggested), a parameter that the family refuses or
            coefficients that make no method.
        TypeError: if ``method`` is neither a method nor a string.
    """
    if isinstance(method, MultistepMethod):
        return method
    if not isinstance(method, str):
        raise TypeError(f'method: expected a MultistepMethod or a name, got {method!r} of type {type(method).__name__}')
    name = method.strip().lower()
    if name in METHODS:
        return METHODS[name]
    call = re.fullmatch(r'([\w-]+)\s*\((.*)\)', name)
    if call and call[1] in FAMILIES:
        return FAMILIES[call[1]](call[2].strip())
    own = re.fullmatch(r'a\s*\(([^()]*)\)\s*b\s*\(([^()]*)\)', name)
    if own:
        return MultistepMethod(split_coefficients(own[1]), split_coefficients(own[2]))
    legal = [*METHODS, *(f'{family}(...)' for family in FAMILIES)]
    near = nearest(name, legal, 3, 0.5)
    hint = f'did you mean {" or ".join(near)}? ' if near else ''
    raise ValueError(f'unknown method {method!r}: {hint}expected one of {", ".join(legal)}, a(...) b(...)')
