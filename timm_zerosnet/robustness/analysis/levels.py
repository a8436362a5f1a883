"""Accuracy against level: a row for each level, averaged over its noise seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from ..evaluation import Evaluation
from ..plan import Cell
from .grids import Grid, Level, grids_by_model, suites_of
from .statistics import RESAMPLES, bootstrap_means, calibration_error, flip_rate, share_interval, wilson


@dataclass(frozen=True)
class LevelRow:
    """The accuracy of a model at one level, in percent.

    Args:
        model: Name of the model in the run.
        suite: Name of the suite.
        corruption: Name of the corruption, or ``'clean'``.
        level: Strength or severity; 0 for clean.
        images: Number of images.
        seeds: Noise seeds that are averaged over; empty if nothing is random.
        accuracy: Top-1 accuracy.
        low, high: 95 % interval of ``accuracy`` over images and their noise.
        interval: Method of the interval: Wilson for one cell, bootstrap by image for several.
        noise_sd: Standard deviation of the accuracy over noise seeds; None for fewer than two.
        top5: Top-5 accuracy.
        loss: Mean cross entropy in nats.
        ece: Expected calibration error of a cell, averaged over noise seeds.
        flip_rate: Share of images whose prediction differs from the clean one; None without a clean cell.
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
    """A row for each model, corruption and level, averaged over noise seeds.

    Args:
        cells: Cells of a run, in any order and of any number of suites.
        resamples: Number of bootstrap resamples by image, for levels with several noise seeds.
        seed: Seed of the bootstrap.
    """
    rows = []
    for suite in suites_of(cells):
        for grid in grids_by_model(cells, suite).values():
            several = [level for level, seeds in grid.levels.items() if len(seeds) > 1]
            shares = grid.shares(several)
            samples = bootstrap_means(shares, resamples, seed)
            intervals = {level: share_interval(shares[:, i], samples[:, i]) for i, level in enumerate(several)}
            rows += [level_row(grid, level, seeds, intervals.get(level)) for level, seeds in grid.levels.items()]
    return rows


def level_row(
    grid: Grid,
    level: Level,
    seeds: dict[int | None, Evaluation],
    interval: tuple[float, float, str] | None = None,
) -> LevelRow:
    """The row of one level.

    Args:
        grid: The cells of the model.
        level: The corruption and its level.
        seeds: The evaluation with each noise seed.
        interval: Low end, high end and name of the interval, for several seeds; default: Wilson's, for one seed.
    """
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
