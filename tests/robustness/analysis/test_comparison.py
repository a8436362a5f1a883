"""Two models compared image by image: ties, pairs, ids, missing cells, and what the Markdown says of them."""

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from made_cells import cell, chosen_images, renamed, whole_run

from timm_zerosnet.robustness import SUITES, compare
from timm_zerosnet.robustness.analysis.comparison import _count_contradictions, compare_trainings
from timm_zerosnet.robustness.analysis.statistics import smallest_difference
from timm_zerosnet.robustness.analysis.summary import summarise, training_spread
from timm_zerosnet.robustness.plan import CLEAN
from timm_zerosnet.robustness.report.comparison_markdown import comparison_markdown

stats = pytest.importorskip('scipy.stats')

FAST = dict(resamples=200)
CELLS = len(SUITES['zerosnet']['const'].levels) + 26 + 26 + 1  # two noise seeds


@pytest.fixture(scope='module')
def pair():
    return whole_run('a', seed=1) + whole_run('b', seed=2, skill=0.8)


def pattern(counts, images=100):
    """Right and wrong for two models: both right, only the first, only the second, both wrong."""
    both, one, two = counts
    index = np.arange(images)
    return index < both + one, (index < both) | ((index >= both + one) & (index < both + one + two))


def single(counts, images=100):
    first, second = pattern(counts, images)
    return [cell('a', CLEAN, 0, first), cell('b', CLEAN, 0, second)]


def test_two_models_from_one_weight():
    """Two equal models must not be put in an order."""
    cells = whole_run('a')
    found = compare(cells + renamed(cells, 'b'), 'a', 'b', **FAST)
    assert found.complete and len(found.rows) == 41 and found.cells == CELLS
    for row in (*found.rows, found.overall):
        assert (row.difference, row.p, row.p_holm, row.only_a, row.only_b) == (0, 1, 1, 0, 0)
        assert row.low < 0 < row.high and row.test == 'no image differs'
    for row in (*found.rows, found.overall):  # nothing tells how much an image differs that differs: wholly
        assert row.smallest == pytest.approx(100 * smallest_difference(200, 0))


def test_three_discordant_images():
    """Three discordant images, p = 0.25, must not put two models in an order."""
    (row,) = compare(single((80, 3, 0)), 'a', 'b', **FAST).rows
    assert (row.p, row.p_holm, row.test) == (pytest.approx(0.25), pytest.approx(0.25), 'exact McNemar')
    assert (row.only_a, row.only_b, row.difference) == (3, 0, pytest.approx(3))
    assert row.interval == 'adjusted Wald' and row.low < 0 < row.high


def test_one_row_by_hand():
    (row,) = compare(single((50, 20, 6)), 'a', 'b', resamples=4000).rows
    assert (row.accuracy_a, row.accuracy_b, row.difference) == pytest.approx((70, 56, 14))
    assert row.p == pytest.approx(stats.binomtest(20, 26).pvalue)
    error = math.sqrt((0.26 - 0.14**2) / 100) * 100
    assert (row.low, row.high) == pytest.approx((14 - 1.96 * error, 14 + 1.96 * error), abs=0.2 * error)
    assert row.smallest == pytest.approx(100 * smallest_difference(100, 0.26))
    (row,) = compare(single((50, 20, 6)), 'b', 'a', **FAST).rows
    assert (row.difference, row.only_a, row.only_b) == (pytest.approx(-14), 6, 20)


def test_seeds_are_averaged_within_images():
    """The same outcomes with three seeds are worth one."""
    first, second = pattern((50, 12, 3))
    cells = [cell('a', CLEAN, 0, first), cell('b', CLEAN, 0, second)]
    for seed in range(3):
        cells += [cell('a', 'randn', 0.1, first, seed), cell('b', 'randn', 0.1, second, seed)]
    found = compare(cells, 'a', 'b', **FAST)
    clean, noisy = found.rows
    assert noisy.p == pytest.approx(clean.p) == pytest.approx(stats.binomtest(12, 15).pvalue)
    assert (noisy.only_a, noisy.only_b, noisy.test) == (36, 9, 'exact sign flip by image')
    assert (noisy.low, noisy.high, noisy.smallest) == pytest.approx((clean.low, clean.high, clean.smallest))
    assert noisy.noise_sd == 0 and clean.noise_sd is None
    assert (found.overall.difference, found.overall.p) == pytest.approx((noisy.difference, noisy.p))


