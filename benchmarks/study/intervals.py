"""Rank correlations, differences and regressions over coefficient sets, with intervals over sets and seeds.

A set is a sample of its seeds. Sets of one family are alike, so that they do not count as independent. Differences of
means have Welch's interval over families, which holds for few of them as well. All other intervals come from resampling
families with replacement, each with all of its sets, and the seeds of each set with replacement. Both cover another
choice of methods and other trainings. With two or three seeds, resampling takes the spread within a set for smaller
than it is; that between sets is the larger one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, ttest_ind

RESAMPLES = 2000
Array = NDArray[np.float64]
Statistic = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval.

    Args:
        value: Of the sets as they are; NaN where it is not defined.
        low: The lower end of the interval.
        high: The upper end.
        sets: How many sets it rests on.
        families: How many families these are.
        ties: How many pairs of sets share a value of the predictor; 0 where there is none.
    """

    value: float
    low: float
    high: float
    sets: int
    families: int
    ties: int = 0


def ranks(x: Array) -> Array:
    """Mid-ranks along the axis of the sets, the last but one of three or the last of two; shape as ``x``."""
    return np.asarray(rankdata(x, axis=1), dtype=float)


def _pearson(x: Array, y: Array) -> Array:
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    with np.errstate(invalid='ignore'):
        return np.asarray((x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1)))


def spearman(x: Array, y: Array) -> Array:
    """Spearman's rank correlation of each row, mid-ranks for ties; NaN where either is constant. Shapes (n, sets)."""
    return _pearson(ranks(x), ranks(y))


def kendall(x: Array, y: Array) -> Array:
    """Kendall's tau-b of each row, which allows for ties; NaN where either is constant. Shapes (n, sets)."""
    first, second = (np.sign(z[:, :, None] - z[:, None, :]).reshape(len(z), -1) for z in (ranks(x), ranks(y)))
    with np.errstate(invalid='ignore'):
        return np.asarray((first * second).sum(1) / np.sqrt((first * first).sum(1) * (second * second).sum(1)))


