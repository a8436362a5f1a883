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
from study.questions import KENDALL, OUTCOMES, comparable, correlations, lengths, same_roots
from study.sets import PILOT
from test_study_analysis import NAMES, by_radius, table, write

PARTS = ('pilot', 'ranks', 'answers', 'failures', 'moduli', 'optimal', 'methods', 'costs')
TEXT = ''.join(f'<!-- {name}:begin -->\n<!-- {name}:end -->\n' for name in PARTS)
INTERVAL = re.compile(r'(-?\d+(?:\.\d+)?)\s+\((-?\d+\.\d+)\s+to\s+(-?\d+\.\d+)\)')  # such as 0.50 (0.17 to 0.70)
BLOCK = re.compile(r'<!-- (\w+):begin -->.*?<!-- \1:end -->', re.DOTALL)


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
UNSTABLE, LAST, LATER = 'unstable less stable', 'last block', 'last block, other families B'
SAME, CHANGE = (f'{UNSTABLE}, {what} the main runs' for what in ('the same in', 'change from'))
DEPTH_56, CIFAR100 = {'depth': '56'}, {'data': 'cifar100'}
SAID = (  # which answer each interval of the sentences is, in their order
    [UNSTABLE],
    [UNSTABLE, NOISE],
    [UNSTABLE, DEPTH_56],
    [SAME, DEPTH_56],
    [UNSTABLE, CIFAR100],
    [CHANGE, DEPTH_56],
    ['largest modulus'],
    ['largest modulus', NOISE],
    ['one seed against another'],
    ['parasitic radius, stable sets'],
    ['one seed against another, stable sets'],
    ['one seed against another', GAP],
    [UNSTABLE, GAP],
    [LAST],
    [f'{LAST} less largest modulus'],
    [LAST, NOISE],
    [f'{LAST} less largest modulus', NOISE],
    [LATER],
    [f'{LATER} less largest modulus'],
    [LAST, DEPTH_56],
    [f'{LAST} less largest modulus', DEPTH_56],
    [LAST, CIFAR100],
    [f'{LAST} less largest modulus', CIFAR100],
    [LAST, {'recipe': 'no-norm'}],
    [LAST, {'recipe': 'no-norm-slow'}],
    [UNSTABLE, {'recipe': 'no-decay'}],
    [SAME, {'recipe': 'no-decay'}],
    [CHANGE, {'recipe': 'no-decay'}],
    [UNSTABLE, {'recipe': 'no-norm-slow'}],
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
    return {name: float(np.mean(values)) for name, values in by_set(rows, OUTCOMES['test error']).items()}


def test_errors_in_sentences_are_those_of_the_methods():
    mean, deep = mean_errors(runs()), mean_errors(runs(depth='56'))
    seeds = by_set(runs(), OUTCOMES['test error'])
    stable = {row['set'] for row in runs() if row['zero_stable'] == '1'}
    ranked = sorted(mean, key=mean.__getitem__)
    families = same_roots(runs())
    moved = [
        abs(x - y)
        for (first, b0, x, _), (second, other, y, _) in combinations(families, 2)
        if first == second and other == pytest.approx(2 * b0)
    ]
    between = [abs(x - y) for values in seeds.values() for x, y in combinations(values, 2)]
    by_root = {name: [mean[name], mean[f'{name}:mirrored']] for name in ('lm(2.2)', 'lm(-0.2)')}
    optimal = seeds['zerosnet-opt']
    failing = ('momentum(0.9)', 'zerosnet(0.4)', 'zerosnet(0.5)')
    assert {*failing} <= {*ranked[-6:]} & stable and len({*ranked[-6:]} & stable) == 3
    moduli = np.array([[float(row['spectral_radius']) for row in runs(seed='0')]])
    fast, slow = (mean_errors(runs(recipe=name)) for name in ('no-norm', 'no-norm-slow'))
    learned = [fast[name] for name in stable & {*fast}]
    by_chance = [row['set'] for row in runs(recipe='no-norm') if float(row['test_accuracy']) < 10.5]
    assert min(fast, key=fast.__getitem__) == 'lm(-0.2)' and {*by_chance} == {'lm(2.2)', 'zerosnet(-0.5)', 'all-ones'}
    assert len(by_chance) == 5
    phrases = (
        f'the six stable methods at {min(learned):.0f} to {max(learned):.0f} %',
        f'the best of all ({fast["lm(-0.2)"]:.0f} %)',
        f'end at {min(slow.values()):.0f} to {max(slow.values()):.0f} %',
        f'no order of the errors could give it more than {spearman(moduli, np.argsort(np.argsort(moduli)))[0]:.2f}',
        'among the six worst ({:.1f}, {:.1f} and {:.1f} %)'.format(*(mean[name] for name in failing)),
        f'a `b[0]` of 1, is at {mean["lm(1.9)"]:.1f} %',
        f'at {mean["zerosnet(-0.9)"]:.1f} %, within a point of the best ({mean[ranked[0]]:.1f} %)',
        f'at depth 56 it is at {deep["zerosnet(-0.9)"]:.1f} %, the worst stable one of twelve at '
        f'{max(deep[name] for name in stable & {*deep}):.1f} %',
        'one sign the error is {:.0f} and {:.0f} %'.format(*by_root['lm(2.2)']),
        'of opposite signs it is {:.0f} and {:.0f} %'.format(*by_root['lm(-0.2)']),
        f'up to {max(moved):.1f} points, of a range of {mean[ranked[-1]] - mean[ranked[0]]:.0f}',
        f'differ by {np.median(between):.1f} in the median',
        f'is {mean["momentum(0.9)"] - mean["lm(1.9)"]:.1f} points worse',
        f'are at {mean["optimal(4)"]:.1f} and {mean["optimal(5)"]:.1f} %',
        f'`zerosnet-opt`, is at {mean["zerosnet-opt"]:.1f} %',
        f'up to {max(optimal) - min(optimal):.1f} points apart',
    )
    assert [phrase for phrase in phrases if phrase not in findings()] == []


def test_sentences_were_written_for_the_rows_that_are_there():
    """Whoever adds rows reads the sentences again."""
    assert f'table of {len(read_csv(RESULTS / "stability_study.csv"))} runs' in page.DOCUMENT.read_text(
        encoding='utf-8'
    )


def test_ranks_are_those_of_the_pilot():
    found = rounded(lengths(read_csv(RESULTS / 'stability_pilot.csv')))
    found = [{key: str(value) for key, value in row.items()} for row in found]
    assert found == read_csv(RESULTS / 'stability_pilot_ranks.csv')


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
