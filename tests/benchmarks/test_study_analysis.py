"""The analysis of the study on tables whose answers are known."""

import csv
import math
import sys

import numpy as np
import pytest
from study import analyse
from study.intervals import difference, estimate, explained, explained_beyond, kendall, spearman, tied_pairs
from study.questions import (
    SUGGESTED_BY,
    SUGGESTED_LAST_BLOCK_BY,
    between_seeds,
    change_of_difference,
    comparable,
    correlations,
    equal_slopes,
    failures,
    independent_slopes,
    last_block,
    lengths,
    main_group,
    same_roots,
    slope_weights,
    stable_against_unstable,
)
from study.sets import SETS
from study.table import Job

from timm_zerosnet.history import plan_history

NAMES = [name for name in SETS if name not in ('all-ones:b0=2', 'all-ones:b0=1/2')]


def table(
    error, names=NAMES, seeds=(0, 1, 2), depth=20, images=250_000, split='test', recipe='standard', data='cifar10'
):
    """Rows whose test error, %, is ``error(columns)``; noise costs 20 points and the training images 5 less."""
    rows = []
    for name in names:
        for seed in seeds:
            job = Job(name, depth, data, 0 if split == 'test' else 5000, images, seed, recipe)
            row = {key: str(value) for key, value in job.columns().items()}
            wrong = error(row)
            row |= {'test_accuracy': f'{100 - wrong:.4f}', 'train_accuracy': f'{105 - wrong:.4f}'}
            row |= {f'{noise}_accuracy': f'{80 - wrong:.4f}' for noise in ('rand_0.2', 'randn_0.1', 'uniform_0.1')}
            row |= {'seconds': '30.0', 'images_per_second': '100.0', 'precision': 'float32', 'processor': 'AVX2'}
            rows.append(row | {'diverged': '0'})
    return rows


def little(row):
    """A difference between methods, without which an interval has no width."""
    return 0.1 * (NAMES.index(row['set']) % 3 - 1)


def by_radius(row):
    return 10 * float(row['spectral_radius']) + 0.01 * int(row['seed'])


def test_correlations_and_ties_by_hand():
    x, y = np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 3, 4])
    assert tied_pairs(x) == 1 and tied_pairs(y) == 0
    assert kendall(x[None], y[None])[0] == pytest.approx(5 / np.sqrt(5 * 6))  # tau-b: 5 concordant, one tie in x
    # ranks 1.5 1.5 3 4 against 1 2 3 4
    assert spearman(x[None], y[None])[0] == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert np.isnan(spearman(np.ones((1, 4)), y[None])) and np.isnan(kendall(x[None], np.ones((1, 4))))


def test_error_that_follows_the_largest_modulus_is_found():
    """Sets of one modulus have one error; where their seeds differ, ties alone keep the interval below 1."""
    rows = table(lambda row: 10 * float(row['spectral_radius']))
    found = {(a['outcome'], a['sets_compared'], a['statistic']): a for a in correlations(rows)}
    answer = found['test error', 'largest modulus', 'Spearman']
    assert answer['value'] == pytest.approx(1) and answer['low'] == pytest.approx(1) and answer['sets'] == len(NAMES)
    moduli = [round(float(Job(name, 20, 'c', 0, 1, 0).columns()['spectral_radius']), 6) for name in NAMES]
    assert answer['ties'] == tied_pairs(np.array(moduli)) > 100  # most of them are exactly 1
    gap = found['generalisation gap', 'largest modulus', 'Spearman']
    assert np.isnan(gap['value'])  # it is 5 points for all


