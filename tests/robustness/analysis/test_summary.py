"""Summaries of a run: tables, areas, corruption errors and spreads by hand, and what becomes of missing cells."""

import dataclasses
import math
import random

import numpy as np
import pytest
from made_cells import LEVELS, cell, chosen_images, evaluation, renamed, whole_run

from timm_zerosnet.robustness import SUITES, compare
from timm_zerosnet.robustness.analysis.baselines import BASELINES, check_baseline, read_baseline, write_baseline
from timm_zerosnet.robustness.analysis.grids import architecture_of
from timm_zerosnet.robustness.analysis.levels import accuracy_table
from timm_zerosnet.robustness.analysis.statistics import wilson
from timm_zerosnet.robustness.analysis.summary import summarise, training_spread
from timm_zerosnet.robustness.plan import CLEAN, Cell
from timm_zerosnet.robustness.suites import EXTRA, STANDARD

pytest.importorskip('scipy')

IMAGES = 'a' * 64
FAST = dict(resamples=100)
SOME = [(CLEAN, 0, None), ('const', -0.1, None), ('const', 0.2, None), ('randn', 0.1, 0), ('randn', 0.1, 1)]


def first(count, images=20):
    return np.arange(images) < count


def small_run(model, clean=18, low=12, high=8, noise=(10, 14), images=20):
    counts = (clean, low, high, *noise)
    return [cell(model, *key[:2], first(n, images), key[2]) for key, n in zip(SOME, counts, strict=True)]


def estimates(summary):
    found = {name: getattr(summary, name) for name in ('clean', 'mean_error', 'area', 'mce', 'relative_mce')}
    for row in summary.corruptions:
        found |= {(row.corruption, f.name): getattr(row, f.name) for f in dataclasses.fields(row)}
    return {name: value for name, value in found.items() if hasattr(value, 'reason')}


def test_a_summary_by_hand():
    summary = summarise(small_run('m'), plan=SOME, **FAST)['m']
    const, randn = summary.corruptions
    assert (summary.images, summary.seeds, summary.cells, summary.expected, summary.complete) == (
        20,
        (0, 1),
        5,
        5,
        True,
    )
    assert (summary.clean.value, summary.clean.low) == pytest.approx((90, 100 * wilson(18, 20)[0]))
    assert (const.error.value, randn.error.value) == pytest.approx((50, 40))
    assert summary.mean_error.value == pytest.approx(45)
    assert summary.mean_error.low < 45 < summary.mean_error.high
    assert (const.area_negative.value, const.area_positive.value) == pytest.approx((75, 65))
    assert const.area.value == pytest.approx((0.1 * 75 + 0.2 * 65) / 0.3)
    assert randn.area.value == randn.area_positive.value == pytest.approx(75)
    assert randn.area_negative.value is None and randn.area_negative.reason == 'no such levels'
    assert summary.area.value == pytest.approx((const.area.value + 75) / 2)
    assert (summary.worst_corruption, summary.worst_level) == ('const', 0.2)
    assert summary.worst_accuracy.value == pytest.approx(40)
    assert (randn.worst_level, randn.worst_accuracy.value) == (0.1, pytest.approx(60))
    # flips: 6 and 10 of 20 by const, 8 and 4 by randn
    assert summary.mean_flip_rate == pytest.approx(100 * ((6 + 10) / 40 + (8 + 4) / 40) / 2)
    assert summary.clean_ece == pytest.approx(15)
    assert summary.mean_ece == pytest.approx(((15 + 35) / 2 + (25 + 5) / 2) / 2)
    # randn alone is random: 50 and 30 % errors, at half the weight
    assert summary.noise_sd == pytest.approx(0.5 * 20 / math.sqrt(2))
    assert summary.mce.value is None and summary.mce.reason == 'no baseline was named'


