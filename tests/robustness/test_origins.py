"""With what cells were measured: recorded beside each, not in its key, and said where it is mixed."""

import csv
import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from made_reports import whole as whole_report
from pages import Page, words
from small_runs import DATA, IMAGES, LABELS, plain, rows

from timm_zerosnet.robustness import SUITES, corruptions, perturb
from timm_zerosnet.robustness import origins as origins_module
from timm_zerosnet.robustness.analysis.run_analysis import compare_run
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.origins import UNKNOWN, current_versions
from timm_zerosnet.robustness.report.html import report_html
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import Store, read_run
from timm_zerosnet.robustness.suites import suite_rows

JPEG = dict(suite='cifar-c', corruptions=['jpeg_compression'], levels=[3])


def page(out, section):
    return words(Page((out / 'report.html').read_text()).texts[section])


def forget(out):
    """The store as early development versions wrote it."""
    with closing(sqlite3.connect(out / 'cells.sqlite')) as base:
        base.execute('DROP TABLE origins')
        base.commit()


def other_pillow(monkeypatch):
    monkeypatch.setattr(origins_module, 'version', lambda name: '99.0' if name == 'pillow' else 'the same')
    whole = corruptions.jpeg_compression
    suite = SUITES['cifar-c']
    changed = {**vars(suite['jpeg_compression']), 'function': lambda x, quality: whole(x, quality - 1)}
    changed['function'].__qualname__ = whole.__qualname__
    monkeypatch.setitem(suite, 'jpeg_compression', type(suite['jpeg_compression'])(**changed))


def test_each_cell_has_versions_device_and_pixels(tmp_path):
    run([plain('one')], DATA, tmp_path / 'out', batch_size=7, **JPEG)
    run([plain('one')], DATA, tmp_path / 'again', batch_size=40, workers=2, **JPEG)
    with closing(Store(tmp_path / 'out')) as one, closing(Store(tmp_path / 'again')) as two:
        found = one.origins()
        assert found == two.origins()  # neither batches nor threads show
    assert {origin.device for origin in found.values()} != {UNKNOWN} and len({o.pixels for o in found.values()}) == 2
    for origin in found.values():
        assert origin.versions == current_versions() and {'torch', 'timm', 'numpy', 'pillow'} < set(origin.versions)
    table = rows(tmp_path / 'out', 'timings.csv')
    assert {row['pillow'] for row in table} == {current_versions()['pillow']} and UNKNOWN not in str(table)
    summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())
    assert summary['notes'] == [] and [entry['cells'] for entry in summary['measured_with']] == [2]
    assert summary['versions'] == current_versions()


def test_other_versions_and_pixels_are_noticed(tmp_path, monkeypatch):
    out = tmp_path / 'out'
    run([plain('one')], DATA, out, **JPEG)
    own = current_versions()['pillow']
    other_pillow(monkeypatch)
    outcome = run([plain('one'), plain('two')], DATA, out, **JPEG)
    assert (outcome.measured, outcome.kept) == (2, 2)  # versions are no part of the key
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['versions']['pillow'] == ' and '.join(sorted([own, '99.0']))
    assert [entry['cells'] for entry in summary['measured_with']] == [2, 2]
    versions, pixels = summary['notes']
    assert 'the cells were not all measured with the same versions' in versions
    assert f'pillow {own} (2 cells), 99.0 (2 cells)' in versions
    assert pixels.endswith('other versions may draw: jpeg_compression 3')
    for text in (page(out, ''), (out / 'table.md').read_text()):
        assert 'The cells were not all measured with the same versions' in text
        assert 'were not shown the same' in text and 'jpeg' in text
    run([plain('two')], DATA, tmp_path / 'other', **JPEG)
    notes = compare_run(out, 'one', 'two', tmp_path / 'other').notes
    assert f'pillow {own}' in notes[0] and 'pillow 99.0' in notes[0]
    assert notes[1] == 'the two did not see the same pixels, though they take the same: jpeg_compression 3'