@pytest.mark.parametrize(
    'name, equal, independent',
    [
        ('euler', 9, 9),
        ('euler:b0=2', 18, 36),
        ('first(0.5)', 2 - 2**-8, (1 - 4**-9) / (1 - 1 / 4)),
        ('midpoint', 9, 17),  # the Euler step's slope once, then every other one twice
        ('lm(0)', 5, 5),
        ('lm(2)', 45, 285),  # 1 + 2 + ... + 9, and the sum of their squares
        ('ab2', 9, 7 + 0.5**2 + 1.5**2),  # the newest slope counts 3/2, the Euler step's 1/2, all others 1
        ('momentum(0.9)', 9, sum((1 - 0.9**m) ** 2 for m in range(1, 9)) + ((1 - 0.9**9) / 0.1) ** 2),
        ('quarter-turn', 1, 5),  # 1, 0, -1, 0, ...
    ],
)
def test_responses_by_hand(name, equal, independent):
    """Sums over the nine blocks of depth 20, against the 9 of Euler."""
    row = {key: str(value) for key, value in Job(name, 20, 'c', 0, 1, 0).columns().items()}
    assert equal_slopes(row) == pytest.approx(abs(math.log(equal / 9)), abs=1e-9)
    assert independent_slopes(row) == pytest.approx(abs(math.log(independent / 9)) / 2, abs=1e-12)
    last = float(row['b0'])  # the newest slope's weight
    assert last_block(row) == pytest.approx(math.log(independent) / 2 - math.log(last), abs=1e-12)


@pytest.mark.parametrize('name', ['euler', 'midpoint', 'zerosnet-opt', 'optimal(4)', 'ab3'])
def test_euler_steps_are_those_of_the_networks(name):
    method = SETS[name].method
    plans = plan_history(method.a, method.b, [False] * 9)
    row = {key: str(value) for key, value in Job(name, 20, 'c', 0, 1, 0).columns().items()}
    first = sum(plan.is_euler for plan in plans)
    shorter = {**row, 'depth': str(2 * max(first, 1) + 2)}  # Euler steps alone, and euler's first
    assert slope_weights(shorter).tolist() == [1] * max(first, 1) and all(plan.is_euler for plan in plans[:first])
    assert slope_weights(row)[-1] == pytest.approx(float(method.b[0]))


def test_seeds_are_compared_where_both_are_there():
    error = {name: i for i, name in enumerate(NAMES)}
    rows = table(lambda row: 30 + error[row['set']] * (1, -1, 1)[int(row['seed'])], NAMES[:10])
    answers = between_seeds([*rows, *table(by_radius, NAMES[10:12], (0,))])
    assert {answer['sets_compared']: answer['sets'] for answer in answers} == {'one seed against another': 10}
    found = {answer['outcome']: answer for answer in answers}
    assert found['test error']['value'] == pytest.approx((-1 + 1 - 1) / 3)  # of three pairs
    assert between_seeds(table(by_radius, NAMES[:10], (1,))) == between_seeds(table(by_radius, NAMES[:7])) == []


def test_a_change_of_the_difference_is_that_of_equal_seeds():
    """Unstable methods lose two points more at depth 56; seeds and sets that one side lacks do not count."""
    names = NAMES[:12]
    shallow = table(lambda row: 40 + 3 * int(row['seed']) + (row['zero_stable'] == '0'), names, (0, 1, 2))
    deep = table(
        lambda row: 40 + 3 * int(row['seed']) + 3 * (row['zero_stable'] == '0') + little(row),
        names,
        (0, 1, 5),
        depth=56,
    )
    found = {a['sets_compared']: a for a in change_of_difference(shallow, deep) if a['outcome'] == 'test error'}
    change = found['unstable minus stable, change from the main runs']
    assert 1.7 < change['low'] < 2 < change['high'] < 2.3 and change['sets'] == 12
    assert found['unstable minus stable, the same in the main runs']['value'] == pytest.approx(1)
    assert change_of_difference(shallow, table(by_radius, NAMES[12:24], depth=56)) == []


def test_slopes_that_cancel_out_are_the_last_of_all():
    row = {key: str(value) for key, value in Job('quarter-turn', 56, 'c', 0, 1, 0).columns().items()}
    assert equal_slopes(row) == math.inf
    found = correlations(table(equal_slopes_or_50, depth=56))
    (answer, *_) = [a for a in found if a['sets_compared'] == 'equal slopes']
    assert answer['value'] == pytest.approx(1, abs=0.02)  # the table has four digits


def equal_slopes_or_50(row):
    return min(50.0, equal_slopes(row))


def rank_correlation(outcomes, draw):
    return estimate({name: [float(name)] for name in outcomes}, outcomes, spearman, seed=draw)


def four_less_six(outcomes, draw):
    return difference({name: int(name) % 10 < 4 for name in outcomes}, outcomes, {name: name for name in outcomes})