def test_seeds_are_paired_with_themselves():
    first, second = pattern((50, 12, 3))
    cells = [cell('a', 'randn', 0.1, first, 0), cell('a', 'randn', 0.1, second, 1)]
    cells += [cell('b', 'randn', 0.1, second, 1), cell('b', 'randn', 0.1, first, 0)]
    (row,) = compare(cells, 'a', 'b', **FAST).rows
    assert (row.only_a, row.only_b, row.p, row.seeds) == (0, 0, 1, (0, 1))
    # a seed that one lacks does not count
    for part in (cells[:1] + cells[2:], cells[:2] + cells[3:]):
        (row,) = compare(part, 'a', 'b', **FAST).rows
        assert row.seeds == (0,) and row.difference == 0


def test_overall_weighs_corruptions_alike(pair):
    found = compare(pair, 'a', 'b', **FAST)
    means = [np.mean([row.difference for row in found.rows if row.corruption == name]) for name in SUITES['zerosnet']]
    overall = found.overall
    assert overall.difference == pytest.approx(np.mean(means))
    assert overall.difference == pytest.approx(overall.accuracy_a - overall.accuracy_b)
    assert overall.low < overall.difference < overall.high and overall.p <= 0.001 and overall.seeds == (0, 1)
    assert overall.only_a == sum(row.only_a for row in found.rows if row.corruption != CLEAN)


def test_overall_is_tested_with_its_weights():
    """A wins 5 images under const, B 5 others with one of two seeds under randn, which count half."""
    index, right = np.arange(40), np.ones(40, dtype=bool)
    cells = [cell('a', 'const', 0.1, right), cell('b', 'const', 0.1, index >= 5)]
    cells += [cell('a', 'randn', 0.1, (index < 5) | (index >= 10), 0), cell('a', 'randn', 0.1, right, 1)]
    cells += [cell('b', 'randn', 0.1, right, seed) for seed in (0, 1)]
    overall = compare(cells, 'a', 'b', **FAST).overall
    sums = [abs(np.dot(signs, [2] * 5 + [1] * 5)) for signs in itertools.product((-1, 1), repeat=10)]
    assert overall.p == pytest.approx(np.mean(np.array(sums) >= 5)) and overall.p < 0.5
    assert overall.difference == pytest.approx(100 * (10 - 5) / 4 / 40)


def test_holm_is_over_all_rows_shown(pair):
    found = compare(pair, 'a', 'b', **FAST)
    rows = [*found.rows, found.overall]
    least = min(rows, key=lambda row: row.p)
    assert least.p_holm == pytest.approx(min(1, 42 * least.p))
    assert all(row.p_holm >= row.p for row in rows) and any(row.p_holm > row.p for row in rows)


def test_order_of_cells_and_images_changes_nothing(pair):
    order = np.random.default_rng(0).permutation(200)
    mixed = chosen_images(pair, order)
    random.Random(0).shuffle(mixed)
    assert compare(mixed, 'a', 'b', **FAST) == compare(pair, 'a', 'b', **FAST)


def test_different_numbers_of_images_are_refused_without_ids():
    """Figures of some images must not be compared with figures of all."""
    cells = whole_run('a', images=200) + chosen_images(whole_run('b', images=200), np.arange(50))
    with pytest.raises(ValueError, match='a saw 200 images, b 50: .* ids'):
        compare(cells, 'a', 'b')


def test_ids_restrict_the_comparison_to_common_images(pair):
    """Figures of some images must not be compared with figures of all."""
    kept = np.random.default_rng(1).permutation(200)[:50]
    part = [c for c in pair if c.model == 'a'] + chosen_images([c for c in pair if c.model == 'b'], kept)
    ids = {'a': [f'image {i}' for i in range(200)], 'b': [f'image {i}' for i in kept]}
    found = compare(part, 'a', 'b', ids, **FAST)
    assert (found.images, found.images_a, found.images_b) == (50, 200, 50)
    expected = compare(chosen_images(pair, np.sort(kept)), 'a', 'b', **FAST)
    assert (found.rows, found.overall) == (expected.rows, expected.overall)
    report = comparison_markdown(compare(part, 'a', 'b', ids, **FAST))
    assert '**only the 50 images that both saw** (200 of A, 50 of B)' in report
    assert 'only the' not in comparison_markdown(compare(pair, 'a', 'b', **FAST))


