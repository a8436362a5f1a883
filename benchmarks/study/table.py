"""Runs of the study and their table: which there are, which are missing, one row for each."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable

from filelock import FileLock
from records import read_csv, write_csv

from study.sets import SETS, derived

COMMON = ('standard', 'float32')  # names of runs and groups leave them out


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        set: A name of ``SETS``.
        depth: Of ``multistep_resnet<depth>``.
        data: Name of the data set, the file's without its suffix.
        holdout: Training images that are held out and tested on; 0 tests on the test images.
        images: Training images it shall see, repetitions included.
        seed: Of the weights, the order of the images and their crops; the same ones for each set.
        recipe: A name of ``training.RECIPES``.
        precision: ``'float32'`` or ``'bfloat16'``, of products.
    """

    set: str
    depth: int
    data: str
    holdout: int
    images: int
    seed: int
    recipe: str = 'standard'
    precision: str = 'float32'

    @property
    def split(self) -> str:
        return 'holdout' if self.holdout else 'test'

    @property
    def images_name(self) -> str:
        """Name of its images in files and messages."""
        return re.sub(r'[^\w.=-]', '_', f'{self.data}-{self.split}{self.holdout or ""}')

    @property
    def name(self) -> str:
        """Name of the run in files and messages."""
        variant = ''.join(f'-{name}' for name in (self.recipe, self.precision) if name not in COMMON)
        return re.sub(
            r'[^\w.=-]', '_', f'{self.images_name}-{self.depth}-{self.images}-{self.set}-{self.seed}{variant}'
        )

    def columns(self) -> dict[str, Any]:
        """What is known of a run before it is trained: who it is, and what theory says of its coefficients."""
        row = SETS[self.set]
        return {
            'set': row.name,
            'method': '' if row.own else row.name,
            'groups': ' '.join(row.groups),
            **derived(row.method),
            'depth': self.depth,
            'data': self.data,
            'split': self.split,
            'holdout': self.holdout,
            'images': self.images,
            'recipe': self.recipe,
            'seed': self.seed,
        }


def identity(row: dict[str, Any]) -> Job:
    """Which run a row of the table is."""
    whole = {key: int(row[key]) for key in ('depth', 'holdout', 'images', 'seed')}
    return Job(**{key: row[key] for key in ('set', 'data', 'recipe', 'precision')}, **whole)


def done(path: Path) -> set[Job]:
    """The runs that are in the table."""
    return {identity(row) for row in read_csv(path)} if path.exists() else set()


def append(path: Path, lock: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Add rows to the table; it is sorted, whole at any moment, and a run that is in it already stays as it is.

    Args:
        path: The csv.
        lock: A file that everyone who writes to it locks.
    """
    with FileLock(lock):
        found: dict[Job, dict[str, Any]] = {identity(row): row for row in (read_csv(path) if path.exists() else [])}
        for row in rows:
            found.setdefault(identity(row), row)
        rank = {name: i for i, name in enumerate(SETS)}

        def place(job: Job) -> tuple:
            runs = job.data, job.split, job.holdout, job.depth, job.images, job.recipe != 'standard', job.recipe
            return *runs, job.precision, rank.get(job.set, len(rank)), job.seed

        with contextlib.redirect_stdout(io.StringIO()):
            write_csv(path, [found[job] for job in sorted(found, key=place)])
