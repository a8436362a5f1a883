"""Perturbed images as files: the very pixels that the benchmark sees."""

import numpy as np
import pytest
import torch
from PIL import Image
from places import CIFAR10_SAMPLE

from timm_zerosnet import cli
from timm_zerosnet.robustness import evaluate, perturb
from timm_zerosnet.robustness.corrupt import corrupt
from timm_zerosnet.robustness.data import DataError, LabelledImages, load_labelled, load_official
from timm_zerosnet.robustness.suites import suite_rows

FILE = CIFAR10_SAMPLE
SAMPLE = load_labelled(FILE)
DATA = LabelledImages(SAMPLE.images[:12], SAMPLE.labels[:12])
PIXELS = torch.from_numpy(DATA.images).permute(0, 3, 1, 2).float() / 255


def seen(name, level, suite='cifar-c', seed=0):
    """What a model is shown, as uint8."""
    pixels = 255 * perturb(PIXELS, name, level, seed, suite=suite)
    return pixels.round().byte().permute(0, 2, 3, 1).numpy(), pixels


def test_cifar_c_layout(tmp_path):
    written = corrupt(DATA, tmp_path, suite='cifar-c', layout='cifar-c', seed=3)
    assert {path.stem for path in written} == {'labels', *suite_rows('cifar-c')}
    assert sorted([*written, tmp_path / 'run.lock']) == sorted(tmp_path.iterdir())
    for name in suite_rows('cifar-c'):
        for severity in range(1, 6):
            found = load_official(tmp_path, name, severity)
            pixels, exact = seen(name, severity, seed=3)
            assert np.array_equal(found.images, pixels) and np.array_equal(found.labels, DATA.labels)
            assert torch.equal(exact.round(), exact)


@pytest.mark.parametrize('inside', ['.', 'new', 'a'])
def test_output_inside_the_data_is_refused(inside, tmp_path, capsys):
    """It would be part of the data of the next run."""
    for name in 'ab':
        (tmp_path / name).mkdir()
        Image.fromarray(DATA.images[0]).save(tmp_path / name / '0.png')
    before = sorted(tmp_path.rglob('*'))
    line = ['corrupt', tmp_path, '--suite', 'zerosnet', '--corruption', 'const', '--out', tmp_path / inside]
    assert cli.main([*map(str, line)]) == 2
    assert 'expected a folder outside of' in capsys.readouterr().err and sorted(tmp_path.rglob('*')) == before


def test_other_labels_beside_corruptions_that_are_there(tmp_path):
    options = dict(suite='cifar-c', layout='cifar-c')
    corrupt(DATA, tmp_path, corruptions=['contrast'], **options)
    corrupt(DATA, tmp_path, corruptions=['brightness'], **options)
    before = (tmp_path / 'labels.npy').read_bytes()
    with pytest.raises(
        DataError, match=r'holds brightness\.npy, contrast\.npy with other labels than these: expected a'
    ):
        corrupt(LabelledImages(DATA.images, DATA.labels[::-1]), tmp_path, corruptions=['fog'], **options)
    assert (tmp_path / 'labels.npy').read_bytes() == before


def test_frost_is_of_the_pictures_that_are_named(tmp_path):
    for name, shade in (('dark', 40), ('bright', 200)):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((200, 200, 3), shade, np.uint8)).save(tmp_path / name / 'frost.png')
        options = dict(suite='cifar-c', corruptions=['frost'], levels=[5], layout='npz')
        corrupt(DATA, tmp_path / name / 'out', **options, frost_pictures=tmp_path / name)
        with np.load(tmp_path / name / 'out' / 'frost-5.npz') as found:
            expected = np.floor(0.75 * DATA.images.astype(float) + 0.45 * shade).clip(0, 255)
            assert np.array_equal(found['x_test'], expected)
    with pytest.raises(ValueError, match='expected a folder with pictures of frost'):
        corrupt(DATA, tmp_path / 'out', suite='cifar-c', frost_pictures=tmp_path / 'nothing')
    assert not (tmp_path / 'out').exists()