def test_an_old_folder_says_unknown(tmp_path):
    out = tmp_path / 'out'
    run([plain('one')], DATA, out, **JPEG)
    before = read_run(out)
    forget(out)
    assert [cell.result.top1 for cell in read_run(out).cells] == [cell.result.top1 for cell in before.cells]
    outcome = run([plain('one'), plain('two')], DATA, out, **JPEG)
    assert (outcome.measured, outcome.kept) == (2, 2)
    summary = json.loads((out / 'summary.json').read_text())
    assert {'versions': UNKNOWN, 'device': UNKNOWN, 'cells': 2} in summary['measured_with']
    assert f'torch {current_versions()["torch"]} (2 cells), unknown (2 cells)' in summary['notes'][0]
    assert [row['torch'] for row in rows(out, 'timings.csv')] == [UNKNOWN] * 2 + [current_versions()['torch']] * 2
    forget(out)
    run([plain('one'), plain('two')], DATA, out, **JPEG)
    summary = json.loads((out / 'summary.json').read_text())
    assert set(summary['versions'].values()) == {UNKNOWN} and summary['notes'] == []
    assert 'torch unknown, ' in page(out, 'method')


def test_an_earlier_release_goes_on_with_the_store(tmp_path):
    """Its statements, on the tables that it knows."""
    run([plain('one')], DATA, tmp_path, **JPEG)
    with closing(sqlite3.connect(tmp_path / 'cells.sqlite')) as base:
        assert base.execute('PRAGMA user_version').fetchone() == (1,)
        row = base.execute('SELECT * FROM cells').fetchone()
        assert len(row) == 14
        base.execute(f'INSERT OR REPLACE INTO cells VALUES ({", ".join("?" * 14)})', ['other', *row[1:]])
        base.commit()
    with closing(Store(tmp_path)) as store:
        assert store.origins()['other'].version('torch') == UNKNOWN


def test_the_report_names_sources_noise_and_rounding():
    for suite, graded in (('zerosnet', False), ('cifar-c', True)):
        text = words(Page(report_html(*whole_report(['a'], suite=suite))).texts['method'])
        for name in suite_rows(suite):
            assert f'{name}{SUITES[suite][name].source}' in text
        assert "noisenumpy's Philox" in text
        assert ('rounded down to one after it' in text) == graded
    alone = whole_report(['a'], corruptions=['const'])
    assert 'Philox' not in words(Page(report_html(*alone)).texts['method'])


def test_the_summary_names_noise_and_sources(tmp_path):
    run([plain('one')], DATA, tmp_path, corruptions=['randn'], levels=[0.1])
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['noise'].startswith("numpy's Philox 4x64")
    assert summary['sources'] == {'randn': SUITES['zerosnet']['randn'].source}
    # the generator is the one that is named
    images = np.zeros((1, 1, 4, 4), np.float32) + 0.5
    found = perturb(images, 'rand', 0.1, seed=5, indices=[7])
    import zlib

    bits = np.random.Philox(key=np.array([5, zlib.crc32(b'rand')], np.uint64), counter=[0, 0, 0, 7])
    expected = images[0] + np.float32(0.1) * np.random.Generator(bits).random((1, 4, 4), dtype=np.float32)
    assert np.array_equal(found[0], expected)


@pytest.mark.parametrize('count', [15, 40])
def test_a_failed_cell_has_an_origin_without_pixels(count, tmp_path):
    data = LabelledImages(IMAGES[:count], LABELS[:count])
    run([plain('bad', lambda logits, x: logits * float('nan'))], data, tmp_path, **JPEG)
    with closing(Store(tmp_path)) as store:
        assert {origin.pixels for origin in store.origins().values()} == {None}
    with open(tmp_path / 'timings.csv', newline='') as file:
        assert all(row['numpy'] == current_versions()['numpy'] for row in csv.DictReader(file))
