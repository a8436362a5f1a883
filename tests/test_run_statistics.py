"""The statistics in a run's files, and the compare command: those of its cells, paired by image."""

import json

import numpy as np
import pytest
import timm
from PIL import Image
from test_run import CELLS, DATA, FEW, IMAGES, LABELS
from torch import nn

from timm_zerosnet import cli
from timm_zerosnet.cifar import CIFAR10_LABELS
from timm_zerosnet.robustness import Evaluation, compare
from timm_zerosnet.robustness.analysis import compare_run, plain
from timm_zerosnet.robustness.cells import Cell
from timm_zerosnet.robustness.comparison_report import comparison_markdown
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import read_run
from timm_zerosnet.robustness.subjects import Source
from timm_zerosnet.robustness.summary import summarise

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
    assert 'preresnet20 is 100; over const, randn.' in text and '| against preresnet20, paired by image |' in text
    assert f'| zerosnet20 | {expected.overall.difference:+.2f} |' in text
    assert cli.main(['compare', str(pair), 'zerosnet20', 'preresnet20']) == 0
    printed = capsys.readouterr().out
    assert printed == comparison_markdown(expected)
    assert cli.main(['compare', str(pair), 'zerosnet20', 'preresnet20', '--json']) == 0
    assert json.loads(capsys.readouterr().out) == plain(expected)


@pytest.mark.parametrize(
    'words, message',
    [
        (['zerosnet20', 'resnet20'], "no cells of model 'resnet20': did you mean"),
        (['zerosnet20', 'zerosnet20'], 'zerosnet20 with itself: accepted are two models'),
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


def test_models_of_two_sizes_do_not_see_the_same_noise(whole, tmp_path):
    run([Source('zerosnet20', preprocessing={'input_size': (48, 48)})], DATA, tmp_path, **FEW)
    (note,) = compare_run(whole, 'zerosnet20', 'zerosnet20', tmp_path).notes
    assert note == 'the two did not see the same noise: their inputs are 3x32x32 and 3x48x48'
    assert f'**{note}**' in comparison_markdown(compare_run(whole, 'zerosnet20', 'zerosnet20', tmp_path))


def test_runs_of_two_suites_or_other_images_are_not_compared(whole, tmp_path):
    run(['zerosnet20'], DATA, tmp_path / 'suite', suite='cifar-c', corruptions=['brightness'], levels=[1])
    with pytest.raises(ValueError, match='is a run of suite zerosnet, .* of cifar-c: accepted is one suite'):
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
    run(['zerosnet20', Source('reordered', Reordered())], data, tmp_path / 'both', **FEW)
    assert cli.main(['compare', str(tmp_path / 'both'), 'zerosnet20', 'reordered']) == 0
    assert '| overall |' in capsys.readouterr().out
    run([Source('reordered', Reordered())], data, tmp_path / 'other', **FEW)
    found = compare_run(tmp_path / 'both', 'zerosnet20', 'reordered', tmp_path / 'other')
    assert found.overall.only_a == found.overall.only_b == 0 and found.rows[0].accuracy_a > 50


def test_other_labels_of_the_same_images_are_noticed(whole, tmp_path):
    run([Source('reordered', Reordered())], LabelledImages(IMAGES, 9 - LABELS), tmp_path, **FEW)
    with pytest.raises(ValueError, match='are both right on .* images and name other classes'):
        compare_run(whole, 'zerosnet20', 'reordered', tmp_path)


def test_equal_images_have_ids_of_their_own():
    ids = LabelledImages(IMAGES[[0, 1, 0, 0]], LABELS[[0, 1, 0, 0]]).image_ids()
    assert len(set(ids)) == 4 and ids[2] == f'{ids[0]}-1' and ids[3] == f'{ids[0]}-2'
