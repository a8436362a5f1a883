"""Cells that failed are told in at most ten lines, in the terminal and in the reports."""

import re

import pytest
from small_runs import CELLS, DATA, FEW, plain

from timm_zerosnet import cli
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.plan import Condition, PlannedCell
from timm_zerosnet.robustness.report.unmeasured import unmeasured
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import Row


def row(model, level, status='failed', error='no memory'):
    return Row(PlannedCell(model, 'zerosnet', Condition('const', level, None)), status, {}, error, 0.0, '')


def test_equal_failures_of_a_model_are_one_line():
    rows = [row('a', level) for level in (0.1, 0.2, 0.3, 0.4, 0.5)]
    rows += [row('a', 0.6, error='NaN'), row('b', 0.1), row('b', 0.2, 'missing', ''), row('b', 0.3, 'ok', '')]
    assert [group.text() for group in unmeasured(rows)] == [
        'a, 5 cells (const 0.1, const 0.2, const 0.3 and 2 more): no memory',
        'a, const 0.6: NaN',
        'b, const 0.1: no memory',
        'b, const 0.2: not measured',
    ]


@pytest.mark.parametrize('models', [10, 11, 200])
def test_there_are_at_most_ten_lines(models):
    rows = [row(f'm{i}', level) for i in range(models) for level in (0.1, 0.2)]
    found = unmeasured(rows)
    assert len(found) == 10 and sum(group.count for group in found) == len(rows)
    last = found[-1].text()
    assert (
        last
        == {
            10: 'm9, 2 cells (const 0.1, const 0.2): no memory',
            11: 'others, 4 cells (m9, m10): see cells.csv',
            200: 'others, 382 cells (m9, m10, m11 and 188 more): see cells.csv',
        }[models]
    )


def test_a_model_of_many_reasons_hides_no_other():
    rows = [row('a', level, error=f'boom {level}') for level in range(30)] + [row('b', level) for level in range(3)]
    assert [group.text(1) for group in unmeasured(rows)] == [
        'a, 30 cells (const 0 and 29 more): 30 reasons, the first: boom 0',
        'b, 3 cells (const 0 and 2 more): no memory',
    ]
    many = [row(f'm{i}', level) for i in range(12) for level in range(2 + (i > 9))]
    assert {'m10', 'm11'} < {group.model for group in unmeasured(many)}


def test_a_run_of_many_failures(tmp_path):
    models = [plain(f'm{i}', lambda logits, x, i=i: logits.flatten()[: i + 1]) for i in range(12)]
    outcome = run(models, DATA, tmp_path, **FEW)
    assert len(outcome.failed) == 12 * CELLS and len(outcome.failures) == 10
    text = (tmp_path / 'table.md').read_text()
    assert text.count('the model returns shape') == 9 and f'- others, {3 * CELLS} cells (m9, m10, m11): see' in text
    page = (tmp_path / 'report.html').read_text()
    section = page[page.index('<section id="without-result">') :]
    assert len(re.findall('<tr><th scope="row">', section[: section.index('</section>')])) == 10


@pytest.mark.parametrize('by_torchrun', [True, False])
def test_command(by_torchrun, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Source, 'open', lambda self: plain('x', lambda logits, x: logits[:, :3]).module)
    monkeypatch.setattr('timm_zerosnet.commands.robustness._load', lambda *args: DATA)
    if by_torchrun:
        monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')
    words = ['robustness', '--model', 'zerosnet20', '--data', 'made', '--out', str(tmp_path), '--device', 'cpu']
    more = ['--mean', '0.5', '0.5', '0.5', '--std', '0.5', '0.5', '0.5', '--corruption', 'const']
    assert cli.main([*words, *more]) == 1
    said = capsys.readouterr().err.splitlines()
    expected = 'zerosnet20, 15 cells (clean, const -0.45, const -0.4 and 12 more): labels range from 0 to 9'
    place = next(i for i, line in enumerate(said) if line.startswith('timm-zerosnet: 15 cells failed'))
    assert said[place + 1].startswith(expected)
    assert said[place + 2 :] == by_torchrun * [
        'exit code 1 says that cells failed; torchrun calls it a ChildFailedError'
    ]
