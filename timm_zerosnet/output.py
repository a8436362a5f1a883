"""Output files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator


class OutputError(OSError):
    """A file cannot be written; the message says which and why."""


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a path that cannot become a file, before the work is done.

    Raises:
        OutputError: for a folder, a device, another ending than ``suffixes``, or a folder that is not there.
    """
    if path.exists() and not path.is_file():
        raise OutputError(f'{path} is {"a folder" if path.is_dir() else "no ordinary file"}; accepted is a file')
    if path.suffix.lower() not in suffixes:
        raise OutputError(f'{path} ends with {path.suffix or "no suffix"!r}; accepted: {", ".join(suffixes)}')
    if not path.parent.is_dir():
        raise OutputError(f'{path} cannot be written: {path.parent} is not a folder')


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if need be.

    Raises:
        OutputError: if a file is in its place, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f'{path} is a file; accepted is a folder') from error
    except OSError as error:
        raise OutputError(f'the folder {path} cannot be made: {error.strerror or error}') from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write to that takes the place of ``path`` when all went well; otherwise nothing is left of it.

    Each caller has a file of its own, so that of two that write one path at once the later one wins, whole.

    Raises:
        OutputError: if it cannot be written; an older file is then still there.
    """
    partial = ''
    try:
        descriptor, partial = tempfile.mkstemp(prefix=f'.{path.name}-', suffix='.partial', dir=path.parent)
        os.close(descriptor)
        yield Path(partial)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(partial, 0o666 & ~umask)
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f'{path} cannot be written: {error.strerror or error}') from error
    finally:
        if partial:
            Path(partial).unlink(missing_ok=True)
