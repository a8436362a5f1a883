"""Finding and running timm's own, unmodified train.py and validate.py."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import signal
import socket
import sys
import threading
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Iterator

import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

from .._errors import ScriptError, UnknownModelError, WeightError, one_line
from .._files import check_folder, explain, flush_stdout
from . import crop

RELEASES = 'https://raw.githubusercontent.com/huggingface/pytorch-image-models'
WAYS_OUT = (
    "name a folder that holds timm's scripts, such as a checkout of github.com/huggingface/pytorch-image-models, by "
    '--timm-scripts DIR or TIMM_SCRIPTS, or run this once with a network connection'
)


def find_script(name: str, folder: str | None = None) -> Path:
    """Path of timm's ``name`` (``train.py``, ``validate.py``).

    It is taken from ``folder``, else from ``$TIMM_SCRIPTS``, else from the user's cache, into which the script of the
    installed timm's release is downloaded.

    Raises:
        ScriptError: if the folder that is named does not hold the script, or it cannot be downloaded.
        OutputError: if the cache cannot be written.
    """
    folder = folder or os.environ.get('TIMM_SCRIPTS')
    if not folder:
        return _download(name)
    script = Path(folder) / name
    if not script.is_file():
        raise ScriptError(f"{script} does not exist; expected is a folder that holds timm's {name}")
    return script.resolve()


def _download(name: str) -> Path:
    folder = Path(torch.hub.get_dir()) / 'timm_scripts' / f'v{timm.__version__}'
    script = folder / name
    if script.is_file():
        return script
    url = f'{RELEASES}/v{timm.__version__}/{name}'
    check_folder(folder, WAYS_OUT)
    print(f"timm's {name} is part of its repository, not of its package: downloading {url} to {folder}")
    partial = folder / f'{name}.{os.getpid()}.partial'
    timeout = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(30)  # torch.hub sets none and would wait for ever
        torch.hub.download_url_to_file(url, str(partial))
        source = partial.read_text(encoding='utf-8')
        compile(source, url, 'exec')
        if "if __name__ == '__main__'" not in source:
            raise ValueError('what arrived is not the whole script')
        os.replace(partial, script)
    except Exception as error:  # urllib, socket, http.client, the file system and the parser each raise their own
        raise ScriptError(f'{url} cannot be had ({type(error).__name__}: {one_line(error)}): {WAYS_OUT}') from error
    finally:
        socket.setdefaulttimeout(timeout)
        with suppress(OSError):
            partial.unlink()
    return script


def script_version(script: Path) -> str:
    """Version of timm that a script belongs to: of its checkout or release; ``''`` where neither is known."""
    if script.parent.parent.name == 'timm_scripts':
        return script.parent.name.removeprefix('v')
    path = script.parent / 'timm' / 'version.py'
    found = re.search(r"__version__ = '(.+)'", path.read_text(encoding='utf-8')) if path.is_file() else None
    return found[1] if found else ''


def script_parser(script: Path) -> argparse.ArgumentParser:
    """The argument parser of a script of timm's.

    Raises:
        ScriptError: if the script does not run with the installed timm, or is another one.
    """
    try:
        parser = runpy.run_path(str(script), run_name='timm_script').get('parser')
    except Exception as error:  # whatever a script of another time stumbles over
        raise ScriptError(
            f'{script} does not run with timm {timm.__version__} ({type(error).__name__}: {one_line(error)}): take '
            f'the script of v{timm.__version__}'
        ) from error
    if not isinstance(parser, argparse.ArgumentParser):
        raise ScriptError(f"{script} has no argument parser; expected is timm's {script.name}")
    return parser


def with_device(arguments: list[str], args: argparse.Namespace) -> list[str]:
    """The arguments, with ``--device cpu`` where a GPU is asked for by default and there is none."""
    if getattr(args, 'device', None) != 'cuda' or torch.cuda.is_available():
        return arguments
    if any(argument.split('=')[0] == '--device' for argument in arguments):
        return arguments
    return [*arguments, '--device', 'cpu']


def run_script(script: Path, arguments: list[str]) -> None:
    """Run a script of timm's as ``__main__`` in this process.

    Raises:
        KeyboardInterrupt: also where the script took an interruption for its end, as train.py does.
    """
    crop.install()
    before = sys.argv
    sys.argv = [str(script), *arguments]
    try:
        with distributed_on_cpu(), _interruptions_noted() as interruptions:
            runpy.run_path(str(script), run_name='__main__')
    finally:
        sys.argv = before
    if interruptions:
        raise KeyboardInterrupt


@contextmanager
def _interruptions_noted() -> Iterator[list[int]]:
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handled and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def distributed_on_cpu() -> Iterator[None]:
    """Let timm's ``device_ids=[device]`` pass for modules on the CPU, for which torch accepts none."""
    parallel = torch.nn.parallel.DistributedDataParallel
    original = parallel.__init__

    def init(self: Any, module: torch.nn.Module, device_ids: Any = None, *args: Any, **kwargs: Any) -> None:
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            device_ids = None
        original(self, module, device_ids, *args, **kwargs)

    parallel.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        parallel.__init__ = original  # type: ignore[method-assign]


def launch(command: str, usage: str, arguments: list[str] | None, run: Callable[[list[str]], None]) -> int:
    """The command line of a launcher; returns the exit code: 0, 2 for an error that the message explains, 130 when
    interrupted, 141 when the reader of its output has gone.

    Args:
        command: ``train`` or ``validate``.
        usage: What ``--help`` prints.
        arguments: Of the command, default ``sys.argv``.
        run: Does the work.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        try:
            if not arguments or arguments[0] in ('-h', '--help'):
                print(usage)
                return 0 if arguments else 2
            run(arguments)
        finally:
            flush_stdout()
    except (ScriptError, UnknownModelError, WeightError) as error:
        print(f'timm-zerosnet {command}: {error}', file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 141
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    except (HfHubHTTPError, EntryNotFoundError, OfflineModeIsEnabled) as error:
        print(f'timm-zerosnet {command}: the weights cannot be had from the Hub: {one_line(error)}', file=sys.stderr)
        return 2
    except OSError as error:
        print(f'timm-zerosnet {command}: {explain(error)}', file=sys.stderr)
        return 2
    except (AssertionError, ImportError) as error:  # how timm's scripts refuse what they are given
        line = traceback.extract_tb(error.__traceback__)[-1].line
        print(
            f"timm-zerosnet {command}: timm's script stopped at `{line}`: {error or 'it says no more'}", file=sys.stderr
        )
        return 2
    return 0


def take_option(arguments: list[str], name: str, what: str) -> tuple[str | None, list[str]]:
    """Split an option of ours, ``name VALUE`` or ``name=VALUE``, off the arguments that go to timm.

    Raises:
        ScriptError: if the value is missing; says what it is.
    """
    for i, argument in enumerate(arguments):
        option, equals, value = argument.partition('=')
        if option == name:
            if not equals and i + 1 == len(arguments):
                raise ScriptError(f'{name} needs {what}')
            value, rest = (value, arguments[i + 1 :]) if equals else (arguments[i + 1], arguments[i + 2 :])
            return value, arguments[:i] + rest
    return None, arguments


def take_scripts_option(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Split ``--timm-scripts DIR`` off."""
    return take_option(arguments, '--timm-scripts', "the folder that holds timm's scripts")
