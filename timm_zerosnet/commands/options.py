"""What the commands share: how they are added to the parser, options of models, printing of JSON and tables."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import Any, Callable, Iterable

from timm.utils import ParseKwargs


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that names the defaults which say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return (
            action.help if action.default in (None, False) or not action.default else super()._get_help_string(action)
        )


def add_command(
    group: Any, name: str, run: Callable[[argparse.Namespace], Any] | None, text: str, examples: str = ''
) -> argparse.ArgumentParser:
    """A new sub-parser of a group.

    Args:
        group: What ``add_subparsers`` returned.
        name: The name of the command.
        run: The function that does the work. It returns the exit code, or None for 0. A command of commands has none.
        text: What the command does.
        examples: Lines of a shell that show its use.
    """
    shown = 'examples:\n' + textwrap.indent(examples.strip(), '  ') if examples else None
    parser = group.add_parser(name, help=text, description=text, epilog=shown, formatter_class=_Help)
    parser.register('type', int, integer)
    parser.register('type', float, number)
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def integer(text: str) -> int:
    """An integer that a user has written, for argparse."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'expected an integer, got {text!r}') from None


def number(text: str) -> float:
    """The same for a real number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'expected a number, got {text!r}') from None


class ModelKwargs(ParseKwargs):
    """The action of an option that takes ``KEY=VALUE ...``, and says so where it gets something else."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        for value in values:
            if '=' not in value.strip('='):
                parser.error(f'{option_string}: expected KEY=VALUE, such as method=ab3, got {value}')
        super().__call__(parser, namespace, values, option_string)


def add_model_options(parser: argparse._ActionsContainer) -> None:
    """Add ``--checkpoint`` and ``--model-kwargs`` to a parser."""
    parser.add_argument('--checkpoint', type=Path, metavar='FILE', help='own weights in place of the packaged ones')
    parser.add_argument(
        '--model-kwargs', nargs='+', action=ModelKwargs, default={}, metavar='KEY=VALUE', help='such as method=ab3'
    )


def print_json(value: Any) -> None:
    """Print JSON that any parser reads; characters that the output cannot take are escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or 'utf-8')
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, allow_nan=False)
    print(text)


def print_table(rows: Iterable[Iterable[Any]], left: int = 1) -> None:
    """Print aligned columns.

    Args:
        rows: The rows, of which the first is the header.
        left: The number of columns that are aligned to the left; the others are aligned to the right.
    """
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    for row in text:
        cells = (
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print('  '.join(cells).rstrip())
