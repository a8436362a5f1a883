"""How the processes of a run share its work, by files alone, which also a network file system keeps apart.

Each process (rank) claims a condition by making a file that was not there, and leaves each finished cell as a file that
is renamed into place. Rank 0 alone has the store, and folds these files into it. Nobody waits for anybody before the
end, and a cell that two ranks measure is the same cell.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping

import numpy as np

from .._files import make_folder, replacing
from .evaluation import Evaluation
from .origins import Origin, as_document
from .plan import PlannedCell
from .store import TYPES, Store, Stored, StoreError, is_locked

FOLDER = 'cells'
# what processes make there, and what ``replacing`` leaves of a killed one; the folder may hold files of others
OWN = re.compile(r'[0-9a-f]{64}\.(npz|failed|claim)|\.clock-\d+|\.[0-9a-f]{40}-\w+\.partial')
ABANDONED = 600.0  # seconds after which a claim that nobody touched is free again
HEARTBEAT = 5.0


@dataclass(frozen=True)
class Rank:
    """A process among those that were started for one run.

    Args:
        number: Its number among all, from 0.
        count: How many there are.
        local: Its number among those on its machine.
        on_machine: How many there are on its machine.
    """

    number: int = 0
    count: int = 1
    local: int = 0
    on_machine: int = 1

    @classmethod
    def current(cls, environment: Mapping[str, str] = os.environ) -> Rank:
        """This process, as torchrun or srun started it; the only one otherwise.

        A shell of ``salloc`` and the script of ``sbatch`` know the number of tasks as well, but are no task of theirs:
        only a step (``srun``) has a number of tasks of its own. What an earlier command left of torchrun's variables
        counts for nothing, see ``ignored_rank``.
        """

        def number(name: str, default: int) -> int:
            text = environment.get(name, '').partition('(')[0].partition(',')[0]  # SLURM: '4(x2),2'
            return int(text) if text.isdigit() else default

        if _is_of_torchrun(environment):
            names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE')
        elif 'SLURM_PROCID' in environment and 'SLURM_STEP_NUM_TASKS' in environment:
            names = ('SLURM_PROCID', 'SLURM_STEP_NUM_TASKS', 'SLURM_LOCALID', 'SLURM_STEP_TASKS_PER_NODE')
        else:
            return cls()
        return cls(*(number(name, default) for name, default in zip(names, (0, 1, 0, 1), strict=True)))


def _is_of_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether there are several processes, this is one of them, and they have an address to meet at."""
    number, count = (environment.get(name, '') for name in ('RANK', 'WORLD_SIZE'))
    several = number.isdigit() and count.isdigit() and int(number) < int(count) > 1
    return several and 'MASTER_ADDR' in environment


def ignored_rank(environment: Mapping[str, str] = os.environ) -> str | None:
    """That variables of torchrun do not make this process one of several, in words; None if there are none.

    A process that torchrun starts alone has rank 0 of 1, which is no contradiction.
    """
    names = ('RANK', 'WORLD_SIZE', 'MASTER_ADDR')
    alone = (environment.get('RANK', '0'), environment.get('WORLD_SIZE', '1')) == ('0', '1')
    if alone or Rank.current(environment).count > 1:
        return None
    found = ' and '.join(f'{name}={environment[name]}' for name in names if name in environment)
    absent = [name for name in names if name not in environment]
    return (
        f'{found}{" without " * bool(absent)}{" and ".join(absent)} in the environment: expected those of torchrun for '
        'one of several processes; this one measures everything by itself'
    )


