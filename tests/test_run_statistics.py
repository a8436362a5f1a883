"""The statistics in a run's files, and the compare command: those of its cells, paired by image."""

import json

import numpy as np
import pytest
from PIL import Image
from test_run import CELLS, DATA, FEW, IMAGES, LABELS

from timm_zerosnet import cli
from timm_zerosnet.robustness import compare
from timm_zerosnet.robustness.analysis import plain
from timm_zerosnet.robustness.comparison_report import comparison_markdown
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import read_run
from timm_zerosnet.robustness.summary import summarise

POINTS = [
    ('clean', 0, None),
    *(('const', level, None) for level in FEW['levels']),
    *(('randn', level, seed) for level in FEW['levels'] for seed in FEW['seeds']),
]


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
