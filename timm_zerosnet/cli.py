"""The ``timm-zerosnet`` command."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from typing import Any, Mapping

from . import __version__, commands
from ._exit_codes import exit_code
from .commands.options import add_command


class _Parser(argparse.ArgumentParser):
    """A parser that says so when its help cannot be written; argparse keeps that to itself."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)


def _parsers() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser, and that of each command."""
    parser = _Parser(
        prog='timm-zerosnet',
        description='Zero-stable residual networks for timm.',
        epilog="timm-zerosnet train and timm-zerosnet validate take the arguments of timm's scripts; see their --help.",
    )
    parser.add_argument('--version', action='version', version=f'timm-zerosnet {__version__}')
    group = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    command = functools.partial(add_command, group)
    for module in commands.MODULES:
        module.register(command)
    for name in ('train', 'validate'):
        group.add_parser(name, help=f"run timm's {name}.py", add_help=False)
    return parser, group.choices


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code.

    Args:
        arguments: The words after ``timm-zerosnet``, by default those of ``sys.argv``.

    Returns:
        0, 1 where a part failed (cells of a run, some of the images), or another code of ``exit_code``.
    """
    words = sys.argv[1:] if arguments is None else arguments
    return exit_code('timm-zerosnet', lambda: _run(words))


def _run(arguments: list[str]) -> int | None:
    if arguments[:1] in (['train'], ['validate']):
        from . import train, validate

        return {'train': train, 'validate': validate}[arguments[0]].main(arguments[1:])
    if arguments[:2] == ['robustness', 'merge']:
        arguments = ['robustness merge', *arguments[2:]]
    parser, of_command = _parsers()
    args, unknown = parser.parse_known_args(_with_fractions(arguments))
    if unknown:  # argparse would print the usage of all commands
        of_command[args.command].error(f'unrecognized arguments: {" ".join(unknown)}')
    return args.run(args)


def _with_fractions(arguments: list[str]) -> list[str]:
    """Put a blank before ``-1/2``, ``-1e-3`` and ``-1,2``, which argparse would otherwise take for options."""
    return [f' {word}' if re.fullmatch(r'-\.?\d[-+\d.,/eE]*[/eE,][-+\d.,/eE]*', word) else word for word in arguments]


if __name__ == '__main__':
    sys.exit(main())
