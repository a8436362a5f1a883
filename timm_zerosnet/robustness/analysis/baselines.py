"""Error tables of baselines, by which mCE is normalised.

The table of a model is ``baselines/MODEL.SUITE.csv``. Its first line names the images it was measured on. The rows
after it have the columns corruption, level and error (percent, mean over noise seeds); the row ``clean,0`` has the
clean error.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Sequence

from ..._errors import shorten
from ..plan import CLEAN, Cell
from .grids import Grid, Level, find_model, grids_by_model, missing_conditions, suite_conditions

BASELINES = Path(__file__).parent / 'baselines'
COLUMNS = ['corruption', 'level', 'error']
FIRST_LINE = '# images '  # and the hash of the images


@dataclass(frozen=True)
class Baseline:
    """The model that mCE is relative to.

    Args:
        name: Name of the model.
        errors: Error in percent for each corruption and level, and for clean images.
        grid: The cells of the model if it is in the run; it is then resampled along with the other models.
        images: Hash of the images that it was measured on, see ``LabelledImages.images_sha256``; None for a model of
            the run.
    """

    name: str
    errors: dict[Level, float]
    grid: Grid | None = None
    images: str | None = None


def check_baseline(
    models: Iterable[str], suite: str, name: str, images: str | None = None, folder: Path = BASELINES
) -> str | Baseline:
    """Find a baseline: the full name if it is a model of the run, otherwise the packaged table.

    Args:
        models: Names of the models of the run.
        suite: Name of the suite.
        name: Name of the baseline; its tag may be left out if that leaves no doubt.
        images: Hash of the images of the run, see ``LabelledImages.images_sha256``; None does not compare it.
        folder: Folder of the packaged tables.

    Raises:
        ValueError: if the baseline is neither, or if its table was measured on other images.
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
            f'the packaged errors of baseline {table.name} are of other images than those of this run: name it with '
            '--model, too, to measure it on these'
        )
    return table


def load_baseline(models: dict[str, Grid], suite: str, name: str, folder: Path = BASELINES) -> Baseline:
    """The baseline of that name with its errors, see ``check_baseline``.

    Args:
        models: The models of the run, by name.
        suite: Name of the suite.
        name: Name of the baseline.
        folder: Folder of the packaged tables.
    """
    found = check_baseline(models, suite, name, folder=folder)
    return found if isinstance(found, Baseline) else Baseline(found, mean_errors(models[found]), models[found])


def read_baseline(path: str | Path) -> Baseline:
    """Read a packaged table.

    Raises:
        ValueError: if the first line does not name the images, if the columns are others, if a corruption and level are
            there twice, if a level or an error is no number, if an error is outside 0 to 100, if there is no clean row.
            The message names the file and line.
    """
    path = Path(path)
    errors: dict[Level, float] = {}
    with path.open(newline='', encoding='utf-8') as lines:
        first = lines.readline().strip()
        if not re.fullmatch(f'{FIRST_LINE}[0-9a-f]{{64}}', first):
            raise ValueError(f'{path}: expected {FIRST_LINE!r} and the sha256 of the images, got {first[:40]!r}')
        reader = csv.DictReader(lines)
        if reader.fieldnames != COLUMNS:
            raise ValueError(f'{path}: expected columns {", ".join(COLUMNS)}, got {reader.fieldnames}')
        for row in reader:
            where = f'{path} line {reader.line_num + 1}'
            try:
                key, error = (row['corruption'], float(row['level'])), float(row['error'])
            except (TypeError, ValueError):
                raise ValueError(f'{where}: expected a name and two numbers, got {list(row.values())}') from None
            if not math.isfinite(key[1]) or not 0 <= error <= 100 or key in errors:
                raise ValueError(f'{where}: expected each level once, with an error from 0 to 100, got {key} {error}')
            errors[key] = error
    if (CLEAN, 0.0) not in errors:
        raise ValueError(f'{path}: expected a row {CLEAN},0,ERROR, got none')
    return Baseline(path.name.removesuffix('.csv').rpartition('.')[0], errors, images=first.removeprefix(FIRST_LINE))


def write_baseline(cells: Sequence[Cell], model: str, suite: str, images: str, folder: str | Path = BASELINES) -> Path:
    """Write the table of a model that has every cell of a suite; returns the path of the file.

    Args:
        cells: Cells of a run, in any order.
        model: Name of the model.
        suite: Name of the suite.
        images: Hash of the images, see ``LabelledImages.images_sha256``.
        folder: Folder that the table is written to.

    Raises:
        ValueError: if cells are missing; lists them.
    """
    models = grids_by_model(cells, suite)
    grid = models[find_model(models, model)]
    if missing := missing_conditions(grid, suite_conditions([grid])):
        raise ValueError(f'{grid.model} lacks {len(missing)} cells of suite {suite}: {shorten(missing, 8)}')
    path = Path(folder) / f'{grid.model}.{suite}.csv'
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='', encoding='utf-8') as file:
        file.write(f'{FIRST_LINE}{images}\n')
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(COLUMNS)
        writer.writerows((name, f'{level:g}', repr(error)) for (name, level), error in mean_errors(grid).items())
    return path


def mean_errors(grid: Grid) -> dict[Level, float]:
    """The error of a model in percent at each corruption and level, averaged over noise seeds."""
    levels = list(grid.levels)
    return dict(zip(levels, map(float, 100 * (1 - grid.shares(levels)).mean(0)), strict=True))
