"""Error tables that mCE is normalised by.

A table is ``baselines/MODEL.SUITE.csv`` with the columns corruption, level, error (percent, mean over noise seeds); the
row ``clean,0`` holds the clean error.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from .cells import CLEAN, Cell
from .grids import Grid, expected_keys, find_model, grids, missing_keys, some

BASELINES = Path(__file__).parent / 'baselines'
COLUMNS = ['corruption', 'level', 'error']


@dataclass(frozen=True)
class Baseline:
    """What mCE is normalised by.

    Args:
        name: Of its model.
        errors: Percent for each corruption and level, clean among them.
        grid: Its cells where they are in the run: it is then resampled along with the models.
    """

    name: str
    errors: dict[tuple[str, float], float]
    grid: Grid | None = None


def baseline_of(models: dict[str, Grid], suite: str, name: str, folder: Path = BASELINES) -> Baseline:
    """The baseline of that name: a model of the run, otherwise a packaged table.

    Raises:
        ValueError: if it is neither; names both kinds.
    """
    tables = {path.name[: -len(f'.{suite}.csv')]: path for path in sorted(folder.glob(f'*.{suite}.csv'))}
    try:
        grid = models[find_model(models, name)]
    except ValueError as error:
        found = [table for table in tables if table == name] or [t for t in tables if t.partition('.')[0] == name]
        if len(found) == 1:
            return read_baseline(tables[found[0]])
        packaged = f'packaged for suite {suite}: {", ".join(tables) or "none"}'
        raise ValueError(f'baseline {name!r}: {error}; {packaged}') from None
    return Baseline(grid.model, errors_of(grid), grid)


def read_baseline(path: str | Path) -> Baseline:
    """Read a table.

    Raises:
        ValueError: for other columns, a corruption and level that are there twice, a level or error that is no number,
            an error outside 0 to 100, no clean row; names the file and line.
    """
    path = Path(path)
    errors: dict[tuple[str, float], float] = {}
    with path.open(newline='', encoding='utf-8') as lines:
        reader = csv.DictReader(lines)
        if reader.fieldnames != COLUMNS:
            raise ValueError(f'{path} has columns {reader.fieldnames}: accepted are {", ".join(COLUMNS)}')
        for row in reader:
            where = f'{path} line {reader.line_num}'
            try:
                key, error = (row['corruption'], float(row['level'])), float(row['error'])
            except (TypeError, ValueError):
                raise ValueError(f'{where} is {list(row.values())}: accepted are a name and two numbers') from None
            if not math.isfinite(key[1]) or not 0 <= error <= 100 or key in errors:
                raise ValueError(f'{where}: {key} {error}: accepted is each level once, its error from 0 to 100')
            errors[key] = error
    if (CLEAN, 0.0) not in errors:
        raise ValueError(f'{path} lacks the clean error: accepted is a table with a row {CLEAN},0,ERROR')
    return Baseline(path.name.removesuffix('.csv').rpartition('.')[0], errors)


def write_baseline(cells: Sequence[Cell], model: str, suite: str, folder: str | Path = BASELINES) -> Path:
    """Write the table of a model that has every cell of a suite; returns its file.

    Raises:
        ValueError: if cells are missing; lists them.
    """
    models = grids(cells, suite)
    grid = models[find_model(models, model)]
    if missing := missing_keys(grid, expected_keys([grid])):
        raise ValueError(f'{grid.model} lacks {len(missing)} cells of suite {suite}: {some(missing)}')
    path = Path(folder) / f'{grid.model}.{suite}.csv'
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        writer.writerows((name, f'{level:g}', repr(error)) for (name, level), error in errors_of(grid).items())
    return path


def errors_of(grid: Grid) -> dict[tuple[str, float], float]:
    """Error of a model in percent for each corruption and level, mean over noise seeds."""
    levels = list(grid.levels)
    return dict(zip(levels, map(float, 100 * (1 - grid.shares(levels)).mean(0)), strict=True))
