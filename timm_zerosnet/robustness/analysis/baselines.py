"""Error tables that mCE is normalised by.

A table is ``baselines/MODEL.SUITE.csv``. Its first line says which images it was measured on, the others have the
columns corruption, level, error (percent, mean over noise seeds); the row ``clean,0`` holds the clean error.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Sequence

from ..plan import CLEAN, Cell
from .grids import Grid, find_model, grids, missing_keys, some, suite_keys

BASELINES = Path(__file__).parent / 'baselines'
COLUMNS = ['corruption', 'level', 'error']
IMAGES = '# images '


@dataclass(frozen=True)
class Baseline:
    """What mCE is normalised by.

    Args:
        name: Of its model.
        errors: Percent for each corruption and level, clean among them.
        grid: Its cells where they are in the run: it is then resampled along with the models.
        images: Hash of the images it was measured on, of ``LabelledImages.images_sha256``; None if they are the run's.
    """

    name: str
    errors: dict[tuple[str, float], float]
    grid: Grid | None = None
    images: str | None = None


def check_baseline(
    models: Iterable[str], suite: str, name: str, images: str | None = None, folder: Path = BASELINES
) -> str | Baseline:
    """The baseline of that name: the name of a model of the run, otherwise a packaged table.

    Args:
        models: Names of the models of the run.
        suite: Name of the suite.
        name: Of the baseline; without its tag where only one has it.
        images: Hash of the images of the run, see ``LabelledImages.images_sha256``.
        folder: Where packaged tables are.

    Raises:
        ValueError: if it is neither, naming both kinds; for a table that was measured on other images.
    """
    tables = {path.name[: -len(f'.{suite}.csv')]: path for path in sorted(folder.glob(f'*.{suite}.csv'))}
    try:
        return find_model(models, name)
    except ValueError as error:
        found = [table for table in tables if table == name] or [t for t in tables if t.partition('.')[0] == name]
        if len(found) != 1:
            packaged = f'packaged for suite {suite}: {", ".join(tables) or "none"}'
            raise ValueError(f'baseline {name!r}: {error}; {packaged}') from None
    table = read_baseline(tables[found[0]])
    if images not in (None, table.images):
        raise ValueError(
            f'the packaged errors of baseline {table.name} are of other images than those of this run: accepted is a '
            'model of the run, so name it with --model, too'
        )
    return table


def baseline_of(models: dict[str, Grid], suite: str, name: str, folder: Path = BASELINES) -> Baseline:
    """See ``check_baseline``; a model of the run with its errors."""
    found = check_baseline(models, suite, name, folder=folder)
    return found if isinstance(found, Baseline) else Baseline(found, errors_of(models[found]), models[found])


def read_baseline(path: str | Path) -> Baseline:
    """Read a table.

    Raises:
        ValueError: for no first line about the images, other columns, a corruption and level that are there twice, a
            level or error that is no number, an error outside 0 to 100, no clean row; names the file and line.
    """
    path = Path(path)
    errors: dict[tuple[str, float], float] = {}
    with path.open(newline='', encoding='utf-8') as lines:
        first = lines.readline().strip()
        if not re.fullmatch(f'{IMAGES}[0-9a-f]{{64}}', first):
            raise ValueError(f'{path} begins with {first[:40]!r}: accepted is {IMAGES!r} and the sha256 of the images')
        reader = csv.DictReader(lines)
        if reader.fieldnames != COLUMNS:
            raise ValueError(f'{path} has columns {reader.fieldnames}: accepted are {", ".join(COLUMNS)}')
        for row in reader:
            where = f'{path} line {reader.line_num + 1}'
            try:
                key, error = (row['corruption'], float(row['level'])), float(row['error'])
            except (TypeError, ValueError):
                raise ValueError(f'{where} is {list(row.values())}: accepted are a name and two numbers') from None
            if not math.isfinite(key[1]) or not 0 <= error <= 100 or key in errors:
                raise ValueError(f'{where}: {key} {error}: accepted is each level once, its error from 0 to 100')
            errors[key] = error
    if (CLEAN, 0.0) not in errors:
        raise ValueError(f'{path} lacks the clean error: accepted is a table with a row {CLEAN},0,ERROR')
    return Baseline(path.name.removesuffix('.csv').rpartition('.')[0], errors, images=first.removeprefix(IMAGES))


def write_baseline(cells: Sequence[Cell], model: str, suite: str, images: str, folder: str | Path = BASELINES) -> Path:
    """Write the table of a model that has every cell of a suite; returns its file.

    Args:
        cells: Of a run, in any order.
        model: Which.
        suite: Which.
        images: Hash of the images, see ``LabelledImages.images_sha256``.
        folder: Where to.

    Raises:
        ValueError: if cells are missing; lists them.
    """
    models = grids(cells, suite)
    grid = models[find_model(models, model)]
    if missing := missing_keys(grid, suite_keys([grid])):
        raise ValueError(f'{grid.model} lacks {len(missing)} cells of suite {suite}: {some(missing)}')
    path = Path(folder) / f'{grid.model}.{suite}.csv'
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='', encoding='utf-8') as file:
        file.write(f'{IMAGES}{images}\n')
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        writer.writerows((name, f'{level:g}', repr(error)) for (name, level), error in errors_of(grid).items())
    return path


def errors_of(grid: Grid) -> dict[tuple[str, float], float]:
    """Error of a model in percent for each corruption and level, mean over noise seeds."""
    levels = list(grid.levels)
    return dict(zip(levels, map(float, 100 * (1 - grid.shares(levels)).mean(0)), strict=True))
