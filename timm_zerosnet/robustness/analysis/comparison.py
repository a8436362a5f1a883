"""Paired comparison of two models on the images they share."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Iterable, Mapping, Sequence

import numpy as np

from ..plan import CLEAN, Cell, Condition
from .grids import Grid, architecture, expected_keys, find_model, grids, some, training
from .statistics import (
    RESAMPLES,
    bootstrap_means,
    difference_interval,
    holm,
    paired_test,
    scipy_stats,
    smallest_difference,
)

OVERALL = 'overall'


@dataclass(frozen=True)
class Difference:
    """Accuracy of one model less that of another on the same images, levels and noise, in percent.

    Args:
        corruption, level: Which; ``overall`` is the mean over corruptions of the mean over levels, clean left out, and
            has no level.
        seeds: Noise seeds that both have; empty where nothing is random.
        accuracy_a, accuracy_b: Top-1.
        difference: The first less the second.
        low, high: 95 % interval of it, over images (and their noise).
        interval: Its method.
        only_a, only_b: Outcomes, images times cells, in which only one of them is right.
        noise_sd: Standard deviation of the difference over noise seeds; None below two.
        p: Two-sided, of no difference.
        test: Which test it is.
        p_holm: ``p`` corrected for all rows of the comparison.
        smallest: The difference that these images and seeds show with 80 % power at 5 %, as a single comparison.
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
    """Several trainings of two architectures: overall accuracy of each, percent, and the difference of their means.

    ``low``, ``high`` and ``p`` are Welch's; None where an architecture has one training, or no training differs.
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
    """What ``compare`` finds.

    Args:
        a, b: The models.
        suite: Of the cells.
        images: How many both saw and the comparison rests on.
        images_a, images_b: How many each saw.
        cells, expected: Cells that both have, and those of a finished run.
        missing: Cells that one or both lack, with the models that lack them.
        rows: Clean first, then each corruption and level that both have.
        overall: Over all levels of the rows; None if there are none.
        trainings: On the images of the comparison; None if both are trainings of one architecture.
        notes: What a reader must know besides.
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
    suite: str | None = None,
    expected: Iterable[tuple[str, float, int | None]] | None = None,
    plan: Iterable[tuple[str, float, int | None]] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two models of a run image by image.

    A difference is decided on pairs: the same image, level and noise seed. Bootstrap and tests move an image with all
    its cells. What is compared are two sets of weights; ``trainings`` is about their architectures.

    Args:
        cells: Of a run or of several, in any order.
        a, b: Models of it; a name without its tag will do where only one model has it.
        image_ids: For each of the two models, an id for each of its images in their order; needed where their numbers
            differ. Without it, both saw the same images in the same order.
        classes: For each of the two models, its output by class name, where they number the classes differently.
        suite: Which suite; needed where there are several.
        expected: (corruption, level, seed) of every cell that a model should have; default: what the runs planned that
            the cells are of, as ``read_run`` gives them, otherwise the whole suite.
        plan: The former name of ``expected``.
        resamples: Of the bootstrap.
        seed: Of the bootstrap, and of the sign flips where they are sampled.

    Raises:
        ValueError: for a model that is not there, the same model twice, different numbers of images without ids, ids
            of another number or that are there twice, no image or cell in common, labels that contradict each other.
    """
    models = grids(cells, suite)
    one, two = (models[find_model(models, name)] for name in (a, b))
    if one is two:
        raise ValueError(f'{one.model} with itself: accepted are two models')
    keep = _common_images(one, two, image_ids)
    wanted = expected_keys([one, two], plan if expected is None else expected)
    pairs = {
        level: seeds
        for level in one.levels
        if (seeds := [s for s in one.levels[level] if s in two.levels.get(level, {})])
    }
    if not pairs:
        raise ValueError(f'{one.model} and {two.model} have no cell in common')
    _same_labels(one, two, pairs, keep, classes or {})
    outcomes = {level: _outcomes(one, two, level, seeds, keep) for level, seeds in pairs.items()}
    weights = _weights(pairs)
    columns = [(right[0] - right[1]).mean(1) for right in outcomes.values()]
    if weights:
        columns.append(sum(weight * columns[list(pairs).index(level)] for level, weight in weights.items()))
    samples = bootstrap_means(np.stack(columns, 1).round(12), resamples, seed)
    rows = [_difference(level, pairs[level], outcomes[level], samples[:, i], seed) for i, level in enumerate(outcomes)]
    if weights:
        rows.append(_overall(pairs, outcomes, weights, columns[-1].round(12), samples[:, -1], seed))
    rows = [replace(row, p_holm=float(p)) for row, p in zip(rows, holm([row.p for row in rows]), strict=True)]
    lost = [(key, tuple(g.model for g in (one, two) if not _has(g, key))) for key in wanted]
    missing = tuple((key, names) for key, names in lost if names)
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
        overall=rows[-1] if weights else None,
        trainings=_trainings(models, (one, two), keep, image_ids, weights, pairs),
    )


def _has(grid: Grid, key: Condition) -> bool:
    return grid.clean is not None if key.corruption == CLEAN else key.seed in grid.levels.get(key[:2], {})


def _common_images(one: Grid, two: Grid, image_ids: Mapping[str, Sequence] | None) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the images that both have, in each."""
    if image_ids is None:
        if one.images != two.images:
            raise ValueError(
                f'{one.model} saw {one.images} images, {two.model} {two.images}: accepted is one number, or the ids of '
                'the images, to compare those that both saw'
            )
        return np.arange(one.images), np.arange(one.images)
    ids = []
    for grid in (one, two):
        given = [id.item() if isinstance(id, np.generic) else id for id in image_ids.get(grid.model, ())]
        if len(given) != grid.images:
            raise ValueError(f'{len(given)} ids for the {grid.images} images of {grid.model}: accepted is one for each')
        ids.append(given)
    if ids[0] == ids[1]:
        return np.arange(one.images), np.arange(one.images)
    places = [{id: i for i, id in enumerate(given)} for given in ids]
    for grid, given, place in zip((one, two), ids, places, strict=True):
        if len(place) < len(given):
            raise ValueError(f'{len(given) - len(place)} ids of {grid.model} are there twice: accepted are unique ids')
    common = [id for id in ids[0] if id in places[1]]
    if not common:
        raise ValueError(f'{one.model} and {two.model} share no image: accepted are models with ids in common')
    return np.array([places[0][id] for id in common]), np.array([places[1][id] for id in common])


