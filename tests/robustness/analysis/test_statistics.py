"""Intervals and tests are those of closed forms and of scipy, and cover what they promise."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timm_zerosnet.robustness.analysis import statistics
from timm_zerosnet.robustness.analysis.statistics import (
    area_weights,
    bootstrap_means,
    calibration_error,
    difference_interval,
    flip_rate,
    holm,
    paired_test,
    percentiles,
    share_interval,
    size_of_differences,
    smallest_difference,
    wilson,
)

stats = pytest.importorskip('scipy.stats')
fifty_examples = settings(max_examples=50, deadline=None)


def within_monte_carlo(hits, trials, chance, sds=4):
    return abs(hits - trials * chance) < sds * math.sqrt(trials * chance * (1 - chance)) + 1


@fifty_examples
@given(st.integers(1, 10_000), st.data())
def test_wilson_is_its_formula(trials, data):
    successes = data.draw(st.integers(0, trials))
    z, p = stats.norm.ppf(0.975), successes / trials
    centre = (p + z**2 / 2 / trials) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * math.sqrt(p * (1 - p) / trials + z**2 / 4 / trials**2)
    assert wilson(successes, trials) == pytest.approx((centre - reach, centre + reach), abs=1e-12)


def test_wilson_has_a_width_at_the_ends():
    """An interval without a width at 0 and 100 % would claim certainty."""
    z2 = stats.norm.ppf(0.975) ** 2
    assert wilson(0, 10_000) == pytest.approx((0, z2 / (10_000 + z2)))
    assert wilson(10_000, 10_000) == pytest.approx((10_000 / (10_000 + z2), 1))


def test_bootstrap_is_that_of_scipy():
    values = np.random.default_rng(1).random(300) ** 3
    ours = percentiles(bootstrap_means(values[:, None], 4000)[:, 0])
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method='percentile', rng=2).confidence_interval
    # percentiles of 4000 resamples scatter by about 0.04 standard errors
    assert np.abs(np.subtract(ours, theirs)).max() < 0.2 * values.std() / math.sqrt(300)


@fifty_examples
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 5))
def test_bootstrap_does_not_know_the_order_of_images(seed, count, width):
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 4, (count, width)) / 3
    shuffled = values[generator.permutation(count)]
    assert np.array_equal(bootstrap_means(values, 20, 3), bootstrap_means(shuffled, 20, 3))
    assert not np.shares_memory(values, shuffled)


def test_bootstrap_of_the_opposite_is_the_opposite():
    values = np.random.default_rng(0).normal(size=(40, 3)).round(1)
    for found in (values, values[:, :1], np.zeros((5, 1)), np.array([[0.0, -1.0], [1.0, 0.0], [-1.0, 1.0]])):
        assert (bootstrap_means(-found, 50) == -bootstrap_means(found, 50)).all()


def test_bootstrap_draws_one_sample_of_images_for_all_columns():
    values = np.random.default_rng(0).random((50, 1))
    samples = bootstrap_means(np.hstack([values, 1 - values, values]), 300)
    assert np.allclose(samples[:, 0] + samples[:, 1], 1) and np.array_equal(samples[:, 0], samples[:, 2])
    assert samples[:, 0].std() == pytest.approx(values.std() / math.sqrt(50), rel=0.2)
    assert not np.array_equal(samples, bootstrap_means(np.hstack([values, 1 - values, values]), 300, seed=1))


@pytest.mark.parametrize('values, resamples', [(np.ones(3), 10), (np.ones((0, 2)), 10), (np.ones((3, 1)), 0)])
def test_bootstrap_refuses(values, resamples):
    with pytest.raises(ValueError, match=r'expected values \(N, M\)'):
        bootstrap_means(values, resamples)


def test_interval_covers_where_images_are_clusters():
    """1000 simulated test sets of 120 images with five cells each; an interval of 600 outcomes is too short."""
    generator = np.random.default_rng(0)
    trials, images, cells, truth = 1000, 120, 5, 2 / 2.6
    hits = naive = 0
    for _ in range(trials):
        easy = generator.beta(2, 0.6, images)
        right = generator.random((images, cells)) < easy[:, None]
        shares = right.mean(1)
        low, high, method = share_interval(shares, bootstrap_means(shares[:, None], 400)[:, 0])
        assert method == 'bootstrap'
        hits += low <= truth <= high
        low, high = wilson(right.sum(), right.size)
        naive += low <= truth <= high
    # 0.94: percentiles are a little short at 120 images
    assert within_monte_carlo(hits, trials, 0.94)
    assert naive < 0.85 * trials


@pytest.mark.parametrize('share', [0.0, 0.01, 0.99, 1.0])
def test_interval_of_a_share_has_a_width_where_few_images_differ(share):
    shares = np.repeat([0.5, 0.0 if share < 0.5 else 1.0], [4 if 0 < share < 1 else 0, 196 if 0 < share < 1 else 200])
    low, high, method = share_interval(shares, bootstrap_means(shares[:, None], 200)[:, 0])
    assert method == 'Wilson' and high - low > 0.01 and low - 1e-12 <= shares.mean() <= high + 1e-12
    assert (low, high) == pytest.approx(wilson(round(shares.sum()), 200))


def test_interval_of_a_difference_where_few_images_differ():
    """Bonett and Price by hand: 3 against 0 of 98, one added to each side."""
    differences = np.array([1.0] * 3 + [0.0] * 95)
    low, high, method = difference_interval(differences, bootstrap_means(differences[:, None])[:, 0])
    p, q, z = 4 / 100, 1 / 100, stats.norm.ppf(0.975)
    reach = z * math.sqrt((p + q - (p - q) ** 2) / 100)
    assert method == 'adjusted Wald' and (low, high) == pytest.approx((p - q - reach, p - q + reach))
    low, high, _ = difference_interval(np.zeros(10_000), np.zeros(10))
    assert low == -high and 0.0001 < high < 0.001
    differences = np.array([1.0] * 8 + [-1.0] * 2 + [0.0] * 90)
    samples = bootstrap_means(differences[:, None])[:, 0]
    assert difference_interval(differences, samples) == (*percentiles(samples), 'bootstrap')


@pytest.mark.parametrize(
    'wins, losses, p', [(3, 0, 0.25), (0, 3, 0.25), (0, 0, 1), (2, 2, 1), (6, 0, 1 / 32), (1, 5, 7 / 32)]
)
def test_exact_mcnemar_by_hand(wins, losses, p):
    """Two models that differ on a few images are not in an order."""
    found, test = paired_test([1] * wins + [-1] * losses + [0] * 5)
    assert found == pytest.approx(p) and test == ('exact McNemar' if wins + losses else 'no image differs')


@fifty_examples
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=11))
def test_exact_sign_flip_is_the_count_of_all_flips(differences):
    sizes = [abs(d) for d in differences]
    sums = [abs(np.dot(signs, sizes)) for signs in itertools.product((-1, 1), repeat=len(sizes))]
    expected = np.mean(np.array(sums) >= abs(sum(differences)))
    assert paired_test(differences, outcomes=4)[0] == pytest.approx(expected)


@fifty_examples
@given(st.integers(0, 60), st.integers(0, 60), st.integers(2, 5))
def test_sign_flip_with_seeds_that_repeat_one_another_is_mcnemar(wins, losses, seeds):
    """Seeds that add nothing must not make a difference significant."""
    once = np.array([1] * wins + [-1] * losses + [0], dtype=np.int64)
    p, test = paired_test(seeds * once, outcomes=seeds)
    assert p == pytest.approx(paired_test(once)[0])
    assert test in ('exact sign flip by image', 'no image differs')


def test_sampled_sign_flip_agrees_with_the_exact_one():
    generator = np.random.default_rng(6)
    differences = generator.integers(-3, 4, 400) + (generator.random(400) < 0.2)
    exact, name = paired_test(differences, outcomes=3)
    assert name == 'exact sign flip by image' and 0.001 < exact < 0.9
    # too long for the exact distribution, and no longer multiples of one number
    sampled, name = paired_test([*(1009 * differences), 1, -1], outcomes=3)
    assert name == 'sign flip by image, 9999 draws' and within_monte_carlo(9999 * sampled, 9999, exact)
    assert paired_test([*(1009 * differences[::-1]), -1, 1], outcomes=3)[0] == sampled


def test_sampled_sign_flip_says_how_small_a_small_p_is():
    """The p value is smaller than the number of draws can show, and never below the exact one."""
    assert 2**-100 <= paired_test([1000, *[1001] * 100], outcomes=3)[0] < 1e-15
    for wins in (60, 70, 80, 95):
        exact, name = paired_test([1] * wins + [-1] * (100 - wins), outcomes=3)
        assert name == 'exact sign flip by image'
        found, name = paired_test([1009] * wins + [-1009] * (100 - wins) + [1, -1], outcomes=3)
        assert name == f'sign flip by image, {"upper bound" if wins >= 80 else "9999 draws"}'
        assert exact < found < max(1e-4, 1.5 * exact) or within_monte_carlo(9999 * found, 9999, exact)


@pytest.mark.slow
def test_sign_flip_keeps_its_level_where_seeds_are_alike():
    """1000 pairs of equal models whose seeds mostly agree: 5 % differ by image, far more by outcome."""
    generator = np.random.default_rng(3)
    trials = 1000
    found = pooled = 0
    for _ in range(trials):
        image = generator.choice([-1, 0, 1], (100, 1), p=[0.15, 0.7, 0.15])
        outcomes = np.where(generator.random((100, 4)) < 0.9, image, 0)
        found += paired_test(outcomes.sum(1), outcomes=4)[0] <= 0.05
        pooled += paired_test(outcomes.ravel())[0] <= 0.05
    # discrete, so a little below
    assert 0.03 * trials < found < 0.06 * trials
    assert pooled > 0.15 * trials


def test_nothing_is_drawn_where_the_bound_decides(monkeypatch):
    """A sample cannot say less than 1 / (1 + flips)."""
    monkeypatch.setattr(statistics, '_flipped_at_random', None)
    found, name = paired_test([1009] * 100 + [-1009] * 20 + [1, -1], outcomes=3)
    assert found == pytest.approx(2 * math.exp(-(80**2) / (2 * 120))) and name == 'sign flip by image, upper bound'
    with pytest.raises(TypeError):
        paired_test([1009] * 60 + [-1009] * 50 + [1, -1], outcomes=3)


def test_paired_test_refuses():
    with pytest.raises(ValueError, match=r'expected \(N,\) integers, got float64'):
        paired_test(np.array([0.5]))
    with pytest.raises(ValueError, match='with one outcome per image, got up to 2'):
        paired_test([2, 1])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]).shape == (0,)
    with pytest.raises(ValueError, match='expected numbers from 0 to 1'):
        holm([0.5, math.nan])


@fifty_examples
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holm_rejects_what_its_steps_reject(p, random):
    adjusted = holm(p)
    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            if p[i] * (len(p) - step) > alpha:
                break
            rejected.add(i)
        assert {i for i, value in enumerate(adjusted) if value <= alpha} == rejected
    assert (adjusted >= np.array(p)).all() and (adjusted <= np.minimum(1, len(p) * np.array(p))).all()
    order = random.sample(range(len(p)), len(p))
    assert np.array_equal(holm([p[i] for i in order]), adjusted[order])


@pytest.mark.slow
@pytest.mark.parametrize('share', [0.05, 0.3])
def test_smallest_difference_is_found_four_times_in_five(share):
    images, trials = 2000, 1500
    delta = smallest_difference(images, share)
    assert delta == pytest.approx(2.8016 * math.sqrt(share / images), rel=0.02)
    generator = np.random.default_rng(7)
    drawn = generator.multinomial(images, [(share + delta) / 2, (share - delta) / 2, 1 - share], trials)
    found = sum(stats.binomtest(wins, wins + losses).pvalue <= 0.05 for wins, losses, _ in drawn)
    # the exact test is a little conservative
    assert 0.75 * trials < found < 0.83 * trials


def test_smallest_difference_has_a_floor_and_falls_with_images_and_seeds():
    assert smallest_difference(3) == 1
    assert smallest_difference(10_000, 0.1) < smallest_difference(10_000, 0.1, comparisons=40)
    assert smallest_difference(40_000, 0.1) == pytest.approx(smallest_difference(10_000, 0.1) / 2, rel=1e-3)
    for wrong in (
        dict(images=0),
        dict(mean_square=1.1),
        dict(alpha=0),
        dict(power=1),
        dict(comparisons=0),
        dict(size=0),
    ):
        with pytest.raises(ValueError, match='expected images and comparisons >= 1'):
            smallest_difference(**{'images': 10, **wrong})


@pytest.mark.parametrize('images', [6, 64, 10_000])
def test_the_floor_has_the_power_that_is_asked_for(images):
    """Six images, all in favour of one model, are the fewest that an exact test calls significant."""
    assert paired_test([1] * 6 + [0] * (images - 6))[0] <= 0.05 < paired_test([1] * 5 + [0] * (images - 5))[0]
    floor = smallest_difference(images, 0)
    assert stats.binom.sf(5, images, floor) == pytest.approx(0.8)
    assert smallest_difference(images, 0, size=0.25) == pytest.approx(floor / 4)


def test_size_of_differences_is_that_of_the_images_that_differ():
    assert size_of_differences(np.array([0.5, -0.25] * 5 + [0.0] * 90)) == pytest.approx(0.375)
    assert size_of_differences(np.array([0.5, -0.25] + [0.0] * 90)) == size_of_differences(np.zeros(9)) == 1


def test_calibration_error_by_hand():
    """Bins (0.2, 0.2667] and (0.9333, 1]: half the images each, off by 0.25 and by 0.5."""
    confidence, correct = np.array([0.25, 0.25, 1.0, 1.0]), np.array([True, False, True, False])
    assert calibration_error(confidence, correct) == pytest.approx(0.5 * 0.25 + 0.5 * 0.5)
    assert calibration_error(confidence, correct, bins=1) == pytest.approx(abs(0.5 - 0.625))
    # 0.5 of two bins is in the first, with 0.4
    assert calibration_error(np.array([0.5, 0.4]), np.array([False, True]), bins=2) == pytest.approx(0.05)


@fifty_examples
@given(st.lists(st.tuples(st.floats(0.001, 1), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
def test_calibration_error_is_the_sum_over_its_bins(images, bins):
    total = 0.0
    for b in range(bins):
        inside = [(p, right) for p, right in images if b < p * bins <= b + 1]
        if inside:
            total += abs(sum(right for _, right in inside) - sum(p for p, _ in inside)) / len(images)
    confidence, correct = (np.array(column) for column in zip(*images, strict=True))
    assert calibration_error(confidence, correct, bins) == pytest.approx(total)
    assert 0 <= total <= 1


def test_two_classes():
    """Measures must not assume five classes."""
    assert calibration_error(np.array([0.5, 0.9]), np.array([True, True])) == pytest.approx(0.3)
    assert flip_rate(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])) == 0.25


def test_area_by_hand():
    assert area_weights([0, 1, 4]) == pytest.approx([1 / 8, 4 / 8, 3 / 8])
    assert area_weights([-0.2, 0, 0.1]) @ [0.5, 0.9, 0.7] == pytest.approx((0.2 * 0.7 + 0.1 * 0.8) / 0.3)
    assert area_weights(range(6)).sum() == pytest.approx(1)
    for levels in ([0], [0, 1, 1], [1, 0]):
        with pytest.raises(ValueError, match='two or more in increasing order'):
            area_weights(levels)
