"""The official perturbed images are shown as they are, condition by condition."""

import shutil

import numpy as np
import pytest
import torch
from amounts import slow
from PIL import Image
from small_runs import rows

from timm_zerosnet import cli
from timm_zerosnet.robustness import evaluate
from timm_zerosnet.robustness.analysis.run_analysis import compare_run
from timm_zerosnet.robustness.data import DataError
from timm_zerosnet.robustness.merge import merge
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.official import OfficialPrepared, OfficialSet
from timm_zerosnet.robustness.plan import Condition
from timm_zerosnet.robustness.preprocessing import view
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import read_run

RNG = np.random.default_rng(0)
ARRAYS = RNG.integers(0, 256, (30, 12, 12, 3), dtype=np.uint8)


def config(size, channels=3):
    normalisation = dict(mean=(0.5,) * channels, std=(0.5,) * channels)
    return dict(
        input_size=(channels, size, size),
        crop_pct=0.875,
        interpolation='bicubic',
        crop_mode='center',
        **normalisation,
    )


@pytest.fixture
def cifar(tmp_path):
    for name in ('fog', 'snow'):
        np.save(tmp_path / f'{name}.npy', ARRAYS)
    np.save(tmp_path / 'labels.npy', np.tile(np.arange(6), 5))
    return tmp_path


@pytest.fixture(params=[slow(''), 'weather'])
def imagenet(request, tmp_path):
    for corruption, severities in (('fog', (1, 2, 5)), ('snow', (1,))):
        for severity in severities:
            for i in range(6):
                path = tmp_path / request.param / corruption / str(severity) / f'n0{i % 2}' / f'val_{i}.JPEG'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(ARRAYS[6 * severity - 6 + i]).save(path, quality=85)
    return tmp_path


def test_conditions_with_other_labels_are_refused(cifar):
    labels = np.load(cifar / 'labels.npy')
    labels[6:12] = labels[11:5:-1]
    np.save(cifar / 'labels.npy', labels)
    with pytest.raises(
        DataError, match='labels of the other conditions, in the same order, got others for fog at sever'
    ):
        run([source('a')], OfficialSet(cifar), cifar / 'out', suite='official', corruptions=['fog'])


def test_a_corruption_called_clean(cifar):
    (cifar / 'snow.npy').rename(cifar / 'clean.npy')
    with pytest.raises(DataError, match='clean is what results call images that are not perturbed'):
        run([source('a')], OfficialSet(cifar), cifar / 'out', suite='official')
    assert run([source('a')], OfficialSet(cifar), cifar / 'out', suite='official', corruptions=['fog']).measured == 5


def test_options_that_change_nothing_here_are_refused(cifar, capsys):
    line = ['robustness', '--model', 'zerosnet20', '--suite', 'official', '--data', cifar, '--out', cifar / 'out']
    for option in (['--crop-pct', '0.5'], ['--interpolation', 'nearest'], ['--seeds', '2']):
        assert cli.main([*map(str, [*line, *option])]) == 2
        assert f'expected none of the options for other data, got {option[0]}' in capsys.readouterr().err
    run([source('a', (8, 8))], OfficialSet(cifar), cifar / 'out', suite='official', corruptions=['fog'], levels=[1])
    assert 'data-label="crop">centre<' in (cifar / 'out' / 'report.html').read_text()
    (row,) = rows(cifar / 'out', 'results/results-official-fog-1.csv')
    assert (row['img_size'], row['crop_pct'], row['interpolation']) == ('8', '', '')


def test_classes_that_are_named_like_severities(imagenet):
    """``timm-zerosnet corrupt`` writes such folders for arrays, whose classes have no names."""
    for path in list(imagenet.rglob('n0*')):
        path.rename(path.with_name(str(int(path.name[1:]) + 1)))
    assert OfficialSet(imagenet).severities == {'fog': [1, 2, 5], 'snow': [1]}


def test_two_folders_of_one_corruption(imagenet):
    shutil.copytree(next(imagenet.rglob('fog')), imagenet / 'again' / 'fog')
    with pytest.raises(DataError, match='expected one folder for each corruption, got .*fog and .*fog'):
        OfficialSet(imagenet)


def pixels(official, settings, condition):
    """All pixels of a condition, taken in parts."""
    found = OfficialPrepared(official, [condition], [settings]).pixels(view(settings))
    return torch.cat([found.batch(condition, start, start + 2) for start in range(0, len(found), 2)])


def test_arrays(cifar):
    found = OfficialSet(cifar, limit=5)
    assert found.severities == {'fog': [1, 2, 3, 4, 5], 'snow': [1, 2, 3, 4, 5]}
    data = found.load('fog', 3)
    assert data.subset == 'first 5 of 6' and data.labels.tolist() == [0, 1, 2, 3, 4]
    expected = torch.from_numpy(ARRAYS[12:17]).permute(0, 3, 1, 2)
    condition = Condition('fog', 3.0, None)
    assert torch.equal(pixels(found, config(12), condition), expected)
    assert torch.equal(pixels(found, config(None), condition), expected)
    assert torch.equal(pixels(found, config(8), condition), expected[:, :, 2:10, 2:10])


