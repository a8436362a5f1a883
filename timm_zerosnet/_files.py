"""Writing files whole or not at all, errors of writing, locks, checksums, and the packages of extras."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from filelock import FileLock, Timeout

FULL = tuple(getattr(errno, name) for name in ('ENOSPC', 'EDQUOT', 'EFBIG') if hasattr(errno, name))
PROBE = bytes(512)  # a full disk takes an empty file
EXTRAS = {'robustness': ('sklearn', 'scipy', 'matplotlib', 'jinja2')}


class OutputError(OSError):
    """A file cannot be written; the message says which, why and how to go on."""


def cannot_write(path: str | Path, reason: OSError | str, way: str = '') -> OutputError:
    """``cannot write PATH: reason; how to go on``.

    Args:
        path: The file or folder, as the user calls it.
        reason: The error of the system, or a reason in words.
        way: How to go on; the default fits the reason.
    """
    if isinstance(reason, OSError):
        way = way or ('make room there, or name another place' if is_full(reason) else 'name another place')
        reason = reason.strerror or ' '.join(str(reason).split()) or type(reason).__name__
    return OutputError(f'cannot write {path}: {reason}; {way or "name another place"}')


def is_full(error: Exception) -> bool:
    """Whether an error says that a disk is full; ``torch.save`` has a RuntimeError of its own for that."""
    words = ('PytorchStreamWriter failed', 'inline_container')
    return getattr(error, 'errno', None) in FULL or any(word in str(error) for word in words)


@contextmanager
def writing(path: str | Path, way: str = '') -> Iterator[None]:
    """Turn an OSError of the body, which writes ``path``, into an OutputError; see ``cannot_write``."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise cannot_write(path, error, way) from error


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """Refuse a path that cannot become a file, before the work is done.

    Args:
        path: The file that is to be written; nothing is made there.
        suffixes: The suffixes that it may have; none allows any.

    Raises:
        OutputError: for a folder, a device, another ending, or a folder that is not there or cannot be written to.
    """
    with writing(path):
        if path.exists() and not path.is_file():
            kind = 'a folder' if path.is_dir() else 'no ordinary file'
            raise cannot_write(path, f'it is {kind}', 'name a file')
        if suffixes and path.suffix.lower() not in suffixes:
            raise cannot_write(
                path,
                f'expected {" or ".join(suffixes)}, got {path.suffix or "no suffix"!r}',
                'name a file of that kind',
            )
        if not path.parent.is_dir():
            raise cannot_write(path, f'{path.parent} is not a folder', 'make it, or name another place')
        _probe(path.parent)


def check_folder(path: Path, way: str = '') -> None:
    """Refuse a folder that cannot be made or written to, before the work is done; nothing is made.

    Args:
        path: The folder that is to be written to.
        way: How to go on; the default is to name another place.

    Raises:
        OutputError: if a file is in its place, or the disk is full, or it may not be written to.
    """
    with writing(path, way):
        there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not there.is_dir():
            raise cannot_write(path, 'it is a file' if there == path else f'{there} is a file', way or 'name a folder')
        _probe(there)


def _probe(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(PROBE)
        file.flush()


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if need be.

    Raises:
        OutputError: if a file is in its place, or it cannot be made or written to.
    """
    check_folder(path)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write to that takes the place of ``path`` when all went well; otherwise nothing is left of it.

    Each caller has a file of its own, so that of two that write one path at once the later one wins, whole.

    Raises:
        OutputError: if it cannot be written; an older file is then still there.
    """
    partial = ''
    try:
        with writing(path):
            descriptor, partial = tempfile.mkstemp(prefix=f'.{path.name[:40]}-', suffix='.partial', dir=path.parent)
            os.close(descriptor)
            yield Path(partial)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(partial, 0o666 & ~umask)
            os.replace(partial, path)
    finally:
        if partial:
            Path(partial).unlink(missing_ok=True)


class LockedError(RuntimeError):
    """Another process holds a lock; ``holder`` is the id of that process as text, or ``'unknown'``."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f'{path} is held by process {holder}')
        self.holder = holder


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock until the body or the process ends, however that ends.

    Args:
        path: The file of the lock, made if need be. A file beside it, with ``.pid`` added to its name, tells others who
            holds the lock.
        wait: Wait for the process that holds the lock, rather than raise.

    Raises:
        LockedError: if another process holds it.
        OutputError: if the file cannot be made.
    """
    owner = path.with_name(f'{path.name}.pid')
    with writing(path):
        lock = FileLock(path, timeout=-1 if wait else 0, mode=0o644)
        try:
            lock.acquire()
        except Timeout as error:
            holder = owner.read_text(encoding='ascii').strip() if owner.is_file() else ''
            raise LockedError(path, holder or 'unknown') from error
        except NotImplementedError:  # a file system without locks
            pass
    try:
        with writing(owner):
            owner.write_text(f'{os.getpid()}\n', encoding='ascii')
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def sha256(path: str | Path) -> str:
    """The sha256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def explain(error: OSError) -> str:
    """An OSError in words, those of ``cannot_write`` for a full disk."""
    if isinstance(error, OutputError) or error.errno is None:
        return str(error) or type(error).__name__
    if error.errno in (*FULL, errno.EROFS):
        return str(cannot_write(error.filename or 'the output', error))
    return f'{error.filename}: {error.strerror}' if error.filename else str(error)


def flush_stdout() -> None:
    """Write what was printed and still waits in memory.

    Raises:
        BrokenPipeError: if the reader of the output has gone.
        OutputError: if it cannot be written. It is dropped then, as Python would try again at its end.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise cannot_write('the output', error) from error


class MissingExtraError(RuntimeError):
    """Packages are not installed; the message names them and the command that installs them."""


def need(extra: str) -> None:
    """Raise ``MissingExtraError`` unless all packages of the extra are installed; none is imported."""
    missing = [name for name in EXTRAS[extra] if not _installed(name)]
    if missing:
        raise MissingExtraError(f'this needs {", ".join(missing)}: pip install "timm-zerosnet[{extra}]"')


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # blocked: by an import hook, by None in sys.modules
        return False
