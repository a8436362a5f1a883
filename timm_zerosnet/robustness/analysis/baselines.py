"""Error tables of baselines, by which mCE is normalised.

A measured table is ``error_tables/MODEL.SUITE.csv``. Its first line names the images it was measured on. The rows after
it have the columns corruption, level and error (percent, mean over noise seeds); the row ``clean,0`` has the clean
error.

A published table has one error for each corruption, the mean over its five severities, because that is what papers
print. Its first line names the number of images and the source; its columns are corruption and error. It applies to the
official files of exactly that many images: other draws of the same corruptions are other pictures.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Iterable, Iterator, Mapping, Sequence

from ..._errors import shorten
from ..arguments import text
from ..plan import CLEAN, Cell, RunPlan
from .grids import Grid, Level, default_tag, find_model, grids_by_model, missing_conditions, suite_conditions

BASELINES = Path(__file__).parent / 'error_tables'
OFFICIAL = 'official'  # the suite of runs on the files that the authors of a benchmark distribute
SEVERITIES = (1.0, 2.0, 3.0, 4.0, 5.0)
COLUMNS = ['corruption', 'level', 'error']
PUBLISHED_COLUMNS = ['corruption', 'error']
FIRST_LINE = '# images '  # and the hash of the images
PUBLISHED = re.compile(r'# published, (?P<count>[0-9]+) official images, (?P<source>.+)')


@dataclass(frozen=True)
class Baseline:
    """The model that mCE is relative to.

    Args:
        name: Name of the model.
        errors: Error in percent for each corruption and level, and for clean images.
        grid: The cells of the model if it is in the run; it is then resampled along with the other models.
        images: Hash of the images that it was measured on, see ``LabelledImages.images_sha256``; None for a model of
            the run and for published errors.
        means: Mean error in percent over severities 1 to 5, for corruptions whose error at each level is not known.
        image_count: Number of official images that ``means`` were measured on.
        source: Where ``means`` were published.
    """

    name: str
    errors: dict[Level, float]
    grid: Grid | None = None
    images: str | None = None
    means: dict[str, float] = field(default_factory=dict)
    image_count: int | None = None
    source: str = ''

    def for_levels(self, levels: Mapping[str, Sequence[float]]) -> Baseline:
        """The baseline with an error at each level of a run, as corruption errors need it.

        A corruption error divides by the sum over the levels. The mean of five severities, put in place of each of
        them, has that sum; of fewer severities it says nothing.

        Args:
            levels: The levels of each corruption that are summed over.
        """
        known = {
            (name, level): mean
            for name, mean in self.means.items()
            if tuple(sorted(levels.get(name, ()))) == SEVERITIES
            for level in SEVERITIES
        }
        return replace(self, errors={**self.errors, **known}) if known else self

    def check_run(self, suite: str, image_count: int | None = None, images: str | None = None) -> None:
        """Refuse a run that the packaged errors do not apply to.

        Args:
            suite: Name of the suite of the run.
            image_count: Number of its images; None does not compare it.
            images: Hash of its images; None does not compare it.

        Raises:
            ValueError: if the run is on other images; the message says which are expected.
        """
        if self.means:
            if suite != OFFICIAL or image_count not in (None, self.image_count):
                count = '' if image_count is None else f' on {image_count:,} images'
                raise ValueError(
                    f'baseline {self.name}: expected a run of suite {OFFICIAL} on all {self.image_count:,} images of '
                    f'the official files ({self.source}), got suite {suite}{count}; to compare with {self.name} here, '
                    'measure it, too: named with --model, or by a run of its own into the same folder'
                )
        elif images not in (None, self.images):
            raise ValueError(
                f'the packaged errors of baseline {self.name} are of other images than those of this run: measure it '
                'on these, named with --model, too, or by a run of its own into the same folder'
            )


def check_baseline(
    models: Iterable[str],
    suite: str,
    name: str,
    images: str | None = None,
    folder: Path = BASELINES,
    image_count: int | None = None,
) -> str | Baseline:
    """Find a baseline: the full name if it is a model of the run, otherwise the packaged table.

    Args:
        models: Names of the models of the run.
        suite: Name of the suite.
        name: Name of the baseline. Without a tag it means the default weights of a network of timm, in the run or
            packaged; the tag of another one may be left out if that leaves no doubt.
        images: Hash of the images of the run, see ``LabelledImages.images_sha256``; None does not compare it.
        folder: Folder of the packaged tables.
        image_count: Number of images of the run; None does not compare it.

    Raises:
        ValueError: if the baseline is neither, may be several, or if its table was measured on other images.
    """
    models, name = list(models), text('baseline', name)
    tables = {path.name[: -len(f'.{suite}.csv')]: path for path in sorted(folder.glob(f'*.{suite}.csv'))}
    official = {path.name[: -len(f'.{OFFICIAL}.csv')]: path for path in sorted(folder.glob(f'*.{OFFICIAL}.csv'))}
    known = {**official, **tables}  # published errors are refused for other suites, with a message that says why
    try:
        full = _in_full(name, models, known)
    except ValueError as error:
        packaged = f'packaged for suite {suite}: {", ".join(tables) or "none"}'
        raise ValueError(f'baseline {name!r}: {error}; {packaged}') from None
    if full in models:
        return full
    table = read_baseline(known[full])
    try:
        table.check_run(suite, image_count, images)
    except ValueError as error:
        others = [model for model in models if model.partition('.')[0] == name]
        hint = f'; or name {" or ".join(others)} in full' if others else ''
        raise ValueError(f'{error}{hint}') from None
    return table


def _in_full(name: str, models: Sequence[str], tables: Iterable[str]) -> str:
    """The name of the model or the table that a name means."""
    default = default_tag(name)
    for full in (name, f'{name}.{default}' if default else name):
        if full in (*models, *tables):
            return full
    packaged = [table for table in tables if table.partition('.')[0] == name]
    others = [model for model in dict.fromkeys([*models, *packaged]) if model.partition('.')[0] == name]
    if default and others:
        raise ValueError(f'it means {name}.{default}: name that with --model, too, or {" or ".join(others)} in full')
    return find_model(dict.fromkeys([*models, *packaged]), name)


def full_baseline(plan: RunPlan) -> str | None:
    """The baseline of a run in full: the name of one of its models, or of a packaged table of its images.

    Raises:
        ValueError: see ``check_baseline``.
    """
    if plan.baseline is None:
        return None
    images, count = plan.data['images_sha256'], plan.data['images']
    found = check_baseline(plan.names, plan.suite, plan.baseline, images, image_count=count)
    return found.name if isinstance(found, Baseline) else found


def stored_baseline(plan: RunPlan) -> str | None:
    """The baseline of a stored run, see ``full_baseline``.

    Early development versions stored what was typed: the only model of that name, whatever its tag.
    """
    try:
        return full_baseline(plan)
    except ValueError:
        meant = [name for name in plan.names if name.partition('.')[0] == plan.baseline]
        if len(meant) != 1:
            raise
        return meant[0]


def load_baseline(models: dict[str, Grid], suite: str, name: str, folder: Path = BASELINES) -> Baseline:
    """The baseline of that name with its errors, see ``check_baseline``.

    Args:
        models: The models of the run, by name.
        suite: Name of the suite.
        name: Name of the baseline.
        folder: Folder of the packaged tables.
    """
    count = next((grid.images for grid in models.values()), None)
    found = check_baseline(models, suite, name, folder=folder, image_count=count)
    return found if isinstance(found, Baseline) else Baseline(found, mean_errors(models[found]), models[found])


def read_baseline(path: str | Path) -> Baseline:
    """Read a packaged table, measured or published.

    Raises:
        ValueError: if the first line names neither images nor a source, if the columns are others, if a corruption and
            level are there twice, if a level or an error is no number, if an error is outside 0 to 100, if there is no
            clean row. The message names the file and line.
    """
    path = Path(path)
    name = path.name.removesuffix('.csv').rpartition('.')[0]
    with path.open(newline='', encoding='utf-8') as lines:
        first = lines.readline().strip()
        published = PUBLISHED.fullmatch(first)
        if not published and not re.fullmatch(f'{FIRST_LINE}[0-9a-f]{{64}}', first):
            raise ValueError(f'{path}: expected {FIRST_LINE!r} and the sha256 of the images, got {first[:40]!r}')
        errors = dict(_read_errors(path, lines, PUBLISHED_COLUMNS if published else COLUMNS))
    if (CLEAN, 0.0) not in errors:
        raise ValueError(f'{path}: expected a row {CLEAN},{"" if published else "0,"}ERROR, got none')
    if not published:
        return Baseline(name, errors, images=first.removeprefix(FIRST_LINE))
    clean = errors.pop((CLEAN, 0.0))
    means = {corruption: error for (corruption, _), error in errors.items()}
    return Baseline(
        name, {(CLEAN, 0.0): clean}, means=means, image_count=int(published['count']), source=published['source']
    )


def _read_errors(path: Path, lines: Iterable[str], columns: Sequence[str]) -> Iterator[tuple[Level, float]]:
    """The errors of a table whose first line has been read; a published one has no levels, which count as 0."""
    reader = csv.DictReader(lines)
    if reader.fieldnames != columns:
        raise ValueError(f'{path}: expected columns {", ".join(columns)}, got {reader.fieldnames}')
    seen = set()
    for row in reader:
        where = f'{path} line {reader.line_num + 1}'
        try:
            key, error = (row['corruption'], float(row.get('level', 0.0))), float(row['error'])
        except (TypeError, ValueError):
            raise ValueError(f'{where}: expected a name and two numbers, got {list(row.values())}') from None
        if not math.isfinite(key[1]) or not 0 <= error <= 100 or key in seen:
            raise ValueError(f'{where}: expected each level once, with an error from 0 to 100, got {key} {error}')
        seen.add(key)
        yield key, error


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
        writer.writerows((name, f'{level:g}', f'{error:.10g}') for (name, level), error in mean_errors(grid).items())
    return path


def mean_errors(grid: Grid) -> dict[Level, float]:
    """The error of a model in percent at each corruption and level, averaged over noise seeds."""
    levels = list(grid.levels)
    return dict(zip(levels, map(float, 100 * (1 - grid.shares(levels)).mean(0)), strict=True))
