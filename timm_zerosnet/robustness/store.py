"""The sqlite file of a run: a cell is written with the numbers of each image in one transaction, or not at all.

Numbers of each image are arrays in little-endian order. The rollback journal and full synchronisation, sqlite's own
settings, lose at most the cell that was being measured, also at a power cut.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, Sequence

import numpy as np

from .._files import LockedError, cannot_write, locked, make_folder
from .evaluation import Evaluation
from .origins import NOT_RECORDED, Origin, as_document, changed_pixels, mixture
from .plan import Cell, PlannedCell, RunPlan

NAME = 'cells.sqlite'
LOCK = 'run.lock'
VERSION = 1
CANNOT_WRITE = {  # part of sqlite's message: what to do
    'disk is full': 'make room there',
    'disk I/O error': 'make room there, or name another place',
    'readonly database': 'make it writable',
}
FIGURES = ('top1', 'top5', 'loss', 'confidence')
TYPES = {'correct': '?', 'predicted': '<i4', 'confidence': '<f4', 'loss': '<f4', 'correct_top5': '?'}
SCHEMA = f"""
CREATE TABLE cells (
    key TEXT PRIMARY KEY,  -- hash of all that the numbers depend on, see plan.cell_key
    model TEXT NOT NULL, suite TEXT NOT NULL, corruption TEXT NOT NULL, level REAL NOT NULL, seed TEXT,
    seconds REAL NOT NULL, device TEXT NOT NULL,
    error TEXT,  -- why it failed; then there are no arrays
    {', '.join(f'{name} BLOB' for name in TYPES)}
);
CREATE TABLE plan (id INTEGER PRIMARY KEY CHECK (id = 0), document TEXT NOT NULL);
PRAGMA user_version = {VERSION};
"""
# beside the cells: early development versions wrote no such tables, and go on reading and writing a store that has them
LATER = """
CREATE TABLE IF NOT EXISTS origins (key TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY);  -- the results that were written, in the folder of the run
"""


class StoreError(RuntimeError):
    """The store cannot be read or written; the message says why and what is kept."""


@dataclass(frozen=True)
class Stored:
    """What the store has of a cell: its result, or why it failed."""

    result: Evaluation | None
    error: str | None
    seconds: float
    device: str
    origin: Origin = NOT_RECORDED


class Store:
    """Cells by key, and the plan of the latest run.

    Args:
        folder: Folder of the run.
        write: Make the store if it is not there.

    Raises:
        StoreError: if there is no store, what is there is none, or it is of another version.
    """

    def __init__(self, folder: str | Path, write: bool = False) -> None:
        self.path = Path(folder) / NAME
        if not write and not self.path.is_file():
            raise StoreError(f'{folder} holds no run: {NAME} is missing')
        with self._explained():
            self._base = sqlite3.connect(self.path, isolation_level=None)
            try:
                version = self._base.execute('PRAGMA user_version').fetchone()[0]
                if version == 0 and write:
                    self._base.executescript(f'BEGIN;{SCHEMA}COMMIT;')
                elif version != VERSION:
                    raise StoreError(f'{self.path}: expected version {VERSION}, got {version}; take another folder')
                if write:
                    self._base.executescript(LATER)
            except BaseException:
                self._base.close()
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if 'not a database' in str(error):
                raise StoreError(f'{self.path} is no store of a run: take another folder') from error
            kept = 'finished cells are kept, and the same command goes on where it stopped'
            for words, way in CANNOT_WRITE.items():
                if words in str(error):
                    raise StoreError(str(cannot_write(self.path, str(error), f'{way}; {kept}'))) from error
            raise StoreError(f'{self.path}: {error}; {kept}') from error

    def finished(self) -> set[str]:
        """Keys of the cells that have a result."""
        with self._explained():
            return {key for (key,) in self._base.execute('SELECT key FROM cells WHERE error IS NULL')}

    def failed(self) -> set[str]:
        """Keys of the cells that failed, in the latest run or before."""
        with self._explained():
            return {key for (key,) in self._base.execute('SELECT key FROM cells WHERE error IS NOT NULL')}

    def put(self, cell: PlannedCell, stored: Stored) -> None:
        """Write a cell, over one that failed.

        Args:
            cell: The cell; all but its key is there for those who read the file by hand.
            stored: Its result, or why it failed.
        """
        arrays = [
            None if stored.result is None else getattr(stored.result, name).astype(kind).tobytes()
            for name, kind in TYPES.items()
        ]
        corruption, level, seed = cell.condition
        row = [cell.key, cell.model, cell.suite, corruption, level]
        row.append(None if seed is None else str(seed))  # sqlite's integers end at 2**63
        row += [stored.seconds, stored.device, stored.error, *arrays]
        with self._explained(), self._base:
            self._base.execute('BEGIN')
            self._base.execute(f'INSERT OR REPLACE INTO cells VALUES ({", ".join("?" * len(row))})', row)
            document = json.dumps(as_document(stored.origin))
            self._base.execute('INSERT OR REPLACE INTO origins VALUES (?, ?)', [cell.key, document])

    def origins(self) -> dict[str, Origin]:
        """The origin of each cell, by its key; ``NOT_RECORDED`` for cells of early development versions."""
        with self._explained():
            found = dict.fromkeys((key for (key,) in self._base.execute('SELECT key FROM cells')), NOT_RECORDED)
            if self._base.execute("SELECT 1 FROM sqlite_master WHERE name = 'origins'").fetchone():
                rows = self._base.execute('SELECT key, document FROM origins').fetchall()
                found.update((key, Origin(**json.loads(document))) for key, document in rows if key in found)
        return found

    def get(self, key: str) -> Stored | None:
        """A cell, None if it was not measured; without its origin, see ``origins``."""
        columns = ', '.join(['error', 'seconds', 'device', *TYPES])
        with self._explained():
            row = self._base.execute(f'SELECT {columns} FROM cells WHERE key = ?', [key]).fetchone()
        if row is None:
            return None
        error, seconds, device, *blobs = row
        if error is not None:
            return Stored(None, error, seconds, device)
        arrays = {
            name: np.frombuffer(blob, kind).astype(kind.lstrip('<'))
            for (name, kind), blob in zip(TYPES.items(), blobs, strict=True)
        }
        arrays['predicted'] = arrays['predicted'].astype(np.int64)
        return Stored(Evaluation(**arrays), None, seconds, device)

    def set_plan(self, plan: RunPlan) -> None:
        """Write what the run is to measure."""
        with self._explained():
            self._base.execute('INSERT OR REPLACE INTO plan VALUES (0, ?)', [json.dumps(plan.document())])

    def files(self) -> set[str]:
        """Names of the results that were written; those of early development versions are not known."""
        with self._explained():
            return {name for (name,) in self._base.execute('SELECT name FROM files')}

    def set_files(self, names: Iterable[str]) -> None:
        """Record which results are written, in place of those before."""
        with self._explained(), self._base:
            self._base.execute('BEGIN')
            self._base.execute('DELETE FROM files')
            self._base.executemany('INSERT INTO files VALUES (?)', [[name] for name in sorted(names)])

    def document(self) -> dict[str, Any]:
        """What the latest run was to measure, as it is stored.

        Raises:
            StoreError: if no run got so far.
        """
        with self._explained():
            row = self._base.execute('SELECT document FROM plan').fetchone()
        if row is None:
            raise StoreError(f'{self.path} holds no run yet')
        return json.loads(row[0])

    def plan(self) -> RunPlan:
        """What the latest run was to measure.

        Raises:
            StoreError: if no run got so far.
        """
        return RunPlan.read(self.document())


@dataclass(frozen=True)
class Run:
    """What a folder holds of its latest run.

    Args:
        plan: The document of what it was to measure, see ``RunPlan``.
        cells: Those with a result, in the order of the plan.
        failed: Reason by place in the plan's list of cells.
        missing: Places of those that were not measured yet.
    """

    plan: dict[str, Any]
    cells: list[Cell]
    failed: dict[int, str]
    missing: list[int]


def read_run(folder: str | Path) -> Run:
    """Read the latest run of a folder, also while it goes on.

    Raises:
        StoreError: if there is none.
    """
    with closing(Store(folder)) as store:
        run = Run(store.document(), [], {}, [])
        plan = RunPlan.read(run.plan)
        for i, cell in enumerate(plan.cells):
            stored = store.get(cell.key)
            if stored is None:
                run.missing.append(i)
            elif stored.result is None:
                run.failed[i] = stored.error or ''
            else:
                run.cells.append(cell.measured(stored.result, plan.conditions))
    return run


def read_cells(store: Store, plan: RunPlan, model: str) -> list[Cell]:
    """The cells of one model that have a result, in the order of the plan."""
    own = ((cell, store.get(cell.key)) for cell in plan.cells if cell.model == model)
    return [cell.measured(found.result, plan.conditions) for cell, found in own if found and found.result]


@dataclass(frozen=True)
class Row:
    """A cell of the plan and what the store has of it, with means in place of the numbers of each image.

    Args:
        cell: The cell.
        status: ``'ok'``, ``'failed'`` or ``'missing'``.
        figures: Mean of each of ``FIGURES`` over the images; empty where there is no result.
        error: Why the cell failed, otherwise empty.
        seconds: Time that the cell took.
        device: The device it was measured on, such as ``'cpu'``.
        origin: What the cell was measured with.
    """

    cell: PlannedCell
    status: str
    figures: dict[str, float]
    error: str
    seconds: float
    device: str
    origin: Origin = NOT_RECORDED


def read_rows(plan: RunPlan, store: Store) -> list[Row]:
    """The cells of the plan, one at a time: their records need not fit the memory together."""
    rows, origins = [], store.origins()
    for cell in plan.cells:
        stored, origin = store.get(cell.key), origins.get(cell.key, NOT_RECORDED)
        if stored is None:
            rows.append(Row(cell, 'missing', {}, '', 0.0, ''))
        elif stored.result is None:
            rows.append(Row(cell, 'failed', {}, stored.error or '', stored.seconds, stored.device, origin))
        else:
            found = stored.result
            means = (found.top1, found.top5, *(float(np.mean(v, dtype=float)) for v in (found.loss, found.confidence)))
            figures = dict(zip(FIGURES, means, strict=True))
            rows.append(Row(cell, 'ok', figures, '', stored.seconds, stored.device, origin))
    return rows


def origins_of(rows: Sequence[Row]) -> list[Origin]:
    """The origins of the cells that were measured."""
    return [row.origin for row in rows if row.status != 'missing']


def mixture_notes(plan: RunPlan, rows: Sequence[Row]) -> list[str]:
    """Sentences about cells that were measured with different packages, devices or pixels; none where all are alike."""
    return [*mixture(origins_of(rows)), *changed_pixels(plan, ((row.cell, row.origin) for row in rows))]


def is_locked(folder: Path) -> bool:
    """Whether a run holds the folder, or did when it was killed."""
    return (folder / f'{LOCK}.pid').exists()


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the folder for one run; the lock ends with the process, however that ends.

    A folder that was made for a run which ended before its first cell is removed.

    Raises:
        StoreError: if another process holds it; names the process.
        OutputError: if it is a file, or cannot be made.
    """
    new = not folder.exists()
    make_folder(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK))
        except LockedError as error:
            raise StoreError(
                f'{folder} is in use by another run (process {error.holder}): wait for it, or take another --out'
            ) from error
        try:
            yield
        except BaseException:
            if new and _is_empty(folder):
                shutil.rmtree(folder)
            raise


def _is_empty(folder: Path) -> bool:
    """Whether it has nothing but the lock and a store without cells."""
    names = {path.name for path in folder.iterdir()}
    if names - {LOCK, f'{LOCK}.pid', NAME}:
        return False
    if NAME not in names:
        return True
    try:
        with closing(sqlite3.connect(folder / NAME)) as base:
            return base.execute('SELECT count(*) FROM cells').fetchone() == (0,)
    except sqlite3.Error:
        return False
