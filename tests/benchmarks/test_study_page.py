"""The page of the study: its tables and sentences say what the results say."""

import re

import numpy as np
from records import read_csv
from study import page
from study.analyse import rounded
from study.commands import RESULTS
from study.intervals import by_set
from study.questions import OUTCOMES, comparable, correlations, lengths
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


def says(text, value):
    """Whether a number in a sentence is this value, rounded to as many digits; the csv has four."""
    return abs(float(text) - float(value)) <= 0.5 * 10.0 ** -len(text.partition('.')[2]) + 5e-4 * abs(float(value))


def test_intervals_in_sentences_are_those_of_the_results():
    found = INTERVAL.findall(BLOCK.sub('', page.DOCUMENT.read_text(encoding='utf-8')))
    answers = [
        [row[key] for key in ('value', 'low', 'high')] for row in read_csv(RESULTS / 'stability_study_answers.csv')
    ]
    stale = [said for said in found if not any(all(map(says, said, answer)) for answer in answers)]
    assert not stale and len(found) > 15


def test_errors_in_sentences_are_those_of_methods():
    """Percentages with a digit after the point are mean errors of a method in one of the groups of runs."""
    text = (
        BLOCK.sub('', page.DOCUMENT.read_text(encoding='utf-8'))
        .partition('## What the trainings say')[2]
        .partition('\n![')[0]
    )
    found = re.findall(r'(\d+\.\d)(?=(?:, \d+\.\d)* (?:and \d+\.\d )?%)', text.replace('\n  ', ' '))
    errors = [
        np.mean(values)
        for rows in comparable(read_csv(RESULTS / 'stability_study.csv')).values()
        for values in by_set(rows, OUTCOMES['test error']).values()
    ]
    stale = [said for said in found if not any(says(said, error) for error in errors)]
    assert not stale and len(found) >= 8


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