def test_pictures(imagenet):
    found = OfficialSet(imagenet)
    assert found.severities == {'fog': [1, 2, 5], 'snow': [1]}
    data, condition = found.load('fog', 2), Condition('fog', 2.0, None)
    assert data.classes == ('n00', 'n01') and data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    expected = torch.from_numpy(np.stack([np.asarray(image) for image in data.images[:]])).permute(0, 3, 1, 2)
    assert torch.equal(pixels(found, config(12), condition), expected)
    assert torch.equal(pixels(found, config(7), condition), expected[:, :, 2:9, 2:9])
    assert np.array_equal(pixels(found, config(12, 1), condition)[4, 0], np.asarray(data.images[4].convert('L')))
    assert OfficialSet(imagenet, 2).load('snow', 1).subset == 'first 2 of 6'


class Mean(torch.nn.Module):
    """Six logits that a colour decides."""

    def forward(self, x):
        return (x.mean((1, 2, 3))[:, None] * torch.arange(6)).cos()


def source(name, size=(None, None)):
    return Source(name, Mean(), mean=(0.5,) * 3, std=(0.25,) * 3, preprocessing={'input_size': size})


@pytest.mark.parametrize('workers', [slow(0), 2])
def test_run_of_arrays(workers, cifar, tmp_path):
    out = tmp_path / 'out'
    outcome = run([source('a'), source('b', (8, 8))], OfficialSet(cifar), out, suite='official', workers=workers)
    assert (outcome.measured, outcome.failed) == (2 * 10, [])
    for cell in read_run(out).cells:
        start = 6 * (int(cell.level) - 1)
        images = ARRAYS[start : start + 6]
        images = images[:, 2:10, 2:10] if cell.model == 'b' else images
        alone = evaluate(Mean(), images, np.arange(6), mean=(0.5,) * 3, std=(0.25,) * 3)
        assert cell.corruption in ('fog', 'snow') and np.array_equal(cell.result.loss, alone.loss)
    names = [row['corruption'] for row in rows(out) if row['model'] == 'a']
    assert names == ['snow'] * 5 + ['fog'] * 5, 'in the order of the standard corruptions'
    assert run([source('a')], OfficialSet(cifar), out, suite='official').measured == 0


def test_run_of_pictures(imagenet, tmp_path):
    """Classes by the names of the folders, here through a map."""
    out, classes = tmp_path / 'run of pictures', {'n00': 2, 'n01': 0}
    outcome = run([source('a')], OfficialSet(imagenet), out, suite='official', class_map=classes, workers=1)
    assert (outcome.measured, outcome.failed) == (4, [])
    document = read_run(out).plan
    assert document['models'][0]['class_mapping'] == classes and document['data']['images'] == 6
    assert document['image_ids'][3] == 'n01/val_1.JPEG' and (out / 'report.html').is_file()


def test_a_model_that_is_larger_or_a_broken_picture_fails_the_cell(imagenet, tmp_path):
    path = next(imagenet.rglob('fog/5/n01/val_3.JPEG'))
    path.write_bytes(path.read_bytes()[:99])
    models = [source('a', (12, 12)), source('large', (16, 16))]
    outcome = run(models, OfficialSet(imagenet), tmp_path / 'out', suite='official', class_map={'n00': 2, 'n01': 0})
    assert len(outcome.failed) == 1 + 4
    assert 'val_3.JPEG' in next(text for text in outcome.failed if text.startswith('a, fog 5'))
    large = next(text for text in outcome.failed if text.startswith('large'))
    assert 'at most 12x12 pixels, the size of the official images, which are not resized, got one of 16x16' in large


