"""The command in a process of its own that can be killed, forked from one that has torch imported already; and the end
of all processes that have a mark in their environment."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

FORKS = 'forkserver' in multiprocessing.get_all_start_methods()
MARK = 'TIMM_ZEROSNET_TESTS'
PROC = Path('/proc')


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


def kill_marked(mark: str) -> None:
    """Kill them, and what they start meanwhile."""
    deadline = time.monotonic() + 20
    while (found := marked(mark)) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def start(arguments: list[Any], log: Path, file_limit: int | None = None) -> Any:
    """Start ``timm-zerosnet`` with its output in ``log``; ``file_limit``: bytes that a file may grow to."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['timm_zerosnet.cli', 'timm_zerosnet.commands.robustness'])
    process = context.Process(target=_command, args=([str(word) for word in arguments], str(log), file_limit))
    process.start()
    return process


def _command(arguments: list[str], log: str, file_limit: int | None) -> None:
    from timm_zerosnet.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    sys.stdout, sys.stderr = (open(stream, 'w', closefd=False) for stream in (1, 2))
    if file_limit is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