def test_a_model_sees_the_files_as_it_sees_the_suite(tmp_path):
    corrupt(DATA, tmp_path, suite='cifar-c', layout='npz', corruptions=['shot_noise'], levels=[4])
    found = load_labelled(tmp_path / 'shot_noise-4.npz')
    files = evaluate('zerosnet20', found.images, found.labels)
    suite = evaluate('zerosnet20', DATA.images, DATA.labels, perturbation='shot_noise', level=4, suite='cifar-c')
    assert np.array_equal(files.loss, suite.loss)


def test_official_files_are_measured(tmp_path):
    corrupt(DATA, tmp_path, suite='cifar-c', layout='cifar-c', corruptions=['pixelate'])
    found = load_official(tmp_path, 'pixelate', 4)
    files = evaluate('zerosnet20', found.images, found.labels)
    suite = evaluate('zerosnet20', DATA.images, DATA.labels, perturbation='pixelate', level=4, suite='cifar-c')
    assert np.array_equal(files.loss, suite.loss)


def test_folders(tmp_path):
    data = LabelledImages(DATA.images, DATA.labels % 3, ('a', '<b>', 'c', 'none'))
    first = corrupt(data, tmp_path / '1', suite='zerosnet', corruptions=['randn', 'const'], levels=[0.1, 0.2])
    assert [path.relative_to(tmp_path / '1').as_posix() for path in first] == [
        *('const/0.1', 'const/0.2', 'randn/0.1', 'randn/0.2')
    ]
    found = load_labelled(first[2])
    assert found.classes == ('<b>', 'a', 'c') and found.notes == (
        'folders without images, no classes as in timm: 1 (none)',
    )
    order = sorted(range(12), key=lambda i: (data.classes[data.labels[i]], i))
    assert np.array_equal(found.images, seen('randn', 0.1, 'zerosnet')[0][order])
    assert [found.classes[label] for label in found.labels] == [data.classes[data.labels[i]] for i in order]
    exact = seen('randn', 0.1, 'zerosnet')[1].permute(0, 2, 3, 1).numpy()[order]
    assert np.abs(found.images - exact).max() <= 0.5
    (first[2] / 'a' / 'stale.png').touch()  # what an earlier run left in a folder goes
    again = corrupt(data, tmp_path / '1', suite='zerosnet', corruptions=['randn'], levels=[0.1])
    assert not (again[0] / 'a' / 'stale.png').exists() and first[3].exists()
    assert not [path for path in (tmp_path / '1').rglob('*') if path.name.startswith('.')]


@pytest.mark.parametrize('name', ['AC/DC', '../../x', '/x', '..', '.', '', 'x/'])
def test_class_names_that_are_no_folders_are_refused(name, tmp_path):
    """Classes fell together, or were written outside of the folder."""
    data = LabelledImages(DATA.images, DATA.labels % 3, ('a', name, 'EF/DC'))
    out, one = tmp_path / 'to' / 'out', dict(suite='cifar-c', corruptions=['contrast'], levels=[1])
    with pytest.raises(DataError, match=f"that can name folders, without separators, got '{name}', 'EF/DC': take npz"):
        corrupt(data, out, **one)
    assert not [path for path in tmp_path.rglob('*') if path.suffix == '.png' or path.name == 'x']
    corrupt(data, out, layout='npz', **one)


def test_bare_labels_keep_their_order_in_folders(tmp_path):
    data = LabelledImages(DATA.images, np.array([0, 2, 10, 11] * 3))
    (folder,) = corrupt(data, tmp_path, suite='cifar-c', corruptions=['contrast'], levels=[1])
    found = load_labelled(folder)
    assert [found.classes[label] for label in found.labels] == [*['00'] * 3, *['02'] * 3, *['10'] * 3, *['11'] * 3]
    assert 'no classes as in timm: 8 (01, 03, 04 and 5 more)' in found.notes[0]


