"""Accuracy against level: a row for each cell, or for each level over its noise seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from ..evaluation import Evaluation
from ..plan import CLEAN, Cell
from .grids import Grid, grids
from .statistics import RESAMPLES, bootstrap_means, calibration_error, flip_rate, share_interval, wilson


@dataclass(frozen=True)
class LevelRow:
    """Accuracy of a model at one level, in percent.

    Args:
        model, suite, corruption, level: Which.
        images: N.
        seeds: Noise seeds that are averaged over; empty where nothing is random.
        accuracy: Top-1.
        low, high: 95 % interval of it, over images (and their noise).
        interval: Method of the interval: Wilson for one cell, bootstrap by image for several.
        noise_sd: Standard deviation of the accuracy over noise seeds; None below two.
        top5: Top-5 accuracy.
        loss: Mean cross entropy, nats.
        ece: Expected calibration error of a cell, averaged over noise seeds.
        flip_rate: Images whose prediction is not the clean one; None without a clean cell.
    """

    model: str
    suite: str
    corruption: str
    level: float
    images: int
    seeds: tuple[int, ...]
    accuracy: float
    low: float
    high: float
    interval: str
    noise_sd: float | None
    top5: float
    loss: float
    ece: float
    flip_rate: float | None


def accuracy_table(cells: Sequence[Cell], resamples: int = RESAMPLES, seed: int = 0) -> list[LevelRow]:
    """A row for each model, corruption and level, over its noise seeds.

    Args:
        cells: Of a run, in any order; of several suites if there are.
        resamples: Of the bootstrap by image, for levels with several noise seeds.
        seed: Of the bootstrap.
    """
    rows = []
    for suite in _suites(cells):
        for grid in grids(cells, suite).values():
            several = [level for level, seeds in grid.levels.items() if len(seeds) > 1]
            shares = grid.shares(several)
            samples = bootstrap_means(shares, resamples, seed)
            intervals = {level: share_interval(shares[:, i], samples[:, i]) for i, level in enumerate(several)}
            rows += [level_row(grid, level, seeds, intervals.get(level)) for level, seeds in grid.levels.items()]
    return rows


def _suites(cells: Sequence[Cell]) -> list[str]:
    return sorted({cell.suite for cell in cells if cell.corruption != CLEAN} or {cell.suite for cell in cells})


def level_row(
    grid: Grid,
    level: tuple[str, float],
    seeds: dict[int | None, Evaluation],
    interval: tuple[float, float, str] | None = None,
) -> LevelRow:
    """The row of one level; without an interval it is Wilson's of the first seed, the only one."""
    results = list(seeds.values())
    accuracies = [result.top1 for result in results]
    clean = grid.clean
    if interval is None:
        interval = *wilson(results[0].correct.sum(), grid.images), 'Wilson'
    return LevelRow(
        grid.model,
        grid.suite,
        *level,
        grid.images,
        tuple(seed for seed in seeds if seed is not None),
        float(np.mean(accuracies)),
        100 * interval[0],
        100 * interval[1],
        interval[2],
        float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        float(np.mean([result.top5 for result in results])),
        float(np.mean([result.loss.mean(dtype=np.float64) for result in results])),
        100 * float(np.mean([calibration_error(result.confidence, result.correct) for result in results])),
        None if clean is None else 100 * float(np.mean([flip_rate(r.predicted, clean.predicted) for r in results])),
    )
