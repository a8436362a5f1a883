"""What sums up a model over the levels and corruptions of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Sequence

import numpy as np

from ..plan import CLEAN, Cell, Condition
from .baselines import BASELINES, Baseline, baseline_of
from .corruption_error import CorruptionError, Estimate, Level
from .grids import Grid, architecture, expected_keys, grids, missing_keys, some, training
from .levels import LevelRow, level_row
from .statistics import RESAMPLES, area_weights, bootstrap_means, share_interval

NO_BASELINE = Estimate(None, reason='no baseline was named')
ONE_TRAINING = 'one training seed: nothing can be decided about the architecture'


@dataclass(frozen=True)
class CorruptionSummary:
    """One corruption, in percent. The area is that under accuracy against level from clean on, divided by the range."""

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
        model, suite: Which.
        architecture: The model without its training seed.
        images: N.
        seeds: Noise seeds.
        cells, expected: How many there are and how many a finished run has.
        missing: The cells that are not there; figures that need them are None.
        clean: Accuracy on clean images.
        mean_error: Mean over corruptions of the mean error over levels: the unnormalised mCE of CIFAR papers.
        area: Mean over corruptions of their areas under the curve.
        worst_corruption, worst_level, worst_accuracy: Where accuracy is lowest. Being the lowest of many, it is a
            little too low.
        clean_ece, mean_ece, mean_flip_rate: Calibration error, and share of changed predictions.
        noise_sd: Standard deviation of ``mean_error`` over noise seeds; None below two.
        mce, relative_mce: Of Hendrycks and Dietterich 2019; 100 is the baseline.
        mce_over, relative_mce_over: The corruptions they average.
        baseline: What they are relative to.
        corruptions: One row each.
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
    """Trainings of one architecture, each with its own seed: mean and standard deviation over them, in percent."""

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
    """Sum up each model of a run in one suite.

    Args:
        cells: Of a run, in any order.
        baseline: What mCE is relative to: a model of the run, or one with a packaged error table; None leaves it out.
        suite: Which suite; needed where there are several.
        expected: (corruption, level, seed) of every cell that a model should have, clean included; default: what the
            runs planned that the cells are of, as ``read_run`` gives them, otherwise the whole suite with the noise
            seeds that are there, and whatever any of the models has.
        plan: The former name of ``expected``.
        folder: Where packaged error tables are.
        only: Models to sum up; default: all.
        resamples: Of the bootstrap by image.
        seed: Of the bootstrap.

    Raises:
        ValueError: for cells that ``grids`` refuses, a baseline that is neither in the run nor packaged.
    """
    models = grids(cells, suite)
    suite = next(iter(models.values())).suite
    conditions = expected_keys(models.values(), plan if expected is None else expected)
    against = None if baseline is None else baseline_of(models, suite, baseline, folder)
    wanted = set(models if only is None else only)
    return {
        name: _Summary(grid, conditions, against, resamples, seed).build()
        for name, grid in models.items()
        if name in wanted
    }


def training_spread(summaries: Iterable[ModelSummary]) -> dict[str, TrainingSpread]:
    """Spread over training seeds for each architecture, each training averaged over its noise seeds."""
    groups: dict[str, dict[str, ModelSummary]] = {}
    for summary in summaries:
        name, seed = training(summary.model)
        groups.setdefault(name, {}).setdefault(seed, summary)  # one that stands under two names counts once
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
    """Works out one model's summary: each figure is a weighted mean of the columns, one for each level."""

    def __init__(
        self, grid: Grid, expected: Sequence[Condition], baseline: Baseline | None, resamples: int, seed: int
    ) -> None:
        self.grid, self.expected, self.baseline = grid, expected, baseline
        self.missing = missing_keys(grid, expected)
        self.lacking = {key.corruption for key in self.missing} | (set() if grid.clean else {CLEAN})
        self.levels: dict[str, list[float]] = {}
        for name, level in dict.fromkeys(key[:2] for key in expected):
            if name != CLEAN and level != 0:
                self.levels[name] = sorted([*self.levels.get(name, []), level])
        self.names = list(grid.levels)
        self.shares = grid.shares(self.names)
        self.samples = bootstrap_means(self.shares, resamples, seed)
        self.ce = baseline and CorruptionError(grid, expected, self.levels, baseline, resamples, seed)
        self.rows = {key: self._row(i, key) for i, key in enumerate(self.names)}

    def build(self) -> ModelSummary:
        grid, names = self.grid, list(self.levels)
        clean = self.rows.get((CLEAN, 0.0))
        mean = self._mean(names)
        whole = bool(mean) and not self.lacking & set(names)
        worst = self._worst(names)
        mce, over = self.ce.mean() if self.ce else (NO_BASELINE, ())
        relative, relative_over = self.ce.mean(relative=True) if self.ce else (NO_BASELINE, ())
        return ModelSummary(
            model=grid.model,
            suite=grid.suite,
            architecture=architecture(grid.model),
            images=grid.images,
            seeds=tuple(sorted({key.seed for key in grid.keys if key.seed is not None})),
            cells=len(self.expected) - len(self.missing),
            expected=len(self.expected),
            missing=self.missing,
            clean=self._accuracy(clean, [CLEAN]),
            mean_error=self._share(mean, names, error=True),
            area=self._share(self._areas(names), [*names, CLEAN]),
            worst_corruption=worst and worst.corruption,
            worst_level=worst and worst.level,
            worst_accuracy=self._accuracy(worst, names),
            clean_ece=clean and clean.ece,
            mean_ece=self._average(mean, 'ece') if whole else None,
            mean_flip_rate=self._average(mean, 'flip_rate') if whole and clean else None,
            noise_sd=self._noise_sd(mean) if whole else None,
            mce=mce,
            relative_mce=relative,
            mce_over=over,
            relative_mce_over=relative_over,
            baseline=self.baseline and self.baseline.name,
            corruptions=tuple(map(self._corruption, names)),
        )

    def _corruption(self, name: str) -> CorruptionSummary:
        worst = self._worst([name])
        area, negative, positive = (self._share(self._areas([name], side), [name, CLEAN]) for side in (0, -1, 1))
        return CorruptionSummary(
            name,
            tuple(self.levels[name]),
            self._share(self._mean([name]), [name], error=True),
            area,
            negative,
            positive,
            worst and worst.level,
            self._accuracy(worst, [name]),
            self.ce.of(name) if self.ce else NO_BASELINE,
            self.ce.of(name, relative=True) if self.ce else NO_BASELINE,
        )

    def _row(self, i: int, key: Level) -> LevelRow:
        seeds = self.grid.levels[key]
        several = share_interval(self.shares[:, i], self.samples[:, i]) if len(seeds) > 1 else None
        return level_row(self.grid, key, seeds, several)

    def _worst(self, names: Sequence[str]) -> LevelRow | None:
        if self.lacking & set(names):
            return None
        rows = (self.rows[name, level] for name in names for level in self.levels[name])
        return min(rows, key=lambda row: row.accuracy, default=None)

    def _average(self, weights: dict[Level, float], figure: str) -> float:
        return float(sum(weight * getattr(self.rows[key], figure) for key, weight in weights.items()))

    def _mean(self, names: Sequence[str]) -> dict[Level, float]:
        """Weights of the mean over corruptions of the mean over levels."""
        return {(n, level): 1 / len(names) / len(self.levels[n]) for n in names for level in self.levels[n]}

    def _areas(self, names: Sequence[str], side: int = 0) -> dict[Level, float]:
        """Weights of the mean area under the curve, on one side of clean (-1, 1) or over the whole range."""
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
        """A mean of accuracies, or 100 less it; the weights sum to one."""
        if not weights or self.lacking & set(names):
            return self._nothing(names)
        vector = np.array([weights.get(name, 0.0) for name in self.names])
        shares = self.shares @ vector
        # rounded, or the weights' last digits turn "always right" into "almost always"
        low, high, _ = share_interval(shares.round(9), self.samples @ vector)
        value = float(shares.mean())
        if error:
            return Estimate(100 * (1 - value), 100 * (1 - high), 100 * (1 - low))
        return Estimate(100 * value, 100 * low, 100 * high)

    def _nothing(self, names: Sequence[str]) -> Estimate:
        lost = [key for key in self.missing if key.corruption in names]
        if not lost and CLEAN in names and not self.grid.clean:
            lost = [Condition(CLEAN, 0.0, None)]
        return Estimate(None, reason=f'missing: {some(lost)}' if lost else 'no such levels')

    def _noise_sd(self, weights: dict[Level, float]) -> float | None:
        """Over the noise seeds that all random levels share; what is not random is the same for each."""
        cells = {key: self.grid.levels[key] for key in weights}
        random = [set(seeds) for seeds in cells.values() if None not in seeds]
        seeds = sorted(set.intersection(*random)) if random else []
        if len(seeds) < 2:
            return None
        means = [
            np.dot(list(weights.values()), [cells[key].get(seed, cells[key].get(None)).top1 for key in weights])
            for seed in seeds
        ]
        return float(np.std(means, ddof=1))