@pytest.mark.parametrize(
    'ids, message',
    [
        ({'a': range(200)}, '0 ids for the 200 images of b'),
        ({'a': range(199), 'b': range(200)}, '199 ids for the 200 images of a'),
        ({'a': range(200), 'b': [*range(199), 5]}, 'expected unique ids, got 1 ids of b twice'),
        ({'a': range(200), 'b': range(200, 400)}, 'a and b share no image'),
    ],
)
def test_ids_that_do_not_fit(pair, ids, message):
    with pytest.raises(ValueError, match=message):
        compare(pair, 'a', 'b', ids)


def test_equal_ids_may_repeat(pair):
    """A test set may hold the same picture twice."""
    ids = np.arange(200) % 150
    assert compare(pair, 'a', 'b', {'a': ids, 'b': ids}, **FAST) == compare(pair, 'a', 'b', **FAST)


def test_other_labels_are_noticed():
    cells = [cell('a', CLEAN, 0, np.ones(20)), cell('b', CLEAN, 0, np.ones(20), labels=np.arange(20)[::-1] % 10)]
    with pytest.raises(ValueError, match='a and b contradict each other about the labels of 20 images'):
        compare(cells, 'a', 'b')


def test_the_same_prediction_is_right_for_both_or_for_neither():
    """With labels shifted by one no image is right for both models, which once hid the shift."""
    one = cell('a', CLEAN, 0, np.arange(20) < 12)
    two = cell('b', CLEAN, 0, np.zeros(20), labels=(np.arange(20) - 1) % 10)  # predicts what the labels of a are
    with pytest.raises(ValueError, match='contradict each other about the labels of 12 images'):
        compare([one, two], 'a', 'b')
    with pytest.raises(ValueError, match='contradict each other about the labels of 12 images'):
        compare([one, two], 'b', 'a')
    # where the outputs have other names, the same output is another class
    numbers = {'a': {f'class {i}': i for i in range(10)}, 'b': {f'class {i}': (i + 1) % 10 for i in range(10)}}
    assert compare([one, two], 'a', 'b', classes=numbers, **FAST).rows[0].only_a == 12


@pytest.mark.parametrize('kind', ['one name each', 'several names', 'names that overlap'])
def test_contradictions_are_those_of_the_definition(kind):
    """Both are right with no class in common, or one is right with a class that the other one is wrong with."""
    generator = np.random.default_rng(0)
    meanings = {
        'one name each': [frozenset({f'{i}'}) for i in range(5)],
        'several names': [frozenset({f'{i}', f'{i} too'}) for i in range(5)],
        'names that overlap': [frozenset({f'{i}', f'{(i + 1) % 5}'}) for i in range(4)] + [frozenset('1')],
    }[kind]
    right, codes = generator.random((2, 300)) < 0.5, generator.integers(0, 5, (2, 300))
    expected = 0
    for right_a, right_b, a, b in zip(*right.tolist(), *codes.tolist(), strict=True):
        one, two = meanings[a], meanings[b]
        expected += (right_a and right_b and not one & two) or (
            right_a != right_b and (one <= two if right_a else two <= one)
        )
    assert 0 < expected == _count_contradictions(list(right), list(codes), meanings)


def test_labels_of_classes_of_one_name_are_compared_at_once(pair, monkeypatch):
    """Going through the classes one by one takes half a minute with 50,000 images of a thousand classes."""
    counted = []
    unique = np.unique

    def watched(values, **options):
        counted.append(options)
        return unique(values, **options)

    monkeypatch.setattr(np, 'unique', watched)
    compare(pair, 'a', 'b', **FAST)
    assert counted and all('axis' not in options for options in counted)


@pytest.mark.parametrize(
    'a, b, message',
    [
        ('a', 'c', "no cells of model 'c'.*the run has a, b"),
        ('a', 'a', 'expected two models, got a twice'),
    ],
)
def test_models_that_cannot_be_compared(pair, a, b, message):
    with pytest.raises(ValueError, match=message):
        compare(pair, a, b)
    with pytest.raises(ValueError, match='no cell in common'):
        compare([cell('a', CLEAN, 0, [1]), cell('b', 'const', 0.1, [1])], 'a', 'b')


