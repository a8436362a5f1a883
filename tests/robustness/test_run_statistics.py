"""The statistics in a run's files, and the compare command: those of its cells, paired by image."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import timm
from amounts import slow
from PIL import Image
from small_runs import CELLS, DATA, FEW, IMAGES, LABELS, plain
from torch import nn

from timm_zerosnet import cli
from timm_zerosnet.cifar import CIFAR10_LABELS
from timm_zerosnet.robustness import Evaluation, compare
from timm_zerosnet.robustness.analysis.baselines import BASELINES, read_baseline, write_baseline
from timm_zerosnet.robustness.analysis.run_analysis import compare_run, plain_values
from timm_zerosnet.robustness.analysis.summary import summarise
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.merge import merge
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.plan import Cell
from timm_zerosnet.robustness.report.comparison_markdown import comparison_markdown
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import Store, read_run

ONE = dict(corruptions=['const'], levels=[0.1])
POINTS = [
    ('clean', 0, None),
    *(('const', level, None) for level in FEW['levels']),
    *(('randn', level, seed) for level in FEW['levels'] for seed in FEW['seeds']),
]


def head(result, count):
    return Evaluation(**{name: values[:count] for name, values in vars(result).items()})


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp('whole')
    run(['zerosnet20'], DATA, out, **FEW)
    return out


def test_statistics_are_those_of_the_cells(whole):
    statistics = json.loads((whole / 'summary.json').read_text())['statistics']
    expected = summarise(read_run(whole).cells, plan=POINTS)
    found = statistics['models']['zerosnet20']
    assert found['clean']['value'] == expected['zerosnet20'].clean.value
    for key in ('value', 'low', 'high'):
        assert found['mean_error'][key] == pytest.approx(vars(expected['zerosnet20'].mean_error)[key], abs=1e-6)
    assert (found['cells'], found['expected'], found['missing'], found['mce']['value']) == (CELLS, CELLS, [], None)
    assert statistics['comparisons'] == [] and statistics['reference'] == 'zerosnet20'
    assert len(statistics['levels']) == 5
    line = next(line for line in (whole / 'table.md').read_text().splitlines() if line.startswith('| zerosnet20 |'))
    assert f'| {found["clean"]["value"]:.2f} (' in line and line.count('|') == 10


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    out = tmp_path_factory.mktemp('pair')
    run(['zerosnet20', 'preresnet20'], DATA, out, baseline='preresnet20', **FEW)
    return out


def test_pair_with_a_baseline(pair, capsys):
    summary = json.loads((pair / 'summary.json').read_text())
    assert summary['baseline'] == 'preresnet20' and summary['statistics']['reference'] == 'preresnet20'
    models = summary['statistics']['models']
    assert models['preresnet20']['mce']['value'] == 100 and models['zerosnet20']['mce_over'] == ['const', 'randn']
    (found,) = summary['statistics']['comparisons']
    assert (found['a'], found['b'], found['images']) == ('zerosnet20', 'preresnet20', 40)
    expected = compare(read_run(pair).cells, 'zerosnet20', 'preresnet20', plan=POINTS)
    assert found['overall']['p'] == pytest.approx(expected.overall.p, abs=1e-6)
    text = (pair / 'table.md').read_text()
    cells = read_run(pair).cells  # of a run, which knows what it planned
    assert compare(cells, 'zerosnet20', 'preresnet20') == expected and expected.complete
    assert all(found.complete for found in summarise(cells).values())
    one, two = (compare(cells[:-1], *names) for names in (('zerosnet20', 'preresnet20'), ('preresnet20', 'zerosnet20')))
    assert one.missing == two.missing == (((('randn', 0.1, 1)), ('preresnet20',)),)
    with pytest.raises(ValueError, match='expected a plan of at least one'):
        compare(cells, 'zerosnet20', 'preresnet20', plan=[])
    with pytest.raises(ValueError, match='zerosnet20 lacks 63 cells of suite zerosnet'):  # which a packaged table has
        write_baseline(cells, 'zerosnet20', 'zerosnet', '0' * 64, pair / 'tables')
    assert 'preresnet20 is 100; over const, randn.' in text and '| against preresnet20, paired by image |' in text
    assert f'| zerosnet20 | {expected.overall.difference:+.2f} |' in text
    assert cli.main(['compare', str(pair), 'zerosnet20', 'preresnet20']) == 0
    printed = capsys.readouterr().out
    assert printed == comparison_markdown(expected)
    assert cli.main(['compare', str(pair), 'zerosnet20', 'preresnet20', '--json']) == 0
    assert json.loads(capsys.readouterr().out) == plain_values(expected)


@pytest.mark.parametrize(
    'words, message',
    [
        (['zerosnet20', 'resnet20'], "no cells of model 'resnet20': did you mean"),
        (['zerosnet20', 'zerosnet20'], 'expected two models, got zerosnet20 twice'),
    ],
)
def test_compare_refuses(words, message, pair, capsys):
    assert cli.main(['compare', str(pair), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


def test_compare_without_a_run(tmp_path, capsys):
    assert cli.main(['compare', str(tmp_path), 'a', 'b']) == 2
    assert 'holds no run: cells.sqlite is missing' in capsys.readouterr().err


def test_a_baseline_is_found_before_anything_is_measured(tmp_path):
    with pytest.raises(ValueError, match="baseline 'vgg': no cells of model 'vgg'.*packaged for suite zerosnet: "):
        run(['zerosnet20'], DATA, tmp_path / 'out', baseline='vgg', **FEW)
    assert not (tmp_path / 'out').exists()


def mces(out):
    models = json.loads((out / 'summary.json').read_text())['statistics']['models']
    return {name: (found['baseline'], found['mce']['value']) for name, found in models.items()}


def test_a_model_that_joins_changes_no_baseline(tmp_path):
    """Its name without a tag fitted several models then, and packaged errors of other images took their place."""
    first = [plain('zerosnet20.cifar10', lambda logits, x: logits + x.mean()), plain('preresnet20.cifar10')]
    run(first, DATA, tmp_path, baseline='preresnet20', **ONE)
    before = mces(tmp_path)
    assert read_run(tmp_path).plan['baseline'] == 'preresnet20.cifar10'
    assert before['preresnet20.cifar10'] == ('preresnet20.cifar10', 100)
    run([plain('preresnet20.cifar10_seed1', lambda logits, x: -logits)], DATA, tmp_path, **ONE)
    after = mces(tmp_path)
    assert {name: after.pop(name) for name in before} == before
    ((name, value),) = after.values()
    assert name == 'preresnet20.cifar10' and value != 100


@pytest.mark.parametrize('seeds', [[1], [1, 2]])
def test_a_baseline_without_a_tag_means_no_other_training(seeds, tmp_path):
    trainings = [f'preresnet20.cifar10_seed{seed}' for seed in seeds]
    models = [plain(name) for name in ('zerosnet20', *trainings)]
    message = f'errors of baseline preresnet20.cifar10 are of other images .*; or name {" or ".join(trainings)} in full'
    with pytest.raises(ValueError, match=message):
        run(models, DATA, tmp_path, baseline='preresnet20', **ONE)
    with pytest.raises(ValueError, match=r'it means lmresnet20\.cifar10: .* or lmresnet20\.cifar10_seed1 in full'):
        run([plain('lmresnet20.cifar10_seed1')], DATA, tmp_path, baseline='lmresnet20', **ONE)
    run(models, DATA, tmp_path, baseline=trainings[0], **ONE)
    assert set(mces(tmp_path).values()) == {(trainings[0], 100)}


def test_packaged_errors_are_those_of_the_images_for_all_models(tmp_path, monkeypatch):
    """Also of a model that joins, and of one that has the name before the tag."""
    monkeypatch.setattr(
        LabelledImages,
        'images_sha256',
        lambda self: read_baseline(BASELINES / 'preresnet20.cifar10.zerosnet.csv').images,
    )
    run([plain('preresnet20.cifar10_seed1')], DATA, tmp_path, baseline='preresnet20', **ONE)
    run([plain('preresnet20.cifar10_seed2'), plain('mine')], DATA, tmp_path, **ONE)
    assert {name for name, value in mces(tmp_path).values()} == {'preresnet20.cifar10'}
    assert len({value for name, value in mces(tmp_path).values()}) == 1 and len(mces(tmp_path)) == 3


def test_the_baseline_of_an_early_version_is_what_it_was(tmp_path):
    """It is stored as it was typed, also where only another training had the name."""
    run([plain('preresnet20.cifar10_seed1')], DATA, tmp_path / 'a', **ONE)
    with closing(Store(tmp_path / 'a', write=True)) as store:
        store.set_plan(replace(store.plan(), baseline='preresnet20'))
    run([plain('b')], DATA, tmp_path / 'b', **ONE)
    merge([tmp_path / 'a', tmp_path / 'b'], tmp_path / 'both')
    run([plain('preresnet20.cifar10_seed2')], DATA, tmp_path / 'a', **ONE)
    for folder in ('a', 'both'):
        assert {name for name, _ in mces(tmp_path / folder).values()} == {'preresnet20.cifar10_seed1'}


def test_images_have_one_hash_in_any_order():
    order = np.argsort(-LABELS, kind='stable')
    assert LabelledImages(IMAGES[order], LABELS[order]).images_sha256() == DATA.images_sha256()
    assert LabelledImages(IMAGES[:-1], LABELS[:-1]).images_sha256() != DATA.images_sha256()
    assert LabelledImages([Image.fromarray(i) for i in IMAGES], LABELS).images_sha256() == DATA.images_sha256()


def test_a_subset_against_the_whole(whole, tmp_path, capsys):
    """Figures of different images compared: the common ones are, and the report says so; a name may be in both runs."""
    run(['preresnet20', 'zerosnet20'], LabelledImages(IMAGES[:15], LABELS[:15], None, 40), tmp_path, **FEW)
    assert cli.main(['compare', str(whole), 'zerosnet20', 'preresnet20', '--with', str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert '**only the 15 images that both saw** (40 of A, 15 of B)' in said and 'same noise' not in said
    first = [Cell(**{**vars(c), 'result': head(c.result, 15)}) for c in read_run(whole).cells]
    other = [cell for cell in read_run(tmp_path).cells if cell.model == 'preresnet20']
    expected = compare([*first, *other], 'zerosnet20', 'preresnet20', plan=POINTS)
    found = compare_run(whole, 'zerosnet20', 'preresnet20', tmp_path)
    assert found.overall == expected.overall and found.rows == expected.rows
    same = compare_run(whole, 'zerosnet20', 'zerosnet20', tmp_path)
    assert (same.a, same.b) == (f'zerosnet20 ({whole})', f'zerosnet20 ({tmp_path})')
    assert same.overall.difference == 0 and same.overall.p == 1


def test_images_in_another_order_are_paired_by_their_pixels(whole, tmp_path):
    order = np.argsort(-LABELS, kind='stable')
    run(['zerosnet20'], LabelledImages(IMAGES[order], LABELS[order]), tmp_path, **FEW)
    found = compare_run(whole, 'zerosnet20', 'zerosnet20', tmp_path)
    rows = {(row.corruption, row.level): row for row in found.rows}
    assert found.images == 40 and rows['const', 0.1].only_a == rows['const', 0.1].only_b == rows['clean', 0].only_a == 0
    assert found.notes == ('the two did not see the same noise: their images are in another order',)
    assert comparison_markdown(found).rstrip().endswith('Both names mean the same weights.')


def test_models_of_two_sizes_do_not_see_the_same_noise(whole, tmp_path):
    run([Source('zerosnet20', preprocessing={'input_size': (48, 48)})], DATA, tmp_path, **FEW)
    (note,) = compare_run(whole, 'zerosnet20', 'zerosnet20', tmp_path).notes
    assert note == 'the two did not see the same noise: their inputs are 3x32x32 and 3x48x48'
    assert f'**{note}**' in comparison_markdown(compare_run(whole, 'zerosnet20', 'zerosnet20', tmp_path))


def test_runs_of_two_suites_or_other_images_are_not_compared(whole, tmp_path):
    run(['zerosnet20'], DATA, tmp_path / 'suite', suite='cifar-c', corruptions=['brightness'], levels=[1])
    with pytest.raises(ValueError, match='expected two runs of one suite, got zerosnet in .* and cifar-c in '):
        compare_run(whole, 'zerosnet20', 'zerosnet20', tmp_path / 'suite')
    run(['zerosnet20'], LabelledImages(255 - IMAGES, LABELS), tmp_path / 'images', **FEW)
    with pytest.raises(ValueError, match='share no image'):
        compare_run(whole, 'zerosnet20', 'zerosnet20', tmp_path / 'images')


class Reordered(nn.Module):
    """zerosnet20 with its outputs, and their names, the other way round."""

    def __init__(self):
        super().__init__()
        self.net = timm.create_model('zerosnet20', pretrained=True)
        self.pretrained_cfg = {**self.net.pretrained_cfg, 'label_names': self.net.pretrained_cfg['label_names'][::-1]}
        self.num_classes = 10

    def forward(self, x):
        return self.net(x).flip(1)


def test_models_may_number_the_classes_differently(tmp_path, capsys):
    """As those of ImageNet-1k and ImageNet-12k do: the names of their outputs say which class is which."""
    data = LabelledImages(IMAGES, LABELS, CIFAR10_LABELS)
    run(['zerosnet20', Source('reordered', Reordered())], data, tmp_path / 'both', **ONE)
    assert cli.main(['compare', str(tmp_path / 'both'), 'zerosnet20', 'reordered']) == 0
    assert '| overall |' in capsys.readouterr().out
    run([Source('reordered', Reordered())], data, tmp_path / 'other', **ONE)
    found = compare_run(tmp_path / 'both', 'zerosnet20', 'reordered', tmp_path / 'other')
    assert found.overall.only_a == found.overall.only_b == 0 and found.rows[0].accuracy_a > 50


def test_equal_images_have_ids_of_their_own():
    ids = LabelledImages(IMAGES[[0, 1, 0, 0]], LABELS[[0, 1, 0, 0]]).image_ids()
    assert len(set(ids)) == 4 and ids[2] == f'{ids[0]}-1' and ids[3] == f'{ids[0]}-2'


def unlabelled(folder):
    """The same run as early development versions left it."""
    with closing(sqlite3.connect(folder / 'cells.sqlite')) as base:
        plan = json.loads(*base.execute('SELECT document FROM plan').fetchone())
        del plan['labels']
        base.execute('UPDATE plan SET document = ?', [json.dumps(plan)])
        base.commit()


@pytest.mark.parametrize('classes', [slow(None), CIFAR10_LABELS], ids=['numbers', 'names'])
def test_other_labels_of_the_same_images_are_refused(classes, tmp_path, capsys):
    """Shifted by one, the same network would be better than itself by all that it is right on."""
    for name, labels in (('one', LABELS), ('two', (LABELS + 1) % 10)):
        run(['zerosnet20'], LabelledImages(IMAGES, labels, classes), tmp_path / name, **ONE)
    folders = str(tmp_path / 'one'), str(tmp_path / 'two')
    assert cli.main(['compare', folders[0], 'zerosnet20', 'zerosnet20', '--with', folders[1]]) == 2
    error = capsys.readouterr().err
    first = CIFAR10_LABELS if classes else range(10)
    seen = f'{first[LABELS[0]]!r} and {first[(LABELS[0] + 1) % 10]!r}'
    assert error.count('\n') == 1 and seen in error
    assert f'40 of 40 common images have other labels in {folders[0]} than in {folders[1]}' in error
    unlabelled(tmp_path / 'two')  # what is right and what is predicted still contradict each other
    assert cli.main(['compare', folders[0], 'zerosnet20', 'zerosnet20', '--with', folders[1]]) == 2
    assert 'contradict each other about the labels of' in capsys.readouterr().err


def test_labels_are_compared_by_name_in_whatever_order_of_classes(tmp_path):
    """A run whose data set orders its classes otherwise has other numbers and the same names."""
    run(['zerosnet20'], LabelledImages(IMAGES, LABELS, CIFAR10_LABELS), tmp_path / 'one', **ONE)
    backwards = LabelledImages(IMAGES, 9 - LABELS, CIFAR10_LABELS[::-1])
    run(['zerosnet20'], backwards, tmp_path / 'two', **ONE)
    run(['zerosnet20'], DATA, tmp_path / 'numbers', **ONE)
    for other in ('two', 'numbers'):
        found = compare_run(tmp_path / 'one', 'zerosnet20', 'zerosnet20', tmp_path / other)
        assert found.overall.only_a == found.overall.only_b == 0 and found.notes == () and found.images == 40


def test_equal_images_with_two_labels_are_paired_by_label(tmp_path):
    images, labels = IMAGES[[0, 1, 0]], np.array([LABELS[0], LABELS[1], (LABELS[0] + 1) % 10])
    run(['zerosnet20'], LabelledImages(images, labels), tmp_path / 'one', **ONE)
    run(['zerosnet20'], LabelledImages(images[::-1], labels[::-1]), tmp_path / 'two', **ONE)
    run(['zerosnet20'], LabelledImages(images[2:], labels[2:]), tmp_path / 'part', **ONE)
    for other, count in (('two', 3), ('part', 1)):
        found = compare_run(tmp_path / 'one', 'zerosnet20', 'zerosnet20', tmp_path / other)
        clean = found.rows[0]
        assert (found.images, clean.only_a, clean.only_b) == (count, 0, 0)
    run(['zerosnet20'], LabelledImages(images[2:], labels[2:] + 1), tmp_path / 'other', **ONE)
    with pytest.raises(ValueError, match='1 of 1 common images have other labels in'):
        compare_run(tmp_path / 'one', 'zerosnet20', 'zerosnet20', tmp_path / 'other')


def test_a_run_without_labels_is_compared_with_a_note(whole, tmp_path):
    run(['zerosnet20'], LabelledImages(IMAGES[::-1], LABELS[::-1]), tmp_path / 'old', **FEW)
    run(['zerosnet20'], DATA, tmp_path / 'equal', **FEW)
    for name in ('old', 'equal'):
        unlabelled(tmp_path / name)
    notes = compare_run(whole, 'zerosnet20', 'zerosnet20', tmp_path / 'old').notes
    assert notes[-1] == f'the labels could not be checked: {tmp_path / "old"} stores none, it was made before runs ' + (
        'stored them'
    )
    # the hash of images and labels is older than the labels
    assert compare_run(whole, 'zerosnet20', 'zerosnet20', tmp_path / 'equal').notes == ()


def test_a_comparison_of_some_of_the_images_says_so(tmp_path, capsys):
    run(['zerosnet20', 'preresnet20'], LabelledImages(IMAGES[:5], LABELS[:5], total=9), tmp_path / 'run', **ONE)
    assert cli.main(['compare', str(tmp_path / 'run'), 'zerosnet20', 'preresnet20']) == 0
    assert '**a subset: the first 5 of 9 images**' in capsys.readouterr().out


def test_every_figure_of_a_partly_overlapping_comparison_rests_on_the_common_images(tmp_path, capsys):
    settings = dict(corruptions=['const'], levels=[0.3])
    run(['zerosnet20'], LabelledImages(IMAGES[:25], LABELS[:25]), tmp_path / 'one', **settings)
    run(['preresnet20'], LabelledImages(IMAGES[15:], LABELS[15:]), tmp_path / 'two', **settings)
    found = compare_run(tmp_path / 'one', 'zerosnet20', 'preresnet20', tmp_path / 'two')
    assert (found.images, found.images_a, found.images_b) == (10, 25, 25)
    (one,), (two,) = (list(values.values()) for values in found.trainings.accuracies)
    assert (one, two) == (found.overall.accuracy_a, found.overall.accuracy_b)
    for name, own, expected in (('one', slice(15, 25), one), ('two', slice(10), two)):
        noisy = read_run(tmp_path / name).cells[1].result
        assert expected == pytest.approx(100 * noisy.correct[own].mean()) != pytest.approx(noisy.top1)
