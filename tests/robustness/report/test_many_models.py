"""Reports of many models are sorted, short where they sum up, and complete."""

import csv
import json
import re
from contextlib import closing

import numpy as np
import pytest
from amounts import slow, slow_but
from made_reports import NAMES, built, made, many_models, official_conditions, page, whole
from made_runs import store_run
from pages import Page, words

from timm_zerosnet.robustness.plan import plan_conditions
from timm_zerosnet.robustness.report.charts import BANDS, CURVES, MARKERS
from timm_zerosnet.robustness.report.files import export, table_md
from timm_zerosnet.robustness.report.findings import MOST_LINES, findings, training_findings
from timm_zerosnet.robustness.report.samples import Samples
from timm_zerosnet.robustness.report.summary_markdown import MANY_MODELS, group_letters
from timm_zerosnet.robustness.store import Store

CASES = ['one model', 'three models', 'five models', 'twelve models', 'twenty models', 'nothing', 'clean alone']


def cells_of(text, section):
    return [words(content) for where, _, content in Page(text).cells if where == section]


@pytest.mark.parametrize('case', slow_but(['five models', 'nothing', 'clean alone'], CASES))
def test_what_stands_out_has_at_most_ten_lines(case):
    plan, _, analysis, _ = built(case)
    lines = findings(plan.names, analysis)
    assert 0 < len(lines) <= MOST_LINES and page(case).count('</dt>\n<dd>') == len(lines)
    for subject, text in lines:
        assert subject and text.endswith('.')
        assert subject in words(page(case)) or '.' in subject or '<' in subject


@pytest.mark.slow
def test_what_stands_out_of_twenty_models():
    plan, _, analysis, _ = built('twenty models')
    lines = dict(findings(plan.names, analysis))
    errors = {name: s.mean_error.value for name, s in analysis.summaries.items() if s.mean_error.value is not None}
    best, worst = min(errors, key=errors.get), max(errors, key=errors.get)
    assert lines['First'].startswith(f'{best}, with an accuracy of {100 - errors[best]:.2f} % (')
    assert lines['Last'].startswith(f'{worst}, with an accuracy of {100 - errors[worst]:.2f} % (')
    assert lines['Not ranked'] == 'vgg16.tv_in1k: cells without a result.'
    rows = [pair.overall for pair in analysis.comparisons]
    better = sum(row.difference > 0 and row.p_holm <= 0.05 for row in rows)
    assert lines['Against resnet50.a1_in1k'].startswith(f'{better} of 19 models are more accurate over all corruptions')
    clean = {name: s.clean.value for name, s in analysis.summaries.items()}
    assert max(clean, key=clean.get) in lines['Clean images']
    for name in (best, worst):
        others = analysis.ranking.not_told_apart(name)
        text = lines['First' if name == best else 'Last']
        assert ('not told apart from' in text) == bool(others) and all(other in text for other in others)


def test_many_architectures_trained_several_times_are_one_sentence():
    names = [f'{letter}.d_seed{seed}' for letter in 'abcd' for seed in (0, 1)]
    _, _, analysis = whole(names, corruptions=['const'], levels=[0.1, 0.2])
    (line,) = training_findings(analysis)
    assert re.match(r'Over their trainings, \d of 3 architectures differ from a.d \(Welch', line)


@pytest.mark.parametrize(
    'case', ['one model', 'three models', 'five models', *map(slow, ('twelve models', 'twenty models'))]
)
def test_every_list_of_models_is_sorted_by_result(case):
    plan, _, analysis, _ = built(case)
    errors = {n: s.mean_error.value for n, s in analysis.summaries.items()}
    order = sorted(errors, key=lambda name: (errors[name] is None, errors[name]))
    found = Page(page(case))
    for section in ('summary', 'figures', 'pairs'):
        heads = [words(text) for where, tag, text in found.cells if (where, tag) == (section, 'th')]
        wanted = [words(name) for name in order if section != 'pairs' or name != analysis.reference]
        assert [name for name in heads if name in wanted] == wanted
    places = [words(found.texts['reliability']).index(words(name)) for name in order]
    assert places == sorted(places)


def test_ranks_and_groups_are_shown():
    _, _, analysis, _ = built('twenty models')
    cells = cells_of(page('twenty models'), 'summary')
    letters = group_letters(analysis.ranking)
    for name, rank in analysis.ranking.ranks.items():
        at = cells.index(name)
        assert cells[at - 1] == str(rank)
        assert cells[at + 3] == (''.join(letters[name]) or '–')
        shared = {other for other in letters if set(filter(None, letters[name])) & set(filter(None, letters[other]))}
        assert shared - {name} == analysis.ranking.not_told_apart(name)
    assert len(analysis.ranking.ranks) == 19 and any(map(any, letters.values()))
    text = words(Page(page('twenty models')).texts['summary'])
    assert 'Models that share a letter are not told apart: a sign-flip test' in text
    assert "has a p value above 0.05 after Holm's correction for all 171 pairs" in text
    assert 'That does not mean that they are equally good' in text and cells[cells.index('vgg16.tv_in1k') - 1] == '–'


def test_letters_go_on_after_z():
    class Ranking:
        ranks = dict.fromkeys('xy', 1)
        groups = (('x', 'y'),) * 28

    assert group_letters(Ranking)['x'][:2] == ['a', 'b'] and group_letters(Ranking)['x'][25:] == ['z', 'aa', 'ab']


