"""The coefficient sets of the study, one row each.

Roots, ``b[0]``, the sum of ``a`` and the order differ at once between families, and ``b[0]`` changes with the roots
within ZeroSNet's. The ``b0`` and ``moduli`` groups change one and keep the others.

``b[0]`` multiplies the last convolution of a branch, which could take it up: ``b[0] W`` and ``W' = b[0] W`` are the
same network. Where training starts from the same ``W``, ``b[0]`` therefore acts through the scale of the branches at
the start, through weight decay (``W'`` decays less for the same effect if ``b[0]`` is large) and through the step size
(gradients with respect to ``W`` grow with ``b[0]``), not through what the network can express.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from timm_zerosnet import MultistepMethod, parse_method
from timm_zerosnet.multistep import Coefficient


@dataclass(frozen=True)
class CoefficientSet:
    """A row.

    Args:
        name: What it is called in options and results; what ``parse_method`` takes, unless ``own``.
        method: The exact coefficients.
        own: Whether it is given by coefficients, because the package has no name for it.
        groups: The comparisons that it belongs to.
        why: What it is there for.
    """

    name: str
    method: MultistepMethod
    own: bool
    groups: tuple[str, ...]
    why: str


def _named(text: str, groups: str, why: str) -> CoefficientSet:
    return CoefficientSet(text, parse_method(text), False, tuple(groups.split()), why)


def _own(name: str, a: list[Coefficient], b0: Coefficient, groups: str, why: str) -> CoefficientSet:
    return CoefficientSet(name, MultistepMethod(a, [b0], name), True, tuple(groups.split()), why)


def _like(name: str, b0: Coefficient, why: str) -> CoefficientSet:
    """The roots of a method with another ``b[0]``."""
    return _own(f'{name}:b0={b0}', list(parse_method(name).a), b0, 'b0', why)


def _mirrored(name: str, why: str) -> CoefficientSet:
    """The roots of a method with their signs changed: the moduli stay, the sum of ``a`` does not."""
    method = parse_method(name)
    return _own(f'{name}:mirrored', [c * (-1) ** (i + 1) for i, c in enumerate(method.a)], method.b[0], 'moduli', why)


ROWS = (
    _own('first(0.5)', ['1/2'], 1, 'first', 'one root, 0.5: the state is forgotten within a few blocks'),
    _own('first(0.8)', ['4/5'], 1, 'first', 'one root, 0.8'),
    _own('first(0.9)', ['9/10'], 1, 'first', 'one root, 0.9'),
    _named('euler', 'first lm moduli b0', 'one root, 1: the residual network as it is known; also lm(1)'),
    _own('first(1.05)', ['21/20'], 1, 'first', 'one root, 1.05: mildly unstable, with one step and one slope'),
    _own('first(1.1)', ['11/10'], 1, 'first', 'one root, 1.1: mildly unstable, with one step and one slope'),
    _named('lm(-0.2)', 'lm moduli', 'root -1.2: mildly unstable, alternates'),
    _named('lm(0)', 'lm b0 moduli', 'root -1: on the circle; the roots of midpoint with half its b0'),
    _named('lm(0.5)', 'lm', 'root -0.5: stable, not consistent (sum b)'),
    _named('lm(0.9)', 'lm', 'root -0.1: near euler'),
    _named('lm(1.1)', 'lm', 'root 0.1: near euler, where LM-ResNet starts'),
    _named('lm(1.5)', 'lm', 'root 0.5; momentum(0.5) with twice its b0'),
    _named('lm(1.9)', 'lm', 'root 0.9; momentum(0.9) with ten times its b0'),
    _named('lm(2)', 'lm', 'double root 1: unstable, grows linearly'),
    _named('lm(2.2)', 'lm moduli', 'root 1.2: mildly unstable, does not alternate'),
    _named('zerosnet-opt', 'zerosnet optimal b0 moduli', 'lambda -9/5: double root -1/3, the smallest of the family'),
    _named('zerosnet(-1.5)', 'zerosnet', 'stable, beside the optimum'),
    _named('zerosnet(-2)', 'zerosnet', 'stable, beside the optimum'),
    _named('zerosnet(-3)', 'zerosnet', 'stable'),
    _named('zerosnet(-5)', 'zerosnet', 'stable'),
    _named('zerosnet(inf)', 'zerosnet', 'stable, mu = 0'),
    _named('zerosnet(3)', 'zerosnet', 'stable'),
    _named('zerosnet(2)', 'zerosnet', 'stable'),
    _named('zerosnet(1)', 'zerosnet', 'stable, where ZeroSNet_Tra starts'),
    _named('zerosnet(0.5)', 'zerosnet', 'stable, roots near the circle, small b0'),
    _named('zerosnet(0.4)', 'zerosnet', 'stable, roots nearer to the circle, smaller b0'),
    _named('midpoint', 'zerosnet optimal b0', 'lambda -1: root -1 on the circle, the end of the stable interval'),
    _named('zerosnet(-0.9)', 'zerosnet', 'just outside of the stable interval, mildly unstable'),
    _named('zerosnet(-0.5)', 'zerosnet b0', 'unstable'),
    _named('zerosnet(-1/3)', 'zerosnet', 'unstable, of order 3: accurate and useless as a solver'),
    _named('zerosnet(0.2)', 'zerosnet', 'unstable on the other side, b0 negative'),
    _named('all-ones', 'paper b0', "the paper's own unstable example: sum a = 3"),
    _named('ab2', 'adams', 'root 1 and 0: history of slopes, order 2'),
    _named('ab3', 'adams', 'root 1 and 0: history of slopes, order 3'),
    _named('momentum(0.5)', 'momentum', 'roots of lm(1.5), consistent'),
    _named('momentum(0.9)', 'momentum', 'roots of lm(1.9), consistent, b0 = 0.1'),
    _named('optimal(4)', 'optimal', 'order 2, four steps, parasitic radius 1/5'),
    _named('optimal(5)', 'optimal', 'order 2, five steps, parasitic radius 1/7'),
    _like('euler', '1/2', "euler's root, half its b0"),
    _like('euler', 2, "euler's root, twice its b0"),
    _like('zerosnet-opt', '8/9', 'roots of zerosnet-opt, half its b0'),
    _like('zerosnet-opt', '32/9', 'roots of zerosnet-opt, twice its b0'),
    _like('midpoint', 4, 'roots of midpoint, twice its b0'),
    _like('all-ones', '1/2', 'roots of all-ones, half its b0'),
    _like('all-ones', 2, 'roots of all-ones, twice its b0'),
    _like('zerosnet(-0.5)', '5/4', 'unstable roots, half their b0'),
    _like('zerosnet(-0.5)', 5, 'unstable roots, twice their b0'),
    _like('euler', '16/9', 'b0 of zerosnet-opt, the root of euler'),
    _like('midpoint', '16/9', 'b0 of zerosnet-opt, the roots of midpoint'),
    _like('lm(1.5)', '16/9', 'b0 of zerosnet-opt, the roots of lm(1.5)'),
    _like('all-ones', '16/9', 'b0 of zerosnet-opt, the roots of all-ones'),
    _like('zerosnet(-0.5)', '16/9', 'b0 of zerosnet-opt, unstable roots'),
    _mirrored('euler', 'modulus 1 as euler, root -1: not consistent'),
    _mirrored('zerosnet-opt', 'moduli of zerosnet-opt, roots -1, 1/3, 1/3: not consistent'),
    _mirrored('lm(-0.2)', 'moduli of lm(-0.2), roots 1.2 and -1: unstable and not consistent'),
    _mirrored('lm(2.2)', 'moduli of lm(2.2), roots -1.2 and -1: unstable and not consistent'),
    _own('quarter-turn', [0, -1], 1, 'moduli', 'moduli of lm(0), roots i and -i: not consistent'),
)

SETS = {row.name: row for row in ROWS}

# six stable ones, then four unstable ones
PILOT = (
    'euler',
    'zerosnet-opt',
    'midpoint',
    'ab2',
    'lm(1.5)',
    'first(0.8)',
    'lm(-0.2)',
    'lm(2.2)',
    'zerosnet(-0.5)',
    'all-ones',
)

# for depth 56 and CIFAR-100: six stable ones, then the mildly unstable ones, whose instability needs depth to show
DEEP = (
    'euler',
    'zerosnet-opt',
    'midpoint',
    'ab2',
    'lm(1.5)',
    'first(0.9)',
    'first(1.05)',
    'first(1.1)',
    'lm(-0.2)',
    'lm(2)',
    'lm(2.2)',
    'zerosnet(-0.9)',
)


def derived(method: MultistepMethod) -> dict[str, Any]:
    """What theory says of a method, as columns of the table; floats to six digits, '' where there is no such figure."""
    return {
        'a': ' '.join(map(str, method.a)),
        'b': ' '.join(map(str, method.b)),
        'root_moduli': ' '.join(f'{abs(z):.6g}' for z in method.roots),
        'spectral_radius': f'{method.spectral_radius:.6g}',
        'parasitic_radius': _figure(method.parasitic_radius),
        'zero_stable': int(method.is_zero_stable),
        'consistent': int(method.is_consistent),
        'order': '' if method.order is None else method.order,
        'b0': _figure(method.b[0]),
        'sum_a': _figure(sum(method.a)),
        'stability_interval': _figure(method.stability_interval),
    }


def _figure(value: Any) -> str:
    return '' if value is None else f'{float(value) + 0.0:.6g}'
