"""The HTML report is complete and safe, has the numbers of the analysis, and is the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from made_cells import whole_run
from made_reports import CASES, LONG, SCRIPT, built, made, page, samples, whole
from pages import Page, words
from PIL import Image
from places import ROOT
from small_runs import DATA, FEW, IMAGES, plain

from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.report.charts import curves, row_at
from timm_zerosnet.robustness.report.comparison_markdown import count_significant
from timm_zerosnet.robustness.report.html import report_html
from timm_zerosnet.robustness.report.samples import MAX_LEVELS, MAX_SIDE, evenly_spaced
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.suites import perturb


@pytest.fixture(scope='module', params=CASES)
def case(request):
    plan, rows, analysis, pictures = built(request.param)
    return plan, rows, analysis, pictures, page(request.param)


def test_page_needs_nothing_else(case):
    *_, text = case
    found = Page(text)
    assert (
        'http' not in re.sub(r'http-equiv', '', text)
        and '@import' not in text
        and 'url(' not in re.sub(r'url\(#', '', text)
    )
    assert not {tag for tag, _ in found.elements} & {'iframe', 'object', 'embed', 'base', 'form'}
    for tag, attributes in found.elements:
        for name, value in attributes.items():
            assert not name.startswith('on'), (tag, name)
            if name in ('src', 'href', 'xlink:href', 'srcset', 'action', 'data'):
                assert value.startswith(('#', 'data:')), (tag, name, value)


def test_the_policy_allows_only_the_script_of_the_page(case):
    *_, text = case
    (policy,) = [a['content'] for a in Page(text).all('meta') if a.get('http-equiv') == 'Content-Security-Policy']
    (script,) = re.findall('<script>(.*?)</script>', text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert text.count('<script') == 1 and 'innerHTML' not in script


def test_page_is_well_formed(case):
    *_, text = case
    found = Page(text)  # every element is closed in its place
    ids = [attributes['id'] for _, attributes in found.elements if 'id' in attributes]
    assert len(ids) == len(set(ids))
    for attributes in found.all('a'):
        assert attributes['href'][1:] in ids
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
    assert {a or b for a, b in used} <= set(ids)
    headings = [int(tag[1]) for tag, _ in found.elements if re.fullmatch('h[1-6]', tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(headings, headings[1:], strict=False))
    assert found.all('html')[0]['lang'] == 'en' and found.all('title')
    for picture in found.all('img'):
        assert picture['alt'] and picture['src'].startswith('data:image/png;base64,')
    for box in found.all('input'):
        assert box['type'] == 'checkbox'  # within a label
    for drawing in found.all('svg'):
        assert drawing.get('aria-hidden') == 'true' or (drawing['role'] == 'img' and drawing['aria-label'])
    for head in found.all('th'):
        assert head['scope'] in ('col', 'row')


def test_every_part_is_there(case):
    plan, rows, analysis, pictures, text = case
    found = Page(text)
    known = bool(analysis.summaries)
    expected = {
        'findings': True,
        'summary': known,
        'figures': known,
        'curves': known and bool(plan.levels),
        'levels': known,
        'pairs': known,
        'reliability': known,
        'trainings': known,
        'empty': not known,
        'samples': pictures is not None,
        'without-result': any(row.status != 'ok' for row in rows),
        'method': True,
    }
    assert set(found.sections) == {name for name, there in expected.items() if there}
    assert len(found.charts('c')) == (len(plan.levels) if known else 0)
    assert len(found.charts('f')) == len(analysis.comparisons)
    assert len(found.charts('r')) == len(analysis.summaries)
    assert len(found.all('img')) == (
        0 if pictures is None else sum(1 + len(levels) for levels in pictures.perturbed.values())
    )
    assert ('A subset' in text) == bool(plan.data['subset'])
    for model in plan.models:
        assert model['name'] in found.texts['method'] and (not known or model['name'] in found.texts['levels'])


def test_names_are_text(case):
    plan, *_, text = case
    assert '<script>alert' not in text and '<b>failed' not in text
    if any(model['name'] == SCRIPT for model in plan.models):
        assert SCRIPT in Page(text).texts['method']


def test_numbers_are_those_of_the_analysis(case):
    _, _, analysis, _, text = case
    found = Page(text)
    cells = {section: [] for section in found.sections}
    for section, tag, content in found.cells:
        cells[section].append((tag, words(content)))
    for name, summary in analysis.summaries.items():
        start = cells['summary'].index(('th', words(name))) + 1
        ranked = [content for _, content in cells['summary'][start : start + 4]]
        start = cells['figures'].index(('th', words(name))) + 1
        shown = [content for _, content in cells['figures'][start : start + 7]]
        clean, error = summary.clean, summary.mean_error
        assert f'{clean.value:.2f} {clean.low:.2f} to {clean.high:.2f}' in ranked
        if error.value is not None:
            assert shown[0] == f'{error.value:.2f} {error.low:.2f} to {error.high:.2f}'
            assert ranked[0] == f'{100 - error.value:.2f} {100 - error.high:.2f} to {100 - error.low:.2f}'
        assert shown[3] == f'{summary.clean_ece:.2f}'
        expected = [
            f'{row.accuracy:.1f}' for (corruption, _), row in analysis.levels[name].items() if corruption == 'clean'
        ]
        for corruption, level in analysis.levels[name]:
            row = row_at(analysis.levels[name], corruption, level)
            assert f'{name}, {corruption} {level:g}: {row.accuracy:.2f} % ({row.low:.2f} to {row.high:.2f})' in {
                attributes.get('title') for attributes in found.all('td')
            }
        assert cells['levels'][cells['levels'].index(('th', words(name))) + 1] == ('td', expected[0])
    for pair in analysis.comparisons:
        if pair.overall:
            start = cells['pairs'].index(('th', words(pair.a))) + 1
            shown = [content for _, content in cells['pairs'][start : start + 5]]
            row = pair.overall
            partly = ' (incomplete)' if pair.missing else ''
            assert shown[0] == f'{row.difference:+.2f}{partly} {row.low:+.2f} to {row.high:+.2f}'
            assert shown[3] == f'{row.smallest:.2f}' and shown[4] == '{} : {} of {}'.format(
                *count_significant(pair), len(pair.rows)
            )


def test_findings_claim_what_the_intervals_allow():
    plan, rows, analysis = whole(['a', 'b', 'c'])
    equal = made({'x': whole_run('x'), 'y': whole_run('y', seed=9)}, [('clean', 0, None), ('const', 0.1, None)])
    text = words(Page(report_html(plan, rows, analysis)).texts['findings'])
    row = analysis.comparisons[0].overall
    assert row.p_holm < 0.05 and row.difference < 0
    figures = f"p < 0.0001 after Holm's correction; {row.low:.2f} to {row.high:.2f}, not corrected"
    assert f'{-row.difference:.2f} points less accurate than a over all corruptions ({figures}).' in text
    assert 'One training seed shows nothing about an architecture, and each has only one.' in text
    text = words(Page(report_html(*equal)).texts['findings'])
    assert equal[2].comparisons[0].overall.p_holm > 0.05
    assert 'no difference from x is shown over all corruptions' in text and 'accurate than' not in text
    assert "after Holm's correction; " in text and 'not corrected).' in text


def test_findings_about_architectures_need_several_trainings():
    names = ['a.d_seed0', 'a.d_seed1', 'b.d_seed0', 'b.d_seed1']
    models = {name: whole_run(name, skill=1 if name[0] == 'a' else 0.7, seed=i) for i, name in enumerate(names)}
    plan = [('clean', 0, None), ('const', 0.1, None), ('const', 0.2, None)]
    text = words(Page(report_html(*made(models, plan))).texts['findings'])
    assert 'Over their trainings b.d and a.d ' in text and 'Welch' in text and 'shows nothing' not in text


def test_a_model_without_a_result(case):
    plan, rows, analysis, _, text = case
    found = Page(text)
    for model in plan.models:
        if model['name'] not in analysis.summaries:
            assert f'{words(model["name"])} No cell has a result.' in words(found.texts['findings'])
    failed = [row for row in rows if row.status == 'failed']
    if failed:
        assert f'{len(failed)} cells failed' in text
        models = {row.cell.model for row in failed}
        assert words(found.texts['without-result']).count('no <b>failed</b>') == len(models)


def test_missing_cells_leave_gaps():
    """A line has a gap where a level is missing, and figures that need the level are called incomplete."""
    cells = [c for c in whole_run('a') if (c.corruption, c.level) != ('randn', 0.03)]
    plan = [('clean', 0, None), *(('randn', level, seed) for level in (0.01, 0.03, 0.1) for seed in (0, 1))]
    made_of = made({'a': cells, 'b': whole_run('b', skill=0.8)}, plan)
    found = Page(report_html(*made_of))
    assert '2 cells are missing: see which and why.' in words(found.texts[''])
    assert 'incomplete' in found.texts['summary'] and 'only 5 of 7 cells have a result' in words(
        found.texts['findings']
    )
    listed = [content for section, _, content in found.cells if section == 'without-result'][-4:]
    assert listed == ['a', '2 missing', 'randn 0.03 seed 0, randn 0.03 seed 1', 'no <b>missing</b>']
    assert 'accurate than a where both have results' in words(found.texts['findings'])
    assert '(incomplete)' in found.texts['pairs']
    for suite, levels, title in (('zerosnet', [0.0, 1.0], 'level'), ('official', [1.0, 2.0], 'severity')):
        assert f'>{title}, 0 is clean<' in curves('c0', suite, 'randn', levels, made_of[2].levels, ['a', 'b'], 0)
    chart = curves('c0', 'zerosnet', 'randn', [0.01, 0.03, 0.1], made_of[2].levels, ['a', 'b'], 0)
    line = {
        name: re.search(rf'<g id="c0-line{i}".*?<path class="line" d="([^"]*)"', chart, re.DOTALL)[1]
        for i, name in enumerate('ab')
    }
    assert (line['a'].count('M'), line['b'].count('M')) == (2, 1)


@pytest.mark.slow
def test_same_bytes_in_another_process():
    """Where strings have other hashes."""
    code = 'from made_reports import page; import sys; sys.stdout.buffer.write(page("three models").encode())'
    environment = {**os.environ, 'PYTHONHASHSEED': '7', 'PYTHONPATH': os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True).stdout
    assert found == page('three models').encode()


def test_level_0_of_a_corruption_is_shown():
    _, _, analysis, _ = built('level 0')
    assert not analysis.comparisons[0].missing and ('randn', 0.0) in analysis.levels['a']
    row = analysis.levels['a']['randn', 0.0]
    assert f'a, randn 0: {row.accuracy:.2f} %' in page('level 0')


def test_size():
    limits = {'three models': 0.5e6, 'twelve models': 1.5e6, 'imagenet-c': 3e6}
    assert all(len(page(name)) < limit for name, limit in limits.items())


@pytest.mark.slow
def test_importing_is_quick(bare):
    code = 'import timm_zerosnet.robustness.run, sys; print(*{"matplotlib", "jinja2"} & set(sys.modules))'
    found = bare('-c', code, path=ROOT)
    assert (found.returncode, found.stdout.strip()) == (0, '')


def decoded(uri):
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(',')[2]))) as image:
        return np.asarray(image)


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp('out')
    run([plain(SCRIPT)], LabelledImages(IMAGES, DATA.labels, None, 80), out, data_name='<i>data', **FEW)
    return out


def test_report_of_a_run(out):
    """The page of a real run has the numbers of summary.json and shows the pixels that the model saw."""
    text = (out / 'report.html').read_text()
    found = Page(text)
    assert 'Robustness to noise on &lt;i&gt;data' in text and '<i>data' not in text and text.count('<script') == 1
    assert 'the first 40 of 80 images' in text
    summary = json.loads((out / 'summary.json').read_text())['statistics']['models'][SCRIPT]
    assert f'{summary["clean"]["value"]:.2f}' in found.texts['summary']
    pictures = {attributes['alt']: decoded(attributes['src']) for attributes in found.all('img')}
    assert set(pictures) == {'clean image', 'const at level 0.1', 'randn at level 0.1'}
    assert np.array_equal(pictures['clean image'], IMAGES[0])
    pixels = torch.from_numpy(IMAGES[:1]).permute(0, 3, 1, 2).float() / 255
    for name in ('const', 'randn'):
        expected = (255 * perturb(pixels, name, 0.1, seed=0)).round().byte()[0].permute(1, 2, 0).numpy()
        assert np.array_equal(pictures[f'{name} at level 0.1'], expected)


def test_samples_are_few_and_small():
    assert evenly_spaced([1, 2, 3], 4) == [1, 2, 3] and evenly_spaced(list(range(14)), 4) == [0, 4, 9, 13]
    found = samples('imagenet-c', side=224, corruptions=['contrast'])
    assert (found.size, found.shown) == ((224, 224), (MAX_SIDE, MAX_SIDE))
    assert decoded(found.clean).shape == (MAX_SIDE, MAX_SIDE, 3) and list(found.perturbed['contrast']) == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert max(map(len, samples().perturbed.values())) == MAX_LEVELS
    assert decoded(samples(channels=1).clean).shape == (32, 32)


def test_pictures_too_small_for_a_suite_are_left_out():
    """Images that are too small make cells fail, but not the report."""
    assert samples('imagenet-c', side=32).perturbed.keys() == set()


def test_long_names_are_whole():
    found = Page(page('twelve models'))
    assert all(LONG in found.texts[section] for section in ('summary', 'figures', 'curves', 'levels', 'method'))
