"""``timm-zerosnet stability``: roots, order and stability of a linear multistep method; the design of one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Callable

from .._errors import counted
from .._files import check_output, need
from ..design import Design, design, zero_stable_interval
from ..methods import METHODS, parse_method, split_coefficients
from ..multistep import MultistepMethod, written
from ..multistep_resnet import LARGEST_FLOAT32
from .options import print_json

PLOT_SUFFIXES = ('.png', '.svg', '.pdf')
MULTIPLICITIES = {1: '', 2: ' (double)', 3: ' (triple)'}
PROOFS_BY_ORDER = {
    1: 'Euler has no parasitic root, and needs no older state',
    2: 'sum 1/(1 - z) = k - 3/2 over the k - 1 parasitic roots z, and Re 1/(1 - z) >= 1/(1 + r) where |z| <= r, so '
    'that r >= 1/(2k - 3), reached by all z = -r alone',
    3: 'the order fixes the sums of w = 1/(1 - z) and of w^2 over the parasitic roots z, and the latter is largest '
    'where all z but one are -r or r',
}
PROOF_OF_HIGHER_ORDERS = (
    'the order fixes a derivative of prod (x - w), w = 1/(1 - z) of the parasitic roots z; its roots lie in every disc '
    'that holds all w (Gauss and Lucas), and in none of a smaller radius'
)
NOT_A_FRACTION = 'not a fraction; the coefficients above come within 0.01 % of it'
EXAMPLES = """
timm-zerosnet stability zerosnet-opt
timm-zerosnet stability 'zerosnet(-9/5)' --plot zerosnet.png
timm-zerosnet stability --a 1/3 5/9 1/9 --b 16/9 --json
timm-zerosnet stability 'a(1/3,5/9,1/9) b(16/9)'
timm-zerosnet stability design --steps 4 --order 2 --plot design.png
"""


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command.

    Args:
        command: Makes the command's parser from its name, function, description and examples.
    """
    parser = command('stability', _stability, 'Roots, order and stability of a linear multistep method.', EXAMPLES)
    parser.add_argument(
        'method',
        nargs='?',
        metavar='METHOD',
        help=f'{", ".join(METHODS)}, zerosnet(-9/5), optimal(4), lm(1.05), ..., '
        "'a(1/3,5/9,1/9) b(16/9)', or design: the one-slope method of --steps and --order of smallest parasitic radius",
    )
    parser.add_argument('--a', nargs='+', metavar='A', help='weights of the states, newest first, such as 1/3 5/9 1/9')
    parser.add_argument('--b', nargs='+', metavar='B', help='weights of the slopes, newest first')
    parser.add_argument('--steps', type=int, metavar='K', help='number of states that a design combines')
    parser.add_argument('--order', type=int, metavar='P', help='order of accuracy of design, at most K')
    parser.add_argument(
        '--plot', type=Path, metavar='FILE', help=f'draw the method to a file, {", ".join(PLOT_SUFFIXES)}'
    )
    parser.add_argument('--json', action='store_true', help='print JSON')


def _stability(args: argparse.Namespace) -> None:
    if args.plot is not None:
        need('robustness')
        check_output(args.plot, PLOT_SUFFIXES)
    found = _design(args)
    method = found.method if found else _method(args)
    if args.plot is not None:
        from .. import design_plot, method_plot

        if found:
            design_plot.plot(found, args.plot)
        else:
            method_plot.plot(method, args.plot)
    if args.json:
        print_json({**describe(method), **({'design': describe_design(found)} if found else {})})
        return
    print(f'{method.name}: {method.formula}' if method.name else method.formula)
    for name, value in _lines(method) + (_design_lines(found) if found else []):
        print(f'  {name:24}{value}')
    if args.plot is not None:
        print(f'  {"plot":24}{args.plot}')


def _design(args: argparse.Namespace) -> Design | None:
    wanted = (args.method or '').strip().lower() == 'design'
    if not wanted and (args.steps, args.order) != (None, None):
        got = f'METHOD {args.method}' if args.method else 'no METHOD'
        raise ValueError(f"expected 'design' as METHOD with --steps and --order, got {got}")
    if not wanted:
        return None
    given = {name: value for name, value in vars(args).items() if value is not None}
    if extra := [f'--{name}' for name in ('a', 'b') if name in given]:
        raise ValueError(f'expected design with --steps and --order alone, got {" and ".join(extra)}')
    if lacking := [f'--{name}' for name in ('steps', 'order') if name not in given]:
        got = f'no {lacking[0]}' if len(lacking) == 1 else 'neither'
        raise ValueError(f'expected --steps and --order, such as design --steps 4 --order 2, got {got}')
    return design(args.steps, args.order, progress=True)


def _method(args: argparse.Namespace) -> MultistepMethod:
    if args.method is not None:
        if args.a is not None or args.b is not None:
            raise ValueError(f'expected METHOD or --a and --b, not both, got METHOD {args.method}')
        given, method = args.method, parse_method(args.method)
    elif args.a is None or args.b is None:
        raise ValueError('expected METHOD, such as zerosnet-opt, or both --a and --b, such as --a 0 1 --b 2')
    else:
        a, b = ' '.join(args.a), ' '.join(args.b)
        given, method = f'{a} {b}', MultistepMethod(split_coefficients(a), split_coefficients(b))
    if max(map(abs, (*method.a, *method.b))) > LARGEST_FLOAT32:
        raise ValueError(f'expected coefficients up to {LARGEST_FLOAT32:.3g}, as in a network, got {given}')
    return method


