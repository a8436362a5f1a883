"""``timm-zerosnet weights``: adding, checking and showing the packaged weights."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path
from typing import Callable

from .. import weights
from .._errors import WeightError
from .options import add_command

ADD_EXAMPLES = """
timm-zerosnet weights add RUN/last.pth.tar --recipe short --log RUN/summary.csv --data TEST --tag cifar10 --wall-time 1h
"""


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command, see ``commands.robustness.register``."""
    actions = command('weights', None, 'Packaged weights.').add_subparsers(metavar='ACTION', required=True)
    action = functools.partial(add_command, actions)
    add = action('add', _add, 'Store a trained checkpoint with its measured accuracy.', ADD_EXAMPLES)
    add.add_argument('checkpoint', help="last.pth.tar of timm's train.py")
    add.add_argument('--recipe', required=True, help='that it was trained with: a YAML file or a packaged name')
    add.add_argument('--log', required=True, help='summary.csv of the run')
    add.add_argument('--args', help='args.yaml of the run, default: beside the log')
    add.add_argument('--data', required=True, help='full test set: an image folder or an npz file')
    add.add_argument('--tag', required=True, help='weight tag, such as cifar10 or cifar10_seed1')
    add.add_argument(
        '--average', choices=('raw', 'ema'), help='weights of the checkpoint; default: those that were logged'
    )
    add.add_argument('--hardware', help='what it was trained on')
    add.add_argument('--wall-time', required=True, help='how long it took, such as "1 h beside other work"')
    add.add_argument('--scripts', default='', help="version of timm's scripts")
    add.add_argument('--date', help='of adding, YYYY-MM-DD; default: today')
    add.add_argument('--note', default='', help='what a reader must know')
    action('verify', _verify, 'Compare every packaged file with the manifest. Code 1: some of the files are damaged.')
    action('tables', _tables, 'Write the generated tables of the documents of a checkout.')


def _add(args: argparse.Namespace) -> None:
    from ..maintain.add_weight import add
    from ..training.recipes import find_recipe

    row = add(
        Path(args.checkpoint),
        recipe=find_recipe(args.recipe),
        log=Path(args.log),
        data=Path(args.data),
        tag=args.tag,
        args=Path(args.args) if args.args else None,
        average=args.average,
        hardware=args.hardware,
        wall_time=args.wall_time,
        scripts=args.scripts,
        date=args.date,
        note=args.note,
    )
    for key, value in row.items():
        print(f'{key:12} {value}')
    print('now run: timm-zerosnet weights tables')


def _verify(args: argparse.Namespace) -> int:
    code = 0
    for name in weights.manifest():
        try:
            weights.verify(name)
            print(f'{name}: ok')
        except WeightError as error:
            print(f'timm-zerosnet: {error}', file=sys.stderr)
            code = 1
    return code


def _tables(args: argparse.Namespace) -> None:
    from ..maintain.tables import write_tables

    for path in write_tables():
        print(path)
