"""``timm-zerosnet publish``: the packaged weights on the Hugging Face Hub."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Callable

from .._files import check_folder

DRY_RUN_FOLDER = 'timm-zerosnet-hub'
EXAMPLES = """
timm-zerosnet publish --namespace ORG --dry-run
timm-zerosnet publish zerosnet20.cifar10 --namespace ORG
"""


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command, see ``commands.robustness.register``."""
    publish = command('publish', _publish, 'Bring the packaged weights to the Hugging Face Hub.', EXAMPLES)
    publish.add_argument('names', nargs='*', metavar='NAME', help='weight such as zerosnet20.cifar10; default: all')
    publish.add_argument('--namespace', required=True, help='user or organization that gets a repo for each weight')
    publish.add_argument('--dry-run', action='store_true', help='write the folders instead, without any network')
    publish.add_argument('--out', help=f'folder of --dry-run; default: {DRY_RUN_FOLDER}')
    publish.add_argument('--private', action='store_true', help='make new repos private')


def _publish(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from ..maintain import publish as publishing

    if args.out is not None and not args.dry_run:
        raise ValueError('--out is the folder of --dry-run; without it everything goes to the Hub')
    if args.dry_run:
        check_folder(Path(args.out or DRY_RUN_FOLDER))
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