def test_missing_cells_are_listed(pair):
    """An average over the cells that happen to be there must not pass for the whole."""
    cells = [c for c in pair if (c.model, c.corruption, c.level) != ('b', 'randn', 0.2)]
    cells = [c for c in cells if c.corruption != 'uniform']
    found = compare(cells, 'a', 'b', **FAST)
    assert not found.complete and (found.cells, found.expected) == (CELLS - 14, CELLS)
    lost = {(key.corruption, key.level): names for key, names in found.missing}
    assert lost['randn', 0.2] == ('b',) and lost['uniform', 0.1] == ('a', 'b') and len(found.missing) == 14
    assert not any(row.corruption == 'uniform' for row in found.rows) and found.overall is not None
    report = comparison_markdown(compare(cells, 'a', 'b', **FAST))
    assert f'{CELLS - 14} of {CELLS} cells' in report and '**incomplete**' in report
    assert 'randn 0.2 seed 1 (b)' in report and 'uniform 0.2 seed 0 (a, b)' in report
    plan = [(c.corruption, c.level, c.seed) for c in cells if c.model == 'b']
    assert compare(cells, 'a', 'b', plan=plan, **FAST).complete


def test_other_models_of_the_run_do_not_matter(pair):
    more = [*pair, *whole_run('c', seed=5), cell('c', 'const', 0.33, np.ones(200))]
    assert compare(more, 'a', 'b', **FAST) == compare(pair, 'a', 'b', **FAST)


def test_one_training_decides_nothing_about_architectures():
    cells = whole_run('one.x', seed=1) + whole_run('two.x', seed=2, skill=0.6)
    found = compare(cells, 'one', 'two', **FAST)
    assert found.trainings.p is None and found.trainings.sds == (None, None)
    report = comparison_markdown(compare(cells, 'one', 'two', **FAST))
    assert 'one training seed: nothing can be decided about the architecture' in report
    assert 'Overall, one.x is better by' in report


def test_a_name_without_its_default_tag_is_a_training_like_the_others():
    names = ['zerosnet20', 'zerosnet20.cifar10_seed1', 'preresnet20.cifar10', 'preresnet20.cifar10_seed2']
    cells = [c for i, name in enumerate(names) for c in whole_run(name, seed=i)]
    found = compare(cells, 'zerosnet20', 'preresnet20.cifar10', **FAST).trainings
    assert found.architectures == ('zerosnet20', 'preresnet20')
    assert [list(values) for values in found.accuracies] == [names[:2], names[2:]] and found.p is not None
    # the same weights under a second name are no further training
    again = [replace(c, model='zerosnet20.cifar10') for c in cells if c.model == 'zerosnet20']
    assert compare([*cells, *again], 'zerosnet20', 'preresnet20.cifar10', **FAST).trainings == found
    spread = training_spread(summarise([*cells, *again], **FAST).values())
    assert {name: len(found.models) for name, found in spread.items()} == {'zerosnet20': 2, 'preresnet20': 2}
    report = comparison_markdown(compare([*cells, *again], 'zerosnet20', 'zerosnet20.cifar10', **FAST))
    assert report.rstrip().endswith('Both names mean the same weights.') and 'no difference is shown: 0.00' in report


def test_weights_decide_what_a_training_is_where_they_are_known():
    """Own weights may have the name of others, as in folders of early versions, and two trainings may be one."""
    names = ['zerosnet20', 'zerosnet20.cifar10', 'zerosnet20.cifar10_seed1', 'other']
    cells = [c for i, name in enumerate(names) for c in whole_run(name, seed=i)]
    weights = dict(zip(names, ['own', 'packaged', 'packaged', 'another'], strict=True))
    pair = compare(cells, *names[:2], weights=weights, **FAST)
    assert not pair.same_weights and 'the same weights' not in comparison_markdown(pair)
    assert compare(cells, *names[1:3], weights=weights, **FAST).same_weights
    found = compare(cells, 'other', 'zerosnet20.cifar10', weights=weights, **FAST).trainings
    assert len(found.accuracies[1]) == 2
    spread = training_spread(summarise(cells, **FAST).values(), weights)
    assert spread['zerosnet20'].models == ('zerosnet20', 'zerosnet20.cifar10')


def test_trainings_of_one_that_are_all_alike():
    found = compare_trainings(
        ('one', 'two'), ({'one.x': 95.0, 'one.x_seed1': 95.0}, {'two.x': 95.0, 'two.x_seed1': 90.0})
    )
    assert found.sds == pytest.approx((0, math.sqrt(12.5))) and found.difference == 2.5
    assert found.p == pytest.approx(0.5)  # t = 1 with one degree of freedom
    assert compare_trainings(found.architectures, (found.accuracies[0], found.accuracies[0])).p is None


