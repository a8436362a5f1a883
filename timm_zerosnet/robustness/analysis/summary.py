"""Figures that summarise a model over the levels and corruptions of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Mapping, Sequence

import numpy as np

from ..._errors import shorten
from ..plan import CLEAN, Cell, Condition
from ..suites import averaged_rows
from .baselines import BASELINES, Baseline, load_baseline
from .corruption_error import CorruptionError, Estimate
from .grids import (
    Grid,
    Level,
    architecture_of,
    common_seeds,
    expected_conditions,
    grids_by_model,
    mean_weights,
    missing_conditions,
    training_of,
)
from .levels import LevelRow, level_row
from .statistics import RESAMPLES, area_weights, bootstrap_means, share_interval

NO_BASELINE = Estimate(None, reason='no baseline was named')
ONE_TRAINING = 'one training seed: nothing can be decided about the architecture'


@dataclass(frozen=True)
class CorruptionSummary:
    """One model under one corruption, in percent.

    Args:
        corruption: Name of the corruption.
        levels: Its levels, without 0.
        error: Mean error over the levels.
        area: Area under accuracy against level, clean included, divided by the range of the levels.
        area_negative, area_positive: The same for the levels on either side of clean.
        worst_level, worst_accuracy: The level with the lowest accuracy.
        ce, relative_ce: Corruption errors relative to the baseline.
    """

    corruption: str
    levels: tuple[float, ...]
    error: Estimate
    area: Estimate
    area_negative: Estimate
    area_positive: Estimate
    worst_level: float | None
    worst_accuracy: Estimate
    ce: Estimate
    relative_ce: Estimate


@dataclass(frozen=True)
class ModelSummary:
    """One model in one suite, in percent.

    Args:
        model: Name of the model in the run.
        suite: Name of the suite.
        architecture: Name of the model without its training seed, see ``grids.training_of``.
        images: Number of images.
        seeds: Noise seeds.
        cells, expected: Number of cells that there are, and that a finished run has.
        missing: Conditions without a cell; figures that need them are None.
        clean: Accuracy on clean images.
        mean_error: Mean over corruptions of the mean error over levels, the unnormalised mCE of CIFAR papers. Here and
            below, the corruptions are those of ``suites.averaged_rows``.
        area: Mean over corruptions of their area under accuracy against level.
        worst_corruption, worst_level, worst_accuracy: The condition with the lowest accuracy. As the minimum of many
            estimates, this accuracy is biased slightly downwards.
        clean_ece, mean_ece: Calibration error on clean images, and its mean over corruptions of the mean over levels.
        mean_flip_rate: Share of predictions that differ from the clean one, averaged in the same way.
        noise_sd: Standard deviation of ``mean_error`` over noise seeds; None for fewer than two.
        mce, relative_mce: Corruption errors of Hendrycks and Dietterich 2019, averaged; the baseline is at 100.
        mce_over, relative_mce_over: The corruptions that they average.
        baseline: Name of the baseline.
        corruptions: A summary of each corruption.
    """

    model: str
    suite: str
    architecture: str
    images: int
    seeds: tuple[int, ...]
    cells: int
    expected: int
    missing: tuple[Condition, ...]
    clean: Estimate
    mean_error: Estimate
    area: Estimate
    worst_corruption: str | None
    worst_level: float | None
    worst_accuracy: Estimate
    clean_ece: float | None
    mean_ece: float | None
    mean_flip_rate: float | None
    noise_sd: float | None
    mce: Estimate
    relative_mce: Estimate
    mce_over: tuple[str, ...]
    relative_mce_over: tuple[str, ...]
    baseline: str | None
    corruptions: tuple[CorruptionSummary, ...]

    @property
    def complete(self) -> bool:
        return not self.missing


@dataclass(frozen=True)
class TrainingSpread:
    """Mean and standard deviation, in percent, over the trainings of one architecture, each with its own seed."""

    architecture: str
    models: tuple[str, ...]
    clean: float | None
    clean_sd: float | None
    mean_error: float | None
    mean_error_sd: float | None
    note: str = ''


def summarise(
    cells: Sequence[Cell],
    baseline: str | None = None,
    *,
    suite: str | None = None,
    expected: Iterable[tuple[str, float, int | None]] | None = None,
    plan: Iterable[tuple[str, float, int | None]] | None = None,
    folder: Path = BASELINES,
    only: Iterable[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, ModelSummary]:
    """Summarise each model of a run in one suite.

    Args:
        cells: Cells of a run, in any order.
        baseline: The model that mCE is relative to: one of the run, or one with a packaged error table. Without a
            baseline there is no mCE.
        suite: Name of the suite; needed if there are cells of several.
        expected: (corruption, level, seed) of every cell that a model should have, clean included. The default is what
            the runs of the cells planned; for cells of no run, see ``grids.suite_conditions``.
        plan: The former name of ``expected``.
        folder: Folder of the packaged error tables.
        only: Names of the models to summarise; default: all.
        resamples: Number of bootstrap resamples by image.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: for cells that ``grids_by_model`` refuses, and for a baseline that is neither in the run nor
            packaged.
    """
    models = grids_by_model(cells, suite)
    suite = next(iter(models.values())).suite
    conditions = expected_conditions(models.values(), expected, plan)
    against = None if baseline is None else load_baseline(models, suite, baseline, folder)
    wanted = set(models if only is None else only)
    return {
        name: _Summary(grid, conditions, against, resamples, seed).build()
        for name, grid in models.items()
        if name in wanted
    }


def training_spread(
    summaries: Iterable[ModelSummary], weights: Mapping[str, str] | None = None
) -> dict[str, TrainingSpread]:
    """The spread over training seeds of each architecture; each training is averaged over its noise seeds first.

    Args:
        summaries: Of all models.
        weights: Hash of the weights of each model, which tells whether two are one training; by default names do.
    """
    groups: dict[str, dict[str, ModelSummary]] = {}
    for summary in summaries:
        name, seed = training_of(summary.model)
        training = (weights or {}).get(summary.model, seed)
        groups.setdefault(name, {}).setdefault(training, summary)  # a training with two names counts once
    return {
        name: TrainingSpread(
            name,
            tuple(summary.model for summary in group.values()),
            *_mean_and_sd([summary.clean.value for summary in group.values()]),
            *_mean_and_sd([summary.mean_error.value for summary in group.values()]),
            ONE_TRAINING if len(group) == 1 else '',
        )
        for name, group in groups.items()
    }


def _mean_and_sd(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None, None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None


class _Summary:
    """Computes the summary of one model; each figure is a weighted mean over the levels, the columns of ``shares``."""

    def __init__(
        self, grid: Grid, expected: Sequence[Condition], baseline: Baseline | None, resamples: int, seed: int
    ) -> None:
        self.grid, self.expected, self.baseline = grid, expected, baseline
        self.missing = missing_conditions(grid, expected)
        self.incomplete = {condition.corruption for condition in self.missing} | (set() if grid.clean else {CLEAN})
        self.levels: dict[str, list[float]] = {}
        for name, level in dict.fromkeys(condition[:2] for condition in expected):
            if name != CLEAN and level != 0:
                self.levels[name] = sorted([*self.levels.get(name, []), level])
        self.columns = list(grid.levels)
        self.shares = grid.shares(self.columns)
        self.samples = bootstrap_means(self.shares, resamples, seed)
        self.ce = baseline and CorruptionError(grid, expected, self.levels, baseline, resamples, seed)
        self.rows = {key: self._row(i, key) for i, key in enumerate(self.columns)}

    def build(self) -> ModelSummary:
        grid, names = self.grid, list(self.levels)
        clean = self.rows.get((CLEAN, 0.0))
        mean = mean_weights((name, level) for name in names for level in self.levels[name])
        counted = averaged_rows(names)
        whole = bool(mean) and not self.incomplete & set(counted)
        worst = self._worst(names)
        mce, over = self.ce.mean() if self.ce else (NO_BASELINE, ())
        relative, relative_over = self.ce.mean(relative=True) if self.ce else (NO_BASELINE, ())
        return ModelSummary(
            model=grid.model,
            suite=grid.suite,
            architecture=architecture_of(grid.model),
            images=grid.images,
            seeds=tuple(sorted({c.seed for c in grid.conditions if c.seed is not None})),
            cells=len(self.expected) - len(self.missing),
            expected=len(self.expected),
            missing=self.missing,
            clean=self._accuracy(clean, [CLEAN]),
            mean_error=self._share(mean, counted, error=True),
            area=self._share(self._areas(counted), [*counted, CLEAN]),
            worst_corruption=worst.corruption if worst else None,
            worst_level=worst.level if worst else None,
            worst_accuracy=self._accuracy(worst, names),
            clean_ece=clean.ece if clean else None,
            mean_ece=self._average(mean, 'ece') if whole else None,
            mean_flip_rate=self._average(mean, 'flip_rate') if whole and clean else None,
            noise_sd=self._noise_sd(mean) if whole else None,
            mce=mce,
            relative_mce=relative,
            mce_over=over,
            relative_mce_over=relative_over,
            baseline=self.baseline.name if self.baseline else None,
            corruptions=tuple(map(self._corruption, names)),
        )

    def _corruption(self, name: str) -> CorruptionSummary:
        worst = self._worst([name])
        area, negative, positive = (self._share(self._areas([name], side), [name, CLEAN]) for side in (0, -1, 1))
        return CorruptionSummary(
            name,
            tuple(self.levels[name]),
            self._share(mean_weights((name, level) for level in self.levels[name]), [name], error=True),
            area,
            negative,
            positive,
            worst.level if worst else None,
            self._accuracy(worst, [name]),
            self.ce.of_corruption(name) if self.ce else NO_BASELINE,
            self.ce.of_corruption(name, relative=True) if self.ce else NO_BASELINE,
        )

    def _row(self, i: int, key: Level) -> LevelRow:
        seeds = self.grid.levels[key]
        several = share_interval(self.shares[:, i], self.samples[:, i]) if len(seeds) > 1 else None
        return level_row(self.grid, key, seeds, several)

    def _worst(self, names: Sequence[str]) -> LevelRow | None:
        if self.incomplete & set(names):
            return None
        rows = (self.rows[name, level] for name in names for level in self.levels[name])
        return min(rows, key=lambda row: row.accuracy, default=None)

    def _average(self, weights: dict[Level, float], figure: str) -> float:
        return float(sum(weight * getattr(self.rows[key], figure) for key, weight in weights.items()))

    def _areas(self, names: Sequence[str], side: int = 0) -> dict[Level, float]:
        """The weight of each level in the mean area under the curve; ``side`` is -1 or 1 for one side of clean."""
        total: dict[Level, float] = {}
        for name in names:
            levels = [level for level in self.levels[name] if side * level >= 0]
            points = sorted([0.0, *levels])
            for level, weight in zip(points, area_weights(points) if levels else (), strict=bool(levels)):
                key = (name, level) if level else (CLEAN, 0.0)
                total[key] = total.get(key, 0.0) + float(weight) / len(names)
        return total

    def _accuracy(self, row: LevelRow | None, names: Sequence[str]) -> Estimate:
        return Estimate(row.accuracy, row.low, row.high) if row else self._nothing(names)

    def _share(self, weights: dict[Level, float], names: Sequence[str], error: bool = False) -> Estimate:
        """A mean of accuracies with weights that sum to one, or, with ``error``, 100 minus that mean."""
        if not weights or self.incomplete & set(names):
            return self._nothing(names)
        vector = np.array([weights.get(name, 0.0) for name in self.columns])
        shares = self.shares @ vector
        # rounded, because a last digit of the weights would turn "always right" into "almost always right"
        low, high, _ = share_interval(shares.round(9), self.samples @ vector)
        value = float(shares.mean())
        if error:
            return Estimate(100 * (1 - value), 100 * (1 - high), 100 * (1 - low))
        return Estimate(100 * value, 100 * low, 100 * high)

    def _nothing(self, names: Sequence[str]) -> Estimate:
        """A figure without a value, and the reason."""
        lost = [condition for condition in self.missing if condition.corruption in names]
        if not lost and CLEAN in names and not self.grid.clean:
            lost = [Condition(CLEAN, 0.0, None)]
        return Estimate(None, reason=f'missing: {shorten(lost, 8)}' if lost else 'no such levels')

    def _noise_sd(self, weights: dict[Level, float]) -> float | None:
        """The standard deviation of the mean over noise seeds; levels without randomness are the same for each."""
        cells = [self.grid.levels[level] for level in weights]
        seeds = common_seeds(cells)
        if len(seeds) < 2:
            return None
        means = [
            np.dot(list(weights.values()), [own[seed if seed in own else None].top1 for own in cells]) for seed in seeds
        ]
        return float(np.std(means, ddof=1))
