"""Intervals and tests for outcomes that are clustered by image, where scipy has none or is too slow.

The images are the sample. One image is measured at many levels and with many noise seeds, and these outcomes depend on
one another. Resampling and sign flips therefore always move an image together with everything measured on it. The noise
of two images is independent, so the intervals also cover the random noise. They do not cover the training of a network.

All values are shares in [0, 1] or differences of shares; the tables of a run are in percent.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Sequence

import numpy as np

from ..._files import need

__all__ = [
    'area_weights',
    'bootstrap_means',
    'calibration_error',
    'difference_interval',
    'flip_rate',
    'holm',
    'paired_test',
    'pairwise_tests',
    'percentiles',
    'reliability',
    'share_interval',
    'smallest_difference',
    'wilson',
]

ALPHA = 0.05  # a difference with a corrected p value of at most this is significant
CONFIDENCE = 0.95
RESAMPLES = 2000
FLIPS = 9999
BOOTSTRAP_IMAGES = 10  # with fewer images that differ, the percentiles of a bootstrap are too narrow
EXACT_SUM = 30_000  # up to this sum of absolute differences the sign-flip distribution is exact, beyond it sampled
DRAWS_IN_MEMORY = 2**20


@functools.cache  # looking for the extra takes milliseconds, and a run has thousands of tests
def scipy_stats() -> Any:
    """Import ``scipy.stats``, or raise a one-line error that says how to install it."""
    need('robustness')
    from scipy import stats

    return stats


@functools.lru_cache(maxsize=2**16)  # summaries and tables of levels ask for the same intervals
def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927). Its width is positive even at shares of 0 and 1.

    Args:
        successes: Number of trials that succeeded.
        trials: Number of trials, at least 1.
        confidence: Coverage of the interval, in (0, 1).
    """
    found = scipy_stats().binomtest(int(successes), int(trials)).proportion_ci(confidence, method='wilson')
    return float(found.low), float(found.high)


