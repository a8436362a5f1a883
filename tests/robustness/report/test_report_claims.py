"""The sentences of report.html, table.md and summary.json claim no more than the cells show."""

import json

import numpy as np
import pytest
import timm
from made_cells import cell
from made_reports import made, whole
from pages import Page, words
from small_runs import DATA, FEW

from timm_zerosnet.robustness import SUITES
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.plan import CLEAN
from timm_zerosnet.robustness.report.files import table_md
from timm_zerosnet.robustness.report.html import report_html
from timm_zerosnet.robustness.report.summary_markdown import summary_lines
from timm_zerosnet.robustness.run import run

PLAN = [(CLEAN, 0.0, None), ('const', 0.1, None), ('randn', 0.1, 0)]


def model(name, clean, const, randn):
    """Right on so many of 40 images."""
    counts = dict(zip(PLAN, (clean, const, randn), strict=True))
    return [cell(name, *place[:2], np.arange(40) < count, place[2]) for place, count in counts.items()]


def said(report):
    """The text of the page, and that of the table."""
    return words(' '.join(Page(report_html(*report)).texts.values())), words(
        ' '.join(summary_lines(report[0], report[2]))
    )


def test_each_mce_names_what_it_averages():
    helped = made({'m': model('m', 20, 15, 10), 'base': model('base', 20, 25, 8)}, PLAN, baseline='base')
    alike = made({'m': model('m', 20, 15, 10), 'base': model('base', 20, 15, 8)}, PLAN, baseline='base')
    for text in said(helped):
        assert 'mCE: base is 100; over const, randn. Relative mCE: over randn.' in text
    for text in said(alike):
        assert 'mCE and relative mCE: base is 100; over const, randn.' in text


def test_an_interval_may_end_at_0_or_100():
    findings = made({'right': model('right', 40, 40, 40), 'wrong': model('wrong', 0, 0, 0)}, PLAN)
    text, _ = said(findings)
    assert '100.00 % (91.24 to 100.00) on average over all corruptions' in text
    assert '0.00 % (0.00 to 8.76) on average over all corruptions' in text


def test_a_pair_that_lacks_cells_is_marked():
    report = made({'a': model('a', 20, 15, 10), 'b': model('b', 20, 20, 20)[:-1]}, PLAN)
    for text in said(report):
        assert '(incomplete)' in text and '2 of 3 cells' in text and 'other noise' not in text
    statistics = report[2].document()
    assert [pair['complete'] for pair in statistics['comparisons']] == [False]
    assert {name: found['complete'] for name, found in statistics['models'].items()} == {'a': True, 'b': False}
    whole = made({'a': model('a', 20, 15, 10), 'b': model('b', 20, 20, 20)}, PLAN)
    assert not any('incomplete' in text for text in said(whole))
    assert [pair['complete'] for pair in whole[2].document()['comparisons']] == [True]


@pytest.mark.slow
def test_a_pair_of_two_sizes_did_not_see_the_same_noise(tmp_path):
    large = Source('large', timm.create_model('preresnet20', pretrained=True), preprocessing={'input_size': (48, 48)})
    run(['zerosnet20', large], DATA, tmp_path, **FEW)
    note = 'the two did not see the same noise: their inputs are 3x48x48 and 3x32x32'
    page = words(Page((tmp_path / 'report.html').read_text()).texts['pairs'])
    table = (tmp_path / 'table.md').read_text()
    for text in (page, table):
        assert '(other noise) ' in text and note in text
    assert 'with the same noise unless noted otherwise' in page
    (pair,) = json.loads((tmp_path / 'summary.json').read_text())['statistics']['comparisons']
    assert pair['notes'] == [note]


def test_level_0_is_no_noise():
    cells = [*model('a', 20, 15, 10), cell('a', 'const', 0.0, np.ones(40)), cell('a', 'randn', 0.0, np.ones(40), 0)]
    _, _, found = made({'a': cells}, [*PLAN, ('const', 0.0, None), ('randn', 0.0, 0)])
    clean, noisy = found.reliability['a']
    assert (clean[:, 0].sum(), noisy[:, 0].sum(), noisy[:, 2].sum()) == (40, 80, 25)


def test_a_baseline_without_a_result_is_said():
    for text in said(made({'a': model('a', 20, 15, 10), 'base': []}, PLAN, failed=['base'], baseline='base')):
        assert 'No mCE: the baseline base has no result.' in text
    assert not any('No mCE' in text for text in said(made({'a': model('a', 20, 15, 10)}, PLAN)))


def test_no_mce_has_its_reason():
    perfect = made({'m': model('m', 20, 15, 10), 'base': model('base', 40, 40, 40)}, PLAN, baseline='base')
    for text in said(perfect):
        assert (
            'base is 100; over nothing (base makes no errors under it). Relative mCE: over nothing (base makes no'
            in text
        )


def test_a_part_of_a_suite_is_named_in_the_heads():
    for chosen, seeds, suite in (
        (['const', 'randn'], '0, 1', 'suite zerosnet, 2 of its 4 corruptions (const, randn)'),
        ([CLEAN], '', 'suite zerosnet, only clean images'),
        (list(SUITES['zerosnet']), '0, 1', 'suite zerosnet'),
    ):
        report = whole(['a'], corruptions=chosen)
        mean = seeds and f', mean over the seeds {seeds}'
        assert f'{suite}{mean}.' in table_md(*report).splitlines()[0]
        assert f'{suite} noise seeds {seeds or "none"}' in words(Page(report_html(*report)).texts[''])
