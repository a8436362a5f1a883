"""Paired comparison of two models on the images that both saw."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Iterable, Mapping, Sequence

import numpy as np

from ..._errors import shorten
from ..plan import Cell, Condition
from .grids import (
    Grid,
    Level,
    architecture_of,
    common_seeds,
    expected_conditions,
    find_model,
    grids_by_model,
    integer_weights,
    mean_weights,
    training_of,
)
from .statistics import (
    RESAMPLES,
    bootstrap_means,
    difference_interval,
    holm,
    paired_test,
    scipy_stats,
    size_of_differences,
    smallest_difference,
)

OVERALL = 'overall'

Pairs = dict[Level, list[int | None]]  # the noise seeds that both models have at each level


@dataclass(frozen=True)
class Difference:
    """The accuracy of model A minus that of model B on the same images, levels and noise, in percent.

    Args:
        corruption: Name of the corruption, ``'clean'``, or ``'overall'`` for the mean over corruptions of the mean over
            levels without clean.
        level: Strength or severity; None for ``'overall'``.
        seeds: Noise seeds that both models have; empty if nothing is random.
        accuracy_a, accuracy_b: Top-1 accuracy of each.
        difference: ``accuracy_a - accuracy_b``.
        low, high: 95 % interval of the difference over images and their noise.
        interval: Name of the method of the interval.
        only_a, only_b: Number of outcomes, images times cells, in which only that model is right.
        noise_sd: Standard deviation of the difference over noise seeds; None for fewer than two.
        p: Two-sided p value of no difference.
        test: Name of the test.
        p_holm: ``p`` corrected for all rows of the comparison.
        smallest: Smallest difference that these images and seeds can show, with 80 % power at a level of 5 %, if this
            were the only comparison.
    """

    corruption: str
    level: float | None
    seeds: tuple[int, ...]
    accuracy_a: float
    accuracy_b: float
    difference: float
    low: float
    high: float
    interval: str
    only_a: int
    only_b: int
    noise_sd: float | None
    p: float
    test: str
    p_holm: float
    smallest: float


@dataclass(frozen=True)
class Trainings:
    """Two architectures compared over several trainings of each, in percent.

    Args:
        architectures: Names of both.
        accuracies: Overall accuracy of each training of both, by model.
        sds: Standard deviation over the trainings of both; None for a single training.
        difference: Difference of the mean accuracies.
        low, high, p: 95 % interval and p value of Welch's test; None if an architecture has a single training, or if
            the trainings of both are all equal.
    """

    architectures: tuple[str, str]
    accuracies: tuple[dict[str, float], dict[str, float]]
    sds: tuple[float | None, float | None]
    difference: float
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class Comparison:
    """The result of ``compare``.

    Args:
        a, b: Names of the models.
        suite: Name of the suite.
        images: Number of images that both models saw; the comparison rests on these.
        images_a, images_b: Number of images that each model saw.
        cells, expected: Number of cells that both models have, and that each has in a finished run.
        missing: Conditions that a model lacks, each with the names of the models that lack it.
        rows: Clean first, then each corruption and level that both models have.
        overall: Mean over the rows; None if no level of a corruption is among them.
        trainings: The architectures compared on the same images; None if both models are of one architecture.
        notes: Sentences about what makes the comparison less than exact.
        same_weights: Whether the two are one set of weights, as in two runs of one model.
    """

    a: str
    b: str
    suite: str
    images: int
    images_a: int
    images_b: int
    cells: int
    expected: int
    missing: tuple[tuple[Condition, tuple[str, ...]], ...]
    rows: tuple[Difference, ...]
    overall: Difference | None
    trainings: Trainings | None
    notes: tuple[str, ...] = ()
    same_weights: bool = False

    @property
    def complete(self) -> bool:
        return not self.missing


def compare(
    cells: Sequence[Cell],
    a: str,
    b: str,
    image_ids: Mapping[str, Sequence] | None = None,
    *,
    classes: Mapping[str, Mapping[str, int]] | None = None,
    weights: Mapping[str, str] | None = None,
    suite: str | None = None,
    expected: Iterable[tuple[str, float, int | None]] | None = None,
    plan: Iterable[tuple[str, float, int | None]] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two models of a run image by image.

    Outcomes are paired: the same image, level and noise seed. The bootstrap and the tests always move an image together
    with all its cells. The comparison is one of two sets of weights; only ``trainings`` is about their architectures.

    Args:
        cells: Cells of one run or of several, in any order.
        a, b: Names of two models among the cells; a tag may be left out if that leaves no doubt.
        image_ids: For each of the two models, the id of each of its images in their order; needed if the models saw
            different numbers of images. Without it, both must have seen the same images in the same order.
        classes: For each of the two models, its output index by class name; needed if they number the classes
            differently.
        weights: Hash of the weights of each model, which tells whether two are one training; by default names do.
        suite: Name of the suite; needed if there are cells of several.
        expected: (corruption, level, seed) of every cell that a model should have. The default is what the runs of the
            cells planned, and the whole suite for cells of no run.
        plan: The former name of ``expected``.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap and of sampled sign flips.

    Raises:
        ValueError: if a model is not there, if both are the same, if they saw different numbers of images and there are
            no ids, if the ids are not one for each image or not unique, if there is no image or cell in common, if the
            models contradict each other about the labels.
    """
    models = grids_by_model(cells, suite)
    one, two = (models[find_model(models, name)] for name in (a, b))
    if one is two:
        raise ValueError(f'expected two models, got {one.model} twice')
    keep = _common_images(one, two, image_ids)
    wanted = expected_conditions([one, two], expected, plan)
    pairs: Pairs = {
        level: seeds
        for level in one.levels
        if (seeds := [s for s in one.levels[level] if s in two.levels.get(level, {})])
    }
    if not pairs:
        raise ValueError(f'{one.model} and {two.model} have no cell in common')
    _check_labels(one, two, pairs, keep, classes or {})
    outcomes = {level: _outcomes(one, two, level, seeds, keep) for level, seeds in pairs.items()}
    of_levels = mean_weights(pairs)
    columns = [(right[0] - right[1]).mean(1) for right in outcomes.values()]
    if of_levels:
        overall = sum(weight * columns[list(pairs).index(level)] for level, weight in of_levels.items())
        columns.append(np.asarray(overall).round(12))
    samples = bootstrap_means(np.stack(columns, 1).round(12), resamples, seed)
    places: list[tuple[str, float | None, dict[Level, float]]] = [(*level, {level: 1.0}) for level in pairs]
    if of_levels:
        places.append((OVERALL, None, of_levels))
    rows = [
        _difference(*place, pairs, outcomes, column, samples[:, i], seed)
        for i, (place, column) in enumerate(zip(places, columns, strict=True))
    ]
    rows = [replace(row, p_holm=float(p)) for row, p in zip(rows, holm([row.p for row in rows]), strict=True)]
    lacking = [(condition, tuple(g.model for g in (one, two) if not g.has(condition))) for condition in wanted]
    missing = tuple((condition, names) for condition, names in lacking if names)
    trained = [(weights or {}).get(grid.model, training_of(grid.model)) for grid in (one, two)]
    return Comparison(
        a=one.model,
        b=two.model,
        suite=one.suite,
        images=len(keep[0]),
        images_a=one.images,
        images_b=two.images,
        cells=len(wanted) - len(missing),
        expected=len(wanted),
        missing=missing,
        rows=tuple(rows[: len(pairs)]),
        overall=rows[-1] if of_levels else None,
        trainings=_trainings(models, (one, two), keep, image_ids, of_levels, pairs, weights or {}),
        same_weights=trained[0] == trained[1],
    )