def test_levels_that_are_severities_count_as_steps():
    cells = [cell('m', CLEAN, 0, first(20), suite='cifar-c')]
    cells += [cell('m', 'contrast', level, first(20 - 2 * level), suite='cifar-c') for level in range(1, 6)]
    plan = [(c.corruption, c.level, None) for c in cells]
    (row,) = summarise(cells, plan=plan, **FAST)['m'].corruptions
    assert row.area.value == pytest.approx(75) and row.levels == (1, 2, 3, 4, 5)


def test_accuracy_table_keeps_noise_and_cells_apart():
    rows = {(row.corruption, row.level): row for row in accuracy_table(small_run('m'), **FAST)}
    noisy, still = rows['randn', 0.1], rows['const', -0.1]
    assert (noisy.accuracy, noisy.seeds, noisy.interval) == (60, (0, 1), 'bootstrap')
    assert noisy.noise_sd == pytest.approx(20 / math.sqrt(2)) and noisy.low < 60 < noisy.high
    assert (still.accuracy, still.seeds, still.interval, still.noise_sd) == (60, (), 'Wilson', None)
    assert (still.low, still.high) == pytest.approx([100 * end for end in wilson(12, 20)])
    assert (still.flip_rate, rows[CLEAN, 0].flip_rate) == (30, 0)
    assert still.loss == pytest.approx(0.6 * 0.3 + 0.4 * 1.4) and still.top5 == 60


@pytest.mark.parametrize('count', [0, 20])
def test_intervals_at_the_ends_have_a_width(count):
    """An interval without a width at 0 and 100 % would claim certainty."""
    cells = [cell('m', *key[:2], first(count), key[2]) for key in SOME]
    for row in accuracy_table(cells, **FAST):
        assert row.accuracy == 5 * count and row.high - row.low > 10
    for name, estimate in estimates(summarise(cells, 'm', plan=SOME, **FAST)['m']).items():
        if estimate.value is not None and 'ce' not in str(name):
            assert estimate.high - estimate.low > 10, name


def test_two_classes():
    """Measures such as top-5 must not assume five classes."""
    cells = whole_run('m', images=60, classes=2)
    for row in accuracy_table(cells, **FAST):
        assert 0 <= row.ece <= 100 and 0 <= row.flip_rate <= 100 and row.top5 == 100
    summary = summarise(cells, 'm', **FAST)['m']
    assert 0 < summary.mean_flip_rate < 100 and 0 < summary.mean_ece < 100


def test_order_of_cells_and_images_changes_nothing():
    cells = whole_run('a', seed=1) + whole_run('b', seed=2, skill=0.9)
    order = np.random.default_rng(0).permutation(200)
    mixed = chosen_images(cells, order)
    random.Random(0).shuffle(mixed)
    for make in (lambda c: summarise(c, 'b', **FAST), lambda c: accuracy_table(c, **FAST)):
        one, other = make(cells), make(mixed)
        assert one == other or repr(rounded(one)) == repr(rounded(other))


