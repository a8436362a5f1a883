"""What report.html, table.md and summary.json say besides the numbers: no more than the cells hold."""

import numpy as np
from made_cells import cell
from made_reports import made
from test_report import Page, words

from timm_zerosnet.robustness.cells import CLEAN
from timm_zerosnet.robustness.report import report_html
from timm_zerosnet.robustness.tables import summary_lines

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
    assert 'on 100.00 % (91.24 to 100.00) over all corruptions' in text
    assert 'on 0.00 % (0.00 to 8.76) over all corruptions' in text