def _common_images(one: Grid, two: Grid, image_ids: Mapping[str, Sequence] | None) -> tuple[np.ndarray, np.ndarray]:
    """The positions, in each model's images, of those that both models saw."""
    if image_ids is None:
        if one.images != two.images:
            raise ValueError(
                f'{one.model} saw {one.images} images, {two.model} {two.images}: expected the same number, or the ids '
                'of the images, to compare those that both saw'
            )
        return np.arange(one.images), np.arange(one.images)
    ids = []
    for grid in (one, two):
        given = [id.item() if isinstance(id, np.generic) else id for id in image_ids.get(grid.model, ())]
        if len(given) != grid.images:
            raise ValueError(
                f'expected an id for each image, got {len(given)} ids for the {grid.images} images of {grid.model}'
            )
        ids.append(given)
    if ids[0] == ids[1]:
        return np.arange(one.images), np.arange(one.images)
    places = [{id: i for i, id in enumerate(given)} for given in ids]
    for grid, given, place in zip((one, two), ids, places, strict=True):
        if len(place) < len(given):
            raise ValueError(f'expected unique ids, got {len(given) - len(place)} ids of {grid.model} twice')
    common = [id for id in ids[0] if id in places[1]]
    if not common:
        raise ValueError(f'{one.model} and {two.model} share no image: expected ids in common')
    return np.array([places[0][id] for id in common]), np.array([places[1][id] for id in common])


