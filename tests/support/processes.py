"""Python in a process of its own that is no new interpreter: a server forks it that has torch and timm imported.

``import timm`` takes seconds of processor time, a fork a quarter of one. ``python`` stands for ``subprocess.run`` of an
interpreter, ``fork`` for ``Popen``. Here is also what finds and kills processes by a mark in their environment, for
children.py.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import types
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Iterable, Mapping
from unittest import mock

FORKS = 'forkserver' in multiprocessing.get_all_start_methods()
MARK = 'TIMM_ZEROSNET_TESTS'
PROC = Path('/proc')
PRELOADED = ['timm_zerosnet.cli', 'timm_zerosnet.commands.robustness', 'timm_zerosnet.train', 'timm_zerosnet.validate']

forked: set[int] = set()
"""Ids of the processes that the running test has forked; each leads a session."""
test_mark = ''
"""The mark of the running test, for what its forked processes start."""


def marked(mark: str) -> list[int]:
    """Ids of the other processes whose mark begins so."""
    found = []
    for folder in PROC.glob('[0-9]*'):
        try:
            words = (folder / 'environ').read_bytes().split(b'\0')
        except OSError:  # it has ended, or is another user's
            continue
        if int(folder.name) != os.getpid() and any(word.startswith(f'{MARK}={mark}'.encode()) for word in words):
            found.append(int(folder.name))
    return found


def of_sessions(leaders: Iterable[int]) -> list[int]:
    """Ids of the processes in the sessions of these leaders that stem from our fork server."""
    found = []
    for process in marked(f'{os.getpid()}:session'):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(process) in leaders:
                found.append(process)
    return found


def kill_all(find: Any) -> None:
    """Kill the processes that ``find`` returns, and what they start meanwhile."""
    deadline = time.monotonic() + 20
    while (found := find()) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def kill_marked(mark: str) -> None:
    kill_all(functools.partial(marked, mark))


@functools.cache
def _context() -> Any:
    """The context of the fork server, which runs with one thread and without the Hub's cache of the user."""
    root = Path(__file__).resolve().parents[2]
    search = [root, root / 'benchmarks', Path(__file__).parent, *filter(None, [os.environ.get('PYTHONPATH')])]
    settings = {'PYTHONPATH': os.pathsep.join(map(str, search)), 'OMP_NUM_THREADS': '1', 'HF_HOME': os.devnull}
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED)
    with mock.patch.dict(os.environ, settings):
        forkserver.ensure_running()
    return context


def fork(
    words: Iterable[Any],
    out: Path,
    err: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    file_limit: int | None = None,
) -> Any:
    """Start ``python WORDS``, where words begin with ``-c CODE``, ``-m MODULE`` or a script, and return the process.

    Args:
        out: File of its standard output.
        err: File of its standard error, by default also ``out``.
        file_limit: Bytes that a file may grow to.
    """
    environment = {**(os.environ if env is None else env), MARK: test_mark}
    places = str(out), str(err or out), str(cwd or Path.cwd())
    process = _context().Process(target=begin, args=([*map(str, words)], *places, environment, file_limit))
    process.start()
    forked.add(process.pid)
    return process


def start(arguments: Iterable[Any], log: Path, file_limit: int | None = None) -> Any:
    """Start ``timm-zerosnet ARGUMENTS`` with its output in ``log``."""
    return fork(['-m', 'timm_zerosnet.cli', *arguments], log, file_limit=file_limit)


def python(
    *words: Any, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What ``subprocess.run`` returns of ``python WORDS``; its output is text."""
    line = [sys.executable, *map(str, words)]
    if not FORKS:
        return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, encoding='utf-8')
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, 'out'), Path(folder, 'err')
        process = fork(words, out, err, cwd, env)
        process.join()
        return subprocess.CompletedProcess(
            line, process.exitcode, out.read_text(encoding='utf-8'), err.read_text(encoding='utf-8')
        )


def begin(
    words: list[str],
    out: str,
    err: str,
    cwd: str,
    environment: dict[str, str],
    file_limit: int | None,
    search: Iterable[str] = (),
) -> None:
    """What the forked process does: the part of an interpreter; ``search`` are folders that come first on its path."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.dup2(os.open(out, flags), 1)
    os.dup2(1 if err == out else os.open(err, flags), 2)
    encoding, _, errors = environment.get('PYTHONIOENCODING', 'utf-8').partition(':')
    sys.stdout = open(1, 'w', encoding=encoding, errors=errors or 'strict', closefd=False)
    sys.stderr = open(2, 'w', encoding=encoding, errors='backslashreplace', closefd=False)
    os.chdir(cwd)
    if file_limit is not None:
        import resource

        sys.dont_write_bytecode = True  # Python would leave compiled files that are cut off
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    sys.path[:0] = search
    first, *rest = words
    if first == '-c':
        sys.argv, sys.path[:0] = ['-c', *rest[1:]], ['']
        main = sys.modules['__main__'] = types.ModuleType('__main__')
        exec(compile(rest[0], '<string>', 'exec'), main.__dict__)
    elif first == '-m':
        sys.argv, sys.path[:0] = rest, ['']
        sys.modules.pop(rest[0], None)
        runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    else:
        sys.argv, sys.path[:0] = words, [str(Path(first).resolve().parent)]
        runpy.run_path(first, run_name='__main__')