def describe(method: MultistepMethod) -> dict[str, Any]:
    """All that is known of a method, as JSON takes it; exact numbers are text."""
    return {
        'name': method.name or None,
        'formula': method.formula,
        'a': [written(c) for c in method.a],
        'b': [written(c) for c in method.b],
        'steps': method.steps,
        'roots': [{'re': z.real, 'im': z.imag, 'modulus': abs(z)} for z in method.roots],
        'spectral_radius': method.spectral_radius,
        'parasitic_radius': method.parasitic_radius,
        'order': method.order,
        'error_constant': None if method.error_constant is None else written(method.error_constant),
        'consistent': method.is_consistent,
        'zero_stable': method.is_zero_stable,
        'stability_interval': None if method.stability_interval is None else [method.stability_interval, 0.0],
        'verdict': method.verdict,
        'meaning': meaning(method),
        'source': method.source or None,
    }


def meaning(method: MultistepMethod) -> str:
    """What the verdict means for a disturbance of a network's state."""
    if not method.is_zero_stable:
        if method.spectral_radius > 1.0005:  # what four digits tell from 1
            return f'a disturbance of the state grows {method.spectral_radius:.4g}-fold from block to block'
        return 'a disturbance of the state grows with the number of blocks'
    radius = method.parasitic_radius
    if radius is None:
        return 'a disturbance of the state stays bounded'
    if radius > 1 - 1e-12:
        return 'weakly stable: a disturbance of the state stays bounded, and its parasitic part does not fade'
    fades = f'each block leaves {radius:.4g} of it in the long run' if radius else 'there is none'
    return f'a disturbance of the state stays bounded; parasitic part: {fades}'


def _lines(method: MultistepMethod) -> list[tuple[str, Any]]:
    parasitic = method.parasitic_radius
    lines: list[tuple[str, Any]] = [
        ('roots', ', '.join(root_texts(method))),
        ('spectral radius', f'{method.spectral_radius:.6g}'),
        ('parasitic radius', 'none: 1 is not a root' if parasitic is None else f'{parasitic:.6g}'),
        ('order', 'none: sum a is not 1' if method.order is None else method.order),
        ('error constant', 'none' if method.error_constant is None else written(method.error_constant)),
        ('absolutely stable', _interval(method.stability_interval)),
        ('verdict', method.verdict),
        ('meaning', meaning(method)),
    ]
    return lines + ([('source', method.source)] if method.source else [])


def _design_lines(found: Design) -> list[tuple[str, Any]]:
    lines = [
        ('text form', found.method.text),
        ('free parameters', ', '.join(found.free) or 'none: the order fixes the method'),
        ('zero-stable set', _zero_stable_set(found)),
        ('smallest radius', f'{found.radius:.6g}, {_evidence(found)}'),
        ('in a network', _in_a_network(found.method.steps)),
    ]
    is_exact = (found.method.parasitic_radius or 0.0) <= found.radius + 1e-12
    return lines if is_exact else [*lines, ('', NOT_A_FRACTION)]


def _in_a_network(steps: int) -> str:
    first = f'; the first {steps - 1} are Euler steps' if steps > 2 else '; the first is an Euler step'
    return f'at least {counted(steps, "block")}{first if steps > 1 else ""}'


def _zero_stable_set(found: Design) -> str:
    if not found.free:
        return 'this method alone'
    if len(found.free) > 1:
        return f'{len(found.free)} parameters, bounded; --plot draws it over b0 and a0'
    family = " (in ZeroSNet's family: lambda <= -1 or lambda > 1/3)" if found.steps == 3 else ''
    return f'{zero_stable_interval(found.steps, found.order)}{family}'


def _evidence(found: Design) -> str:
    if not found.proven:
        return f'the smallest that a search found; no method has less than {found.bound:.6g}'
    return f'proven: {PROOFS_BY_ORDER.get(found.order, PROOF_OF_HIGHER_ORDERS)}'


def describe_design(found: Design) -> dict[str, Any]:
    """What ``design`` adds to ``describe``; exact numbers are text."""
    interval = zero_stable_interval(found.steps, found.order) if len(found.free) == 1 else None
    return {
        'steps': found.steps,
        'order': found.order,
        'text': found.method.text,
        'free_parameters': {name: str(value) for name, value in found.free.items()},
        'zero_stable_set': str(interval) if interval else None,
        'smallest_radius': found.radius,
        'proven': found.proven,
        'radius_bound': found.bound,
    }


def _interval(low: float | None) -> str:
    if not low:
        return 'not at 0' if low is None else 'only at z = 0 on the real axis'
    return f'{low:.6g} <= z <= 0 on the real axis'


def root_texts(method: MultistepMethod) -> list[str]:
    """Each root once, with its multiplicity; a conjugate pair is one text."""
    roots = [complex(round(z.real, 9), round(z.imag, 9)) for z in method.roots]
    texts = []
    for z in dict.fromkeys(roots):
        times = MULTIPLICITIES.get(roots.count(z), f' ({roots.count(z)}-fold)')
        if not z.imag:
            texts.append(f'{z.real + 0:.6g}{times}')
        elif z.imag > 0:
            texts.append(f'{z.real + 0:.6g} ± {z.imag:.6g}i (modulus {abs(z):.6g}){times}')
    return texts
