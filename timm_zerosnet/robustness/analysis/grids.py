"""The cells of a run grouped by model, the conditions that are missing, and the architectures of models."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Collection, Iterable, Mapping, Sequence

import numpy as np
import timm

from ..._errors import nearest
from ..evaluation import Evaluation
from ..plan import CLEAN, Cell, Condition
from ..suites import FROST, FROST_LIKE, SUITES, averaged_rows

Level = tuple[str, float]  # a corruption and its level

TRAINING = re.compile(r'(?P<weights>(?P<network>[^.]+?)(?:\.(?P<tag>.+?))?)(?:_seed(?P<seed>\d+))?')


@dataclass(frozen=True)
class Grid:
    """The cells of one model in one suite.

    Args:
        model: Name of the model in the run.
        suite: Name of the suite.
        images: Number of images, the same in each cell.
        levels: For each corruption and level, clean first, the evaluation with each noise seed.
        planned: Every (corruption, level, seed) that its runs measure a model at; None if a cell is of no run.
    """

    model: str
    suite: str
    images: int
    levels: dict[Level, dict[int | None, Evaluation]]
    planned: tuple[tuple[str, float, int | None], ...] | None = None

    @property
    def clean(self) -> Evaluation | None:
        """The evaluation on clean images."""
        return next(iter(self.levels.get((CLEAN, 0.0), {}).values()), None)

    @property
    def conditions(self) -> list[Condition]:
        """The conditions that the model was measured under."""
        return [Condition(*level, seed) for level, seeds in self.levels.items() for seed in seeds]

    def has(self, condition: Condition) -> bool:
        """Whether there is a cell for a condition; the seed of a clean one does not matter."""
        if condition.corruption == CLEAN:
            return self.clean is not None
        return condition.seed in self.levels.get(condition[:2], {})

    def shares(self, levels: Sequence[Level]) -> np.ndarray:
        """(N, len(levels)) share of noise seeds with which each image is right at each level."""
        columns = [np.mean([e.correct for e in self.levels[level].values()], axis=0) for level in levels]
        return np.stack(columns, axis=1) if columns else np.empty((self.images, 0))


def suites_of(cells: Sequence[Cell]) -> list[str]:
    """The suites of the cells, sorted; a suite with a clean cell alone counts only if there is no other."""
    return sorted({cell.suite for cell in cells if cell.corruption != CLEAN} or {cell.suite for cell in cells})


def grids_by_model(cells: Sequence[Cell], suite: str | None = None) -> dict[str, Grid]:
    """Group the cells of one suite by model, in the order of the models' names.

    Args:
        cells: Cells of a run, in any order.
        suite: Name of the suite; needed if there are cells of several. A model without a clean cell in this suite takes
            that of another.

    Raises:
        ValueError: if there are no cells, if there are several suites and none is named, if a cell is there twice, if
            cells of one model are on different numbers of images, if a clean cell is not at level 0.
    """
    if not cells:
        raise ValueError('expected a run with at least one cell, got no cells')
    suites = suites_of(cells)
    if suite is None and len(suites) > 1:
        raise ValueError(f'cells of suites {", ".join(suites)}: name one with suite=')
    if suite is not None and suite not in suites:
        raise ValueError(f'no cells of suite {suite!r}: expected {" or ".join(suites)}')
    suite = suite or suites[0]
    grids = {}
    for model in sorted({cell.model for cell in cells}):
        own = [cell for cell in cells if cell.model == model]
        chosen = [cell for cell in own if cell.suite == suite]
        if all(cell.corruption != CLEAN for cell in chosen):
            chosen += sorted((c for c in own if c.corruption == CLEAN), key=lambda cell: cell.suite)[:1]
        if chosen:
            grids[model] = _make_grid(model, suite, chosen)
    return grids


def _make_grid(model: str, suite: str, cells: Sequence[Cell]) -> Grid:
    rows = list(SUITES.get(suite, ()))

    def order(cell: Cell) -> tuple:
        known = rows.index(cell.corruption) if cell.corruption in rows else len(rows)
        return cell.corruption != CLEAN, known, cell.corruption, cell.level, cell.seed is not None, cell.seed or 0

    levels: dict[Level, dict[int | None, Evaluation]] = {}
    first_of: dict[int, Cell] = {}  # the first cell on each number of images
    for cell in sorted(cells, key=order):
        if cell.corruption == CLEAN and cell.level != 0:
            raise ValueError(f'{model}: expected a clean cell at level 0, got one at level {cell.level:g}')
        seeds = levels.setdefault((cell.corruption, float(cell.level)), {})
        if cell.seed in seeds or (cell.corruption == CLEAN and seeds):
            raise ValueError(f'{model}: the cell {cell.condition} is there twice')
        seeds[cell.seed] = cell.result
        first_of.setdefault(len(cell.result.correct), cell)
    if len(first_of) > 1 or 0 in first_of:
        found = ', '.join(f'{count} in {cell.condition}' for count, cell in sorted(first_of.items()))
        raise ValueError(f'{model}: expected cells on the same images, at least one, got {found} images')
    plans = [cell.plan for cell in cells if cell.suite == suite]
    planned = None
    if plans and None not in plans:
        planned = tuple(dict.fromkeys(condition for plan in plans for condition in plan or ()))
    return Grid(model, suite, next(iter(first_of)), levels, planned)


def find_model(models: Iterable[str], name: str) -> str:
    """The name of a model of the run, in full; its tag may be left out if only one model has the name before it.

    Raises:
        ValueError: if there is no such model, or several; names them.
    """
    models = list(models)
    found = [model for model in models if model == name] or [m for m in models if m.partition('.')[0] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f'model {name!r} may be {" or ".join(found)}: name one of them')
    near = nearest(name, models, 2, 0.4)
    hint = f'did you mean {" or ".join(near)}? ' if near else ''
    raise ValueError(f'no cells of model {name!r}: {hint}the run has {", ".join(models)}')


def expected_conditions(
    grids: Iterable[Grid],
    expected: Iterable[tuple[str, float, int | None]] | None = None,
    plan: Iterable[tuple[str, float, int | None]] | None = None,
) -> list[Condition]:
    """The conditions that a model has been measured under when its run is finished.

    Args:
        grids: All models of the run in one suite.
        expected: (corruption, level, seed) of every cell of a model. The default is what the runs of the cells planned;
            for cells of no run, see ``suite_conditions``.
        plan: The former name of ``expected``.

    Raises:
        ValueError: if ``expected`` is empty, or both names are given.
    """
    if plan is not None:
        if expected is not None:
            raise ValueError('got both expected and plan, its former name: expected one of them')
        expected = plan
    grids = list(grids)
    if expected is None and all(grid.planned is not None for grid in grids):
        expected = [condition for grid in grids for condition in grid.planned or ()]
    if expected is None:
        return suite_conditions(grids)
    whole = list(dict.fromkeys(Condition(corruption, float(level), seed) for corruption, level, seed in expected))
    if not whole:
        raise ValueError('expected a plan of at least one (corruption, level, seed), got none')
    return whole


def suite_conditions(grids: Sequence[Grid]) -> list[Condition]:
    """Every row and level of the suite with the noise seeds that any model has, and every further cell of a model.

    ``frost_like`` is no row of its own: it is expected in place of ``frost`` if a model has it.
    """
    found = [condition for grid in grids for condition in grid.conditions]
    left_out = FROST if any(condition.corruption == FROST_LIKE for condition in found) else FROST_LIKE
    seeds: list[int | None] = [*sorted({c.seed for c in found if c.seed is not None})] or [None]
    whole = [
        Condition(row.name, float(level), seed)
        for row in SUITES.get(grids[0].suite, {}).values()
        if row.name != left_out
        for level in row.levels
        for seed in (seeds if row.seeded else [None])
    ]
    clean = [c for c in found if c.corruption == CLEAN][:1] or [Condition(CLEAN, 0.0, None)]
    return list(dict.fromkeys([*clean, *whole, *(c for c in found if c.corruption != CLEAN)]))


def missing_conditions(grid: Grid, expected: Iterable[Condition]) -> tuple[Condition, ...]:
    """The expected conditions that a model has no cell for."""
    return tuple(condition for condition in expected if not grid.has(condition))


def mean_weights(levels: Iterable[Level]) -> dict[Level, float]:
    """The weight of each level in the mean over corruptions of the mean over levels; clean and level 0 have none.

    Nor have those of corruptions that no mean counts, see ``suites.averaged_rows``.
    """
    chosen = [(name, level) for name, level in levels if name != CLEAN and level != 0]
    names = averaged_rows(name for name, _ in chosen)
    return {(name, level): 1 / len(set(names)) / names.count(name) for name, level in chosen if name in names}


def integer_weights(weights: Mapping[Level, float], seeds: Mapping[Level, int]) -> tuple[dict[Level, int], int]:
    """The weights of ``mean_weights`` as integers, so that sums over images are exact.

    Args:
        weights: Weight of each level, the inverse of an integer.
        seeds: Number of noise seeds of each level, which share its weight.

    Returns:
        The weight of one outcome at each level, and their common denominator.
    """
    parts = {level: round(1 / weight) * seeds[level] for level, weight in weights.items()}
    denominator = math.lcm(*parts.values())
    return {level: denominator // part for level, part in parts.items()}, denominator


def common_seeds(levels: Iterable[Collection[int | None]]) -> list[int]:
    """The noise seeds that all random levels share, of the seeds of each level; a level that is not random has None."""
    random = [{seed for seed in seeds if seed is not None} for seeds in levels if None not in seeds]
    return sorted(set.intersection(*random)) if random else []


def training_of(model: str) -> tuple[str, str]:
    """Architecture and training seed of a model: ``zerosnet20.cifar10_seed1`` is seed ``'1'`` of ``zerosnet20``.

    So is ``mine_seed1`` of ``mine``. The seed of a name without one is ``''``. A tag that timm takes by default is left
    out of the architecture, because the name without a tag means the same weights.
    """
    found = TRAINING.fullmatch(model)
    if not found:
        return model, ''
    network = found['network']
    is_default = found['tag'] == default_tag(network)
    return network if is_default else found['weights'], found['seed'] or ''


def default_tag(network: str) -> str | None:
    """The tag of the weights that timm takes for a network's name alone; None if it knows no such network or tag."""
    config = timm.get_pretrained_cfg(network) if timm.is_model(network) else None
    return config.tag or None if config else None


def architecture_of(model: str) -> str:
    """The architecture of a model, see ``training_of``."""
    return training_of(model)[0]
