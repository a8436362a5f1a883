"""mCE and relative mCE against a baseline (Hendrycks and Dietterich 2019).

For a corruption, the errors of the model are summed over its levels and divided by the same sum of the baseline; mCE is
the mean of these ratios over corruptions, in percent. Relative mCE takes the clean error off every term of both sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from ..plan import CLEAN, Condition
from .baselines import Baseline, errors_of
from .grids import Grid, missing_keys, some
from .statistics import BOOTSTRAP_IMAGES, bootstrap_means, percentiles

Level = tuple[str, float]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; a reason says why one or the other is None."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ''


class CorruptionError:
    """The corruption errors of one model.

    Args:
        grid: Of the model.
        expected: Cells of a finished run.
        levels: Levels of each corruption that are summed over.
        baseline: What they are relative to. One from the run is resampled along with the model, image by image; a
            packaged table is taken as it is.
        resamples, seed: Of the bootstrap by image.
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
        self.grid, self.expected, self.baseline = grid, expected, baseline
        self.missing = missing_keys(grid, expected)
        self.levels = {name: [(name, level) for level in rows] for name, rows in levels.items()}
        self.columns = [key for key in grid.levels if key in baseline.errors]
        shares = grid.shares(self.columns)
        self.wrong = shares < 1
        errors = errors_of(grid)
        self.errors = np.array([errors[key] for key in self.columns])
        self.under = np.array([baseline.errors[key] for key in self.columns])
        other = baseline.grid
        if other is None or other.images != grid.images:
            self.sampled = 100 * (1 - bootstrap_means(shares, resamples, seed))
            self.sampled_under = self.under[None]
        else:
            both = 100 * (1 - bootstrap_means(np.hstack([shares, other.shares(self.columns)]), resamples, seed))
            self.sampled, self.sampled_under = np.hsplit(both, 2)

    def of(self, name: str, relative: bool = False) -> Estimate:
        """CE or relative CE of one corruption; without a value where it cannot be formed."""
        if reason := self._obstacle(name, relative):
            return Estimate(None, reason=reason)
        return _estimate([self._ratio(name, relative)])

    def mean(self, relative: bool = False) -> tuple[Estimate, tuple[str, ...]]:
        """mCE or relative mCE, and the corruptions it averages; none where the model lacks cells."""
        lost = [key for key in self.missing if relative or key.corruption != CLEAN]
        if lost:
            return Estimate(None, reason=f'missing: {some(lost)}'), ()
        obstacles = {name: self._obstacle(name, relative) for name in self.levels}
        names = tuple(name for name, reason in obstacles.items() if not reason)
        if not names:
            return Estimate(None, reason=next(iter(obstacles.values()), 'no corruption')), ()
        return _estimate([self._ratio(name, relative) for name in names]), names

    def _form(self, name: str, relative: bool) -> np.ndarray:
        """Weights of the sum over levels."""
        form = np.zeros(len(self.columns))
        for key in self.levels[name]:
            form[self.columns.index(key)] += 1
            if relative:
                form[self.columns.index((CLEAN, 0.0))] -= 1
        return form

    def _ratio(self, name: str, relative: bool) -> tuple[float, np.ndarray | None]:
        form = self._form(name, relative)
        under = self.sampled_under @ form
        value = 100 * (float(self.errors @ form) / float(self.under @ form))
        few = np.count_nonzero(self.wrong[:, form > 0].any(1)) < BOOTSTRAP_IMAGES
        return value, None if few or (under <= 1e-9).any() else 100 * (self.sampled @ form) / under

    def _obstacle(self, name: str, relative: bool) -> str:
        """Why a corruption has no CE; empty if it has."""
        base, other = self.baseline, self.baseline.grid
        needed = [*self.levels[name], *([(CLEAN, 0.0)] if relative else [])]
        names = {key[0] for key in needed}
        lost = [key for key in self.missing if key.corruption in names]
        lost = lost or [Condition(*key, None) for key in needed if key not in self.grid.levels]
        if lost:
            return f'missing: {some(lost)}'
        if other is not None and other.images != self.grid.images:
            return f'{base.name} saw {other.images} images, {self.grid.model} {self.grid.images}'
        lost = [Condition(*key, None) for key in needed if key not in base.errors]
        if other is not None:
            lost = lost or [key for key in missing_keys(other, self.expected) if key.corruption in names]
        if lost:
            return f'{base.name} lacks {some(lost)}'
        if float(self.under @ self._form(name, relative)) <= 1e-9:
            return f'{base.name} {"makes no further errors" if relative else "makes no errors"} under it'
        return ''


def _estimate(ratios: Sequence[tuple[float, np.ndarray | None]]) -> Estimate:
    value = float(np.mean([value for value, _ in ratios]))
    samples = [sample for _, sample in ratios if sample is not None]
    if len(samples) < len(ratios):
        return Estimate(value, reason='too few errors for an interval')
    return Estimate(value, *percentiles(np.mean(samples, axis=0)))