def bootstrap_means(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """(resamples, M) means of M columns over resampled images.

    Every resample draws the same images for all columns, which keeps models and levels paired. The means are one matrix
    product with the number of times that each image was drawn; gathering the rows of each resample would take minutes
    instead of seconds. The rows are sorted first, so that the order of the images does not change even the last digit,
    and of ``values`` and ``-values`` one is resampled for both, so that A less B is exactly the opposite of B less A.

    Args:
        values: (N, M) array with a row for each image.
        resamples: Number of resamples, at least 1.
        seed: Seed of the random draws.

    Raises:
        ValueError: if there is no image, or fewer than one resample.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not len(values) or resamples < 1:
        raise ValueError(
            f'expected values (N, M) with N >= 1 and resamples >= 1, got {values.shape} and {resamples} resamples'
        )
    count, width = values.shape
    if width == 0:
        return np.empty((resamples, 0))
    values, opposite = _sort_rows(values), _sort_rows(-values)
    differing = np.flatnonzero(values != opposite)[:1]
    if differing.size and opposite.flat[differing[0]] > values.flat[differing[0]]:
        return -bootstrap_means(opposite, resamples, seed)
    generator = np.random.default_rng(seed)
    step = max(1, DRAWS_IN_MEMORY // count)
    parts = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        parts.append(times.astype(np.float64) @ values / count)
    return np.concatenate(parts)


def _sort_rows(values: np.ndarray) -> np.ndarray:
    return values[np.lexsort(values.T[::-1])]


def percentiles(samples: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile interval of bootstrap samples (Efron 1979): the range of their middle ``confidence``."""
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def share_interval(shares: np.ndarray, samples: np.ndarray) -> tuple[float, float, str]:
    """Low end, high end and name of the interval for a mean of per-image shares.

    This is the percentile interval of the bootstrap. If fewer than 10 images were ever wrong, or ever right, it is
    Wilson's interval for one outcome per image instead. That one is conservative: among shares with the same mean,
    those that are all 0 or 1 vary most.

    Args:
        shares: (N,) share of cells, in [0, 1], in which each image was right.
        samples: (R,) bootstrap means of ``shares``.
    """
    if min(np.count_nonzero(shares > 0), np.count_nonzero(shares < 1)) >= BOOTSTRAP_IMAGES:
        return *percentiles(samples), 'bootstrap'
    total = float(shares.sum())
    ends = math.floor(total + 1e-9), math.ceil(total - 1e-9)
    return wilson(ends[0], len(shares))[0], wilson(ends[1], len(shares))[1], 'Wilson'


def difference_interval(differences: np.ndarray, samples: np.ndarray) -> tuple[float, float, str]:
    """Low end, high end and name of the interval for a mean of per-image differences.

    This is the percentile interval of the bootstrap. If fewer than 10 images differ, it is the adjusted Wald interval
    for paired proportions (Bonett and Price 2012), which adds one image in favour of each side. Its width is positive
    even for two models that agree on all images.

    Args:
        differences: (N,) difference of the two models on each image, in [-1, 1], averaged over cells.
        samples: (R,) bootstrap means of ``differences``.
    """
    if np.count_nonzero(differences) >= BOOTSTRAP_IMAGES:
        return *percentiles(samples), 'bootstrap'
    count = len(differences) + 2
    mean = float(differences.sum()) / count
    spread = math.sqrt(max(0.0, (float((differences**2).sum()) + 2) / count - mean**2) / count)
    reach = scipy_stats().norm.ppf((1 + CONFIDENCE) / 2) * spread
    return max(-1.0, mean - reach), min(1.0, mean + reach), 'adjusted Wald'


def paired_test(
    differences: Sequence[int] | np.ndarray, outcomes: int = 1, flips: int = FLIPS, seed: int = 0
) -> tuple[float, str]:
    """Two-sided p value of the hypothesis that two models are equally good, and the name of the test.

    Under this hypothesis the difference on an image is as likely to have the opposite sign. With one outcome per image,
    this gives the exact McNemar test: a binomial test on the images that only one model gets right. With several seeds
    or levels, the difference on an image changes sign as a whole (Fisher's randomisation test for pairs). The
    distribution of the sum is then computed exactly, as a convolution of binomials. If it is too long for that, the
    signs are sampled. A sample cannot show how small a small p value is, so p is then at most Hoeffding's bound (1963),
    ``2 exp(-total^2 / (2 sum of squares))``, which is never below the exact p value. Where the bound is below what a
    sample can show, it is p, and nothing is sampled.

    Args:
        differences: (N,) integers: the number of cells in which only the first model is right minus the number in which
            only the second is, with integer weights if cells count differently.
        outcomes: Number of cells of each image.
        flips: Number of random sign flips to sample.
        seed: Seed of the sign flips.

    Raises:
        ValueError: if the differences are no integers, or exceed 1 although each image has one outcome.
    """
    array = np.asarray(differences)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f'differences: expected (N,) integers, got {array.dtype} {array.shape}')
    sizes = np.sort(np.abs(array[array != 0]))
    total = int(array.sum())
    if not len(sizes):
        return 1.0, 'no image differs'
    if outcomes == 1 and sizes[-1] > 1:
        raise ValueError(f'differences: expected -1, 0 and 1 with one outcome per image, got up to {sizes[-1]}')
    divisor = int(np.gcd.reduce(sizes))
    sizes, total = sizes // divisor, abs(total // divisor)
    if outcomes == 1:
        count = len(sizes)
        return float(scipy_stats().binomtest((count + total) // 2, count).pvalue), 'exact McNemar'
    if sizes.sum() <= EXACT_SUM:
        return _flipped_exactly(sizes, total), 'exact sign flip by image'
    bound = 2 * math.exp(-(total**2) / (2 * float((sizes.astype(np.float64) ** 2).sum())))
    if bound * (1 + flips) <= 1:  # a sample would give at least 1 / (1 + flips)
        return bound, 'sign flip by image, upper bound'
    return min(bound, _flipped_at_random(sizes, total, flips, seed)), f'sign flip by image, {flips} draws'


def _flipped_exactly(sizes: np.ndarray, total: int) -> float:
    """P(|sum of +-sizes| >= total), exactly.

    The sum is ``2 S - sum(sizes)``, where S adds up ``size * Binomial(count, 1/2)`` over the different sizes.
    """
    stats = scipy_stats()
    chances = np.ones(1)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        heads = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        longer = np.zeros(len(chances) + size * count)
        for rest in range(min(size, len(chances))):
            # this term of S moves in steps of `size`, so each residue modulo `size` is a convolution of its own
            part = np.convolve(chances[rest::size], heads)
            longer[rest::size][: len(part)] = part
        chances = longer
    sums = 2 * np.arange(len(chances)) - int(sizes.sum())
    return min(1.0, float(chances[np.abs(sums) >= total].sum()))


def _flipped_at_random(sizes: np.ndarray, total: int, flips: int, seed: int) -> float:
    """P(|sum of +-sizes| >= total), from random signs."""
    generator = np.random.default_rng(seed)
    weights = sizes.astype(np.float64)
    step = max(1, DRAWS_IN_MEMORY // len(sizes))
    reached = 0
    for start in range(0, flips, step):
        heads = generator.integers(0, 2, (min(step, flips - start), len(sizes)), dtype=np.int8)
        reached += int(np.count_nonzero(np.abs(2 * (heads.astype(np.float64) @ weights) - weights.sum()) >= total))
    return (1 + reached) / (1 + flips)


def pairwise_tests(values: np.ndarray, flips: int = FLIPS, seed: int = 0) -> np.ndarray:
    """(M, M) p values of all pairs of models, each as ``paired_test`` samples it.

    The pairs share their random signs, so one matrix product serves all of them: the flipped sum of a pair's
    differences is the difference of the flipped sums of both models.

    Args:
        values: (N, M) integers: the points of each model on each image.
        flips: Number of random sign flips.
        seed: Seed of the sign flips.
    """
    array = np.asarray(values)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f'values: expected (N, M) integers, got {array.dtype} {array.shape}')
    points = array.astype(np.float64)  # integers below 2**53, so sums are exact
    totals = points.sum(0)
    least = np.abs(totals[:, None] - totals)
    generator = np.random.default_rng(seed)
    step = max(1, DRAWS_IN_MEMORY // len(points))
    reached = np.zeros(least.shape, dtype=np.int64)
    for start in range(0, flips, step):
        heads = generator.integers(0, 2, (min(step, flips - start), len(points)), dtype=np.int8)
        sums = (2.0 * heads - 1.0) @ points
        for own in sums:
            reached += np.abs(own[:, None] - own) >= least
    products = points.T @ points
    squares = np.diag(products)[:, None] + np.diag(products) - 2 * products
    with np.errstate(divide='ignore', invalid='ignore'):
        bound = np.where(least > 0, 2 * np.exp(-(least**2) / (2 * squares)), 1.0)
    return np.minimum(bound, (1 + reached) / (1 + flips))


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p values adjusted for their number (Holm 1979).

    The k-th smallest of m p values is multiplied by m - k + 1, and an adjusted value is never below a smaller one's.

    Args:
        p: p values, in [0, 1].

    Raises:
        ValueError: if a value is not a number from 0 to 1.
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f'p: expected numbers from 0 to 1, got {p}')
    order = np.argsort(values, kind='stable')
    adjusted = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    out = np.empty_like(values)
    out[order] = np.minimum(1, adjusted)
    return out


def smallest_difference(
    images: int,
    mean_square: float = 1.0,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    comparisons: int = 1,
    size: float = 1.0,
) -> float:
    """The smallest difference of accuracy, a share, that a paired comparison detects with the given power.

    With q the mean square of an image's difference, delta solves ``delta sqrt(n) = z(1 - alpha/2) sqrt(q) + z(power)
    sqrt(q - delta^2)`` (Connor 1987 for McNemar's test, where q is the share of discordant images). An exact test needs
    k images that differ, all in favour of one model, to call any difference significant. So delta is at least ``size``
    times the smallest share of differing images of which k or more are among the n with the given power (Clopper and
    Pearson 1934).

    Args:
        images: Number n of images that both models saw, at least 1.
        mean_square: Mean square q of an image's difference, averaged over noise seeds, in [0, 1]. It is at most the
            share of images on which the models ever disagree; 1 if nothing is known.
        alpha: Level of the two-sided test, in (0, 1).
        power: Probability of detecting the difference, in [0.5, 1).
        comparisons: Number of comparisons, at least 1; divides ``alpha`` as the first step of Holm's correction does.
        size: Mean size of the difference on an image that differs, in (0, 1]; 1 with one outcome for each image.

    Raises:
        ValueError: if an argument is out of its range.
    """
    counts_fit = min(images, comparisons) >= 1
    if not counts_fit or not 0 <= mean_square <= 1 or not 0 < alpha < 1 or not 0.5 <= power < 1 or not 0 < size <= 1:
        raise ValueError(
            'expected images and comparisons >= 1, mean_square in [0, 1], alpha in (0, 1), power in [0.5, 1) and size '
            f'in (0, 1], got images={images}, comparisons={comparisons}, mean_square={mean_square}, alpha={alpha}, '
            f'power={power}, size={size}'
        )
    alpha /= comparisons
    stats = scipy_stats()
    normal = stats.norm
    a, b = float(normal.ppf(1 - alpha / 2)), float(normal.ppf(power))
    root = b * math.sqrt(max(0.0, images + b**2 - a**2))
    delta = math.sqrt(mean_square) * (a * math.sqrt(images) + root) / (images + b**2)
    needed = math.ceil(math.log2(2 / alpha))
    share = float(stats.beta.ppf(power, needed, images - needed + 1)) if images >= needed else 1.0
    return min(1.0, max(delta, size * share))


def size_of_differences(differences: np.ndarray) -> float:
    """The mean size of the per-image differences other than 0; 1 if fewer than 10 images differ, too few to tell.

    Args:
        differences: (N,) difference of two models on each image, in [-1, 1], averaged over cells.
    """
    found = np.abs(differences[differences != 0])
    return float(found.mean()) if len(found) >= BOOTSTRAP_IMAGES else 1.0


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> np.ndarray:
    """(bins, 3) table of equal-width bins of confidence: number of images, sum of confidences, number that are right.

    A bin includes its upper edge. The tables of several cells add up to the table of all their images.

    Args:
        confidence: (N,) probability of the predicted class, in (0, 1].
        correct: (N,) whether each prediction is right.
        bins: Number of bins.
    """
    confidence = np.asarray(confidence, dtype=np.float64)
    index = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1).astype(np.int64)
    columns = (np.ones_like(confidence), confidence, np.asarray(correct, dtype=np.float64))
    return np.stack([np.bincount(index, weights=column, minlength=bins) for column in columns], axis=1)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): sum over equal-width bins of ``n_b/n |accuracy_b - confidence_b|``.

    Args:
        confidence: (N,) probability of the predicted class, in (0, 1].
        correct: (N,) whether each prediction is right.
        bins: Number of bins.
    """
    table = reliability(confidence, correct, bins)
    return float(np.abs(table[:, 2] - table[:, 1]).sum() / len(confidence))


def flip_rate(predicted: np.ndarray, clean: np.ndarray) -> float:
    """Share of images whose predicted class differs from that of the clean image, whether it is right or wrong.

    This is not the flip probability of ImageNet-P, which counts changes between successive frames.

    Args:
        predicted: (N,) predicted classes.
        clean: (N,) predicted classes of the same images without perturbation.
    """
    return float(np.mean(np.asarray(predicted) != np.asarray(clean)))


def area_weights(levels: Sequence[float]) -> np.ndarray:
    """(M,) weights whose product with M values is their mean over the range of the levels, by the trapezoidal rule.

    Args:
        levels: Two or more levels in increasing order; severities count as equal steps.

    Raises:
        ValueError: if there are fewer, or if they do not increase.
    """
    x = np.asarray(levels, dtype=np.float64)
    if len(x) < 2 or not (np.diff(x) > 0).all():
        raise ValueError(f'levels: expected two or more in increasing order, got {list(levels)}')
    scipy_stats()
    from scipy.integrate import trapezoid

    return np.asarray(trapezoid(np.eye(len(x)), x, axis=1)) / (x[-1] - x[0])