def _same_labels(
    one: Grid, two: Grid, pairs: dict, keep: tuple[np.ndarray, np.ndarray], classes: Mapping[str, Mapping[str, int]]
) -> None:
    """What is right says what the label is: where two models contradict each other, they did not see the same."""
    names = [_names(classes.get(grid.model, {})) for grid in (one, two)]
    shared = set().union(*names[0].values()) & set().union(*names[1].values())

    def meaning(side: int, output: int) -> set:
        return names[side].get(output, {output}) if shared else {output}

    for level, seeds in pairs.items():
        x, y = (grid.levels[level][seeds[0]] for grid in (one, two))
        seen = [x.correct[keep[0]], x.predicted[keep[0]], y.correct[keep[1]], y.predicted[keep[1]]]
        found, counts = np.unique(np.stack(seen).astype(np.int64), axis=1, return_counts=True)
        wrong = 0
        for (right_a, a, right_b, b), count in zip(found.T.tolist(), counts.tolist(), strict=True):
            label_a, label_b = meaning(0, a), meaning(1, b)
            if right_a and right_b:
                wrong += count * (not label_a & label_b)
            elif right_a or right_b:
                wrong += count * (label_a <= label_b if right_a else label_b <= label_a)
        if wrong:
            raise ValueError(
                f'{one.model} and {two.model} contradict each other about the labels of {wrong} images: expected '
                'models on the same images with the same labels, in the same order or with ids'
            )


def _names(outputs: Mapping[str, int]) -> dict[int, set[str]]:
    names: dict[int, set[str]] = {}
    for name, output in outputs.items():
        names.setdefault(output, set()).add(name)
    return names