@pytest.mark.parametrize('interval, sets', [(rank_correlation, 16), (four_less_six, 10)])
def test_intervals_of_chance_hold_zero_as_often_as_they_say(interval, sets):
    rng = np.random.default_rng(0)
    held = 0
    for draw in range(100):
        found = interval({str(i): list(rng.normal() + 0.5 * rng.normal(size=3)) for i in range(sets)}, draw)
        held += found.low < 0 < found.high
    assert 90 <= held <= 99  # of 95 expected


def test_interval_widens_with_the_spread_of_seeds():
    predictors = {str(i): [float(i)] for i in range(12)}
    narrow, wide = (estimate(predictors, {str(i): [i - s, i, i + s] for i in range(12)}, spearman) for s in (0.01, 8.0))
    assert narrow.value == wide.value == pytest.approx(1)
    assert wide.low < narrow.low - 0.05


def test_interval_widens_where_sets_are_alike():
    predictors = {str(i): [float(i)] for i in range(24)}
    outcomes = {str(i): [i + (17 * i) % 11] for i in range(24)}
    alone, thirds = (estimate(predictors, outcomes, spearman, {str(i): str(i // n) for i in range(24)}) for n in (1, 3))
    assert alone == estimate(predictors, outcomes, spearman) and alone.value == thirds.value
    copies = {name: str(int(name) % 24) for name in map(str, range(96))}
    many = [{name: column[family] for name, family in copies.items()} for column in (predictors, outcomes)]
    told, untold = estimate(*many, spearman, copies), estimate(*many, spearman)
    assert untold.high - untold.low < 0.7 * (told.high - told.low)
    assert told.high - told.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_runs_of_another_length_or_recipe_are_not_compared():
    rows = [
        *table(by_radius, NAMES[:9], depth=56, seeds=range(9)),
        *table(by_radius, NAMES[:9]),
        *table(by_radius, NAMES[:9], images=1000),
        *table(by_radius, NAMES[:9], recipe='no-norm', seeds=range(9)),
        *table(by_radius, NAMES[:9], split='holdout'),
    ]
    groups = comparable(rows)
    assert sum(map(len, groups.values())) == 9 * (9 + 3 + 3 + 9) and len(groups) == 4
    assert main_group(groups).text == 'cifar10, depth 20, 250,000 images'
    assert [group.text for group in groups][-1] == 'cifar10, depth 20, 250,000 images, no-norm'


def test_sets_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match='at least 3 sets'):
        estimate({'a': [1.0], 'b': [2.0]}, {'a': [1.0], 'b': [2.0]}, spearman)
    with pytest.raises(ValueError, match='the same in both'):
        estimate({'a': [1.0], 'b': [2.0], 'c': [1.0]}, {'a': [1.0], 'b': [2.0], 'd': [2.0]}, spearman)
    sides, errors = {'a': True, 'b': True, 'c': False}, {'a': [1.0], 'b': [2.0], 'c': [1.0]}
    with pytest.raises(ValueError, match='at least 2 families on each side, got 2 and 1'):
        difference(sides, errors, {name: name for name in sides})


def test_unstable_less_stable_is_the_difference_put_in():
    rows = table(lambda row: 30 + 7 * (row['zero_stable'] == '0') + little(row))
    found = {(a['outcome'], a['sets_compared']): a for a in stable_against_unstable(rows)}
    answer = found['test error', 'unstable minus stable']
    assert 6.9 < answer['low'] < 7 < answer['high'] < 7.1
    assert ('test error', 'unstable with roots below 1.25 minus stable') in found
    mild = table(by_radius, [name for name in NAMES if float(SETS[name].method.spectral_radius) < 1.25])
    assert {answer['sets_compared'] for answer in stable_against_unstable(mild)} == {'unstable minus stable'}
    assert stable_against_unstable(table(lambda row: 90.0)) == []  # all at chance


def test_regression_gives_the_moduli_what_the_others_leave():
    rng = np.random.default_rng(1)
    x = rng.permuted(np.tile(np.arange(40.0), (2, 1)), axis=1).T[None]
    assert explained(x[..., :1], x[..., 0] ** 3) == pytest.approx(1)  # ranks: any increasing function
    assert explained_beyond(1)(x, x[..., 0]) == pytest.approx(0, abs=1e-12)
    alone = explained(x[..., :1], x[..., 1])
    assert explained_beyond(1)(x, x[..., 1]) == pytest.approx(1 - alone)


def test_the_sets_that_suggested_a_predictor_are_sets():
    assert SUGGESTED_BY < SUGGESTED_LAST_BLOCK_BY < {*SETS}


def test_failures_name_the_set_that_was_put_in():
    rows = table(lambda row: by_radius(row) + 40 * (row['set'] == 'zerosnet-opt'))
    name, error, off = failures(rows)[0]
    assert name == 'zerosnet-opt' and error == pytest.approx(50.01) and off > 0


def test_same_roots_are_those_of_one_family():
    found = same_roots(table(lambda row: float(row['b0']) + int(row['seed'])))
    families = {'euler', 'zerosnet-opt', 'lm(0)', 'zerosnet(-0.5)', 'lm(1.5)', 'lm(1.9)', 'all-ones'}
    assert {entry[0] for entry in found} == families
    assert [entry[1] for entry in found if entry[0] == 'lm(1.9)'] == [0.1, 1]  # momentum(0.9) and lm(1.9)
    for _, b0, error, spread in found:
        assert error == pytest.approx(b0 + 1, abs=1e-4) and spread == pytest.approx(1)


def test_lengths_of_the_pilot():
    """Seeds that agree, a length that ranks the other way round."""
    names = NAMES[:10]
    rank = {name: i for i, name in enumerate(names)}
    short = table(lambda row: 30 + rank[row['set']], names, (0, 1), images=1000)
    long = table(lambda row: 30 - rank[row['set']], names, (0, 1), images=4000)
    found = {(a['sets_compared'], a['first'], a['second']): a for a in lengths(short + long)}
    assert found['all', '1000, seed 0', '1000, seed 1']['spearman'] == pytest.approx(1)
    for seeds in ((0, 0), (0, 1), (1, 0), (1, 1)):
        one, other = (f'{images}, seed {seed}' for images, seed in zip((1000, 4000), seeds, strict=True))
        every, stable = found['all', one, other], found['stable ones', one, other]
        assert every['spearman'] == stable['spearman'] == pytest.approx(-1)
        assert every['sets'] == 10 > stable['sets'] > 3
    assert len(found) == 12


def write(path, rows):
    with open(path, 'w', newline='') as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.slow
@pytest.mark.parametrize('names', [NAMES[:12], NAMES], ids=len)
def test_command_writes_answers_and_figures(names, tmp_path, monkeypatch, capsys):
    path = tmp_path / 'stability_study.csv'
    other = table(by_radius, NAMES[:8], (0, 1), recipe='no-norm')
    for change in ({'depth': 56}, {'data': 'cifar100'}, {'data': 'cifar100', 'depth': 56}):
        other += table(by_radius, NAMES[:8], (0, 1), **change)
    write(path, [*table(by_radius, names), *other])
    monkeypatch.setattr(sys, 'argv', ['analyse.py', '--csv', str(path), '--out', str(tmp_path)])
    assert analyse.main() == 0
    with open(tmp_path / 'stability_study_answers.csv', newline='') as file:
        answers = list(csv.DictReader(file))
    found = {tuple(answer[key] for key in ('data', 'depth', 'recipe', 'runs')) for answer in answers}
    assert found == {
        ('cifar10', '20', 'standard', str(3 * len(names))),
        ('cifar10', '56', 'standard', '16'),
        ('cifar100', '20', 'standard', '16'),
        ('cifar100', '56', 'standard', '16'),
        ('cifar10', '20', 'no-norm', '16'),
    }
    assert {file.name for file in tmp_path.glob('*.svg')} == {
        'study-largest-modulus.svg',
        'study-parasitic-radius.svg',
        'study-scale.svg',
        'study-last-block.svg',
        'study-depth-56.svg',  # one for each thing that other runs change
        'study-cifar100.svg',
        'study-recipes.svg',
    }
    first = {file.name: file.read_bytes() for file in tmp_path.glob('*.svg')}
    assert analyse.main() == 0 and first == {file.name: file.read_bytes() for file in tmp_path.glob('*.svg')}


def test_command_refuses_what_it_cannot_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['analyse.py', '--csv', str(tmp_path / 'none.csv')])
    with pytest.raises(SystemExit) as stop:
        analyse.main()
    assert stop.value.code == 2 and 'expected a table that run.py has written' in capsys.readouterr().err
