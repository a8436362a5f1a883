"""Class folders are read as timm reads them: order, splits, links, nesting; what is passed over is said."""

import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from amounts import slow_but
from PIL import Image
from timm.data import create_dataset
from torch import nn

from timm_zerosnet import cli
from timm_zerosnet.class_folders import find_pictures
from timm_zerosnet.robustness.data import DataError, LabelledImages, load_data, load_labelled
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.pictures import read_image
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import read_run

FEW = dict(corruptions=['const'], levels=[0.1])


def picture(value):
    return np.full((8, 8, 3), value, np.uint8)


def write(root, *names, each=1):
    """Pictures of ``root/NAME``, all pixels of the k-th name k."""
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            Image.fromarray(picture(k)).save(root / name / f'{i}.png')
    return root


def as_timm(root):
    """The value of each picture (that of its class, see ``write``) with its label, of timm's own reader."""
    samples = create_dataset('', root=str(root)).reader.samples
    return sorted((int(np.asarray(read_image(Path(file), 3)[0]).max()), label) for file, label in samples)


def as_ours(root):
    found = load_labelled(root)
    return sorted((int(image.max()), label) for image, label in zip(found.images, found.labels.tolist(), strict=True))


class ByBrightness(nn.Module):
    """Its class is the value of the pixels."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, x):
        return nn.functional.one_hot(
            (255 * x[:, 0, 0, 0]).round().long().clamp(max=self.classes - 1), self.classes
        ).float()


def source(classes):
    return Source('bright', ByBrightness(classes), mean=(0,) * 3, std=(1,) * 3)


@pytest.mark.parametrize(
    'names',
    [
        [str(i) for i in range(12)],
        ['class9', 'class10', 'class100'],
        ['apple', 'Banana', 'cherry'],
        ['ship', 'train', 'zebra'],  # a class called like a split
        ['a/x', 'b/y', 'a/z'],
        ['more/cat', 'more', 'other/cat'],
    ],
    ids=lambda names: names[0],
)
def test_order_is_that_of_timm(names, tmp_path):
    write(tmp_path, *names)
    (tmp_path / 'empty').mkdir()
    assert as_ours(tmp_path) == as_timm(tmp_path)


def test_numbered_folders_are_measured_right(tmp_path):
    """0, 1, 2, ... and not 0, 1, 10, 2: a model that is always right is right on all of them."""
    data = load_data(str(write(tmp_path / 'data', *map(str, range(12)))))
    run([source(12)], data, tmp_path / 'out', **FEW)
    assert read_run(tmp_path / 'out').cells[0].result.top1 == 100
    (model,) = json.loads((tmp_path / 'out' / 'summary.json').read_text())['models']
    assert model['class_mapping'] == {str(i): i for i in range(12)} and model['mapped_by'] == 'order'
    for name in ('table.md', 'report.html'):
        assert 'map by order, folders in timm' in (tmp_path / 'out' / name).read_text()
        assert '9 = 9, 10 = 10, 11 = 11' in (tmp_path / 'out' / name).read_text()


def in_order_of(names, folder):
    """What the first development version read: classes in the order of ``names``, and the same order of images."""
    found = load_labelled(folder)
    labels = [names.index(found.classes[label]) for label in found.labels]
    return LabelledImages(found.images, np.array(labels), tuple(names))


def test_cells_of_another_order_are_measured_again(tmp_path):
    names = [str(i) for i in range(12)]
    folder = write(tmp_path / 'data', *names)
    run([source(12)], in_order_of(sorted(names), folder), tmp_path / 'out', **FEW)
    assert read_run(tmp_path / 'out').cells[0].result.top1 == pytest.approx(100 * 2 / 12)
    outcome = run([source(12)], load_labelled(folder), tmp_path / 'out', **FEW)
    assert (outcome.measured, outcome.kept) == (2, 0)
    assert read_run(tmp_path / 'out').cells[0].result.top1 == 100


def test_cells_of_the_same_order_are_kept(tmp_path):
    """As in the first development version, 10.png comes before 2.png: noise goes by this order."""
    folder = write(tmp_path / 'data', 'a', 'b', 'c', each=11)
    found = load_labelled(folder)
    files = [file.relative_to(folder).as_posix() for file, _ in find_pictures(folder).files]
    assert files == sorted(files) and files[2] == 'a/10.png'
    run([source(12)], in_order_of(['a', 'b', 'c'], folder), tmp_path / 'out', class_map=dict(a=0, b=1, c=2), **FEW)
    outcome = run([source(12)], found, tmp_path / 'out', class_map=dict(a=0, b=1, c=2), **FEW)
    assert (outcome.measured, outcome.kept) == (0, 2)


@pytest.mark.parametrize('names', [['1', '01'], ['cat', 'CAT']])
def test_names_that_timm_does_not_tell_apart(names, tmp_path):
    write(tmp_path, *names)
    with pytest.raises(DataError, match="have the same place in timm's order of classes"):
        load_labelled(tmp_path, ['rose', 'tulip'])
    assert sorted(load_labelled(tmp_path, names[::-1]).labels) == [0, 1]  # by name they map


def test_mapping_by_order_is_noted(tmp_path):
    folder = write(tmp_path, 'n2', 'n10')
    assert any('n2 = rose, n10 = tulip' in note for note in load_labelled(folder, ['rose', 'tulip']).notes)
    assert load_labelled(folder, ['n10', 'n2']).notes == ()


@pytest.mark.parametrize(
    'split', slow_but(['validation', 'test'], ['validation', 'val', 'valid', 'eval', 'evaluation', 'test'])
)
def test_split_is_chosen_aloud(split, tmp_path, capsys):
    folder = write(tmp_path / 'flowers', *(f'{part}/{name}' for part in (split, 'train') for name in ('rose', 'tulip')))
    (tmp_path / 'map.json').write_text('{"rose": 0, "tulip": 1}')
    words = [
        '--corruption',
        'const',
        '--levels',
        '0.1',
        '--class-map',
        tmp_path / 'map.json',
        '--out',
        tmp_path / 'out',
    ]
    words = ['robustness', '--model', 'zerosnet20', '--data', folder, *words]
    assert cli.main([*map(str, words)]) == 0
    said = capsys.readouterr()
    assert f'of {folder} the folder {split}' in said.out
    assert f'{folder / split} is taken ({folder / "train"} names another split): 2 images' in said.err
    summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())['data']
    assert (summary['name'], summary['split'], summary['images']) == (f'flowers/{split}', split, 2)
    assert f'2 images of flowers/{split}' in (tmp_path / 'out' / 'table.md').read_text()
    assert f'flowers/{split}, 2 of 2 images' in (tmp_path / 'out' / 'report.html').read_text()
    words[words.index(folder)] = folder / 'train'
    assert cli.main([*map(str, words)]) == 0
    assert 'is taken' not in capsys.readouterr().err
    assert '2 images of flowers/train' in (tmp_path / 'out' / 'table.md').read_text()


def test_a_folder_of_one_split_has_nothing_to_choose(tmp_path):
    folder = write(tmp_path, 'train/rose', 'train/tulip', 'test/rose', 'test/tulip')
    found = load_labelled(folder / 'train')
    assert found.split == '' and found.notes == () and [image.max() for image in found.images] == [0, 1]


@pytest.mark.parametrize('names', [['train'], ['Train', 'Training']])
def test_splits_without_one_to_measure_on(names, tmp_path):
    write(tmp_path, *(f'{split}/{name}' for split in names for name in ('rose', 'tulip')))
    with pytest.raises(DataError, match=rf'holds {", ".join(names)}; expected one of validation, .*/{names[0]}$'):
        load_labelled(tmp_path)


def test_splits_beside_folders_of_images_are_refused(tmp_path):
    for name in ('a', 'b', 'test/sub'):
        write(tmp_path, name)
    with pytest.raises(DataError, match='holds test, named like splits .*, beside folders of images: a, b; expected'):
        load_labelled(tmp_path)


def test_a_loose_picture_does_not_hide_a_split(tmp_path):
    write(tmp_path, 'val/a', 'val/b', 'test/a', 'test/b')
    (tmp_path / 'val' / 'a' / '0.png').rename(tmp_path / 'val' / 'sheet.png')
    with pytest.raises(DataError, match='val holds images that lie in no class folder: sheet.png'):
        load_labelled(tmp_path)


def test_splits_in_capitals(tmp_path):
    write(tmp_path, 'Train/a', 'Test/a')
    assert load_labelled(tmp_path).split == 'Test'


def test_digits_that_timm_cannot_sort(tmp_path):
    write(tmp_path, '①', '②')
    with pytest.raises(DataError, match='[①②]: expected a name whose digits are 0 to 9'):
        load_labelled(tmp_path)


def test_hidden_folders_that_are_classes_are_noted(tmp_path):
    write(tmp_path, 'a', '.ipynb_checkpoints')
    found = load_labelled(tmp_path)
    assert any('hidden folders, which are classes as in timm: 1 (.ipynb_checkpoints)' in note for note in found.notes)


def test_pictures_in_no_class_folder(tmp_path):
    write(tmp_path, 'a', 'b')
    Image.fromarray(picture(9)).save(tmp_path / 'loose.png')
    with pytest.raises(DataError, match=r'lie in no class folder: loose\.png; expected'):
        load_labelled(tmp_path)


def test_linked_class_folder(tmp_path):
    write(tmp_path / 'store', 'a', 'b')
    (tmp_path / 'data').mkdir()
    for name in 'ab':
        (tmp_path / 'data' / name).symlink_to(tmp_path / 'store' / name)
    assert as_ours(tmp_path / 'data') == as_timm(tmp_path / 'data') == [(0, 0), (1, 1)]
    assert load_labelled(tmp_path / 'data').notes == ()


def test_picture_that_a_link_reaches_twice_counts_once(tmp_path):
    folder = write(tmp_path, 'a', 'b', each=2)
    (folder / 'a' / 'again.png').symlink_to(folder / 'a' / '0.png')
    (folder / 'more').mkdir()
    (folder / 'more' / 'b').symlink_to(folder / 'b')
    assert len(as_timm(folder)) == 7 and as_ours(folder) == [(0, 0), (0, 0), (1, 1), (1, 1)]
    said = 'images that a link reaches a second time, counted once where timm counts them again: 3'
    assert any(said in note for note in load_labelled(folder).notes)


def test_one_picture_in_two_classes(tmp_path):
    folder = write(tmp_path, 'a', 'b')
    (folder / 'c').symlink_to(folder / 'a')
    with pytest.raises(DataError, match='are one picture in two classes; expected one class for each picture'):
        load_labelled(folder)


def test_links_in_circles_end(tmp_path):
    folder = write(tmp_path, 'a', 'b')
    (folder / 'a' / 'up').symlink_to(folder)
    (folder / 'b' / 'self').symlink_to(folder / 'b')
    assert as_ours(folder) == [(0, 0), (1, 1)]
    notes = load_labelled(folder).notes
    assert any('links that lead back to a folder above them and are not followed: 2' in note for note in notes)


def test_broken_link_is_named(tmp_path):
    folder = write(tmp_path, 'a', 'b')
    (folder / 'a' / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
    with pytest.raises(DataError, match=r'1 of 3 images cannot be read:\n.*gone\.png does not exist'):
        load_labelled(folder)


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='whoever may read everything')
def test_folder_that_may_not_be_read(tmp_path):
    folder = write(tmp_path, 'a', 'b')
    (folder / 'b').chmod(0)
    try:
        with pytest.raises(DataError, match='b cannot be read: Permission denied'):
            load_labelled(folder)
    finally:
        (folder / 'b').chmod(0o755)


def test_what_is_passed_over_is_counted(tmp_path):
    folder = write(tmp_path, 'a', 'b')
    for name in ('a/0.png.bak', 'a/picture', 'b/notes.txt'):
        shutil.copy(folder / 'a' / '0.png', folder / name)
    Image.fromarray(picture(1)).save(folder / 'b' / 'x.bmp')
    (folder / 'empty').mkdir()
    found = load_labelled(folder)
    assert len(found.labels) == 3 and set(found.notes) == {
        'skipped files without the suffix of an image: 3 (a/0.png.bak, a/picture, b/notes.txt)',
        "images whose suffix timm's scripts pass over, counted here: 1 (b/x.bmp)",
        'folders without images, no classes as in timm: 1 (empty)',
    }


def test_pictures_of_16_bits_are_those_of_predict(tmp_path):
    deep = (np.arange(64, dtype=np.uint16).reshape(8, 8) * 1023).astype(np.uint16)
    for name in 'ab':
        (tmp_path / name).mkdir()
        Image.fromarray(deep).save(tmp_path / name / 'deep.png')
    found = load_labelled(tmp_path)
    image, (note,) = read_image(tmp_path / 'a' / 'deep.png', 3)
    assert np.array_equal(found.images[0], np.asarray(image)) and np.array_equal(
        found.images[0][..., 0], (deep / 257).round()
    )
    assert found.notes == (f'{note}: 2 images (a/deep.png, b/deep.png)',)


def test_threads_that_read_leave_the_filter_of_warnings(tmp_path):
    """Each thread had set the filter of the process and set it back, some of them to what another had set."""
    for i in range(40):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / str(i % 2) / f'{i}.png')
    before = list(warnings.filters)
    assert len(load_labelled(tmp_path, workers=8).labels) == 40
    assert warnings.filters == before


def test_orientation_is_left_alone_as_in_timm(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / 'a').mkdir()
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    Image.fromarray(pixels).save(tmp_path / 'a' / '0.png', exif=exif)
    found = load_labelled(tmp_path)
    assert np.array_equal(found.images[0], pixels) and 'orientation is left alone' in found.notes[0]


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(6) % 3


def write_npy(folder, **arrays):
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f'{name}.npy', array)
    return folder


@pytest.mark.parametrize('names', [('v6_data', 'v6_labels'), ('fog', 'labels'), ('images', 'test_labels')])
def test_npy_files(names, tmp_path):
    folder = write_npy(tmp_path, **dict(zip(names, (IMAGES, LABELS), strict=True)))
    for path in (folder, folder / f'{names[0]}.npy'):
        found = load_labelled(path, limit=4)
        assert np.array_equal(found.images, IMAGES[:4]) and found.labels.tolist() == [0, 1, 2, 0]
        assert found.subset == 'first 4 of 6' and names[1] in found.notes[0]


def test_npy_files_of_several_sets(tmp_path):
    folder = write_npy(tmp_path, v4_data=IMAGES[:2], v4_labels=LABELS[:2], v6_data=IMAGES, v6_labels=LABELS)
    assert len(load_labelled(folder / 'v4_data.npy').labels) == 2
    with pytest.raises(DataError, match=r'expected an npy file of images beside one of labels.*v4_data\.npy names one'):
        load_labelled(folder)


@pytest.mark.parametrize(
    'arrays, name, message',
    [
        ({'images': IMAGES}, '', 'beside one of labels, such as'),
        ({'labels': LABELS}, '', 'got labels.npy'),
        (
            {'images': IMAGES, 'labels': LABELS},
            'labels.npy',
            r'labels\.npy: .*, got int64 \(6,\) and of labels\.npy int64',
        ),
        ({'images': IMAGES, 'labels': LABELS}, 'none.npy', 'expected an npy file of images'),
        ({'images': IMAGES / 255, 'labels': LABELS}, '', r'float64 \(6, 8, 8, 3\)'),
        ({'images': IMAGES, 'labels': LABELS[:5]}, '', r'expected uint8 images .*labels\.npy int64 \(5,\)'),
        ({'images': IMAGES, 'labels': LABELS / 2}, '', r'labels\.npy float64 \(6,\)'),
    ],
)
def test_wrong_npy_files(arrays, name, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_labelled(write_npy(tmp_path, **arrays) / name)


def test_labels_that_corrupt_writes_are_named(tmp_path, capsys):
    folder = write(tmp_path / 'data', *map(str, range(11)))
    words = ['corrupt', folder, '--suite', 'zerosnet', '--corruption', 'const', '--levels', 0, '--layout', 'npz']
    assert cli.main([*map(str, [*words, '--out', tmp_path / 'out'])]) == 0
    assert 'the labels that are written stand for 0 0, 1 1, 2 2, ' in capsys.readouterr().err
    written = np.load(tmp_path / 'out' / 'const-0.npz')
    assert torch.equal(torch.from_numpy(written['x_test'])[:, 0, 0, 0].long(), torch.from_numpy(written['y_test']))