def tied_pairs(x: Array) -> int:
    """Pairs of equal values in an array of shape (sets,)."""
    counts = np.unique(x, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def estimate(
    predictors: Mapping[str, Sequence[float]],
    outcomes: Mapping[str, Sequence[float]],
    statistic: Statistic,
    families: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Estimate:
    """A statistic of predictors (one row for each set) and mean outcomes, with its interval from resampling.

    Its ends are the 2.5th and 97.5th percentile of the resamples in which the statistic is defined.

    Args:
        predictors: Of each set, all of one length p.
        outcomes: Of each set, one number for each seed.
        statistic: Takes predictors, shape (n, sets, p), or (n, sets) where p is 1, and outcomes, shape (n, sets);
            gives shape (n,).
        families: Name of the family of each set; default: each its own.
        seed: Of the resampling.

    Raises:
        ValueError: if the sets of both differ, or there are fewer than three.
    """
    if predictors.keys() != outcomes.keys() or len(predictors) < 3:
        raise ValueError(f'expected at least 3 sets, the same in both, got {len(predictors)} and {len(outcomes)}')
    names = list(predictors)
    x = np.array([predictors[name] for name in names], dtype=float)
    x = x[:, 0] if x.shape[1] == 1 else x
    counts = np.array([len(outcomes[name]) for name in names])
    values = np.full((len(names), counts.max()), np.nan)
    for i, name in enumerate(names):
        values[i, : counts[i]] = outcomes[name]
    members: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        members.setdefault(families[name] if families else name, []).append(i)
    groups = list(members.values())
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(members), size=(RESAMPLES, len(members)))
    resamples: dict[int, list[list[int]]] = {}  # by how many sets they have
    for chosen in drawn:
        sets = [i for family in chosen for i in groups[family]]
        resamples.setdefault(len(sets), []).append(sets)
    parts = []
    for same_length in resamples.values():
        sets = np.array(same_length)
        seeds = (rng.random((*sets.shape, counts.max())) * counts[sets][..., None]).astype(int)
        used = np.arange(counts.max()) < counts[sets][..., None]  # as many draws as the set has seeds
        y = np.where(used, values[sets[..., None], seeds], 0).sum(-1) / counts[sets]
        parts.append(statistic(x[sets], y))
    found = np.concatenate(parts)
    low, high = (np.nan, np.nan) if np.isnan(found).all() else np.nanpercentile(found, [2.5, 97.5])
    value = statistic(x[None], np.nanmean(values, axis=1)[None])[0]
    return Estimate(
        float(value), float(low), float(high), len(names), len(members), tied_pairs(x) if x.ndim == 1 else 0
    )


def agreement(x: Array, _: Array) -> Array:
    """Mean of Spearman's correlation over all pairs of columns; shapes (n, sets, columns) and (n, sets)."""
    pairs = combinations(range(x.shape[-1]), 2)
    return np.asarray(np.mean([spearman(x[..., i], x[..., j]) for i, j in pairs], axis=0))


def spearman_difference(x: Array, y: Array) -> Array:
    """Spearman's correlation of the first of two predictors less that of the second; shapes (n, sets, 2), (n, sets)."""
    return spearman(x[..., 0], y) - spearman(x[..., 1], y)


def difference(
    chosen: Mapping[str, bool], outcomes: Mapping[str, Sequence[float]], families: Mapping[str, str]
) -> Estimate:
    """Mean outcome of the families of chosen sets less that of the others, with Welch's interval.

    Args:
        chosen: Whether a set is on the first side.
        outcomes: Of each set, one number for each seed.
        families: Name of the family of each set; sets of one family are on one side.

    Raises:
        ValueError: if a side has fewer than two families.
    """
    sides: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}
    for name, values in outcomes.items():
        sides[chosen[name]].setdefault(families[name], []).append(float(np.mean(values)))
    first, second = ([float(np.mean(values)) for values in side.values()] for side in sides.values())
    if min(len(first), len(second)) < 2:
        raise ValueError(f'expected at least 2 families on each side, got {len(first)} and {len(second)}')
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Precision loss', RuntimeWarning)  # a side may be at chance throughout
        low, high = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    return Estimate(
        float(np.mean(first) - np.mean(second)), float(low), float(high), len(outcomes), len(first) + len(second)
    )


def residuals(x: Array, y: Array) -> Array:
    """What the best linear function of the ranks of ``x`` leaves of the ranks of ``y``, positive where ``y`` is larger.

    Args:
        x: Predictors, shape (n, sets) or (n, sets, p).
        y: Outcomes, shape (n, sets).

    Returns:
        Shape (n, sets).
    """
    x, y = ranks(x.reshape(*y.shape, -1)), ranks(y)
    design = np.concatenate([np.ones((*y.shape, 1)), x], axis=-1)
    return np.asarray(y - (design @ (np.linalg.pinv(design) @ y[..., None]))[..., 0])


def explained(x: Array, y: Array) -> Array:
    """Share of the variance of the ranks of ``y`` that a linear function of the ranks of ``x`` explains, at most 1.

    It is adjusted for the number of predictors: on average 0 where they say nothing.
    """
    left = residuals(x, y)
    free = y.shape[1] - 1 - x.reshape(*y.shape, -1).shape[-1]
    with np.errstate(invalid='ignore', divide='ignore'):  # outcomes that are all equal have nothing to explain
        share = 1 - left.var(1) / free / (ranks(y).var(1) / (y.shape[1] - 1))
    return np.where(np.isfinite(share), share, np.nan)


def explained_beyond(columns: int) -> Statistic:
    """What predictors after the first ``columns`` add to ``explained``; negative where they say less than chance."""
    return lambda x, y: explained(x, y) - explained(x[..., :columns], y)


def by_set(rows: Sequence[Mapping[str, Any]], figure: Callable[[Mapping[str, Any]], float]) -> dict[str, list[float]]:
    """A figure of every run, by the name of its set."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row['set'], []).append(figure(row))
    return found
