"""Models are ranked by their mean error, and share a group if and only if no test tells them apart."""

import itertools

import numpy as np
import pytest
from made_cells import LEVELS, whole_run

from timm_zerosnet.robustness.analysis.grids import grids_by_model
from timm_zerosnet.robustness.analysis.ranking import image_points, largest_groups, rank_models
from timm_zerosnet.robustness.analysis.statistics import holm, paired_test, pairwise_tests
from timm_zerosnet.robustness.analysis.summary import summarise
from timm_zerosnet.robustness.plan import CLEAN, Condition


def points_of(models):
    return {name: image_points(grids_by_model(own)[name], [c.condition for c in own]) for name, own in models.items()}


@pytest.fixture(scope='module')
def five():
    skills = {'a': 0.8, 'b': 1.0, 'c': 0.99, 'd': 0.6, 'e': 0.79}
    return {name: whole_run(name, skill=skill, seed=i) for i, (name, skill) in enumerate(skills.items())}


def test_the_order_is_that_of_the_mean_errors(five):
    found = rank_models(points_of(five), dict.fromkeys(five, 50.0))
    errors = {name: summarise(own, only=[name], resamples=10)[name].mean_error.value for name, own in five.items()}
    assert list(found.ranks) == sorted(errors, key=errors.get) and list(found.ranks.values()) == [1, 2, 3, 4, 5]
    assert found.unranked == () and found.pairs == 10


def test_points_are_proportional_to_the_mean_over_corruptions_of_the_mean_over_levels(five):
    cells = five['a']
    points = image_points(grids_by_model(cells)['a'], [c.condition for c in cells])
    expected = np.mean(
        [np.mean([c.result.correct for c in cells if c.corruption == name], axis=0) for name in LEVELS], axis=0
    )
    assert np.issubdtype(points.dtype, np.integer)
    assert points * expected.max() == pytest.approx(expected * points.max())


def test_groups_are_those_of_the_tests(five):
    points = points_of(five)
    found = rank_models(points, dict.fromkeys(five, 50.0))
    pairs = list(itertools.combinations(five, 2))
    adjusted = holm([paired_test(points[a] - points[b], outcomes=67)[0] for a, b in pairs])
    for (a, b), p in zip(pairs, adjusted, strict=True):
        assert any({a, b} <= set(group) for group in found.groups) == (p > 0.05) == (b in found.not_told_apart(a))
    assert len(found.groups) > 1 and max(map(len, found.groups)) > 1


def test_all_pairs_are_tested_as_one_pair_is():
    generator = np.random.default_rng(1)
    values = generator.integers(0, 30, (400, 1)) + generator.integers(-3, 4, (400, 4)) + [0, 0, 1, 3]
    found = pairwise_tests(values)
    assert np.array_equal(found, found.T) and (np.diag(found) == 1).all()
    for i, j in itertools.combinations(range(4), 2):
        exact, name = paired_test(values[:, i] - values[:, j], outcomes=2)
        assert name == 'exact sign flip by image' and found[i, j] == pytest.approx(exact, rel=0.15, abs=2e-3)
    assert found[0, 3] < 1e-4 < 0.01 < found[0, 1]


@pytest.mark.parametrize('values', [np.ones((3, 2)), np.ones(3, dtype=int)])
def test_points_are_a_table_of_integers(values):
    with pytest.raises(ValueError, match=r'values: expected \(N, M\) integers, got'):
        pairwise_tests(values)


@pytest.mark.parametrize(
    'count, apart, groups',
    [
        (0, [], []),
        (1, [], [(0,)]),
        (3, [], [(0, 1, 2)]),
        (3, [(0, 2)], [(0, 1), (1, 2)]),
        (3, [(0, 1), (0, 2), (1, 2)], [(0,), (1,), (2,)]),
        (4, [(0, 1), (2, 3)], [(0, 2), (0, 3), (1, 2), (1, 3)]),  # not only neighbours
    ],
)
def test_largest_groups(count, apart, groups):
    assert largest_groups(count, apart) == groups


def test_groups_hold_a_pair_if_and_only_if_it_is_not_told_apart():
    generator = np.random.default_rng(0)
    for _ in range(20):
        pairs = list(itertools.combinations(range(7), 2))
        apart = {pair for pair in pairs if generator.random() < 0.5}
        groups = largest_groups(7, apart)
        together = {pair for group in groups for pair in itertools.combinations(group, 2)}
        assert together == set(pairs) - apart and len(groups) == len(set(groups))
        assert not any(set(one) < set(two) for one, two in itertools.permutations(groups, 2))


def test_a_model_that_lacks_a_cell_has_no_rank(five):
    wanted = [c.condition for c in five['a']]
    models = {**five, 'c': five['c'][:-1], 'e': [c for c in five['e'] if c.corruption != CLEAN]}
    points = {name: image_points(grids_by_model(own)[name], wanted) for name, own in models.items()}
    assert points['c'] is None and points['e'] is not None  # a clean cell is no part of the mean error
    found = rank_models(points, {**dict.fromkeys(five, 50.0), 'e': None})
    assert 'c' not in found.ranks and found.order == (*found.ranks, 'c') and found.pairs == 6


def test_clean_images_alone_rank_nothing(five):
    clean = [Condition(CLEAN, 0.0, None)]
    points = {name: image_points(grids_by_model(own[:1])[name], clean) for name, own in five.items()}
    found = rank_models(points, {'a': 1.0, 'b': 3.0, 'c': None, 'd': 2.0, 'e': 3.0})
    assert (found.ranks, found.groups) == ({}, ()) and found.unranked == ('b', 'e', 'd', 'a', 'c')


def test_equal_models_have_equal_ranks(five):
    points = points_of(five)
    found = rank_models({'x': points['a'], 'y': points['a'], 'z': points['d']}, dict.fromkeys('xyz', 50.0))
    assert found.ranks == {'x': 1, 'y': 1, 'z': 3} and found.groups[0] == ('x', 'y')
