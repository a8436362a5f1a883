"""``timm-zerosnet list``: the networks of this package, and those of timm that it has weights for."""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatch
from typing import Any, Callable

import timm

from .. import weights
from .._errors import nearest
from ..costs import Cost, cost, measure
from ..model_names import create
from ..registry import is_own, own, stranger
from ..zerosnet import default_cfgs
from .options import print_json, print_table

EXAMPLES = """
timm-zerosnet list
timm-zerosnet list 'zerosnet*_tra' '*20.cifar10'
timm-zerosnet list --pretrained --json
"""


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command, see ``commands.robustness.register``."""
    parser = command(
        'list', _list, 'The networks of this package and those it has weights for: size, cost, accuracy.', EXAMPLES
    )
    parser.add_argument('patterns', nargs='*', metavar='PATTERN', help="timm's filters, such as 'zerosnet*'")
    parser.add_argument('--pretrained', action='store_true', help='only those with packaged weights')
    parser.add_argument('--json', action='store_true', help='print JSON')


def _list(args: argparse.Namespace) -> None:
    rows = [_row(name) for name in find(args.patterns, args.pretrained)]
    if names := _taken():
        print(f'timm-zerosnet: left out, because another package has the name: {names}', file=sys.stderr)
    if args.json:
        print_json(rows)
        return
    header = ('model', 'parameters', 'MACs (M)', 'input', 'top-1 %', 'top-5 %')
    print_table([header, *(_cells(row) for row in rows)])


def find(patterns: list[str], with_weights: bool = False) -> list[str]:
    """Names of networks with their tags.

    Args:
        patterns: Shell patterns, of which a name must match one; without patterns all names match.
        with_weights: Leave out names that have no packaged weights.

    Raises:
        ValueError: for a pattern that matches nothing (gives the nearest names), or where nothing is left.
    """
    known = _matching(['*'])
    for pattern in patterns:
        weights.check_tag(pattern)
        if not pattern or not _matching([pattern]):
            taken = [model for model in own if fnmatch(model, pattern.partition('.')[0]) and stranger(model)]
            if pattern and taken:
                raise ValueError(f'{pattern!r} matches a name that another package has: {_taken()}')
            near = nearest(pattern.strip('*'), [*default_cfgs, *known], 3, 0.4)
            raise ValueError(
                f'no network of this package matches {pattern!r}; nearest: '
                f'{", ".join(near) or "none, timm-zerosnet list names them all"}'
            )
    found = _matching(patterns) if patterns else known
    rows = weights.manifest()
    chosen = [name for name in found if name in rows or not with_weights]
    if not chosen:
        raise ValueError(f'none of {", ".join(patterns)} has packaged weights; these have: {", ".join(rows) or "none"}')
    return chosen


def _matching(patterns: list[str]) -> list[str]:
    networks = timm.list_models(patterns, module='zerosnet', include_tags=True)
    return [name for name in networks if is_own(name.partition('.')[0])] + [
        name
        for name in weights.backbone_weights()
        if any(fnmatch(name, pattern) or fnmatch(name.split('.')[0], pattern) for pattern in patterns)
    ]


def _taken() -> str:
    """The networks of this package, and those of timm with packaged weights, whose name is another package's."""
    models = dict.fromkeys([*sorted(own), *(name.partition('.')[0] for name in weights.taken())])
    return ', '.join(f'{model} (of {holder})' for model in models if (holder := stranger(model)))


def _row(name: str) -> dict[str, Any]:
    model, _, tag = name.partition('.')
    weight = weights.manifest().get(name)
    counted, input_size, num_classes = _measured(name)
    return {
        'model': model,
        'tag': tag or None,
        'parameters': counted.parameters,
        'macs': counted.macs,
        'input_size': list(input_size),
        'num_classes': num_classes,
        'top1': weight['top1'] if weight else None,
        'top5': weight['top5'] if weight else None,
    }


def _measured(name: str) -> tuple[Cost, tuple[int, ...], int]:
    """Cost, input size and number of classes of a network."""
    model, _, tag = name.partition('.')
    if weights.is_backbone(name):
        net: Any = create(name, pretrained=False, device='meta').eval()
        return measure(net, net.pretrained_cfg['input_size']), net.pretrained_cfg['input_size'], net.num_classes
    cfg = default_cfgs[model].cfgs[tag]
    return cost(model, cfg.num_classes), cfg.input_size, cfg.num_classes


def _cells(row: dict[str, Any]) -> list[str]:
    name = row['model'] + (f'.{row["tag"]}' if row['tag'] else '')
    accuracies = ('-' if row[key] is None else f'{row[key]:.2f}' for key in ('top1', 'top5'))
    size = 'x'.join(map(str, row['input_size']))
    return [name, f'{row["parameters"]:,}', f'{row["macs"] / 1e6:,.1f}', size, *accuracies]
