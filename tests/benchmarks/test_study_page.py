"""The page of the study: its tables and sentences say what the results say."""

import re
from itertools import combinations

import numpy as np
import pytest
from records import read_csv
from study import page
from study.analyse import rounded
from study.commands import RESULTS
from study.intervals import by_set, spearman
from study.questions import (
    KENDALL,
    OUTCOMES,
    comparable,
    correlations,
    lengths,
    same_roots,
    slope_weights,
    stable_against_unstable,
)
from study.sets import PILOT, SETS
from test_study_analysis import NAMES, by_radius, table, write

PARTS = ('pilot', 'ranks', 'answers', 'failures', 'moduli', 'optimal', 'methods', 'costs')
TEXT = ''.join(f'<!-- {name}:begin -->\n<!-- {name}:end -->\n' for name in PARTS)
INTERVAL = re.compile(r'(-?\d+(?:\.\d+)?)\s+\((-?\d+\.\d+)\s+to\s+(-?\d+\.\d+)\)')  # such as 0.50 (0.17 to 0.70)


def cells(text, name):
    """The rows of a table of the page, without its header."""
    part = text.partition(f'<!-- {name}:begin -->')[2].partition(f'<!-- {name}:end -->')[0]
    return [[cell.strip() for cell in line.strip('| ').split('|')] for line in part.strip().splitlines()[2:]]


def test_page_is_that_of_the_results():
    text = page.DOCUMENT.read_text(encoding='utf-8')
    assert page.document(text, RESULTS) == text and len(cells(text, 'pilot')) == len(PILOT)
    assert all(f'<!-- {name}:begin -->' in text and f'<!-- {name}:end -->' in text for name in PARTS)


def findings():
    """The sentences on what the trainings say, in one line."""
    text = page.DOCUMENT.read_text(encoding='utf-8').partition('## What the trainings say')[2]
    return ' '.join(text.partition('\n![')[0].split())


NOISE, GAP = 'error under noise', 'generalisation gap'
UNSTABLE, LAST, OTHERS = 'unstable minus stable', 'last block', 'last block, other families B'
SAME, CHANGE = (f'{UNSTABLE}, {what} the main runs' for what in ('the same in', 'change from'))
SEEDS = 'one seed against another'
DEPTH_56, CIFAR100 = {'depth': '56'}, {'data': 'cifar100'}
FAST, SLOW, NO_DECAY = ({'recipe': name} for name in ('no-norm', 'no-norm-slow', 'no-decay'))
SAID = (  # which answer each interval of the sentences is, in their order
    [UNSTABLE],
    [UNSTABLE, NOISE],
    [UNSTABLE, DEPTH_56],
    [UNSTABLE, DEPTH_56, NOISE],
    [SAME, DEPTH_56],
    [SAME, DEPTH_56, NOISE],
    [UNSTABLE, CIFAR100],
    [UNSTABLE, CIFAR100, NOISE],
    [CHANGE, DEPTH_56],
    ['largest modulus'],
    ['largest modulus', NOISE],
    [SEEDS],
    ['b0, order, sum_a'],
    ['b0, order, sum_a', NOISE],
    ['largest modulus and zero stability beside them'],
    ['largest modulus and zero stability beside them', NOISE],
    ['parasitic radius, stable methods'],
    [f'{SEEDS}, stable methods with root 1'],
    [SEEDS, GAP],
    [UNSTABLE, GAP],
    [LAST],
    [f'{LAST} minus largest modulus'],
    [LAST, NOISE],
    [f'{LAST} minus largest modulus', NOISE],
    [OTHERS],
    [f'{OTHERS} minus largest modulus'],
    [LAST, DEPTH_56],
    [f'{LAST} minus largest modulus', DEPTH_56],
    [LAST, CIFAR100],
    [f'{LAST} minus largest modulus', CIFAR100],
    [f'{LAST} minus largest modulus', FAST],
    [f'{LAST} minus largest modulus', SLOW],
    [SEEDS, SLOW],
    [UNSTABLE, NO_DECAY],
    [SAME, NO_DECAY],
    [CHANGE, NO_DECAY],
    [UNSTABLE, SLOW],
    [UNSTABLE, SLOW, NOISE],
)


def answer(selection, *more):
    """The one row of the answers that is not Kendall's, such as ``answer('last block', NOISE, {'depth': '56'})``."""
    wanted = {'data': 'cifar10', 'depth': '20', 'recipe': 'standard', 'outcome': 'test error'}
    for given in more:
        wanted |= given if isinstance(given, dict) else {'outcome': given}
    wanted['sets_compared'] = selection
    rows = read_csv(RESULTS / 'stability_study_answers.csv')
    (found,) = [row for row in rows if wanted.items() <= row.items() and row['statistic'] != KENDALL]
    return found