def rounded(value):
    """Sums of float32 confidences depend on the order in their last digits."""
    if isinstance(value, float):
        return round(value, 4)
    if dataclasses.is_dataclass(value):
        return [rounded(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def test_mce_by_hand():
    """Sums over levels first, then the ratio, then the mean."""
    cells = small_run('m') + small_run('base', clean=19, low=15, high=13, noise=(16, 12))
    found = summarise(cells, 'base', plan=SOME, **FAST)['m']
    assert [row.ce.value for row in found.corruptions] == pytest.approx([100 * 20 / 12, 100 * 8 / 6])
    assert found.mce.value == pytest.approx(150) and found.mce_over == ('const', 'randn')
    assert [row.relative_ce.value for row in found.corruptions] == pytest.approx([100 * 16 / 10, 100 * 6 / 5])
    assert found.relative_mce.value == pytest.approx(140) and found.baseline == 'base'


@pytest.mark.parametrize('name', ['preresnet20.cifar10', 'preresnet20'])
def test_baseline_of_the_run_is_100(name):
    """mCE was once defined with the errors of an ImageNet baseline alone."""
    cells = whole_run('zerosnet20.cifar10', seed=1) + whole_run('preresnet20.cifar10', seed=2)
    found = summarise(cells, name, **FAST)
    base, other = found['preresnet20.cifar10'], found['zerosnet20.cifar10']
    for estimate in (base.mce, base.relative_mce, *(row.ce for row in base.corruptions)):
        assert (estimate.value, estimate.low, estimate.high) == (100, pytest.approx(100), pytest.approx(100))
    assert other.mce.low < other.mce.value < other.mce.high and other.mce.value != 100
    assert other.mce_over == base.mce_over == tuple(SUITES['zerosnet'])


def test_no_baseline_leaves_mce_out_with_a_reason():
    """mCE without a baseline must neither fail nor be left out without a reason."""
    summary = summarise(whole_run('m'), **FAST)['m']
    assert summary.baseline is None and summary.mce_over == ()
    for estimate in (summary.mce, summary.relative_mce, summary.corruptions[0].ce):
        assert estimate.value is None and estimate.reason == 'no baseline was named'


def test_unknown_baseline_is_an_error(tmp_path):
    """An unknown baseline must not leave mCE undefined without a word."""
    with pytest.raises(ValueError, match="baseline 'vgg'.*the run has a, b.*packaged for suite zerosnet: none"):
        summarise(small_run('a') + small_run('b'), 'vgg', folder=tmp_path)
    cells = small_run('net.x') + small_run('net.y')
    with pytest.raises(ValueError, match='may be net.x or net.y'):
        summarise(cells, 'net', folder=tmp_path)


def test_baseline_without_errors_gives_no_infinity():
    """A corruption under which the baseline makes no errors is left out, and mCE names the others."""
    cells = small_run('m') + small_run('base', clean=20, low=20, high=20, noise=(12, 14))
    found = summarise(cells, 'base', plan=SOME, **FAST)
    for name, value in (('m', 100 * 8 / 7), ('base', 100)):
        const, randn = found[name].corruptions
        assert const.ce.value is None and const.ce.reason == 'base makes no errors under it'
        assert const.relative_ce.reason == 'base makes no further errors under it'
        assert found[name].mce.value == pytest.approx(value) and found[name].mce_over == ('randn',)
    perfect = small_run('m') + small_run('base', 20, 20, 20, (20, 20))
    mce = summarise(perfect, 'base', plan=SOME, **FAST)['m'].mce
    assert mce.value is None and mce.reason == 'base makes no errors under it'


def test_baseline_that_a_corruption_helps_has_no_relative_ce():
    cells = small_run('m') + small_run('base', clean=12, low=15, high=13, noise=(8, 8))
    const, randn = summarise(cells, 'base', plan=SOME, **FAST)['m'].corruptions
    assert const.ce.value > 0 and const.relative_ce.value is None and randn.relative_ce.value > 0


def test_ratios_of_few_errors_have_no_interval():
    cells = small_run('m', 20, 18, 18, (20, 20)) + small_run('base', clean=9, low=8, high=9, noise=(8, 8))
    found = summarise(cells, 'base', plan=SOME, **FAST)
    const, randn = found['m'].corruptions
    for estimate in (const.ce, randn.ce, found['m'].mce):
        assert estimate.low is estimate.high is None and estimate.reason == 'too few errors for an interval'
    assert (const.ce.value, randn.ce.value) == pytest.approx((100 * 4 / 23, 0))
    # enough errors, but some resamples of the baseline lose none under const
    const, randn = found['base'].corruptions
    assert const.relative_ce.value == 100 and const.relative_ce.low is None and const.ce.low is not None


def test_packaged_baseline(tmp_path):
    base = whole_run('preresnet20.cifar10', seed=3)
    path = write_baseline(base, 'preresnet20.cifar10', 'zerosnet', IMAGES, tmp_path)
    assert path.name == 'preresnet20.cifar10.zerosnet.csv'
    lines = path.read_text(encoding='utf-8').splitlines()
    assert lines[0] == f'# images {IMAGES}' and lines[1] == 'corruption,level,error'
    assert lines[2].startswith('clean,0,') and len(lines) == 43
    table = read_baseline(path)
    assert table.name == 'preresnet20.cifar10' and table.grid is None and table.images == IMAGES
    assert set(table.errors) == {(CLEAN, 0), *((name, level) for name, levels in LEVELS.items() for level in levels)}
    for name in ('preresnet20', 'preresnet20.cifar10'):
        found = summarise(whole_run('m', seed=4), name, folder=tmp_path, **FAST)['m']
        assert found.mce.low < found.mce.value < found.mce.high and found.baseline == 'preresnet20.cifar10'
    again = summarise(renamed(base, 'same weights'), 'preresnet20', folder=tmp_path, **FAST)['same weights']
    assert (again.mce.value, again.relative_mce.value) == (100, 100) and again.mce.low < 100 < again.mce.high
    # measured on other images, a table is still a table; a model of the run is not
    assert summarise(whole_run('m', images=50), 'preresnet20', folder=tmp_path, **FAST)['m'].mce.value
    mixed = whole_run('m', images=50) + base
    assert summarise(mixed, 'preresnet20', **FAST)['m'].mce.reason == 'preresnet20.cifar10 saw 200 images, m 50'


def test_packaged_baseline_without_a_level(tmp_path):
    path = write_baseline(whole_run('base'), 'base', 'zerosnet', IMAGES, tmp_path)
    kept = [line for line in path.read_text(encoding='utf-8').splitlines() if not line.startswith('rand,0.04,')]
    path.write_text('\n'.join(kept), encoding='utf-8')
    summary = summarise(whole_run('m'), 'base', folder=tmp_path, **FAST)['m']
    assert summary.mce_over == ('const', 'randn', 'uniform') and summary.complete
    assert summary.corruptions[1].ce.reason == 'base lacks rand 0.04'


@pytest.mark.parametrize(
    'text, message',
    [
        ('a,b\n1,2\n', 'expected columns corruption, level, error, got'),
        ('corruption,level,error\nclean,0,x\n', 'line 3: expected a name and two numbers'),
        ('corruption,level,error\nclean,0\n', 'line 3: expected'),
        ('corruption,level,error\nclean,0,101\n', 'an error from 0 to 100'),
        ('corruption,level,error\nclean,0,nan\n', 'an error from 0 to 100'),
        ('corruption,level,error\nclean,0,9\nclean,0.0,9\n', 'line 4: expected each level once'),
        ('corruption,level,error\nconst,0.1,9\n', 'expected a row clean,0,ERROR'),
    ],
)
def test_damaged_baseline_is_refused(tmp_path, text, message):
    path = tmp_path / 'm.zerosnet.csv'
    path.write_text(f'# images {IMAGES}\n{text}', encoding='utf-8')
    with pytest.raises(ValueError, match=message):
        read_baseline(path)


@pytest.mark.parametrize('first', ['corruption,level,error', '# images', '# images 12'])
def test_a_baseline_without_its_images_is_refused(tmp_path, first):
    path = tmp_path / 'm.zerosnet.csv'
    path.write_text(f'{first}\nclean,0,9\n', encoding='utf-8')
    with pytest.raises(ValueError, match="expected '# images ' and the sha256 of the images"):
        read_baseline(path)


def test_a_packaged_baseline_is_for_its_own_images(tmp_path):
    write_baseline(whole_run('base'), 'base', 'zerosnet', IMAGES, tmp_path)
    assert check_baseline(['m'], 'zerosnet', 'base', IMAGES, tmp_path).errors
    with pytest.raises(ValueError, match='of baseline base are of other images .* named with --model'):
        check_baseline(['m'], 'zerosnet', 'base', 'f' * 64, tmp_path)
    assert check_baseline(['m', 'base'], 'zerosnet', 'base', 'f' * 64, tmp_path) == 'base'


MEASURED = [path for path in sorted(BASELINES.glob('*.csv')) if path.stem.rpartition('.')[2] in SUITES]


@pytest.mark.parametrize('path', MEASURED, ids=lambda path: path.name)
def test_packaged_baselines_are_whole(path):
    suite = path.stem.rpartition('.')[2]
    rows = {(name, level) for name, row in SUITES[suite].items() for level in row.levels}
    assert set(read_baseline(path).errors) == {(CLEAN, 0), *rows}


def test_a_baseline_is_not_written_from_a_part(tmp_path):
    cells = [c for c in whole_run('m') if c.corruption != 'rand']
    with pytest.raises(ValueError, match=r'm lacks 24 cells of suite zerosnet: rand -0.2 seed 0, .* and 16 more'):
        write_baseline(cells, 'm', 'zerosnet', IMAGES, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_cell_is_listed_and_stops_what_needs_it():
    """An average over the cells that happen to be there must not pass for the whole."""
    cells = whole_run('m') + whole_run('base', seed=1)
    cells = [c for c in cells if (c.model, c.corruption, c.level, c.seed) != ('m', 'randn', 0.2, 1)]
    found = summarise(cells, 'base', **FAST)
    summary, base = found['m'], found['base']
    assert (summary.cells, summary.expected, summary.complete) == (66, 67, False) and base.complete
    assert list(map(str, summary.missing)) == ['randn 0.2 seed 1']
    for estimate in (summary.mean_error, summary.area, summary.worst_accuracy, summary.mce, summary.relative_mce):
        assert estimate.value is None and estimate.reason == 'missing: randn 0.2 seed 1'
    assert summary.mean_ece is summary.mean_flip_rate is summary.noise_sd is summary.worst_corruption is None
    rows = {row.corruption: row for row in summary.corruptions}
    assert rows['randn'].ce.value is None and rows['const'].ce.value > 0 and rows['rand'].error.value > 0
    assert summary.clean.value is not None and summary.mce_over == ()
    assert base.mce.value == 100 and base.mean_error.value > 0


def test_a_missing_corruption_is_listed():
    """A corruption must not be missing from the average without a word, even if no model has it."""
    cells = [c for c in whole_run('m') if c.corruption != 'uniform']
    summary = summarise(cells, 'm', **FAST)['m']
    assert (summary.cells, summary.expected) == (55, 67)
    assert {key.corruption for key in summary.missing} == {'uniform'} and len(summary.missing) == 12
    assert summary.mean_error.reason.startswith('missing: uniform 0.04 seed 0') and summary.mce.value is None
    assert [row.corruption for row in summary.corruptions] == list(LEVELS)
    # a run that was planned without it is whole
    plan = [(c.corruption, c.level, c.seed) for c in cells]
    summary = summarise(cells, 'm', plan=plan, **FAST)['m']
    assert summary.complete and summary.mce.value == 100 and summary.mce_over == ('const', 'rand', 'randn')


GRADED = dict(suite='cifar-c', seeds=(0,))


def without(cells, *names):
    return [cell for cell in cells if cell.corruption not in names]


def test_means_are_over_the_fifteen_standard_corruptions():
    """The four extra ones are outside of every published mean; they have figures of their own."""
    cells = without(whole_run('m', skill=0.8, **GRADED), 'frost_like') + without(
        whole_run('base', **GRADED), 'frost_like'
    )
    summary = summarise(cells, 'base', **FAST)['m']
    assert summary.complete and summary.mce_over == STANDARD and len(STANDARD) == 15
    rows = {row.corruption: row for row in summary.corruptions}
    assert set(rows) == {*STANDARD, *EXTRA} and all(rows[name].ce.value > 0 for name in EXTRA)
    for figure in ('error', 'area'):
        name = {'error': 'mean_error'}.get(figure, figure)
        mean = np.mean([getattr(rows[corruption], figure).value for corruption in STANDARD])
        assert getattr(summary, name).value == pytest.approx(mean)
    assert summary.mce.value == pytest.approx(np.mean([rows[name].ce.value for name in STANDARD]))
    other = summarise(without(cells, *EXTRA), 'base', **FAST)['m']
    assert other.missing and {c.corruption for c in other.missing} == set(EXTRA)
    assert other.mean_error.value == summary.mean_error.value and other.mce.value == summary.mce.value
    assert compare(cells, 'm', 'base').overall.accuracy_a == pytest.approx(100 - summary.mean_error.value)


def test_frost_like_leaves_fourteen():
    cells = [c for name in ('m', 'base') for c in without(whole_run(name, **GRADED), 'frost')]
    summary = summarise(cells, 'base', **FAST)['m']
    assert summary.complete and len(summary.mce_over) == 14 and 'frost' not in str(summary.mce_over)


def test_a_run_of_the_eleven_corruptions_of_before_is_summarised():
    """Runs planned when the suite had eleven rows; eight of them are standard ones."""
    new = 'glass_blur motion_blur zoom_blur snow frost fog elastic_transform spatter frost_like'.split()
    cells = without(whole_run('m', **GRADED), *new)
    plan = [(c.corruption, c.level, c.seed) for c in cells]
    summary = summarise(cells, 'preresnet20', plan=plan, **FAST)['m']
    assert summary.complete and len(summary.corruptions) == 11
    assert summary.mce_over == tuple(name for name in STANDARD if name not in new) and len(summary.mce_over) == 8
    assert summary.mean_error.value > 0


def test_extra_corruptions_alone_are_averaged():
    cells = [c for c in whole_run('m', **GRADED) if c.corruption in (CLEAN, 'spatter', 'saturate')]
    plan = [(c.corruption, c.level, c.seed) for c in cells]
    summary = summarise(cells, 'm', plan=plan, **FAST)['m']
    assert summary.mce_over == ('spatter', 'saturate') and summary.mean_error.value > 0


def test_a_missing_clean_cell_stops_what_starts_from_it():
    cells = [c for c in whole_run('m') if c.corruption != CLEAN]
    summary = summarise(cells, 'm', **FAST)['m']
    assert list(map(str, summary.missing)) == ['clean'] and summary.mean_error.value > 0 and summary.mce.value == 100
    for estimate in (summary.clean, summary.area, summary.relative_mce, summary.corruptions[0].area):
        assert estimate.value is None and estimate.reason == 'missing: clean'
    assert summary.mean_flip_rate is None and summary.mean_ece > 0


def test_a_baseline_that_lacks_cells_is_said():
    cells = whole_run('m') + [c for c in whole_run('base') if c.corruption != 'rand']
    found = summarise(cells, 'base', **FAST)
    assert found['m'].mce_over == ('const', 'randn', 'uniform')
    assert found['m'].corruptions[1].ce.reason.startswith('base lacks rand -0.2')
    assert found['base'].mce.value is None


@pytest.mark.parametrize(
    'cells, message',
    [
        ([], 'no cells'),
        (small_run('m') + small_run('m'), 'm: the cell clean is there twice'),
        (small_run('m') + [cell('m', 'const', 0.2, first(3))], 'm: the cell const 0.2 is there twice'),
        (
            small_run('m') + [cell('m', 'const', 0.3, first(3, 10))],
            'm: expected cells on the same images, .* got 10 in const 0.3, 20 in clean images',
        ),
        ([cell('m', CLEAN, 0.1, first(3))], 'expected a clean cell at level 0, got one at level 0.1'),
        (small_run('m') + [cell('m', 'contrast', 1, first(3), suite='cifar-c')], 'suites cifar-c, zerosnet: name one'),
    ],
)
def test_cells_that_cannot_be_summed_up(cells, message):
    with pytest.raises(ValueError, match=message):
        summarise(cells)


def test_suites_are_kept_apart():
    cells = small_run('m') + [cell('m', 'contrast', 1, first(3), suite='cifar-c')]
    plan = [(CLEAN, 0, None), ('contrast', 1, None)]
    summary = summarise(cells, suite='cifar-c', plan=plan, **FAST)['m']
    # its clean cell is that of the other suite
    assert summary.clean.value == 90 and summary.mean_error.value == pytest.approx(85)
    assert len(accuracy_table(cells, **FAST)) == 6
    with pytest.raises(ValueError, match="no cells of suite 'cifar'"):
        summarise(cells, suite='cifar')


@pytest.mark.parametrize(
    'model, name',
    [
        ('zerosnet20.cifar10_seed1', 'zerosnet20'),
        ('zerosnet20.cifar10', 'zerosnet20'),
        ('zerosnet20', 'zerosnet20'),
        ('resnet10t.cifar10_seed2', 'resnet10t.cifar10'),
        ('resnet18.a1_in1k', 'resnet18'),
        ('zerosnet20.cifar100_seed12', 'zerosnet20.cifar100'),
        ('mine_seed1', 'mine'),
        ('zerosnet20_seed1', 'zerosnet20'),
        ('local-dir:runs/net_seed1', 'local-dir:runs/net'),
        ('mine_seed1.tag', 'mine_seed1.tag'),
        ('net.cifar10_seedling', 'net.cifar10_seedling'),
        ('net_seedling', 'net_seedling'),
    ],
)
def test_training_seed_ends_the_name(model, name):
    assert architecture_of(model) == name


def test_training_spread_is_not_noise_spread():
    cells = small_run('net.x', noise=(10, 14)) + small_run('net.x_seed1', clean=16, low=10, high=6, noise=(8, 12))
    cells += small_run('other.x')
    summaries = summarise(cells, plan=SOME, **FAST)
    spread = training_spread(summaries.values())
    net, other = spread['net.x'], spread['other.x']
    assert net.models == ('net.x', 'net.x_seed1') and net.note == ''
    assert (net.clean, net.clean_sd) == pytest.approx((85, 10 / math.sqrt(2)))
    assert (net.mean_error, net.mean_error_sd) == pytest.approx((50, 10 / math.sqrt(2)))
    # the noise spread of each training is its own: 0.5 * sd(50, 30), 0.5 * sd(60, 40)
    assert {round(summaries[m].noise_sd, 6) for m in net.models} == {round(10 / math.sqrt(2), 6)}
    assert (other.clean_sd, other.mean_error_sd) == (None, None)
    assert other.note == 'one training seed: nothing can be decided about the architecture'


def test_own_trainings_need_no_tag():
    cells = small_run('mine_seed1') + small_run('mine_seed2', clean=16)
    assert training_spread(summarise(cells, plan=SOME, **FAST).values())['mine'].models == ('mine_seed1', 'mine_seed2')


def test_incomplete_trainings_have_no_spread():
    cells = small_run('net.x') + small_run('net.x_seed1')[:-1]
    net = training_spread(summarise(cells, plan=SOME, **FAST).values())['net.x']
    assert (net.mean_error, net.mean_error_sd) == (None, None) and net.clean_sd == 0


def test_whole_numbers_of_a_cell_do_not_matter():
    """Levels that came back from a file as integers are the same levels."""
    cells = [Cell('m', 'cifar-c', 'contrast', level, None, evaluation(first(9))) for level in (1, 2.0, 3, 4.0, 5)]
    (row,) = summarise(cells, plan=[('contrast', level, None) for level in range(1, 6)], **FAST)['m'].corruptions
    assert row.error.value == pytest.approx(55)
