"""Intervals and tests for outcomes that are clustered by image: what scipy has not, or not for many columns at once.

Images are the sample. An image meets many levels and noise seeds, and its outcomes depend on one another, so a resample
or a sign always moves an image with everything that was measured on it. The noise of two images is independent, so
these intervals also cover the draw of the noise; they say nothing about training again.

Everything here is a share in [0, 1] or a difference of shares; the tables are in percent.
"""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np

from ..._files import need

CONFIDENCE = 0.95
RESAMPLES = 2000
FLIPS = 9999
FEW = 10  # below it a percentile bootstrap has too few different images to draw
EXACT = 30_000  # sum of the differences up to which the sign-flip distribution is worked out rather than sampled
BLOCK = 2**20  # draws held at once


def scipy_stats() -> Any:
    """``scipy.stats``, or one line that says how to install it."""
    need('robustness')
    from scipy import stats

    return stats


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); it has a width at 0 and at 1 too."""
    found = scipy_stats().binomtest(int(successes), int(trials)).proportion_ci(confidence, method='wilson')
    return float(found.low), float(found.high)


def bootstrap_means(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Means of resampled images: (resamples, M).

    All columns share a resample, which is what pairs models and levels. It is a matrix product of how often each image
    was drawn, so it takes seconds where gathering every column anew takes minutes. Rows are sorted first: the order of
    the images changes nothing, not even the last digit.

    Args:
        values: (N, M), one row for each image.
        resamples: How many.
        seed: Of the draws.

    Raises:
        ValueError: for no images, or fewer than one resample.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not len(values) or resamples < 1:
        raise ValueError(f'values {values.shape} and {resamples} resamples: accepted are (N, M), N and resamples >= 1')
    count, width = values.shape
    if width == 0:
        return np.empty((resamples, 0))
    values = values[np.lexsort(values.T[::-1])]
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // count)
    parts = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        parts.append(times.astype(np.float64) @ values / count)
    return np.concatenate(parts)


def percentiles(samples: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The middle ``confidence`` of bootstrap samples (Efron 1979)."""
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def share_interval(shares: np.ndarray, samples: np.ndarray) -> tuple[float, float, str]:
    """Low, high and method for the mean of per-image shares in [0, 1].

    The bootstrap's percentiles; Wilson's interval for as many outcomes as images where fewer than 10 images were ever
    wrong (or ever right). That is on the safe side: no share with this mean varies more than right-or-wrong does.

    Args:
        shares: (N,) share of its cells in which an image was right.
        samples: (R,) bootstrap means of it.
    """
    if min(np.count_nonzero(shares > 0), np.count_nonzero(shares < 1)) >= FEW:
        return *percentiles(samples), 'bootstrap'
    total = float(shares.sum())
    ends = math.floor(total + 1e-9), math.ceil(total - 1e-9)
    return wilson(ends[0], len(shares))[0], wilson(ends[1], len(shares))[1], 'Wilson'


def difference_interval(differences: np.ndarray, samples: np.ndarray) -> tuple[float, float, str]:
    """Low, high and method for a mean of per-image differences in [-1, 1].

    The bootstrap's percentiles; where fewer than 10 images differ, the adjusted Wald interval of Bonett and Price 2012
    for paired proportions: one image is added in favour of each side. So two models that agree on all images get an
    interval with a width.

    Args:
        differences: (N,) difference of the two models on an image, averaged over its cells.
        samples: (R,) bootstrap means of it.
    """
    if np.count_nonzero(differences) >= FEW:
        return *percentiles(samples), 'bootstrap'
    count = len(differences) + 2
    mean = float(differences.sum()) / count
    spread = math.sqrt(max(0.0, (float((differences**2).sum()) + 2) / count - mean**2) / count)
    reach = scipy_stats().norm.ppf((1 + CONFIDENCE) / 2) * spread
    return max(-1.0, mean - reach), min(1.0, mean + reach), 'adjusted Wald'