def test_a_file_that_changed_is_measured_anew(cifar, tmp_path):
    settings = dict(suite='official', levels=[1, 2])
    assert run([source('a')], OfficialSet(cifar), tmp_path / 'out', **settings).measured == 4
    before = rows(tmp_path / 'out')
    np.save(cifar / 'fog.npy', ARRAYS // 2)
    outcome = run([source('a')], OfficialSet(cifar), tmp_path / 'out', **settings)
    assert (outcome.measured, outcome.kept) == (2, 2)
    changed = [a['corruption'] for a, b in zip(before, rows(tmp_path / 'out'), strict=True) if a['loss'] != b['loss']]
    assert changed == ['fog', 'fog']


def test_other_files_with_the_same_labels_are_another_data_set(cifar, tmp_path):
    run([source('a')], OfficialSet(cifar), tmp_path / 'a', suite='official')
    copy = tmp_path / 'copy'
    copy.mkdir()
    for path in cifar.glob('*.npy'):
        shutil.copyfile(path, copy / path.name)
    run([source('b')], OfficialSet(copy), tmp_path / 'b', suite='official')
    assert merge([tmp_path / 'a', tmp_path / 'b'], tmp_path / 'both').outcome.kept == 20, 'times do not matter'
    changed = ARRAYS.copy()
    changed[17] += 1  # of severity 3
    np.save(copy / 'fog.npy', changed)
    assert_other('fog 3', source('c'), OfficialSet(copy), tmp_path)


def test_other_pictures_of_the_same_names_are_another_data_set(imagenet, tmp_path):
    settings = dict(suite='official', class_map={'n00': 2, 'n01': 0})
    run([source('a')], OfficialSet(imagenet), tmp_path / 'a', **settings)
    Image.fromarray(ARRAYS[0]).save(next(imagenet.rglob('fog/5/n01/val_3.JPEG')))
    assert_other('fog 5', source('c'), OfficialSet(imagenet), tmp_path, **settings)


def assert_other(place, model, official, folder, **settings):
    """A run of a model on other files stays apart from the one in folder ``a``."""
    settings = {'suite': 'official', **settings}
    run([model], official, folder / 'c', **settings)
    with pytest.raises(ValueError, match=f'a and .*c are no parts of one run; files of {place}: '):
        merge([folder / 'a', folder / 'c'], folder / 'all')
    with pytest.raises(ValueError, match=f'a and .*c were measured on other files of {place}: expected runs on the'):
        compare_run(folder / 'a', 'a', 'c', folder / 'c')
    run([model], official, folder / 'a', **settings)
    assert {row['model'] for row in rows(folder / 'a')} == {'c'}


def test_other_options_are_refused(cifar, tmp_path, capsys):
    words = ['robustness', '--model', 'zerosnet20', '--data', str(cifar), '--suite', 'official', '--out']
    assert cli.main([*words, str(tmp_path / 'out'), '--split', 'test', '--labels', 'x']) == 2
    assert 'expected none of the options for other data, got --split, --labels' in capsys.readouterr().err


@pytest.mark.parametrize('limit', [0, -5])
def test_a_limit_below_1_is_refused(limit, cifar, tmp_path, capsys):
    words = ['robustness', '--model', 'zerosnet20', '--data', str(cifar), '--suite', 'official', '--limit', str(limit)]
    assert cli.main([*words, '--out', str(tmp_path / 'out')]) == 2
    assert f'limit: expected an integer >= 1, got {limit}' in capsys.readouterr().err


def test_command(cifar, tmp_path, capsys):
    for name in ('fog', 'snow'):
        np.save(cifar / f'{name}.npy', RNG.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8))
    words = ['robustness', '--model', 'zerosnet20', '--data', str(cifar), '--suite', 'official', '--out', 'out']
    words[-1] = str(tmp_path / 'out')
    assert cli.main([*words, '--corruption', 'fog', '--levels', '2', '3', '--limit', '4', '--device', 'cpu']) == 0
    assert capsys.readouterr().out.startswith('2 cells measured; a subset: the first 4 of 6 images')
    assert cli.main([*words, '--corruption', 'frog', '--device', 'cpu']) == 2
    assert 'lacks frog at severity 1; did you mean fog?; it holds fog 1, 2' in capsys.readouterr().err
    assert cli.main([*words, '--baseline', 'alexnet', '--device', 'cpu']) == 2
    assert 'expected' in capsys.readouterr().err


def test_data_and_suite_belong_together(cifar, tmp_path):
    for data, suite in ((OfficialSet(cifar), 'cifar-c'), (OfficialSet(cifar).load('fog', 1), 'official')):
        with pytest.raises(ValueError, match="expected an OfficialSet with suite 'official', and other data with"):
            run([source('a')], data, tmp_path / 'out', suite=suite)
    np.save(cifar / 'snow.npy', ARRAYS[:25])
    with pytest.raises(DataError, match='snow.npy: expected uint8'):
        run([source('a')], OfficialSet(cifar), tmp_path / 'out', suite='official')


def test_conditions_that_are_not_there(imagenet, tmp_path):
    found = OfficialSet(imagenet)
    with pytest.raises(DataError, match='lacks Fog at severity 1; did you mean fog.; it holds fog 1, 2, 5, snow 1'):
        found.load('Fog', 1)
    with pytest.raises(DataError, match='lacks fog at severity 3; it holds'):
        found.load('fog', 3)
    found.load('fog', 1)
    next(imagenet.rglob('fog/2/n01/val_3.JPEG')).unlink()
    with pytest.raises(DataError, match=r'the pictures of the other conditions, got 1 that differ: n01/val_3\.JPEG'):
        found.load('fog', 2)
    for folder in (tmp_path / 'none', next(imagenet.rglob('fog/1'))):
        with pytest.raises(DataError, match='expected CORRUPTION.npy beside labels.npy, .* got neither'):
            OfficialSet(folder)
