"""The ``timm-zerosnet`` command."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, Callable

from . import __version__

DRY_RUN_FOLDER = 'timm-zerosnet-hub'
EXTRAS = {'robustness': ('sklearn', 'scipy', 'matplotlib', 'jinja2')}


class CommandError(Exception):
    """Printed as one line; the command ends with code 2."""


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that names the defaults which say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return (
            action.help if action.default in (None, False) or not action.default else super()._get_help_string(action)
        )


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # blocked: by an import hook, by None in sys.modules
        return False


def need(extra: str) -> None:
    """Refuse to go on without the packages of an extra.

    Raises:
        CommandError: naming them and how to install them.
    """
    missing = [name for name in EXTRAS[extra] if not _installed(name)]
    if missing:
        raise CommandError(f'this command needs {", ".join(missing)}: pip install "timm-zerosnet[{extra}]"')


def _demo(args: argparse.Namespace) -> None:
    need('robustness')
    from .demo import run

    run(Path(args.out), seed=args.seed, epochs=args.epochs)


def _weights_add(args: argparse.Namespace) -> None:
    from .adding import add
    from .recipes import find_recipe

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


def _weights_verify(args: argparse.Namespace) -> None:
    from . import pretrained

    damaged = []
    for name in pretrained.manifest():
        try:
            pretrained.verify(name)
            print(f'{name}: ok')
        except pretrained.WeightError as error:
            damaged.append(str(error))
    if damaged:
        raise CommandError('\n'.join(damaged))


def _weights_tables(args: argparse.Namespace) -> None:
    from .tables import write_tables

    for path in write_tables():
        print(path)


def _publish(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from . import publishing

    if args.out is not None and not args.dry_run:
        raise CommandError('--out is the folder of --dry-run; without it everything goes to the Hub')
    if args.out is not None and Path(args.out).is_file():
        raise CommandError(f'--out {args.out} is a file; accepted is a folder')
    names = publishing.select(args.names)
    bar = tqdm(total=len(names), unit='repo', disable=None)
    try:
        with bar:
            if args.dry_run:
                for name in names:
                    folder = Path(args.out or DRY_RUN_FOLDER, publishing.repo_of(args.namespace, name))
                    publishing.write_folder(name, f'{args.namespace}/{name}', folder)
                    _report(bar, folder)
            else:
                for done in publishing.publish(names, args.namespace, private=args.private):
                    _report(bar, done)
    except KeyboardInterrupt:
        print('no file is half written: run the same command again, it does what is left', file=sys.stderr)
        raise


def _report(bar: Any, done: Any) -> None:
    bar.write(str(done), file=sys.stdout)
    bar.update()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='timm-zerosnet',
        description='Zero-stable residual networks for timm.',
        epilog="timm-zerosnet train and timm-zerosnet validate take the arguments of timm's scripts; see their --help.",
    )
    parser.add_argument('--version', action='version', version=f'timm-zerosnet {__version__}')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)

    def command(
        group: Any, name: str, run: Callable[[argparse.Namespace], Any], text: str, examples: str = ''
    ) -> argparse.ArgumentParser:
        shown = 'examples:\n' + textwrap.indent(examples.strip(), '  ') if examples else None
        sub = group.add_parser(name, help=text, description=text, epilog=shown, formatter_class=_Help)
        sub.set_defaults(run=run)
        return sub

    demo = command(
        commands,
        'demo',
        _demo,
        'Fine-tune a pretrained zerosnet20 on handwritten digits and measure it clean and under noise.',
    )
    demo.add_argument('--out', default='timm-zerosnet-demo', help='folder for the plot and the table')
    demo.add_argument('--seed', type=int, default=0, help='of the split, the order, the new layers and the noise')
    demo.add_argument('--epochs', type=int, default=3, help='of both trainings')

    from . import commands as own
    from .robustness import commands as robustness

    for module in (own, robustness):
        module.register(functools.partial(command, commands))

    for name in ('train', 'validate'):
        commands.add_parser(name, help=f"run timm's {name}.py", add_help=False)

    weights = commands.add_parser('weights', help='packaged weights').add_subparsers(metavar='ACTION', required=True)
    add = command(weights, 'add', _weights_add, 'Store a trained checkpoint with its measured accuracy.')
    add.add_argument('checkpoint', help="last.pth.tar of timm's train.py")
    add.add_argument('--recipe', required=True, help='that it was trained with: a YAML file or a packaged name')
    add.add_argument('--log', required=True, help='summary.csv of the run')
    add.add_argument('--args', help='args.yaml of the run, default: beside the log')
    add.add_argument('--data', required=True, help='full test set: an image folder or an npz file')
    add.add_argument('--tag', required=True, help='weight tag, such as cifar10 or cifar10_seed1')
    add.add_argument('--average', choices=('raw', 'ema'), default='raw', help='which weights of the checkpoint')
    add.add_argument('--hardware', help='what it was trained on')
    add.add_argument('--wall-time', default='', help='how long it took')
    add.add_argument('--scripts', default='', help="version of timm's scripts")
    add.add_argument('--date', help='of adding, YYYY-MM-DD; default: today')
    add.add_argument('--note', default='', help='what a reader must know')
    command(weights, 'verify', _weights_verify, 'Compare every packaged file with the manifest.')
    command(weights, 'tables', _weights_tables, 'Write the generated tables of README.md and MODEL_CARD.md.')

    publish = command(commands, 'publish', _publish, 'Bring the packaged weights to the Hugging Face Hub.')
    publish.add_argument('names', nargs='*', metavar='NAME', help='weight such as zerosnet20.cifar10; default: all')
    publish.add_argument('--namespace', required=True, help='user or organization that gets a repo for each weight')
    publish.add_argument('--dry-run', action='store_true', help='write the folders instead, without any network')
    publish.add_argument('--out', help=f'folder of --dry-run; default: {DRY_RUN_FOLDER}')
    publish.add_argument('--private', action='store_true', help='make new repos private')
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code.

    It is 0, 1 where a part failed (cells of a run, some of the images), 2 for an error that the message explains, 130
    when interrupted, 141 when the reader of its output has gone.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] in (['train'], ['validate']):
            from . import train, validate

            return {'train': train, 'validate': validate}[arguments[0]].main(arguments[1:])
        args = _parser().parse_args(_with_fractions(arguments))
        code = args.run(args) or 0
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _close_stdout()
        return 141
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except (CommandError, RuntimeError, ValueError, OSError) as error:
        print(f'timm-zerosnet: {error}', file=sys.stderr)
        if isinstance(error, OSError):
            _close_stdout()
        return 2


def _with_fractions(arguments: list[str]) -> list[str]:
    """Arguments among which argparse takes ``-1/2`` and ``-1e-3`` for numbers, not for options: they get a blank."""
    return [f' {word}' if re.fullmatch(r'-[\d.]+(/\d+|[eE][-+]?\d+)', word) else word for word in arguments]


def _close_stdout() -> None:
    """Lose what cannot be printed, which Python would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == '__main__':
    sys.exit(main())
