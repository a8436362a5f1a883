"""mCE and relative mCE against a baseline (Hendrycks and Dietterich 2019).

For each corruption, the errors of the model are summed over its levels and divided by the same sum of the baseline; mCE
is the mean of these ratios over corruptions, in percent. For relative mCE the clean error is subtracted from each error
of both sums first. The four extra corruptions of the official sets, and ``frost_like``, have ratios but are not in the
means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from ..._errors import shorten
from ..plan import CLEAN, Condition
from ..suites import averaged_rows
from .baselines import Baseline, mean_errors
from .grids import Grid, missing_conditions
from .statistics import BOOTSTRAP_IMAGES, bootstrap_means, percentiles


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; if the figure or its interval is None, ``reason`` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ''


class CorruptionError:
    """The corruption errors of one model.

    Both sums of a corruption error, that of the model and that of the baseline, are linear functionals of the errors at
    all levels: one vector of weights gives them for the measured errors and for each bootstrap resample.

    Args:
        grid: The cells of the model.
        expected: The conditions of a finished run.
        levels: The levels of each corruption that are summed over.
        baseline: What the errors are relative to. A baseline that is a model of the run is resampled together with the
            model, image by image; a packaged table is taken as exact.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
    """

    def __init__(
        self,
        grid: Grid,
        expected: Sequence[Condition],
        levels: dict[str, list[float]],
        baseline: Baseline,
        resamples: int,
        seed: int,
    ) -> None:
        baseline = baseline.for_levels(levels)
        self.grid, self.expected, self.baseline = grid, expected, baseline
        self.missing = missing_conditions(grid, expected)
        self.levels = {name: [(name, level) for level in own] for name, own in levels.items()}
        self.columns = [level for level in grid.levels if level in baseline.errors]
        shares = grid.shares(self.columns)
        self.wrong = shares < 1
        errors = mean_errors(grid)
        self.errors = np.array([errors[level] for level in self.columns])
        self.baseline_errors = np.array([baseline.errors[level] for level in self.columns])
        other = baseline.grid
        if other is None or other.images != grid.images:
            self.resampled = 100 * (1 - bootstrap_means(shares, resamples, seed))
            self.baseline_resampled = self.baseline_errors[None]
        else:
            both = 100 * (1 - bootstrap_means(np.hstack([shares, other.shares(self.columns)]), resamples, seed))
            self.resampled, self.baseline_resampled = np.hsplit(both, 2)

    def of_corruption(self, name: str, relative: bool = False) -> Estimate:
        """CE or relative CE of one corruption; its value is None if it is not defined."""
        if reason := self._obstacle(name, relative):
            return Estimate(None, reason=reason)
        return _mean_estimate([self._ratio(name, relative)])

    def mean(self, relative: bool = False) -> tuple[Estimate, tuple[str, ...]]:
        """mCE or relative mCE, and the corruptions that it averages; these are none if the model lacks cells."""
        counted = averaged_rows(self.levels)
        needed = {*counted, *([CLEAN] if relative else [])}
        lost = [condition for condition in self.missing if condition.corruption in needed]
        if lost:
            return Estimate(None, reason=f'missing: {shorten(lost, 8)}'), ()
        obstacles = {name: self._obstacle(name, relative) for name in counted}
        names = tuple(name for name, reason in obstacles.items() if not reason)
        if not names:
            return Estimate(None, reason=next(iter(obstacles.values()), 'no corruption')), ()
        return _mean_estimate([self._ratio(name, relative) for name in names]), names

    def _functional(self, name: str, relative: bool) -> np.ndarray:
        """The linear functional, as (columns,) weights, that sums the errors over the levels of a corruption.

        The relative one subtracts the clean error from each of them.
        """
        weights = np.zeros(len(self.columns))
        for level in self.levels[name]:
            weights[self.columns.index(level)] += 1
            if relative:
                weights[self.columns.index((CLEAN, 0.0))] -= 1
        return weights

    def _ratio(self, name: str, relative: bool) -> tuple[float, np.ndarray | None]:
        """A corruption error, the ratio of the functional for model and baseline, and its bootstrap samples.

        There are no samples, and hence no interval, if too few images are ever wrong or if a resampled baseline makes
        no errors.
        """
        functional = self._functional(name, relative)
        resampled = self.baseline_resampled @ functional
        value = 100 * (float(self.errors @ functional) / float(self.baseline_errors @ functional))
        ever_wrong = np.count_nonzero(self.wrong[:, functional > 0].any(1))
        if ever_wrong < BOOTSTRAP_IMAGES or (resampled <= 1e-9).any():
            return value, None
        return value, 100 * (self.resampled @ functional) / resampled

    def _obstacle(self, name: str, relative: bool) -> str:
        """Why a corruption error is not defined; empty if it is."""
        base, other = self.baseline, self.baseline.grid
        needed = [*self.levels[name], *([(CLEAN, 0.0)] if relative else [])]
        corruptions = {corruption for corruption, _ in needed}
        lost = [condition for condition in self.missing if condition.corruption in corruptions]
        lost = lost or [Condition(*level, None) for level in needed if level not in self.grid.levels]
        if lost:
            return f'missing: {shorten(lost, 8)}'
        if other is not None and other.images != self.grid.images:
            return f'{base.name} saw {other.images} images, {self.grid.model} {self.grid.images}'
        lost = [Condition(*level, None) for level in needed if level not in base.errors]
        if other is not None:
            lost = lost or [c for c in missing_conditions(other, self.expected) if c.corruption in corruptions]
        if lost:
            return f'{base.name} lacks {shorten(lost, 8)}'
        if float(self.baseline_errors @ self._functional(name, relative)) <= 1e-9:
            return f'{base.name} {"makes no further errors" if relative else "makes no errors"} under it'
        return ''


def _mean_estimate(ratios: Sequence[tuple[float, np.ndarray | None]]) -> Estimate:
    """The mean of ratios as ``CorruptionError._ratio`` gives them."""
    value = float(np.mean([value for value, _ in ratios]))
    samples = [sample for _, sample in ratios if sample is not None]
    if len(samples) < len(ratios):
        return Estimate(value, reason='too few errors for an interval')
    return Estimate(value, *percentiles(np.mean(samples, axis=0)))