def says(text, value):
    """Whether a number in a sentence is this value, rounded to as many digits; the csv has four."""
    return abs(float(text) - float(value)) <= 0.5 * 10.0 ** -len(text.partition('.')[2]) + 5e-4 * abs(float(value))


def test_intervals_in_sentences_are_those_of_the_results():
    found = INTERVAL.findall(findings())
    assert len(found) == len(SAID)
    for said, key in zip(found, SAID, strict=True):
        row = answer(*key)
        assert all(map(says, said, (row[name] for name in ('value', 'low', 'high')))), (said, key)


def runs(**wanted):
    """The main runs, or other ones."""
    wanted = {'data': 'cifar10', 'depth': '20', 'recipe': 'standard'} | wanted
    return [row for row in read_csv(RESULTS / 'stability_study.csv') if wanted.items() <= row.items()]


def mean_errors(rows):
    """The mean test error, %, of each method, the best first."""
    found = {name: float(np.mean(values)) for name, values in by_set(rows, OUTCOMES['test error']).items()}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def stable_ones(errors):
    return {name: error for name, error in errors.items() if SETS[name].method.is_zero_stable}


def not_said(*phrases):
    """Those that the sentences do not have."""
    return [phrase for phrase in phrases if phrase not in findings()]


def test_what_ties_allow():
    moduli = np.array([[float(row['spectral_radius']) for row in runs(seed='0')]])
    most = spearman(moduli, np.argsort(np.argsort(moduli)))[0]
    assert not_said(f'no order of the errors could give it more than {most:.2f}') == []


def test_methods_that_the_claim_fails_for():
    error, deep = mean_errors(runs()), mean_errors(runs(depth='56'))
    failing = ('momentum(0.9)', 'zerosnet(0.4)', 'zerosnet(0.5)')
    assert {*stable_ones(dict([*error.items()][-6:]))} == {*failing}
    (row, *_) = [row for row in runs() if row['set'] == 'momentum(0.9)']
    assert slope_weights(row)[0] > sum(slope_weights(row)[1:])
    unstable = 'zerosnet(-0.9)'
    worst, best = max(stable_ones(deep).values()), min(error.values())
    phrases = (
        'are among the six worst ({:.1f}, {:.1f} and {:.1f} %)'.format(*(error[name] for name in failing)),
        f'a `b[0]` of 1, is at {error["lm(1.9)"]:.1f} %',
        f'`{unstable}` is unstable and, at {error[unstable]:.1f} %, within a point of the best ({best:.1f} %)',
        f'at depth 56 it is at {deep[unstable]:.1f} %, the worst stable one of twelve at {worst:.1f} %',
    )
    assert not_said(*phrases) == []
    assert {*[*stable_ones(error)][-5:]} & {*deep} == set()  # the stable methods that do worst


def test_equal_moduli_and_equal_roots():
    error = mean_errors(runs())
    same_sign, opposite_signs = ((error[name], error[f'{name}:mirrored']) for name in ('lm(2.2)', 'lm(-0.2)'))
    pairs = combinations(same_roots(runs()), 2)
    moved = [abs(x - y) for (name, b, x, _), (other, c, y, _) in pairs if name == other and c == pytest.approx(2 * b)]
    seeds = by_set(runs(), OUTCOMES['test error']).values()
    between = np.median([abs(x - y) for values in seeds for x, y in combinations(values, 2)])
    phrases = (
        'one sign the error is {:.0f} and {:.0f} %'.format(*same_sign),
        'of opposite signs it is {:.0f} and {:.0f} %'.format(*opposite_signs),
        f'up to {max(moved):.1f} points, of a range of {max(error.values()) - min(error.values()):.0f}',
        f'differ by {between:.1f} in the median',
        f'is {error["momentum(0.9)"] - error["lm(1.9)"]:.1f} points worse',
    )
    assert not_said(*phrases) == []


def test_designs_of_more_steps():
    error = mean_errors(runs())
    optimum = by_set(runs(), OUTCOMES['test error'])['zerosnet-opt']
    phrases = (
        f'are at {error["optimal(4)"]:.1f} and {error["optimal(5)"]:.1f} %',
        f'`zerosnet-opt`, is at {error["zerosnet-opt"]:.1f} %',
        f'up to {max(optimum) - min(optimum):.1f} points apart',
    )
    assert not_said(*phrases) == []


