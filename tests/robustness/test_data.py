"""Reading labelled images; what cannot be read is named, all of it, before anything is measured."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import CIFAR10_SAMPLE

from timm_zerosnet.cifar import CIFAR10_LABELS
from timm_zerosnet.robustness.data import DataError, LabelledImages, load_labelled, load_official

SAMPLE = CIFAR10_SAMPLE
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 8, 6, 3), dtype=np.uint8)


def write_folder(root, names, each=3, images=IMAGES, suffix='.png'):
    for i, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for j in range(each):
            Image.fromarray(images[i * each + j]).save(root / name / f'{j}{suffix}')
    return root


def assert_holds(found, images, labels):
    assert isinstance(found, LabelledImages)
    assert np.array_equal(found.images, images) and found.images.dtype == np.uint8
    assert found.labels.tolist() == list(labels) and found.labels.dtype == np.int64


def test_sample():
    found = load_labelled(SAMPLE, CIFAR10_LABELS)
    assert found.images.shape == (200, 32, 32, 3) and found.images.dtype == np.uint8
    assert found.labels.shape == (200,) and set(found.labels) == set(range(10))
    assert found.labels[:3].tolist() == [3, 8, 8]  # the test set begins with a cat and two ships


@pytest.mark.parametrize('shape', [(30,), (30, 1)])
@pytest.mark.parametrize('dtype', ['uint8', 'int32', 'int64'])
def test_npz(shape, dtype, tmp_path):
    labels = np.arange(30) % 10
    for path in (tmp_path / 'test.npz', str(tmp_path / 'test.npz')):
        np.savez(path, x_test=IMAGES, y_test=labels.reshape(shape).astype(dtype), x_train=IMAGES)
        assert_holds(load_labelled(path), IMAGES, labels)


@pytest.mark.parametrize(
    'arrays, message',
    [
        ({}, 'lacks x_test and y_test; it holds nothing'),
        ({'x_test': IMAGES, 'y': 1}, 'lacks y_test; it holds x_test, y'),
        ({'y_test': 1, 'images': 2}, 'lacks x_test; it holds y_test, images'),
        (
            {'x_test': IMAGES, 'y_test': np.arange(29)},
            r'expected uint8 images .* N integers y_test, got uint8 .* and int64 \(29,\)',
        ),
        ({'x_test': IMAGES, 'y_test': np.ones(30)}, r'and float64 \(30,\)'),
        ({'x_test': IMAGES / 255, 'y_test': np.arange(30)}, r'got float64 \(30, 8, 6, 3\) and'),
        ({'x_test': IMAGES[0], 'y_test': np.arange(8)}, r'got uint8 \(8, 6, 3\)'),
        ({'x_test': IMAGES.transpose(0, 3, 1, 2), 'y_test': np.arange(30)}, r'got uint8 \(30, 3, 8, 6\)'),
        (
            {'x_test': IMAGES, 'y_test': np.array([Path('a')] * 30)},
            'is not a readable npz file: it holds no plain arrays',
        ),
    ],
)
def test_wrong_npz(arrays, message, tmp_path):
    np.savez(tmp_path / 'test.npz', **arrays)
    with pytest.raises(DataError, match=rf'test\.npz:? .*{message}'):
        load_labelled(tmp_path / 'test.npz')


@pytest.mark.parametrize('content', [b'', b'text', b'PK\x03\x04cut', SAMPLE.read_bytes()[:-900]], ids=len)
def test_damaged_npz(content, tmp_path):
    (tmp_path / 'test.npz').write_bytes(content)
    with pytest.raises(DataError, match=r'test\.npz is not a readable npz file: '):
        load_labelled(tmp_path / 'test.npz')


def test_one_array_is_no_npz(tmp_path):
    with open(tmp_path / 'test.npz', 'wb') as file:
        np.save(file, IMAGES)
    with pytest.raises(DataError, match='is not a readable npz file: it is one array without a name'):
        load_labelled(tmp_path / 'test.npz')


@pytest.mark.parametrize('name', ['none.npz', 'none'])
def test_missing_data(name, tmp_path):
    with pytest.raises(DataError, match=f'{name} (does not exist|is neither an npz file nor a folder)'):
        load_labelled(tmp_path / name)


@pytest.mark.parametrize('split', ['', 'validation', 'val', 'test'])
@pytest.mark.parametrize('suffix', ['.png', '.bmp', '.PNG', '.tga', '.jp2'])
def test_folder(split, suffix, tmp_path):
    write_folder(tmp_path / split, ['a', 'b'], suffix=suffix)
    if split:
        write_folder(tmp_path / 'train', ['a', 'b', 'c'])
    (tmp_path / split / 'a' / 'notes.txt').write_text('no image')
    (tmp_path / split / '.hidden').mkdir()
    assert_holds(load_labelled(tmp_path), IMAGES[:6], [0] * 3 + [1] * 3)


def test_no_picture_is_passed_over(tmp_path):
    """Whatever Pillow opens counts, and is named where it is broken."""
    write_folder(tmp_path, ['a', 'b'])
    Image.fromarray(IMAGES[0]).save(tmp_path / 'a' / 'x.gif')
    assert len(load_labelled(tmp_path).labels) == 7
    (tmp_path / 'b' / 'x.jfif').write_bytes(b'no picture')
    with pytest.raises(DataError, match=r'1 of 8 images cannot be read:\n.*x\.jfif'):
        load_labelled(tmp_path)


def test_folders_are_mapped_by_name(tmp_path):
    """Near-zero accuracy by another order: the model's decides, not the folders', also where classes are absent."""
    names = sorted(CIFAR10_LABELS)
    assert names == list(CIFAR10_LABELS)
    shuffled = tuple(np.random.default_rng(0).permutation(names))
    write_folder(tmp_path, names)
    assert_holds(load_labelled(tmp_path, shuffled), IMAGES, [shuffled.index(name) for name in names for _ in range(3)])
    for gone in ('airplane', 'frog'):
        for path in (tmp_path / gone).iterdir():
            path.unlink()
        (tmp_path / gone).rmdir()
        names.remove(gone)
    assert load_labelled(tmp_path, shuffled).labels.tolist() == [shuffled.index(n) for n in names for _ in range(3)]


def test_folders_with_other_names_are_mapped_in_order(tmp_path):
    write_folder(tmp_path, [f'n{i:03}' for i in range(10)])
    assert_holds(load_labelled(tmp_path, CIFAR10_LABELS), IMAGES, np.repeat(range(10), 3))


@pytest.mark.parametrize(
    'names, strange',
    [
        ([*CIFAR10_LABELS[:9], 'lorry'], 'lorry'),
        ([*CIFAR10_LABELS, 'lorry'], 'lorry'),
        (['n1', 'n2', 'n3'], 'n1, n2, n3'),
        ([f'n{i}' for i in range(11)], 'n0, n1, n2, n3, n4 and 6 more'),
    ],
)
def test_folders_that_do_not_map_are_refused_with_both_counts(names, strange, tmp_path):
    write_folder(tmp_path, names, each=1)
    with pytest.raises(DataError) as error:
        load_labelled(tmp_path, CIFAR10_LABELS)
    counts = f'{len(names)} class folders, the model 10 classes, and these are not among them: {strange}'
    assert str(error.value).endswith(counts) and str(tmp_path) in str(error.value)


def test_flat_and_empty_folders_are_refused(tmp_path):
    """Images without class folders would be measured against wrong labels."""
    for message in ('holds no class folders: expected one folder of images', 'holds no class folders'):
        with pytest.raises(DataError, match=message):
            load_labelled(tmp_path)
        Image.fromarray(IMAGES[0]).save(tmp_path / 'flat.png')
    (tmp_path / 'a').mkdir()
    with pytest.raises(DataError, match='holds no images: expected files with a suffix that Pillow opens'):
        load_labelled(tmp_path)


def test_all_broken_files_are_named(tmp_path):
    """A damaged image would stop the run after hours, and the message not name it."""
    write_folder(tmp_path, ['a', 'b'])
    Image.fromarray(IMAGES[0]).resize((64, 64)).save(tmp_path / 'a' / 'cut.jpg')
    broken = {
        'cut.jpg': (tmp_path / 'a' / 'cut.jpg').read_bytes()[:-200],
        'text.png': b'this is no image',
        'empty.png': b'',
        'head.png': (tmp_path / 'a' / '0.png').read_bytes()[:40],
        'cut.bmp': b'BM' + bytes(20),
        'cut.tif': b'II*\x00\xff\xff\xff\xff',
    }
    for name, data in broken.items():
        (tmp_path / 'a' / name).write_bytes(data)
    (tmp_path / 'b' / 'folder.jpg').mkdir()
    Image.fromarray(np.full((8, 6), -1, np.int32)).save(tmp_path / 'b' / 'negative.tif')
    with pytest.raises(DataError) as error:
        load_labelled(tmp_path)
    first, *lines = str(error.value).splitlines()
    assert first == '8 of 14 images cannot be read:'
    names = {*broken, 'folder.jpg', 'negative.tif'}
    assert {name for name in names for line in lines if f'{name}: ' in line or f'{name} ' in line} == names
    assert len(lines) == 8 and 'integers from 0 to 65535, got values from -1 to -1' in str(error.value)


def test_kinds_and_sizes_of_pictures(tmp_path):
    """Pictures of any kind: grey, palette and transparent ones become colours; several sizes stay pictures."""
    (tmp_path / 'a').mkdir()
    modes = ['1', 'L', 'LA', 'P', 'RGB', 'RGBA']
    for i, mode in enumerate(modes):
        Image.fromarray(IMAGES[i]).convert(mode).save(tmp_path / 'a' / f'{i}.png')
    found = load_labelled(tmp_path)
    for i, mode in enumerate(modes):
        assert np.array_equal(found.images[i], Image.fromarray(IMAGES[i]).convert(mode).convert('RGB')), mode
    Image.fromarray(IMAGES[6]).resize((9, 9)).save(tmp_path / 'a' / '6.png')
    found = load_labelled(tmp_path)
    assert [image.size for image in found.images] == [(6, 8)] * 6 + [(9, 9)]
    assert {image.mode for image in found.images} == {'RGB'} and len(found.labels) == 7


def test_extremes_survive_every_path(tmp_path):
    """Noise on 8-bit values wraps around: white and black pixels are those of the files."""
    images = np.stack([np.full((8, 6, 3), value, np.uint8) for value in (255, 0)])
    np.savez(tmp_path / 'test.npz', x_test=images, y_test=np.arange(2))
    write_folder(tmp_path / 'folder', ['a', 'b'], each=1, images=images)
    for path in (tmp_path / 'test.npz', tmp_path / 'folder'):
        assert_holds(load_labelled(path), images, [0, 1])


def write_official(folder, name='contrast', images=IMAGES, labels=None):
    """As CIFAR-10-C is distributed, with six test images: five severities in blocks, the labels five times over."""
    folder.mkdir(exist_ok=True)
    np.save(folder / f'{name}.npy', images)
    np.save(folder / 'labels.npy', np.tile(np.arange(6), 5).astype(np.uint8) if labels is None else labels)
    return folder


@pytest.mark.parametrize('severity', range(1, 6))
def test_official_set(severity, tmp_path):
    for folder in (write_official(tmp_path), str(tmp_path)):
        for kind in (int, np.int64, float):
            found = load_official(folder, 'contrast', kind(severity))
            assert_holds(found, IMAGES[6 * severity - 6 : 6 * severity], range(6))
    found.images[:] = 0  # a copy, the files stay as they are
    assert np.array_equal(np.load(tmp_path / 'contrast.npy'), IMAGES)


@pytest.mark.parametrize('severity', [0, 6, -1, 2.5, float('nan')])
def test_official_severity(severity, tmp_path):
    with pytest.raises(ValueError, match=f'severity: expected an integer from 1 to 5, .*, got {severity}'):
        load_official(write_official(tmp_path), 'contrast', severity)


@pytest.mark.parametrize(
    'name, message',
    [
        ('Contrast', r'lacks Contrast\.npy; did you mean contrast\? it holds contrast, labels'),
        ('fog', r'lacks fog\.npy; it holds contrast, labels'),
        ('../contrast', r'lacks \.\./contrast\.npy'),
        ('labels', r'labels\.npy: expected uint8 \(30, H, W, 3\), .* got uint8 \(30,\)'),
    ],
)
def test_official_name(name, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_official(write_official(tmp_path), name, 1)


def test_official_set_that_is_not_there(tmp_path):
    for folder in (tmp_path, tmp_path / 'none'):
        with pytest.raises(DataError, match=r'lacks labels\.npy; it holds no \.npy files'):
            load_official(folder, 'contrast', 1)
    write_official(tmp_path)
    (tmp_path / 'labels.npy').unlink()
    with pytest.raises(DataError, match=r'lacks labels\.npy; it holds contrast'):
        load_official(tmp_path, 'contrast', 1)


@pytest.mark.parametrize(
    'images, labels, message',
    [
        (IMAGES[:29], None, r'contrast\.npy: expected uint8 \(30, H, W, 3\), .* got uint8 \(29, 8, 6, 3\)'),
        (IMAGES / 255, None, r'contrast\.npy: .* got float64 \(30, 8, 6, 3\)'),
        (IMAGES[..., :1], None, r'contrast\.npy: .* got uint8 \(30, 8, 6, 1\)'),
        (IMAGES, np.arange(29), r'labels\.npy: expected \(5 N,\) integers, got int64 \(29,\)'),
        (IMAGES, np.arange(6), r'labels\.npy: .* got int64 \(6,\)'),
        (IMAGES, np.ones(30), r'labels\.npy: .* got float64 \(30,\)'),
        (IMAGES, np.ones((30, 1), int), r'labels\.npy: .* got int64 \(30, 1\)'),
        (IMAGES[:0], np.ones(0, int), r'labels\.npy: .* got int64 \(0,\)'),
        (np.array([Path('a')] * 30), None, r'contrast\.npy is not a readable npy file'),
    ],
)
def test_wrong_official_set(images, labels, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_official(write_official(tmp_path, images=images, labels=labels), 'contrast', 1)


@pytest.mark.parametrize('content', ['empty', 'text', 'cut', 'npz'])
def test_damaged_official_set(content, tmp_path):
    path = write_official(tmp_path) / 'contrast.npy'
    whole = path.read_bytes()
    np.savez(tmp_path / 'other.npz', x=IMAGES)
    other = (tmp_path / 'other.npz').read_bytes()
    path.write_bytes({'empty': b'', 'text': b'text', 'cut': whole[:-9], 'npz': other}[content])
    with pytest.raises(DataError, match=r'contrast\.npy is not a readable npy file: '):
        load_official(tmp_path, 'contrast', 1)
