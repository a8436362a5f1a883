"""The ``timm-zerosnet`` command."""

from __future__ import annotations

import argparse
import functools
import io
import os
import re
import sys
from typing import Any

from . import __version__, commands
from ._files import explain, flush_stdout
from .commands import robustness
from .commands.options import add_command


class _Parser(argparse.ArgumentParser):
    """A parser that says so when its help cannot be written; argparse keeps that to itself."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog='timm-zerosnet',
        description='Zero-stable residual networks for timm.',
        epilog="timm-zerosnet train and timm-zerosnet validate take the arguments of timm's scripts; see their --help.",
    )
    parser.add_argument('--version', action='version', version=f'timm-zerosnet {__version__}')
    group = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    command = functools.partial(add_command, group)
    for module in (*commands.MODULES, robustness):
        module.register(command)
    for name in ('train', 'validate'):
        group.add_parser(name, help=f"run timm's {name}.py", add_help=False)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code.

    It is 0, 1 where a part failed (cells of a run, some of the images), 2 for an error that the message explains, 130
    when interrupted, 141 when the reader of its output has gone.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if sys.stdout is None:  # it was closed
        sys.stdout = open(os.devnull, 'w')
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')  # a terminal need not know every character
    try:
        try:
            return _run(arguments)
        finally:  # also after --help
            flush_stdout()
    except BrokenPipeError:
        return 141
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except OSError as error:
        print(f'timm-zerosnet: {explain(error)}', file=sys.stderr)
        return 2
    except (RuntimeError, ValueError) as error:
        print(f'timm-zerosnet: {error or type(error).__name__}', file=sys.stderr)  # timm raises some without a word
        return 2


def _run(arguments: list[str]) -> int:
    if arguments[:1] in (['train'], ['validate']):
        from . import train, validate

        return {'train': train, 'validate': validate}[arguments[0]].main(arguments[1:])
    args = _parser().parse_args(_with_fractions(arguments))
    return args.run(args) or 0


def _with_fractions(arguments: list[str]) -> list[str]:
    """Arguments among which argparse takes ``-1/2``, ``-1e-3`` and ``-1,2`` for numbers: they get a blank."""
    return [f' {word}' if re.fullmatch(r'-\.?\d[-+\d.,/eE]*[/eE,][-+\d.,/eE]*', word) else word for word in arguments]


if __name__ == '__main__':
    sys.exit(main())