def test_runs_without_batch_norm():
    fast, slow = mean_errors(runs(**FAST)), mean_errors(runs(**SLOW))
    learned, best = stable_ones(fast).values(), next(iter(fast))
    at_chance = [row['set'] for row in runs(**FAST) if float(row['test_accuracy']) < 10.5]
    assert best == 'lm(-0.2)' and len(at_chance) == 5 and {*at_chance} == {'lm(2.2)', 'zerosnet(-0.5)', 'all-ones'}
    phrases = (
        f'the six stable methods at {min(learned):.0f} to {max(learned):.0f} %',
        f'the best of all ({fast[best]:.0f} %)',
        f'end at {min(slow.values()):.0f} to {max(slow.values()):.0f} %',
    )
    assert not_said(*phrases) == []


def test_readme_says_what_the_page_says():
    error, counts = mean_errors(runs()), {len(values) for values in by_set(runs(), OUTCOMES['test error']).values()}
    text = ' '.join((page.DOCUMENT.parents[1] / 'README.md').read_text(encoding='utf-8').split())
    assert counts == {3} and f'trained {len(error)} methods three times each' in text
    assert len(stable_ones(dict([*error.items()][-6:]))) == 3 and 'of the six worst three are stable' in text


def test_answers_are_those_of_the_runs():
    """Of the differences, which are quick to compute: a change of the runs or of the statistics makes them stale."""
    stored = read_csv(RESULTS / 'stability_study_answers.csv')
    for group, rows in comparable(read_csv(RESULTS / 'stability_study.csv')).items():
        for found in rounded(stable_against_unstable(rows)):
            row = {key: str(value) for key, value in (group._asdict() | found).items()}
            assert [kept for kept in stored if row.items() <= kept.items()], row


def test_sentences_were_written_for_the_rows_that_are_there():
    """Whoever adds rows reads the sentences again."""
    assert f'table of {len(read_csv(RESULTS / "stability_study.csv"))} runs' in page.DOCUMENT.read_text(
        encoding='utf-8'
    )


def test_ranks_are_those_of_the_pilot():
    found = rounded(lengths(read_csv(RESULTS / 'stability_pilot.csv')))
    found = [{key: str(value) for key, value in row.items()} for row in found]
    assert found == read_csv(RESULTS / 'stability_pilot_ranks.csv')
    text = ' '.join(page.DOCUMENT.read_text(encoding='utf-8').split())
    values = [f'{float(row["spearman"]):.2f}' for row in found]
    for (seed, long_seed, *between), sentence in zip(
        (values[:6], values[6:]),
        (
            'between the lengths rho is {} to {}, between two seeds of one length {} and {}.',
            'the lengths agree with {} to {}, two seeds with {} and {}:',
        ),
        strict=True,
    ):
        assert sentence.format(min(between), max(between), seed, long_seed) in text


def test_pilot_by_method_and_length(tmp_path):
    rows = table(lambda row: 30 + int(row['seed']) + int(row['images']) / 1000, NAMES[:5], (0, 1), images=1000)
    write(tmp_path / 'stability_pilot.csv', [*rows, *table(lambda row: 12.25, NAMES[:5], (0,), images=4000)])
    write(tmp_path / 'stability_pilot_ranks.csv', lengths(rows))
    found = page.document(TEXT, tmp_path)
    assert cells(found, 'pilot')[0][2:] == ['31.00, 32.00', '12.25'] and len(cells(found, 'pilot')) == 5
    assert cells(found, 'answers') == []  # no runs yet


def test_methods_are_in_the_order_of_their_errors(tmp_path):
    rows = table(by_radius, NAMES[:8])
    write(tmp_path / 'stability_study.csv', rows)
    answers = [{**next(iter(comparable(rows)))._asdict(), **answer} for answer in correlations(rows)]
    write(tmp_path / 'stability_study_answers.csv', answers)
    found = page.document(TEXT, tmp_path)
    found = found.replace('cifar10, depth 20, 250,000 images:\n\n', '')
    listed = cells(found, 'methods')
    radii = [float(row[2]) for row in listed]
    assert len(radii) == 8 and radii == sorted(radii) and radii[0] < radii[-1]
    assert {row[6] for row in listed} == {f'{10 * radius + 0.01:.2f} ± 0.01' for radius in radii}
    (first, *_) = cells(found, 'answers')
    assert first[:2] == ['largest modulus', 'Spearman'] and first[2].startswith('8, ')
    assert first[3].startswith('1.00 (') and first[4] == '' and first[5].startswith('1.00 (')  # the gap is 5 for all
    assert cells(found, 'costs') == [['cifar10, depth 20, 250,000 images', 'AVX2', '24', '0', '30', '100', '0.2']]
    assert len(cells(found, 'failures')) == 5 and {row[0] for row in cells(found, 'moduli')} < {
        row[0] for row in listed
    }