def paired_test(
    differences: Sequence[int] | np.ndarray, outcomes: int = 1, flips: int = FLIPS, seed: int = 0
) -> tuple[float, str]:
    """Two-sided p that two models are equally good, and the name of the test.

    If they are, an image's difference is as likely with the other sign. With one outcome for each image that is the
    exact McNemar test: the binomial test of who won the discordant images. With several seeds or levels the difference
    of an image changes sign as a whole (Fisher's randomisation test for pairs); the distribution of the sum is worked
    out exactly, as a convolution of binomials, or sampled where it is too long. Draws cannot tell how small a small p
    is: there p is Hoeffding's bound (1963), ``2 exp(-total^2 / (2 sum of squares))``, never below the exact p.

    Args:
        differences: (N,) integers: cells in which only the first model is right less those in which only the second is,
            weighted by integers where cells count differently.
        outcomes: Cells of each image.
        flips: Sign flips to sample.
        seed: Of the flips.
    """
    array = np.asarray(differences)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f'differences are {array.dtype} {array.shape}: accepted are (N,) integers')
    sizes = np.sort(np.abs(array[array != 0]))
    total = int(array.sum())
    if not len(sizes):
        return 1.0, 'no image differs'
    if outcomes == 1 and sizes[-1] > 1:
        raise ValueError(f'differences up to {sizes[-1]} with one outcome for each image: accepted are -1, 0 and 1')
    divisor = int(np.gcd.reduce(sizes))
    sizes, total = sizes // divisor, abs(total // divisor)
    if outcomes == 1:
        count = len(sizes)
        return float(scipy_stats().binomtest((count + total) // 2, count).pvalue), 'exact McNemar'
    if sizes.sum() <= EXACT:
        return _flipped_exactly(sizes, total), 'exact sign flip by image'
    bound = 2 * math.exp(-(total**2) / (2 * float((sizes.astype(np.float64) ** 2).sum())))
    return min(bound, _flipped_at_random(sizes, total, flips, seed)), f'sign flip by image, {flips} draws'


def _flipped_exactly(sizes: np.ndarray, total: int) -> float:
    """P(|sum of +-sizes| >= total): the sum is 2 S - sum(sizes), S a sum of size times Binomial(how many, 1/2)."""
    stats = scipy_stats()
    chances = np.ones(1)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        heads = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        longer = np.zeros(len(chances) + size * count)
        for rest in range(min(size, len(chances))):
            # S moves in steps of `size`: each residue is a convolution of its own
            part = np.convolve(chances[rest::size], heads)
            longer[rest::size][: len(part)] = part
        chances = longer
    sums = 2 * np.arange(len(chances)) - int(sizes.sum())
    return min(1.0, float(chances[np.abs(sums) >= total].sum()))


def _flipped_at_random(sizes: np.ndarray, total: int, flips: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    weights = sizes.astype(np.float64)
    step = max(1, BLOCK // len(sizes))
    reached = 0
    for start in range(0, flips, step):
        heads = generator.integers(0, 2, (min(step, flips - start), len(sizes)), dtype=np.int8)
        reached += int(np.count_nonzero(np.abs(2 * (heads.astype(np.float64) @ weights) - weights.sum()) >= total))
    return (1 + reached) / (1 + flips)


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """p values adjusted for their number (Holm 1979): the k-th smallest of m times m - k + 1, never decreasing."""
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f'p={p}: accepted are numbers from 0 to 1')
    order = np.argsort(values, kind='stable')
    adjusted = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    out = np.empty_like(values)
    out[order] = np.minimum(1, adjusted)
    return out


def smallest_difference(
    images: int, mean_square: float = 1.0, *, alpha: float = 0.05, power: float = 0.8, comparisons: int = 1
) -> float:
    """Smallest difference of accuracy (a share) that a paired comparison finds with the given power.

    With q the mean square of an image's difference, delta solves ``delta sqrt(n) = z(1 - alpha/2) sqrt(q) + z(power)
    sqrt(q - delta^2)`` (Connor 1987 for McNemar's test, where q is the share of discordant images). It is never less
    than ``k/n``, k the fewest discordant images that an exact test can call significant when one model wins them all.

    Args:
        images: n, how many images both models saw.
        mean_square: q, of an image's difference averaged over its noise seeds. At most the share of images on which the
            models ever disagree; 1 if nothing is known.
        alpha: Two-sided level.
        power: Chance to find it.
        comparisons: Divides alpha, for the first step of Holm's correction.
    """
    if images < 1 or not 0 <= mean_square <= 1 or not 0 < alpha < 1 or not 0.5 <= power < 1 or comparisons < 1:
        raise ValueError(
            f'images={images}, mean_square={mean_square}, alpha={alpha}, power={power}, comparisons={comparisons}: '
            'accepted are images and comparisons >= 1, mean_square from 0 to 1, alpha in (0, 1), power in [0.5, 1)'
        )
    alpha /= comparisons
    normal = scipy_stats().norm
    a, b = float(normal.ppf(1 - alpha / 2)), float(normal.ppf(power))
    root = b * math.sqrt(max(0.0, images + b**2 - a**2))
    delta = math.sqrt(mean_square) * (a * math.sqrt(images) + root) / (images + b**2)
    return min(1.0, max(delta, math.ceil(math.log2(2 / alpha)) / images))


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> np.ndarray:
    """(bins, 3): how many images have a confidence in each of ``bins`` equal ranges, its sum, how many are right.

    A bin holds its upper edge. Tables of several cells add up to that of all their images.

    Args:
        confidence: (N,) probability of the prediction, (0, 1].
        correct: (N,) bool.
        bins: How many.
    """
    confidence = np.asarray(confidence, dtype=np.float64)
    index = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1).astype(np.int64)
    columns = (np.ones_like(confidence), confidence, np.asarray(correct, dtype=np.float64))
    return np.stack([np.bincount(index, weights=column, minlength=bins) for column in columns], axis=1)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): sum over equal-width bins of ``n_b/n |accuracy_b - confidence_b|``.

    Arguments are those of ``reliability``.
    """
    table = reliability(confidence, correct, bins)
    return float(np.abs(table[:, 2] - table[:, 1]).sum() / len(confidence))


def flip_rate(predicted: np.ndarray, clean: np.ndarray) -> float:
    """Share of images whose predicted class is not that of the clean image, right or wrong alike.

    Not the flip probability of ImageNet-P, which counts changes between successive frames.
    """
    return float(np.mean(np.asarray(predicted) != np.asarray(clean)))


def area_weights(levels: Sequence[float]) -> np.ndarray:
    """Weights whose product with the values is their mean over the range of the levels, by the trapezoidal rule.

    Args:
        levels: Increasing, two or more; severities count as equal steps.
    """
    x = np.asarray(levels, dtype=np.float64)
    if len(x) < 2 or not (np.diff(x) > 0).all():
        raise ValueError(f'levels {list(levels)}: accepted are two or more in increasing order')
    scipy_stats()
    from scipy.integrate import trapezoid

    return np.asarray(trapezoid(np.eye(len(x)), x, axis=1)) / (x[-1] - x[0])
