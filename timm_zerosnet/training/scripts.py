"""Finding and running timm's own, unmodified train.py and validate.py."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Callable

import timm
import torch
from timm.utils import is_distributed_env, world_info_from_env

from .._errors import ScriptError, one_line
from .._exit_codes import exit_code
from .._files import check_folder
from .patches import distributed_on_cpu, noting_interruptions, padded_crop

RELEASES = 'https://raw.githubusercontent.com/huggingface/pytorch-image-models'
HOW_TO_GO_ON = (
    "name a folder that holds timm's scripts, such as a checkout of github.com/huggingface/pytorch-image-models, by "
    '--timm-scripts DIR or TIMM_SCRIPTS, or run this once with a network connection'
)


def find_script(name: str, folder: str | None = None) -> Path:
    """Find a script of timm's.

    It is taken from ``folder``, else from ``$TIMM_SCRIPTS``, else from the user's cache, into which the script of the
    installed timm's release is downloaded.

    Args:
        name: ``'train.py'`` or ``'validate.py'``.
        folder: The folder that holds it, if the user named one.

    Raises:
        ScriptError: if the folder does not hold the script, or it cannot be downloaded.
        OutputError: if the cache cannot be written.
    """
    folder = folder or os.environ.get('TIMM_SCRIPTS')
    if not folder:
        return _download(name)
    script = Path(folder) / name
    if not script.is_file():
        raise ScriptError(f"{script} does not exist; expected a folder that holds timm's {name}")
    return script.resolve()


def _download(name: str) -> Path:
    folder = Path(torch.hub.get_dir()) / 'timm_scripts' / f'v{timm.__version__}'
    script = folder / name
    if script.is_file():
        return script
    url = f'{RELEASES}/v{timm.__version__}/{name}'
    check_folder(folder, HOW_TO_GO_ON)
    print(f"timm's {name} is part of its repository, not of its package: downloading {url} to {folder}")
    partial = folder / f'{name}.{os.getpid()}.partial'
    timeout = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(30)  # torch.hub sets none, and would wait for ever
        torch.hub.download_url_to_file(url, str(partial))
        source = partial.read_text(encoding='utf-8')
        compile(source, url, 'exec')
        if "if __name__ == '__main__'" not in source:
            raise ValueError('the script is incomplete')
        os.replace(partial, script)
    except Exception as error:  # urllib, socket, http.client, the file system and the parser each raise their own
        raise ScriptError(
            f'cannot download {url} ({type(error).__name__}: {one_line(error)}): {HOW_TO_GO_ON}'
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
        with suppress(OSError):
            partial.unlink()
    return script


def script_version(script: Path) -> str:
    """The version of timm that a script belongs to, by its checkout or release; ``''`` where neither is known."""
    if script.parent.parent.name == 'timm_scripts':
        return script.parent.name.removeprefix('v')
    path = script.parent / 'timm' / 'version.py'
    found = re.search(r"__version__ = '(.+)'", path.read_text(encoding='utf-8')) if path.is_file() else None
    return found[1] if found else ''


def script_parser(script: Path) -> argparse.ArgumentParser:
    """Read the argument parser of a script of timm's.

    Raises:
        ScriptError: if the script does not run with the installed timm, or has no parser.
    """
    try:
        parser = runpy.run_path(str(script), run_name='timm_script').get('parser')
    except Exception as error:  # a script of another release can fail in any way
        raise ScriptError(
            f'{script} does not run with timm {timm.__version__} ({type(error).__name__}: {one_line(error)}): take '
            f'the script of v{timm.__version__}'
        ) from error
    if not isinstance(parser, argparse.ArgumentParser):
        raise ScriptError(f"expected timm's {script.name} with its argument parser, got {script}, which has none")
    return parser


def parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """The arguments of a script.

    Raises:
        ScriptError: where one of timm's options for ``KEY=VALUE`` gets something else.
    """
    try:
        return parser.parse_args(arguments)
    except ValueError as error:
        words = [word for word in arguments if '=' not in word and not word.startswith('-')]
        raise ScriptError(
            f'expected KEY=VALUE after --model-kwargs and the like, such as method=ab3; among {" ".join(words)} is '
            'something else'
        ) from error


def process_count() -> int:
    """Number of processes that train together, by timm's own rule: torchrun's or Slurm's, 1 without either."""
    return world_info_from_env()[2] if is_distributed_env() else 1


def with_device(arguments: list[str], args: argparse.Namespace) -> list[str]:
    """Add ``--device cpu`` to the arguments where timm would take a GPU by default and there is none."""
    if getattr(args, 'device', None) != 'cuda' or torch.cuda.is_available():
        return arguments
    if any(argument.split('=')[0] == '--device' for argument in arguments):
        return arguments
    return [*arguments, '--device', 'cpu']


def run_script(script: Path, arguments: list[str]) -> None:
    """Run a script of timm's as ``__main__`` in this process.

    Raises:
        ScriptError: where the script refuses its arguments by an assertion, or cannot import what they need.
        KeyboardInterrupt: also where the script took an interruption for its end, as train.py does.
    """
    before = sys.argv
    sys.argv = [str(script), *arguments]
    try:
        with padded_crop(), distributed_on_cpu(), noting_interruptions() as interruptions:
            runpy.run_path(str(script), run_name='__main__')
    except (AssertionError, ImportError) as error:  # how timm's scripts refuse what they are given
        line = traceback.extract_tb(error.__traceback__)[-1].line
        raise ScriptError(f"timm's script stopped at `{line}`: {str(error) or 'it says no more'}") from error
    finally:
        sys.argv = before
    if interruptions:
        raise KeyboardInterrupt


def launch(command: str, usage: str, arguments: list[str] | None, run: Callable[[list[str]], None]) -> int:
    """The command line of a launcher; returns the exit code, see ``exit_code``.

    Args:
        command: ``train`` or ``validate``.
        usage: The text that ``--help`` prints.
        arguments: The words after the command, by default those of ``sys.argv``.
        run: Does the work with these words.
    """
    words = sys.argv[1:] if arguments is None else arguments

    def work() -> int:
        if words and words[0] not in ('-h', '--help'):
            run(words)
            return 0
        print(usage)
        return 0 if words else 2

    return exit_code(f'timm-zerosnet {command}', work)


def take_option(arguments: list[str], name: str, what: str) -> tuple[str | None, list[str]]:
    """Split an option of the launcher, ``name VALUE`` or ``name=VALUE``, off the arguments that go to timm.

    Args:
        arguments: The words of the command line.
        name: The option, such as ``--continue``.
        what: What its value is, for the message.

    Returns:
        The value, None if the option is not given, and the other words.

    Raises:
        ScriptError: if the value is missing.
    """
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition('=')
        if option == name:
            if not equals and i + 1 == len(arguments):
                raise ScriptError(f'expected {what} after {name}, got nothing')
            value, rest = (value, arguments[i + 1 :]) if equals else (arguments[i + 1], arguments[i + 2 :])
            return value, arguments[:i] + rest
    return None, arguments


def take_scripts_option(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Split ``--timm-scripts DIR`` off the arguments, see ``take_option``."""
    return take_option(arguments, '--timm-scripts', "the folder that holds timm's scripts")
