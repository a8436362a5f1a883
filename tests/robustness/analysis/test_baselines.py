"""Published baselines, which have one error for each corruption, apply to the official files of all images alone."""

import json
from contextlib import closing

import numpy as np
import pytest
from made_cells import cell, whole_run
from made_reports import OFFICIAL_NAMES, made, official_conditions
from made_runs import store_run

from timm_zerosnet.robustness.analysis.baselines import BASELINES, Baseline, check_baseline, read_baseline
from timm_zerosnet.robustness.analysis.run_analysis import analyse
from timm_zerosnet.robustness.analysis.summary import summarise
from timm_zerosnet.robustness.plan import CLEAN
from timm_zerosnet.robustness.report.files import export
from timm_zerosnet.robustness.store import Store

ALEXNET = BASELINES / 'alexnet.official.csv'
PUBLISHED = '# published, 40 official images, a paper\ncorruption,error\nclean,20\nfog,50\nsnow,80\n'
ERRORS = {('fog', 1): 10, ('fog', 2): 12, ('fog', 3): 14, ('fog', 4): 16, ('fog', 5): 28}  # of 40 images
SNOW = {('snow', level): 32 for level in range(1, 6)}
REFUSED = 'baseline net: expected a run of suite official on all 40 images of the official files'


def cells(errors, model='m', images=40, clean=4):
    """Wrong on so many of the images."""
    numbers = {(CLEAN, 0.0): clean, **errors}
    return [cell(model, *level, np.arange(images) >= wrong, suite='official') for level, wrong in numbers.items()]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'net.official.csv').write_text(PUBLISHED, encoding='utf-8')
    return tmp_path


def test_the_published_errors_of_alexnet():
    """mCE averages the fifteen; their errors sum up to 1183.4896 percent."""
    found = read_baseline(ALEXNET)
    assert found.name == 'alexnet' and found.image_count == 50_000 and 'Hendrycks' in found.source
    assert list(found.means) == OFFICIAL_NAMES and found.errors == {(CLEAN, 0.0): 43.5}
    standard = [found.means[name] for name in OFFICIAL_NAMES[:15]]
    assert sum(standard) == pytest.approx(1183.4896) and (max(standard), min(standard)) == (92.264, 56.4592)


def test_corruption_errors_divide_by_the_sum_over_the_five_severities(folder):
    summary = summarise(cells({**ERRORS, **SNOW}), 'net', folder=folder, resamples=50)['m']
    fog, snow = summary.corruptions if summary.corruptions[0].corruption == 'fog' else summary.corruptions[::-1]
    assert fog.ce.value == pytest.approx(100 * (sum(ERRORS.values()) / 40) / (5 * 0.5))
    assert snow.ce.value == pytest.approx(100)
    assert fog.relative_ce.value == pytest.approx(100 * (sum(ERRORS.values()) / 40 - 5 * 0.1) / (5 * (0.5 - 0.2)))
    assert summary.mce.value == pytest.approx((fog.ce.value + snow.ce.value) / 2)
    assert set(summary.mce_over) == {'fog', 'snow'} and summary.baseline == 'net'
    assert summary.mce.low < summary.mce.value < summary.mce.high


def test_some_severities_have_no_published_error(folder):
    few = {level: wrong for level, wrong in ERRORS.items() if level[1] in (1, 3)}
    summary = summarise(cells({**few, **SNOW}), 'net', folder=folder, resamples=50, plan=[*few_conditions(few)])['m']
    found = {row.corruption: row.ce for row in summary.corruptions}
    assert found['fog'].reason == 'net lacks fog 1, fog 3' and found['snow'].value == pytest.approx(100)
    assert summary.mce_over == ('snow',)


def few_conditions(few):
    return [(CLEAN, 0.0, None), *((*level, None) for level in [*few, *SNOW])]


@pytest.mark.parametrize(
    'suite, images, message',
    [
        ('zerosnet', 40, f'{REFUSED} .a paper., got suite zerosnet on 40 images'),
        ('imagenet-c', 40, f'{REFUSED} .a paper., got suite imagenet-c on 40 images'),
        ('imagenet-c', None, f'{REFUSED} .a paper., got suite imagenet-c; to compare with net here, measure it'),
        ('official', 39, f'{REFUSED} .a paper., got suite official on 39 images'),
    ],
)
def test_published_errors_are_refused_for_any_other_run(suite, images, message, folder):
    with pytest.raises(ValueError, match=message):
        check_baseline(['m'], suite, 'net', folder=folder, image_count=images)
    assert check_baseline(['m', 'net'], suite, 'net', folder=folder, image_count=images) == 'net'  # measured, too


def test_the_summary_refuses_a_part_of_the_images(folder):
    with pytest.raises(ValueError, match=f'{REFUSED}.*on 39 images'):
        summarise(cells(ERRORS, images=39), 'net', folder=folder)
    with pytest.raises(ValueError, match='baseline alexnet: expected a run of suite official on all 50,000 images'):
        summarise(whole_run('m'), 'alexnet')


def test_a_measured_table_has_no_published_errors():
    baseline = Baseline('base', {(CLEAN, 0.0): 5.0, ('fog', 1.0): 10.0}, images='1' * 64)
    assert baseline.for_levels({'fog': [1.0]}) is baseline


@pytest.mark.parametrize(
    'text, message',
    [
        (PUBLISHED.replace('clean,20\n', ''), 'expected a row clean,ERROR, got none'),
        (PUBLISHED + 'fog,50\n', 'line 6: expected each level once'),
        (PUBLISHED.replace('80', '108'), 'an error from 0 to 100'),
        (PUBLISHED.replace('corruption,error', 'corruption,level,error'), 'expected columns corruption, error, got'),
        (PUBLISHED.replace('40 official', 'all official'), "expected '# images ' and the sha256"),
    ],
)
def test_damaged_tables_are_refused(text, message, tmp_path):
    path = tmp_path / 'net.official.csv'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(ValueError, match=message):
        read_baseline(path)


def test_a_stored_run_on_the_official_files(tmp_path):
    """The suite of such a run is none of ours; all its files are written."""
    conditions = official_conditions(['fog', 'snow'])
    models = {'m': cells({**ERRORS, **SNOW}), 'n': cells({**ERRORS, **SNOW}, 'n', clean=8)}
    run = tmp_path / 'run'
    run.mkdir()
    store_run(run, models, conditions, suite='official', baseline='m')
    with closing(Store(run)) as store:
        export(run, store)
        assert analyse(store).summaries['n'].mce.value == pytest.approx(100)
    assert json.loads((run / 'summary.json').read_text())['suite'] == 'official'
    assert 'suite <b>official</b>' in (run / 'report.html').read_text()
    assert (run / 'results' / 'results-official-fog-1.csv').is_file()


def test_a_run_on_part_of_the_official_files_has_no_mce_of_alexnet():
    conditions = official_conditions(['fog'])
    with pytest.raises(ValueError, match='expected a run of suite official on all 50,000 images .* on 40 images'):
        made({'m': cells(ERRORS)}, conditions, suite='official', baseline='alexnet')