def _outcomes(
    one: Grid, two: Grid, level: tuple[str, float], seeds: Sequence[int | None], keep: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """(2, N, S) whether each model is right on each image with each noise seed."""
    return np.stack(
        [np.stack([g.levels[level][s].correct[k] for s in seeds], 1) for g, k in zip((one, two), keep, strict=True)]
    ).astype(np.int64)


def _weights(pairs: Iterable[tuple[str, float]]) -> dict[tuple[str, float], float]:
    """Of the mean over corruptions of the mean over levels."""
    levels = [(name, level) for name, level in pairs if name != CLEAN and level != 0]
    names = [name for name, _ in levels]
    return {(name, level): 1 / len(set(names)) / names.count(name) for name, level in levels}


def _difference(
    level: tuple[str, float], seeds: Sequence[int | None], right: np.ndarray, samples: np.ndarray, seed: int
) -> Difference:
    less = right[0] - right[1]
    over_seeds = 100 * less.mean(0)
    accuracies = 100 * right.mean((1, 2))
    return _row(
        *level,
        seeds=tuple(s for s in seeds if s is not None),
        accuracies=(float(accuracies[0]), float(accuracies[1])),
        column=less.mean(1),
        samples=samples,
        only=(int((less > 0).sum()), int((less < 0).sum())),
        over_seeds=over_seeds,
        found=paired_test(less.sum(1), outcomes=len(seeds), seed=seed),
    )


def _overall(
    pairs: dict, outcomes: dict, weights: dict, column: np.ndarray, samples: np.ndarray, seed: int
) -> Difference:
    random = [set(pairs[level]) for level in weights if None not in pairs[level]]
    common = sorted(set.intersection(*random)) if random else []
    less = {level: outcomes[level][0] - outcomes[level][1] for level in weights}
    over_seeds = [
        sum(
            100 * weight * less[level][:, pairs[level].index(s if s in pairs[level] else None)].mean()
            for level, weight in weights.items()
        )
        for s in common
    ]
    # weights are 1 / (corruptions levels seeds): over their common denominator the differences are integers
    parts = {level: round(1 / weight) * len(pairs[level]) for level, weight in weights.items()}
    whole = math.lcm(*parts.values())
    total = sum(whole // parts[level] * values.sum(1) for level, values in less.items())
    accuracies = [100 * sum(w * outcomes[level][i].mean() for level, w in weights.items()) for i in (0, 1)]
    return _row(
        OVERALL,
        None,
        seeds=tuple(common),
        accuracies=(float(accuracies[0]), float(accuracies[1])),
        column=column,
        samples=samples,
        only=(sum(int((v > 0).sum()) for v in less.values()), sum(int((v < 0).sum()) for v in less.values())),
        over_seeds=np.array(over_seeds),
        found=paired_test(total, outcomes=sum(len(pairs[level]) for level in weights), seed=seed),
    )


def _row(
    corruption: str,
    level: float | None,
    *,
    seeds: tuple[int, ...],
    accuracies: tuple[float, float],
    column: np.ndarray,
    samples: np.ndarray,
    only: tuple[int, int],
    over_seeds: np.ndarray,
    found: tuple[float, str],
) -> Difference:
    low, high, interval = difference_interval(column, samples)
    return Difference(
        corruption=corruption,
        level=level,
        seeds=seeds,
        accuracy_a=accuracies[0],
        accuracy_b=accuracies[1],
        difference=100 * float(column.mean()),
        low=100 * low,
        high=100 * high,
        interval=interval,
        only_a=only[0],
        only_b=only[1],
        noise_sd=float(np.std(over_seeds, ddof=1)) if len(over_seeds) > 1 else None,
        p=found[0],
        test=found[1],
        p_holm=found[0],
        smallest=100 * smallest_difference(len(column), float((column**2).mean())),
    )


def _trainings(
    models: dict[str, Grid],
    sides: tuple[Grid, Grid],
    keep: tuple[np.ndarray, np.ndarray],
    image_ids: Mapping[str, Sequence] | None,
    weights: dict,
    pairs: dict,
) -> Trainings | None:
    """The further trainings of both architectures that have every image and every cell of the comparison."""
    names = architecture(sides[0].model), architecture(sides[1].model)
    if names[0] == names[1] or not weights:
        return None
    accuracies: list[dict[str, float]] = []
    for name, own, kept in zip(names, sides, keep, strict=True):
        fit = {
            training(grid.model): grid  # one that stands under two names counts once
            for grid in [*models.values(), own]
            if architecture(grid.model) == name
            and _same_images(grid, own, image_ids)
            and all(set(pairs[level]) <= set(grid.levels.get(level, {})) for level in weights)
        }
        accuracies.append({grid.model: _accuracy(grid, kept, weights, pairs) for grid in fit.values()})
    return compare_trainings(names, (accuracies[0], accuracies[1]))


def _same_images(grid: Grid, own: Grid, image_ids: Mapping[str, Sequence] | None) -> bool:
    ids = image_ids or {}
    return grid.images == own.images and (grid.model not in ids or list(ids[grid.model]) == list(ids[own.model]))


def _accuracy(grid: Grid, kept: np.ndarray, weights: dict, pairs: dict) -> float:
    """Overall, in percent, on the images of the comparison."""
    means = {level: np.mean([grid.levels[level][s].correct[kept].mean() for s in pairs[level]]) for level in weights}
    return float(100 * sum(weight * means[level] for level, weight in weights.items()))


def compare_trainings(
    architectures: tuple[str, str], accuracies: tuple[Mapping[str, float], Mapping[str, float]]
) -> Trainings:
    """Compare two architectures by the accuracies, percent, of their trainings, at least one of each."""
    values = [list(found.values()) for found in accuracies]
    sds = [float(np.std(v, ddof=1)) if len(v) > 1 else None for v in values]
    decides = None not in sds and any(sds)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # scipy's, where the trainings of one of the two are all alike
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
    """The missing cells in words."""
    return some([f'{key} ({", ".join(names)})' for key, names in comparison.missing], most)