def test_the_same_bytes_each_time(tmp_path):
    """Noise would differ from run to run unless the caller seeds a global generator."""
    for layout in ('npz', 'cifar-c'):
        found = []
        for seed, out in ((0, 'a'), (0, 'b'), (1, 'c')):
            np.random.seed(seed)
            torch.manual_seed(seed)
            paths = corrupt(
                DATA, tmp_path / layout / out, suite='cifar-c', layout=layout, corruptions=['impulse_noise'], seed=seed
            )
            found.append([path.read_bytes() for path in paths])
        assert found[0] == found[1] != found[2]


def test_command(tmp_path, capsys):
    words = ['corrupt', str(FILE), '--suite', 'imagenet-c', '--size', '64', '--limit', '4', '--corruption', 'pixelate']
    assert cli.main([*words, '--levels', '2', '--out', str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / 'pixelate' / '2') and '4.00/4.00' in said.err
    paths = sorted((tmp_path / 'pixelate' / '2').rglob('*.png'))
    assert [(path.parent.name, path.name) for path in paths] == [
        ('0', '3.png'),
        ('3', '0.png'),
        ('8', '1.png'),
        ('8', '2.png'),
    ]
    with Image.open(paths[0]) as image:
        assert image.size == (64, 64)


@pytest.mark.parametrize(
    'words, message',
    [
        (['--layout', 'zip'], "unknown layout 'zip'"),
        (
            ['--layout', 'cifar-c', '--levels', '1'],
            'without --levels, got others of gaussian_noise',
        ),
        (['--layout', 'cifar-c', '--suite', 'zerosnet'], 'got others of const, rand, randn, uniform of suite zerosnet'),
        (['--suite', 'imagenet-c'], 'suite imagenet-c is for 64 px and more'),
        (['--img-size', '0'], 'size: expected an integer >= 1, got 0'),
        (['--crop-pct', '2'], 'crop_pct: expected a number above 0, at most 1, got 2'),
        (['--seed', '-1'], 'seeds: expected an integer from 0 to 2**64 - 1, got -1'),
        (['--corruption', 'contrasts'], 'did you mean contrast'),
        (['--levels', '0.5'], 'severity: expected an integer from 0 (clean) to 5, got 0.5'),
        (['--out', '/dev/null/x'], '/dev/null'),
    ],
)
def test_bad_input(words, message, tmp_path, capsys):
    assert cli.main(['corrupt', str(FILE), '--out', str(tmp_path / 'out'), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and 'Traceback' not in error
    assert not list(tmp_path.rglob('*.p*'))


@pytest.mark.parametrize('layout', ['folder', 'cifar-c'])
def test_images_without_a_label_have_no_folder(layout, tmp_path):
    """A label of -1 is not the last class."""
    data = LabelledImages(DATA.images, np.where(np.arange(12) < 2, -1, DATA.labels))
    with pytest.raises(DataError, match='take .*npz'):
        corrupt(data, tmp_path, suite='cifar-c', layout=layout, corruptions=['contrast'])
    assert [path.name for path in tmp_path.iterdir()] == ['run.lock']
    (written,) = corrupt(data, tmp_path, suite='cifar-c', layout='npz', corruptions=['contrast'], levels=[1])
    assert np.array_equal(load_labelled(written).labels, data.labels)


def test_unknown_interpolation(tmp_path, capsys):
    for words in (['corrupt', str(FILE)], ['robustness', '--model', 'zerosnet20', '--data', str(FILE)]):
        with pytest.raises(SystemExit):
            cli.main([*words, '--out', str(tmp_path / 'out'), '--interpolation', 'cubist'])
        assert "invalid choice: 'cubist' (choose from" in capsys.readouterr().err