def test_several_trainings_are_compared_apart():
    runs = {'one.x': 1.0, 'one.x_seed1': 0.98, 'one.x_seed2': 0.99, 'two.x': 0.9, 'two.x_seed1': 0.93}
    cells = [c for i, (name, skill) in enumerate(runs.items()) for c in whole_run(name, seed=i, skill=skill)]
    found = compare(cells, 'one.x', 'two.x_seed1', **FAST)
    trainings = found.trainings
    assert trainings.architectures == ('one.x', 'two.x') and [len(a) for a in trainings.accuracies] == [3, 2]
    assert trainings.accuracies[0]['one.x'] == pytest.approx(found.overall.accuracy_a)
    one, two = (list(values.values()) for values in trainings.accuracies)
    assert trainings.p == pytest.approx(stats.ttest_ind(one, two, equal_var=False).pvalue)
    assert trainings.low < trainings.difference < trainings.high
    assert trainings.difference == pytest.approx(np.mean(one) - np.mean(two))
    assert trainings.low < 0 and 'no difference between one.x and two.x is shown: +' in comparison_markdown(found)
    # a training that lacks a cell is left out
    cells = [c for c in cells if (c.model, c.corruption) != ('one.x_seed2', 'rand')]
    assert set(compare(cells, 'one.x', 'two.x', **FAST).trainings.accuracies[0]) == {'one.x', 'one.x_seed1'}
    cells += chosen_images(whole_run('one.x_seed3'), np.arange(50))
    assert set(compare(cells, 'one.x', 'two.x', **FAST).trainings.accuracies[0]) == {'one.x', 'one.x_seed1'}
    assert compare(cells, 'one.x', 'one.x_seed1', **FAST).trainings is None


def test_trainings_differ_where_their_spread_allows_it():
    runs = {'one.x': 1.0, 'one.x_seed1': 0.99, 'two.x': 0.7, 'two.x_seed1': 0.71}
    cells = [c for i, (name, skill) in enumerate(runs.items()) for c in whole_run(name, seed=i, skill=skill)]
    found = compare(cells, 'one.x', 'two.x', **FAST)
    assert found.trainings.low > 0 and 'Over their trainings one.x and two.x differ: +' in comparison_markdown(found)


def test_trainings_without_spread_decide_nothing():
    cells = [c for name in ('one.x', 'one.x_seed1', 'two.x', 'two.x_seed1') for c in whole_run(name)]
    found = compare(cells, 'one.x', 'two.x', **FAST)
    assert found.trainings.p is None and found.trainings.sds == (0, 0)
    report = comparison_markdown(found)
    assert 'the trainings of each are all alike' in report and 'one training seed' not in report


def test_a_tie_is_not_an_order():
    """A tie must not be shown as an order."""
    report = comparison_markdown(compare(single((80, 3, 0)), 'a', 'b', **FAST))
    assert 'Of 1 condition, A is better in 0, B in 0, and in 1 no difference is shown, which does not mean' in report
    cells = whole_run('a')
    report = comparison_markdown(compare(cells + renamed(cells, 'b'), 'a', 'b', **FAST))
    assert 'Overall, no difference is shown: 0.00 (p 1.0000 after' in report and '+0.00' not in report


def test_report_is_a_markdown_table(pair):
    lines = comparison_markdown(compare(pair, 'a', 'b', **FAST)).splitlines()
    assert lines[0] == '# a (A) against b (B), suite zerosnet'
    table = [line for line in lines if line.startswith('|')]
    assert len(table) == 44 and {line.count('|') for line in table} == {12}
    assert any('| const | -0.45 |' in line for line in table) and table[-1].startswith('| overall |  |')
    assert any('noise seeds 0, 1' in line for line in lines)


def test_robustness_is_imported_without_scipy(bare):
    code = """
import sys
sys.modules['scipy'] = None
from timm_zerosnet.robustness import compare
from timm_zerosnet.robustness.statistics import wilson
try:
    wilson(1, 2)
except RuntimeError as error:
    print(error)
"""
    done = bare('-c', code, path=ROOT)
    assert done.stdout.strip() == 'this needs scipy: pip install "timm-zerosnet[robustness]"'