def _check_labels(
    one: Grid, two: Grid, pairs: Pairs, keep: tuple[np.ndarray, np.ndarray], classes: Mapping[str, Mapping[str, int]]
) -> None:
    """Refuse models that contradict each other about the label of an image.

    Labels are not stored with a cell, but a right prediction tells the label and a wrong one tells what it is not. If
    both models are right with different classes, or one is right and the other wrong with the same class, they did not
    see the same labels.
    """
    names = [_names_by_output(classes.get(grid.model, {})) for grid in (one, two)]
    shared = set().union(*names[0].values()) & set().union(*names[1].values())
    meanings: dict[frozenset, int] = {}

    def coded(side: int, outputs: np.ndarray) -> np.ndarray:
        """For each output the number of its meaning: the names of its class, or itself if no names are shared."""
        known = names[side] if shared else {}
        different, places = np.unique(outputs, return_inverse=True)
        found = [frozenset(known.get(output, {output})) for output in different.tolist()]
        return np.array([meanings.setdefault(meaning, len(meanings)) for meaning in found])[places]

    for level, seeds in pairs.items():
        cells = [grid.levels[level][seeds[0]] for grid in (one, two)]
        right = [cell.correct[kept] for cell, kept in zip(cells, keep, strict=True)]
        codes = [coded(side, cell.predicted[kept]) for side, (cell, kept) in enumerate(zip(cells, keep, strict=True))]
        wrong = _count_contradictions(right, codes, list(meanings))
        if wrong:
            raise ValueError(
                f'{one.model} and {two.model} contradict each other about the labels of {wrong} images: expected '
                'models on the same images with the same labels, in the same order or with ids'
            )


def _count_contradictions(right: list[np.ndarray], codes: list[np.ndarray], meanings: Sequence[frozenset]) -> int:
    """The number of images about whose label two models contradict each other.

    Args:
        right: (N,) bool for each model, whether its prediction is right.
        codes: (N,) for each model, the place of what it predicts in ``meanings``.
        meanings: Different sets of names. Nearly always no two have a name in common: then they agree only if equal.
    """
    both, single = right[0] & right[1], right[0] ^ right[1]
    if len(set().union(*meanings)) == sum(map(len, meanings)):
        equal = codes[0] == codes[1]
        return int(np.count_nonzero(both & ~equal) + np.count_nonzero(single & equal))
    seen = np.stack([*right, *codes]).astype(np.int64)[:, both | single]
    found, counts = np.unique(seen, axis=1, return_counts=True)
    wrong = 0
    for (right_a, right_b, a, b), count in zip(found.T.tolist(), counts.tolist(), strict=True):
        if right_a and right_b:
            wrong += count * meanings[a].isdisjoint(meanings[b])
        else:
            wrong += count * (meanings[a] <= meanings[b] if right_a else meanings[b] <= meanings[a])
    return wrong


def _names_by_output(outputs: Mapping[str, int]) -> dict[int, set[str]]:
    names: dict[int, set[str]] = {}
    for name, output in outputs.items():
        names.setdefault(output, set()).add(name)
    return names


