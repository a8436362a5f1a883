"""The cells of a run by model, corruption and level, which of them are missing, and which models share a training."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Iterable, Sequence

import numpy as np
import timm

from ..._errors import nearest
from ..evaluation import Evaluation
from ..plan import CLEAN, Cell, Condition
from ..suites import SUITES

TRAINING = re.compile(r'(?P<weights>(?P<network>[^.]+)\.(?P<tag>.+?))(?:_seed(?P<seed>\d+))?')


@dataclass(frozen=True)
class Grid:
    """The cells of one model in one suite.

    Args:
        model: Its name in the run.
        suite: Name of the suite.
        images: N.
        levels: For each corruption and level, clean first, the evaluation of each noise seed.
        plan: Every cell that its runs measure a model at; None unless all its cells are of a run.
    """

    model: str
    suite: str
    images: int
    levels: dict[tuple[str, float], dict[int | None, Evaluation]]
    plan: tuple[tuple[str, float, int | None], ...] | None = None

    @property
    def clean(self) -> Evaluation | None:
        return next(iter(self.levels.get((CLEAN, 0.0), {}).values()), None)

    @property
    def keys(self) -> list[Condition]:
        return [Condition(*level, seed) for level, seeds in self.levels.items() for seed in seeds]

    def shares(self, levels: Sequence[tuple[str, float]]) -> np.ndarray:
        """(N, len(levels)) share of its noise seeds with which an image is right."""
        columns = [np.mean([e.correct for e in self.levels[level].values()], axis=0) for level in levels]
        return np.stack(columns, axis=1) if columns else np.empty((self.images, 0))


def grids(cells: Sequence[Cell], suite: str | None = None) -> dict[str, Grid]:
    """The models of one suite, in the order of their names.

    Args:
        cells: Of a run, in any order.
        suite: Which suite; needed where there are several. A model whose clean cell is in another suite keeps it.

    Raises:
        ValueError: for no cells, several suites and none named, a cell that is there twice, cells of one model on
            different numbers of images, clean cells that are not at level 0.
    """
    if not cells:
        raise ValueError('no cells: accepted is a run with at least one')
    suites = sorted({cell.suite for cell in cells if cell.corruption != CLEAN} or {cell.suite for cell in cells})
    if suite is None and len(suites) > 1:
        raise ValueError(f'cells of suites {", ".join(suites)}: name one with suite=')
    if suite is not None and suite not in suites:
        raise ValueError(f'no cells of suite {suite!r}: accepted is {", ".join(suites)}')
    suite = suite or suites[0]
    out = {}
    for model in sorted({cell.model for cell in cells}):
        own = [cell for cell in cells if cell.model == model]
        chosen = [cell for cell in own if cell.suite == suite]
        if all(cell.corruption != CLEAN for cell in chosen):
            chosen += sorted((c for c in own if c.corruption == CLEAN), key=lambda cell: cell.suite)[:1]
        if chosen:
            out[model] = _grid(model, suite, chosen)
    return out


def _grid(model: str, suite: str, cells: Sequence[Cell]) -> Grid:
    rows = list(SUITES.get(suite, ()))

    def place(cell: Cell) -> tuple:
        known = rows.index(cell.corruption) if cell.corruption in rows else len(rows)
        return cell.corruption != CLEAN, known, cell.corruption, cell.level, cell.seed is not None, cell.seed or 0

    levels: dict[tuple[str, float], dict[int | None, Evaluation]] = {}
    counts: dict[int, Cell] = {}
    for cell in sorted(cells, key=place):
        key = Condition(cell.corruption, float(cell.level), cell.seed)
        if cell.corruption == CLEAN and cell.level != 0:
            raise ValueError(f'{model}: a clean cell at level {cell.level:g}: accepted is 0')
        seeds = levels.setdefault(key[:2], {})
        if cell.seed in seeds or (cell.corruption == CLEAN and seeds):
            raise ValueError(f'{model}: the cell {key} is there twice')
        seeds[cell.seed] = cell.result
        counts.setdefault(len(cell.result.correct), cell)
    if len(counts) > 1 or 0 in counts:
        found = ', '.join(f'{n} in {c.condition}' for n, c in sorted(counts.items()))
        raise ValueError(f'{model}: {found} images: accepted are cells on the same images, at least one')
    plans = [cell.plan for cell in cells if cell.suite == suite]
    plan = (
        None
        if None in plans or not plans
        else tuple(dict.fromkeys(condition for own in plans for condition in own or ()))
    )
    return Grid(model, suite, next(iter(counts)), levels, plan)


def find_model(models: Iterable[str], name: str) -> str:
    """The model of that name; a name without its tag will do where only one model has it.

    Raises:
        ValueError: if there is none, or several; names them.
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


def expected_keys(
    models: Iterable[Grid], expected: Iterable[tuple[str, float, int | None]] | None = None
) -> list[Condition]:
    """The cells that a model of a finished run has.

    Args:
        models: All models of the run in one suite.
        expected: (corruption, level, seed) of every cell of a model; default: what the runs planned that the cells are
            of, otherwise every row and level of the suite with the noise seeds that are there, and whatever any of the
            models has.

    Raises:
        ValueError: if no cell is expected.
    """
    models = list(models)
    if expected is None and all(grid.plan is not None for grid in models):
        expected = [condition for grid in models for condition in grid.plan or ()]
    if expected is not None:
        whole = list(dict.fromkeys(Condition(corruption, float(level), seed) for corruption, level, seed in expected))
        if not whole:
            raise ValueError('expected a plan of at least one (corruption, level, seed), got none')
        return whole
    return suite_keys(models)


def suite_keys(models: Sequence[Grid]) -> list[Condition]:
    """Every row and level of the suite with the noise seeds that are there, and whatever any of the models has."""
    found = [key for grid in models for key in grid.keys]
    seeds: list[int | None] = [*sorted({key.seed for key in found if key.seed is not None})] or [None]
    whole = [
        Condition(row.name, float(level), seed)
        for row in SUITES.get(models[0].suite, {}).values()
        for level in row.levels
        for seed in (seeds if row.seeded else [None])
    ]
    clean = [key for key in found if key.corruption == CLEAN][:1] or [Condition(CLEAN, 0.0, None)]
    return list(dict.fromkeys([*clean, *whole, *(key for key in found if key.corruption != CLEAN)]))


def missing_keys(grid: Grid, expected: Iterable[Condition]) -> tuple[Condition, ...]:
    """Those of ``expected`` that a model lacks; the seed of a clean cell does not matter."""
    have = set(grid.keys)
    clean = grid.clean is not None
    return tuple(key for key in expected if key not in have and not (key.corruption == CLEAN and clean))


def training(model: str) -> tuple[str, str]:
    """Architecture and training seed, '' without: ``zerosnet20.cifar10_seed1`` is seed 1 of ``zerosnet20``.

    A tag that timm takes by default says nothing more than the name without it.
    """
    found = TRAINING.fullmatch(model)
    if not found:
        return model, ''
    network = found['network']
    default = timm.get_pretrained_cfg(network) if timm.is_model(network) else None
    return network if default and default.tag == found['tag'] else found['weights'], found['seed'] or ''


def architecture(model: str) -> str:
    """The model without its training seed, see ``training``."""
    return training(model)[0]


def some(keys: Sequence[object], most: int = 8) -> str:
    """The first few of a list, and how many more there are."""
    return ', '.join(map(str, keys[:most])) + (f' and {len(keys) - most} more' if len(keys) > most else '')