class Board:
    """What is done of a run and who is at what, as one of its processes sees and changes it.

    Args:
        out: Folder of the run.
        rank: This process.
        store: The store, of rank 0 alone.
    """

    def __init__(self, out: Path, rank: Rank, store: Store | None) -> None:
        self.rank = rank
        self._out, self._folder, self._store = out, out / FOLDER, store
        self._done: set[str] = set()
        self._held: set[Path] = set()
        self._touched = 0.0
        if rank.count > 1:
            make_folder(self._folder)
        if store is not None:
            forget_failures(out)  # of a run that was killed: they are tried again
            self.fold()
            self._done.clear()  # what had failed is tried again

    def done(self, refresh: bool = False) -> set[str]:
        """Keys of the cells that need not be measured: those with a result, and those that failed in this run.

        Args:
            refresh: Look into the store as well, where cells are that another rank wrote and rank 0 has taken up.
        """
        if self.rank.count > 1:  # first the files: what has left them is in the store
            self._done |= {path.stem for path in _own(self._folder, '.npz', '.failed')}
        if refresh and self._store is not None:
            self._done |= self._store.finished()
        elif refresh:
            with suppress(StoreError), closing(Store(self._out)) as store:  # rank 0 may not have made it yet
                self._done |= store.finished()
                if not is_locked(self._out):  # rank 0 has ended: what failed is not tried again
                    return self._done | store.failed()
        return self._done

    def put(self, cell: PlannedCell, stored: Stored) -> None:
        """Keep what was measured, or why it failed."""
        if self._store is not None:
            self._store.put(cell, stored)
        else:
            _write(self._folder / f'{cell.key}.npz', cell, stored)
        if self.rank.count > 1 and stored.error is not None:
            (self._folder / f'{cell.key}.failed').touch()
        self._done.add(cell.key)

    def fold(self) -> int:
        """Put the cells that other ranks left as files into the store; returns how many."""
        if self._store is None or not self._folder.is_dir():
            return 0
        count = 0
        for path, cell, stored in _files(self._folder):
            if stored.error is None or cell.key not in self._store.finished():
                self._store.put(cell, stored)
            path.unlink()
            self._done.add(cell.key)
            count += 1
        if self.rank.count == 1:
            for path in _own(self._folder):  # claims, and what a killed process had begun to write
                path.unlink(missing_ok=True)
            with suppress(OSError):  # it holds something else
                self._folder.rmdir()
        return count

    def claim(self, name: str) -> bool:
        """Whether this process may begin what has that name; ``release`` it in the end."""
        if self.rank.count == 1:
            return True
        path = self._folder / f'{name}.claim'
        owner = json.dumps({'host': socket.gethostname(), 'process': os.getpid()})
        for _ in range(2):
            try:
                with path.open('x', encoding='utf-8') as file:
                    file.write(owner)
            except FileExistsError:
                if not self._is_abandoned(path):
                    return False
                path.unlink(missing_ok=True)
            else:
                self._held.add(path)
                return True
        return False

    def release(self, name: str) -> None:
        """Give back what was claimed."""
        path = self._folder / f'{name}.claim'
        if path in self._held:
            self._held.remove(path)
            path.unlink(missing_ok=True)

    def touch(self) -> None:
        """Show that this process is at work on what it has claimed."""
        if self._held and time.monotonic() - self._touched > HEARTBEAT:
            self._touched = time.monotonic()
            for path in self._held:
                with suppress(FileNotFoundError):
                    os.utime(path)

    def release_all(self) -> None:
        """Give back everything."""
        for path in list(self._held):
            self.release(path.stem)

    def _is_abandoned(self, path: Path) -> bool:
        """Whether the claim is of a process of this machine that has ended, or that was not seen for long."""
        try:
            text, touched = path.read_text(encoding='utf-8'), path.stat().st_mtime
        except FileNotFoundError:
            return True
        clock = self._folder / f'.clock-{self.rank.number}'  # the time of the file system, whose clock may be another
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink()
        if now - touched > ABANDONED:
            return True
        try:
            owner = json.loads(text)
        except ValueError:  # it is being written
            return False
        return owner['host'] == socket.gethostname() and not _is_alive(owner['process'])


def forget_failures(out: Path) -> None:
    """Remove the marks of cells that failed, by which the processes of a run that has ended knew of them."""
    for mark in _own(out / FOLDER, '.failed'):
        mark.unlink(missing_ok=True)


def unfolded(out: Path) -> list[tuple[PlannedCell, Stored]]:
    """The cells of a run that were left as files: its first process ended before it could take them up."""
    return [(cell, stored) for _, cell, stored in _files(out / FOLDER)]


def _files(folder: Path) -> Iterator[tuple[Path, PlannedCell, Stored]]:
    for path in _own(folder, '.npz'):
        yield path, *_read(path)


def _own(folder: Path, *suffixes: str) -> list[Path]:
    """The files of runs in a folder, with these suffixes or all."""
    found = sorted(path for path in folder.glob('*') if OWN.fullmatch(path.name))
    return [path for path in found if not suffixes or path.suffix in suffixes]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _write(path: Path, cell: PlannedCell, stored: Stored) -> None:
    document = {
        'cell': cell.document(),
        'error': stored.error,
        'seconds': stored.seconds,
        'device': stored.device,
        'origin': as_document(stored.origin),
    }
    arrays = {} if stored.result is None else {name: getattr(stored.result, name) for name in TYPES}
    with replacing(path) as partial, partial.open('wb') as file:
        np.savez(file, document=np.array(json.dumps(document)), **arrays)


def _read(path: Path) -> tuple[PlannedCell, Stored]:
    with np.load(path) as arrays:
        document = json.loads(str(arrays['document']))
        failed = document['error'] is not None
        result = None if failed else Evaluation(**{name: arrays[name] for name in TYPES})
    stored = Stored(result, document['error'], document['seconds'], document['device'], Origin(**document['origin']))
    return PlannedCell.read(document['cell']), stored