def test_at_most_eight_curves_have_a_colour():
    text = page('twenty models')
    found = Page(text)
    boxes = found.all('input')
    assert len(boxes) == 20 and sum('checked' in box for box in boxes) == CURVES == len(MARKERS) == 8 > BANDS
    charts = re.findall(r'<svg id="c\d+-chart".*?</svg>', text, re.DOTALL)
    assert len(charts) == 19
    for chart in charts:
        assert chart.count('class="line"') == 20 and len(set(re.findall('data-s="(.)"', chart))) == 8
    assert len(Page(page('one model')).all('input')) == 0 and len(Page(page('five models')).all('input')) == 5


def test_a_page_of_twenty_models_is_small():
    assert len(page('twenty models').encode()) < 3e6


def colours(text, scheme):
    block = text[text.index(':root') :].split('@media (prefers-color-scheme: dark)')[scheme == 'dark']
    return {name: value for name, value in re.findall(r'--(s\d|card): (#\w+);', block)[:9]}


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize(
    'sight',  # matrices of Machado, Oliveira and Fernandes 2009 for linear RGB, severity 1
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ],
    ids=['usual', 'protanopia', 'deuteranopia', 'tritanopia'],
)
def test_colours_differ_for_every_kind_of_sight(sight, scheme):
    """Distances in CIELAB; where they are small the markers differ, too. Lines stand out from the ground, 3 to 1."""

    def linear(colour):
        values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)

    def lab(rgb):
        to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        x, y, z = np.cbrt(np.clip(to_xyz @ rgb / [0.9505, 1, 1.089], 1e-3, None))
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    found = colours(page('one model'), scheme)
    card = found.pop('card') if len(found['card']) == 7 else '#ffffff'
    found = {name: colour for name, colour in found.items() if name != 'card'}
    assert len(found) == 8
    seen = [lab(np.clip(np.asarray(sight) @ linear(colour), 0, 1)) for colour in found.values()]
    assert min(np.linalg.norm(one - two) for i, one in enumerate(seen) for two in seen[:i]) > 12
    light = [[0.2126, 0.7152, 0.0722] @ linear(colour) + 0.05 for colour in (card, *found.values())]
    assert all(max(value, light[0]) / min(value, light[0]) > 3 for value in light[1:])


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A run of twenty models in a store, one of which failed."""
    names = [*reversed(NAMES)]
    conditions = plan_conditions('imagenet-c', ['contrast', 'pixelate'], [1, 3])
    models = many_models(names, conditions, 100, 'imagenet-c')
    del models['resnet18.a1_in1k']
    folder = tmp_path_factory.mktemp('many')
    plan = {name: models.get(name, []) for name in names}
    store_run(folder, plan, conditions, failed=['resnet18.a1_in1k'], suite='imagenet-c')
    with closing(Store(folder)) as store:
        export(folder, store, None)
    return folder


def test_files_of_a_stored_run(folder):
    """The order of the csv, json and results files is that of the run; the reports are sorted."""
    rows = list(csv.DictReader((folder / 'cells.csv').read_text().splitlines()))
    assert list(dict.fromkeys(row['model'] for row in rows)) == [*reversed(NAMES)] and len(rows) == 20 * 5
    statistics = json.loads((folder / 'summary.json').read_text())['statistics']
    assert 'ranking' not in statistics and len(statistics['models']) == 19
    text = (folder / 'report.html').read_text()
    assert '5 cells failed' in text and 'resnet18.a1_in1k: cells without a result.' in text


def test_the_table_of_twenty_models_can_be_read(folder):
    lines = (folder / 'table.md').read_text().splitlines()
    assert max(line.count('|') for line in lines) <= 13 and max(map(len, lines)) < 900
    findings_of = [line for line in lines if line.startswith('- **')]
    assert 5 <= len(findings_of) <= MOST_LINES and findings_of[0].startswith('- **First**: ')
    start = next(i for i, line in enumerate(lines) if line.startswith('| rank | not told apart | model | clean |'))
    ranked = [line.split(' | ') for line in lines[start + 2 : start + 21]]
    errors = [float(cells[4].split()[0]) for cells in ranked]
    assert errors == sorted(errors) and [cells[0] for cells in ranked][0] == '| 1'
    for corruption in ('clean | 0', 'contrast | 1 | 3', 'pixelate | 1 | 3'):
        at = lines.index(f'| {corruption} |')
        names = [line.split(' | ')[0][2:] for line in lines[at + 2 : at + 22]]
        assert names[:19] == [cells[2] for cells in ranked] and names[19] == 'resnet18.a1_in1k'
    assert '5 of 100 cells failed:' in lines
    assert lines[-1] == (
        '- resnet18.a1_in1k, 5 cells (clean, contrast 1, contrast 3, pixelate 1, pixelate 3): out of memory'
    )


def test_the_table_of_few_models_is_in_the_order_of_the_run():
    names = [f'net{i}' for i in range(MANY_MODELS)]
    for count, many in ((MANY_MODELS, False), (MANY_MODELS + 1, True)):
        models = many_models([*names, 'last'][:count], official_conditions(['fog'], [1.0]), 40)
        plan, rows, analysis = made(
            dict(reversed(models.items())), official_conditions(['fog'], [1.0]), suite='official'
        )
        text = table_md(plan, rows, analysis)
        assert ('| rank |' in text) == many and ('- **First**' in text) == many
        assert (f'| corruption | level | {" | ".join(plan.names)} |' in text) == (not many)


def test_many_corruptions_show_fewer_levels():
    found = built('twenty models')[3]
    assert isinstance(found, Samples) and max(map(len, found.perturbed.values())) >= 3