def _outcomes(
    one: Grid, two: Grid, level: Level, seeds: Sequence[int | None], keep: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """(2, N, S) integers: whether each model is right on each image with each noise seed."""
    return np.stack(
        [np.stack([g.levels[level][s].correct[k] for s in seeds], 1) for g, k in zip((one, two), keep, strict=True)]
    ).astype(np.int64)


def _difference(
    corruption: str,
    level: float | None,
    weights: dict[Level, float],
    pairs: Pairs,
    outcomes: dict[Level, np.ndarray],
    column: np.ndarray,
    samples: np.ndarray,
    seed: int,
) -> Difference:
    """A row of the comparison: the weighted mean over levels, of which a row of one level has only that.

    Args:
        corruption: Name of the row's corruption.
        level: The row's level.
        weights: Weight of each level in the mean; they sum to one.
        pairs: Noise seeds that both models have at each level.
        outcomes: (2, N, S) outcomes of both models at each level.
        column: (N,) weighted mean of the differences on each image.
        samples: (R,) bootstrap means of ``column``.
        seed: Seed of sampled sign flips.
    """
    less = {key: outcomes[key][0] - outcomes[key][1] for key in weights}
    seeds = common_seeds(pairs[key] for key in weights)
    over_seeds = [
        sum(
            100 * weight * less[key][:, pairs[key].index(s if s in pairs[key] else None)].mean()
            for key, weight in weights.items()
        )
        for s in seeds
    ]
    factors, _ = integer_weights(weights, {key: len(pairs[key]) for key in weights})
    total = np.sum([factors[key] * values.sum(1) for key, values in less.items()], axis=0)
    p, test = paired_test(total, outcomes=sum(len(pairs[key]) for key in weights), seed=seed)
    accuracies = [float(100 * sum(w * outcomes[key][i].mean() for key, w in weights.items())) for i in (0, 1)]
    low, high, interval = difference_interval(column, samples)
    return Difference(
        corruption=corruption,
        level=level,
        seeds=tuple(seeds),
        accuracy_a=accuracies[0],
        accuracy_b=accuracies[1],
        difference=100 * float(column.mean()),
        low=100 * low,
        high=100 * high,
        interval=interval,
        only_a=sum(int((values > 0).sum()) for values in less.values()),
        only_b=sum(int((values < 0).sum()) for values in less.values()),
        noise_sd=float(np.std(over_seeds, ddof=1)) if len(over_seeds) > 1 else None,
        p=p,
        test=test,
        p_holm=p,
        smallest=100 * smallest_difference(len(column), float((column**2).mean()), size=size_of_differences(column)),
    )


def _trainings(
    models: dict[str, Grid],
    sides: tuple[Grid, Grid],
    keep: tuple[np.ndarray, np.ndarray],
    image_ids: Mapping[str, Sequence] | None,
    weights: dict[Level, float],
    pairs: Pairs,
    hashes: Mapping[str, str],
) -> Trainings | None:
    """Compare the architectures over all their trainings that have every image and every cell of the comparison."""
    names = architecture_of(sides[0].model), architecture_of(sides[1].model)
    if names[0] == names[1] or not weights:
        return None
    accuracies: list[dict[str, float]] = []
    for name, own, kept in zip(names, sides, keep, strict=True):
        fit = {
            hashes.get(grid.model, training_of(grid.model)): grid  # a training with two names counts once
            for grid in [*models.values(), own]
            if architecture_of(grid.model) == name
            and _same_images(grid, own, image_ids)
            and all(set(pairs[level]) <= set(grid.levels.get(level, {})) for level in weights)
        }
        accuracies.append({grid.model: _accuracy(grid, kept, weights, pairs) for grid in fit.values()})
    return compare_trainings(names, (accuracies[0], accuracies[1]))


def _same_images(grid: Grid, own: Grid, image_ids: Mapping[str, Sequence] | None) -> bool:
    ids = image_ids or {}
    return grid.images == own.images and (grid.model not in ids or list(ids[grid.model]) == list(ids[own.model]))


def _accuracy(grid: Grid, kept: np.ndarray, weights: dict[Level, float], pairs: Pairs) -> float:
    """The overall accuracy of a model, in percent, on the images of the comparison."""
    means = {level: np.mean([grid.levels[level][s].correct[kept].mean() for s in pairs[level]]) for level in weights}
    return float(100 * sum(weight * means[level] for level, weight in weights.items()))


def compare_trainings(
    architectures: tuple[str, str], accuracies: tuple[Mapping[str, float], Mapping[str, float]]
) -> Trainings:
    """Compare two architectures by Welch's test.

    Args:
        architectures: Names of both.
        accuracies: Accuracy in percent of each training of both, by model; at least one of each.
    """
    values = [list(found.values()) for found in accuracies]
    sds = [float(np.std(v, ddof=1)) if len(v) > 1 else None for v in values]
    decides = None not in sds and any(sds)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # scipy's, if the trainings of one architecture are all equal
        welch = scipy_stats().ttest_ind(*values, equal_var=False) if decides else None
    interval = welch.confidence_interval() if welch is not None else None
    return Trainings(
        architectures=architectures,
        accuracies=(dict(accuracies[0]), dict(accuracies[1])),
        sds=(sds[0], sds[1]),
        difference=float(np.mean(values[0]) - np.mean(values[1])),
        low=float(interval.low) if interval is not None else None,
        high=float(interval.high) if interval is not None else None,
        p=float(welch.pvalue) if welch is not None else None,
    )


def missing_text(comparison: Comparison, most: int = 8) -> str:
    """The first missing cells in words, each with the models that lack it."""
    return shorten([f'{condition} ({", ".join(names)})' for condition, names in comparison.missing], most)
