"""Running timm's own, unmodified train.py and validate.py."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Callable

import torch

from . import crop
from .pretrained import RECIPES


class ScriptError(RuntimeError):
    """A script or recipe cannot be found or used."""


def find_script(name: str, folder: str | None = None) -> Path:
    """Path of timm's ``name`` (``train.py``, ``validate.py``) in ``folder``, else in ``$TIMM_SCRIPTS``.

    Raises:
        ScriptError: if no folder is named or it does not hold the script.
    """
    folder = folder or os.environ.get('TIMM_SCRIPTS')
    if not folder:
        raise ScriptError(
            f"timm's {name} is part of its repository, not of its package: name a checkout of "
            'github.com/huggingface/pytorch-image-models by --timm-scripts DIR or TIMM_SCRIPTS'
        )
    script = Path(folder) / name
    if not script.is_file():
        raise ScriptError(f"{script} does not exist; expected is a folder that holds timm's {name}")
    return script.resolve()


def find_recipe(recipe: str) -> Path:
    """Path of a recipe: a YAML file, or the name of a packaged one such as ``short``.

    Raises:
        ScriptError: if there is no such recipe; names the packaged ones.
    """
    for path in (Path(recipe), RECIPES / f'{recipe}.yaml'):
        if path.is_file():
            return path
    packaged = ', '.join(sorted(path.stem for path in RECIPES.glob('*.yaml')))
    raise ScriptError(f'there is no recipe {recipe!r}; accepted: a YAML file or one of {packaged}')


def run_script(name: str, arguments: list[str], folder: str | None = None) -> None:
    """Run a script of timm's as ``__main__`` in this process, on the CPU where there is no GPU.

    Raises:
        ScriptError: if the script is not found.
    """
    script = find_script(name, folder)
    if not torch.cuda.is_available() and not any(a.split('=')[0] == '--device' for a in arguments):
        arguments = [*arguments, '--device', 'cpu']
    crop.install()
    before = sys.argv, sys.path
    sys.argv, sys.path = [str(script), *arguments], [str(script.parent), *sys.path]
    try:
        runpy.run_path(str(script), run_name='__main__')
    finally:
        sys.argv, sys.path = before


def launch(command: str, usage: str, arguments: list[str] | None, prepare: Callable[[list[str]], list[str]]) -> int:
    """The command line of a launcher; returns the exit code.

    Args:
        command: ``train`` or ``validate``.
        usage: What ``--help`` prints.
        arguments: Of the command, default ``sys.argv``.
        prepare: Makes the script's arguments of them, ``--timm-scripts`` taken out.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ('-h', '--help'):
        print(usage)
        return 0 if arguments else 2
    try:
        folder, rest = take_scripts_option(arguments)
        run_script(f'{command}.py', prepare(rest), folder)
    except ScriptError as error:
        print(f'timm-zerosnet {command}: {error}', file=sys.stderr)
        return 2
    return 0


def take_scripts_option(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Split ``--timm-scripts DIR`` off the arguments that go to timm."""
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition('=')
        if option == '--timm-scripts':
            if not equals and i + 1 == len(arguments):
                raise ScriptError("--timm-scripts needs the folder that holds timm's scripts")
            value, rest = (value, arguments[i + 1 :]) if equals else (arguments[i + 1], arguments[i + 2 :])
            return value, arguments[:i] + rest
    return None, arguments
