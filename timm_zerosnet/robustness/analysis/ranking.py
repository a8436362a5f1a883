"""Models ranked by their mean error, and the groups of models that are not told apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import Iterable, Mapping, Sequence

import numpy as np

from ..plan import CLEAN, Condition
from .grids import Grid, integer_weights, mean_weights
from .statistics import ALPHA, FLIPS, holm, pairwise_tests


@dataclass(frozen=True)
class Ranking:
    """The models of a run by their result.

    Two models are told apart if a sign-flip test by image of their mean errors is significant after Holm's correction
    for all pairs of ranked models. That two models are in one group does not mean that they are equally good.

    Args:
        ranks: Rank of each model that has every perturbed cell, best first; equal mean errors have equal ranks.
        groups: The largest sets of ranked models in which no two are told apart, in order of their best model. Each
            ranked model is in one group or several, and two models share a group if and only if they are not told
            apart.
        unranked: Models that lack a perturbed cell, by their clean accuracy.
    """

    ranks: dict[str, int]
    groups: tuple[tuple[str, ...], ...]
    unranked: tuple[str, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """All models with a result: those with a rank first."""
        return *self.ranks, *self.unranked

    @property
    def pairs(self) -> int:
        """Number of pairs that are tested."""
        return len(self.ranks) * (len(self.ranks) - 1) // 2

    def not_told_apart(self, model: str) -> set[str]:
        """The other models that share a group with a model."""
        return {other for group in self.groups if model in group for other in group} - {model}


def rank_models(points: Mapping[str, np.ndarray | None], clean: Mapping[str, float | None], seed: int = 0) -> Ranking:
    """Rank models and group those that are not told apart.

    Args:
        points: (N,) points of each model on the same images, see ``image_points``; None for a model without a rank.
        clean: Accuracy of each model on clean images; None if it was not measured.
        seed: Seed of the random sign flips.
    """
    found = {name: own for name, own in points.items() if own is not None}
    totals = {name: int(own.sum()) for name, own in found.items()}
    order = sorted(found, key=lambda name: -totals[name])
    unranked = sorted(points.keys() - found.keys(), key=lambda name: (-(clean[name] or 0.0), list(points).index(name)))
    pairs = list(combinations(range(len(order)), 2))
    apart: list[tuple[int, int]] = []
    if pairs:
        # a p value is at least 1 / (1 + flips): more pairs need more flips, or Holm's correction would leave none small
        flips = max(FLIPS, int(2 * len(pairs) / ALPHA))
        p = pairwise_tests(np.stack([found[name] for name in order], axis=1), flips, seed)
        adjusted = holm([p[pair] for pair in pairs])
        apart = [pair for pair, value in zip(pairs, adjusted, strict=True) if value <= ALPHA]
    return Ranking(
        {name: 1 + sum(total > totals[name] for total in totals.values()) for name in order},
        tuple(tuple(order[i] for i in group) for group in largest_groups(len(order), apart)),
        tuple(unranked),
    )


def image_points(grid: Grid, expected: Iterable[Condition]) -> np.ndarray | None:
    """(N,) integers that are proportional to each image's mean over corruptions of the mean over levels.

    Args:
        grid: The cells of a model.
        expected: The conditions of a finished run; the same for models that are compared.

    Returns:
        The points; None if the model lacks a perturbed cell, or if there is none to have.
    """
    noisy = [condition for condition in expected if condition.corruption != CLEAN and condition.level]
    weights = mean_weights(dict.fromkeys(condition[:2] for condition in noisy))
    averaged = [condition for condition in noisy if condition[:2] in weights]
    if not averaged or not all(map(grid.has, averaged)):
        return None
    factors, _ = integer_weights(weights, Counter(condition[:2] for condition in averaged))
    points = np.zeros(grid.images, dtype=np.int64)
    for corruption, level, seed in averaged:
        points += factors[corruption, level] * grid.levels[corruption, level][seed].correct
    return points


def largest_groups(count: int, apart: Iterable[tuple[int, int]]) -> list[tuple[int, ...]]:
    """The largest sets of the numbers below ``count`` that hold no pair that is told apart (Piepho 2004).

    Starting from one set of all, each pair splits the sets that hold both; a set that another contains is dropped.
    """
    groups = [frozenset(range(count))] * bool(count)
    for one, two in apart:
        split = [group for group in groups if not {one, two} <= group]
        for group in groups:
            if {one, two} <= group:
                split += [group - {one}, group - {two}]
        groups = _without_subsets(split)
    return sorted(tuple(sorted(group)) for group in groups)


def _without_subsets(groups: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    unique = list(dict.fromkeys(groups))
    return [group for group in unique if not any(group < other for other in unique)]
