"""Data sets by timm's names, tar files, splits, and flat folders with a file of labels."""

import io
import json
import logging
import sys
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_runs import rows
from timm.data import ImageNetInfo, create_dataset

from timm_zerosnet import cli
from timm_zerosnet.robustness import timm_data
from timm_zerosnet.robustness.data import DataError, load_data
from timm_zerosnet.robustness.pixels import prepare
from timm_zerosnet.robustness.preprocessing import resize, view

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 10, 12, 3), dtype=np.uint8)
CONFIG = dict(
    input_size=(3, 8, 8), crop_pct=0.9, interpolation='bicubic', crop_mode='center', mean=(0.5,) * 3, std=(0.5,) * 3
)


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'PNG')
    return file.getvalue()


def write_folder(root, classes=('a', 'b', 'c10', 'c9')):
    for i, image in enumerate(IMAGES):
        path = root / classes[i % len(classes)] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    return root


def assert_holds(data, labels, order=range(8), **options):
    """The images of ``IMAGES`` in this order, with these labels, in worker processes and again from the cache."""
    for workers in (2, 0):
        prepared = prepare(data, [CONFIG], workers=workers, **options)
        pixels = prepared.pixels(view(CONFIG))
        assert np.array_equal(pixels[: len(pixels)], resize(IMAGES[list(order)], CONFIG))
        assert prepared.data.labels.tolist() == list(labels) and prepared.data.labels.dtype == np.int64


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def test_tar_of_class_folders(tmp_path, monkeypatch):
    monkeypatch.setattr('timm_zerosnet.robustness.reading.CHUNK_COUNT', 2)
    folder, path = write_folder(tmp_path / 'photos'), tmp_path / 'photos.tar'
    with tarfile.open(path, 'w') as archive:
        archive.add(folder, 'photos')
    data = load_data(path)
    assert data.classes == load_data(folder).classes == ('a', 'b', 'c9', 'c10')
    assert data.labels.tolist() == create_dataset('', root=str(path)).reader.targets.tolist()
    order = [int(name.rpartition('/')[2][:-4]) for name in data.images.names]
    assert_holds(data, data.labels, order, cache=tmp_path / 'cache')
    assert load_data(path, limit=3).subset == 'first 3 of 8'
    with tarfile.open(path, 'w') as archive:
        add(archive, 'a/good.png', png(IMAGES[0]))
        add(archive, 'a/torn.png', png(IMAGES[0])[:90])
    with pytest.raises(DataError, match=r'1 of 2 images cannot be read:\n.*photos\.tar: a/torn\.png is truncated'):
        prepare(load_data(path), [CONFIG])


def test_tar_of_class_tars(tmp_path):
    with tarfile.open(tmp_path / 'all.tar', 'w') as archive:
        for k, name in enumerate(('n01', 'n02')):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode='w') as part:
                for i in range(4):
                    add(part, f'{k}{i}.png', png(IMAGES[4 * k + i]))
            add(archive, f'{name}.tar', inner.getvalue())
    data = load_data(tmp_path / 'all.tar')
    assert data.classes == ('n01', 'n02') and len(set(data.images.names)) == 8
    assert_holds(data, [0] * 4 + [1] * 4)


@pytest.mark.parametrize('content', [b'', b'no tar'], ids=['empty', 'text'])
def test_no_tar(content, tmp_path):
    (tmp_path / 'x.tar').write_bytes(content)
    with pytest.raises(DataError, match=r'x\.tar is no tar file of class folders that timm reads'):
        load_data(tmp_path / 'x.tar')


def test_split_of_a_folder(tmp_path):
    write_folder(tmp_path / 'train')
    write_folder(tmp_path / 'val', ('a', 'b'))
    data = load_data(tmp_path, split='train')
    assert (data.split, data.classes, data.notes) == ('train', ('a', 'b', 'c9', 'c10'), ())
    assert load_data(tmp_path, split='validation').classes == ('a', 'b')
    with pytest.raises(DataError, match='expected a folder test in it, got train, val'):
        load_data(tmp_path, split='test')


TEXTS = {
    'names.txt': ''.join(f'ILSVRC2012_val_0000000{i}.JPEG {i % 3}\n' for i in reversed(range(8))),
    'scores.txt': 'name label score\n' + ''.join(f'ILSVRC2012_val_0000000{i} {i % 3} 0.5 x\n' for i in range(8)),
    'paths.txt': ''.join(f'val/ILSVRC2012_val_0000000{i}.JPEG\t{i % 3}\n' for i in range(8)),
    'kaggle.csv': 'ImageId,PredictionString\n' + ''.join(f'ILSVRC2012_val_0000000{i},{i % 3} 1 2\n' for i in range(8)),
    'lines.txt': ''.join(f'{i % 3}\n' for i in range(8)),
    'dict.json': json.dumps({f'ILSVRC2012_val_0000000{i}.JPEG': i % 3 for i in range(8)}),
    'list.json': json.dumps([i % 3 for i in range(8)]),
}


@pytest.fixture
def flat(tmp_path):
    (tmp_path / 'val').mkdir()
    for i, image in enumerate(IMAGES):
        (tmp_path / 'val' / f'ILSVRC2012_val_0000000{i}.JPEG').write_bytes(png(image))
    (tmp_path / 'val' / 'notes.txt').touch()
    return tmp_path


@pytest.mark.parametrize('name', TEXTS)
def test_flat_folder_with_labels(name, flat):
    (flat / name).write_text(TEXTS[name])
    data = load_data(flat / 'val', labels=flat / name)
    assert data.classes is None and load_data(flat, split='val', labels=flat / name).split == 'val'
    assert_holds(data, [i % 3 for i in range(8)])
    assert load_data(flat / 'val', labels=flat / name, limit=3).subset == 'first 3 of 8'


@pytest.mark.parametrize('name', [name for name in TEXTS if name != 'list.json'])
def test_flat_folder_with_wordnet_ids(name, flat):
    ids = ('n01440764', 'n01443537', 'n01484850')
    text = TEXTS[name]
    for i, word in enumerate(ids):
        text = text.replace(f' {i}\n', f' {word}\n').replace(f'\t{i}\n', f'\t{word}\n').replace(f',{i} ', f',{word} ')
        text = text.replace(f' {i} 0.5', f' {word} 0.5').replace(f': {i}', f': "{word}"')
    if name == 'lines.txt':
        text = ''.join(f'{ids[i % 3]}\n' for i in range(8))
    (flat / name).write_text(text)
    data = load_data(flat / 'val', labels=flat / name)
    assert data.classes == ids and data.labels.tolist() == [i % 3 for i in range(8)]


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'holds no labels'),
        ('0\n1\n', 'expected 8 labels, one for each image of .*val, got 2'),
        ('x.JPEG 0\n', r'lacks 8 of the 8 images of .*: ILSVRC2012_val_00000000\.JPEG, .* and 3 more'),
        ('x.JPEG 0\ny.JPEG\n', "expected NAME LABEL in each line, got 'y.JPEG' alone"),
        ('val/x.JPEG 0\ntrain/x.JPEG 1\n', r'labels\.txt gives x\.JPEG two labels, 0 and 1'),
        ('²\n' * 8, r'labels\.txt: ²: expected a name whose digits are 0 to 9'),
        ('9' * 30 + '\n0' * 7, r'labels\.txt: expected numbers of classes as labels, got 9+ and 7 more: '),
    ],
)
def test_wrong_labels(text, message, flat):
    (flat / 'labels.txt').write_text(text, encoding='utf-8')
    with pytest.raises(DataError, match=message):
        load_data(flat / 'val', labels=flat / 'labels.txt')


def test_notes_of_a_flat_folder(flat):
    (flat / 'val' / 'labels.txt').write_text(TEXTS['names.txt'] + 'half.JPEG 1\n')
    data = load_data(flat / 'val', labels=flat / 'val' / '..' / 'val' / 'labels.txt')
    assert data.notes == (
        'skipped files without the suffix of an image: 1 (notes.txt)',
        'labels in labels.txt of images that are not there: 1 (half.JPEG)',
    )


@pytest.mark.parametrize(
    'text, message',
    [
        ('{"x.JPEG": 0, "x.JPEG": 1}', 'gives x.JPEG two labels, 0 and 1'),
        (
            '[0, 1, null, 2, true, [3], 0.5, 5]',
            'expected whole numbers or names of classes as labels, got None, True, \\[3\\] and 1',
        ),
    ],
)
def test_wrong_json_labels(text, message, flat):
    (flat / 'labels.json').write_text(text)
    with pytest.raises(DataError, match=message):
        load_data(flat / 'val', labels=flat / 'labels.json')


@pytest.mark.parametrize('name, text', [('a.json', '[0.0, 1.0, 12.0]'), ('a.csv', '0.0\n1.0\n12\n')])
def test_numbers_of_classes(name, text, flat):
    for picture in sorted((flat / 'val').glob('*.JPEG'))[3:]:
        picture.unlink()
    (flat / name).write_text(text)
    data = load_data(flat / 'val', labels=flat / name)
    assert (data.classes, data.labels.tolist()) == (None, [0, 1, 12])


@pytest.mark.parametrize('names', [['1.png', '2.png', '10.png'], ['B.png', 'a.png']])
def test_bare_labels_of_names_that_have_two_orders(names, tmp_path):
    """timm sorts 2 before 10, the file system's order of text is the reverse: either may be meant."""
    (tmp_path / 'val').mkdir()
    for image, name in zip(IMAGES[: len(names)], names, strict=True):
        (tmp_path / 'val' / name).write_bytes(png(image))
    (tmp_path / 'bare.txt').write_text(''.join(f'{i}\n' for i in range(len(names))))
    with pytest.raises(DataError, match='has two orders of names, in which .* comes first: expected NAME LABEL in'):
        load_data(tmp_path / 'val', labels=tmp_path / 'bare.txt')
    (tmp_path / 'named.txt').write_text(''.join(f'{name} {i}\n' for i, name in enumerate(names)))
    data = load_data(tmp_path / 'val', labels=tmp_path / 'named.txt')
    assert [names[label] for label in data.labels] == sorted(names)


def test_labels_that_do_not_fit(flat, monkeypatch):
    (flat / 'labels.json').write_text('3')
    for path, labels, message in (
        (flat / 'val', 'labels.json', 'no readable file of labels: expected an object or a list'),
        (flat / 'val', 'none.txt', 'no readable file of labels: .*No such file'),
        (flat, 'labels.json', 'holds no images of its own'),
        (flat / 'none', 'labels.json', 'none is no folder; expected one of images beside a file of labels'),
    ):
        with pytest.raises(DataError, match=message):
            load_data(path, labels=flat / labels)
    monkeypatch.setattr('timm_zerosnet.robustness.flat_folders.IMAGENET', (3, 8))
    (flat / 'kit.txt').write_text(''.join(f'{1 + i % 3}\n' for i in range(8)))
    with pytest.raises(DataError, match="labels from 1 to 1000, those of ImageNet's development kit"):
        load_data(flat / 'val', labels=flat / 'kit.txt')


class Fake:
    """A set of torchvision: pairs, and what else its kind has."""

    def __init__(self, **has):
        vars(self).update(has)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return Image.fromarray(IMAGES[index]), index % 2


@pytest.fixture
def created(monkeypatch):
    """Let ``create_dataset`` give what a test wants; returns the calls."""
    calls = []

    def becomes(found):
        monkeypatch.setattr(timm_data, 'create_dataset', lambda name, **args: calls.append((name, args)) or found)
        monkeypatch.setattr(timm_data, 'is_installed', lambda package: True)
        return calls

    return becomes


def test_sets_of_torchvision(created, tmp_path):
    folder = write_folder(tmp_path, ('a', 'b'))
    samples = [(str(folder / 'ab'[i % 2] / f'{i}.png'), i % 2) for i in range(8)]
    wnids = ['n01440764', 'n01443537']
    for found, classes in (
        (Fake(samples=samples, classes=[('tench',), ('goldfish',)], wnids=wnids), tuple(wnids)),
        (Fake(imgs=samples, targets=[], classes=['/a', '/b']), ('/a', '/b')),
        (Fake(root=str(folder), all_categories=['a', 'b'], index=[(i % 2, f'{i}.png') for i in range(8)]), ('a', 'b')),
        (Fake(classes=['x', 'y']), ('x', 'y')),
    ):
        calls = created(found)
        data = load_data('torch/some', tmp_path, split='val')
        assert calls == [('torch/some', dict(root=str(tmp_path), split='val', download=False))] * len(calls)
        assert data.classes == classes and data.split == 'val'
        assert_holds(data, [i % 2 for i in range(8)])
        assert load_data('torch/some', tmp_path, limit=3).subset == 'first 3 of 8'
        calls.clear()


def test_grey_set_of_torchvision(tmp_path):
    """MNIST's own files: twelve pictures of 28 x 28 in bytes."""
    raw = tmp_path / 'MNIST' / 'raw'
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    for part in ('train', 't10k'):
        head = np.array([2051, 12, 28, 28], '>i4').tobytes()
        (raw / f'{part}-images-idx3-ubyte').write_bytes(head + pixels.tobytes())
        head = np.array([2049, 12], '>i4').tobytes()
        (raw / f'{part}-labels-idx1-ubyte').write_bytes(head + bytes(i % 10 for i in range(12)))
    data = load_data('torch/mnist', tmp_path)
    assert np.array_equal(data.images, pixels[..., None]) and data.labels.tolist() == [i % 10 for i in range(12)]
    assert data.classes[3] == '3 - three'


@pytest.mark.parametrize('name', ['hfds/x', 'hfids/x', 'wds/x', 'tfds/x'])
def test_package_that_is_not_installed(name, monkeypatch, capsys):
    package = timm_data.PACKAGES[name.partition('/')[0]]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(timm_data.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(
        DataError, match=rf'{name} needs the package {package}: pip install {package.replace("_", "-")}'
    ):
        load_data(name, '.')
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(name='torch/imagenet'), 'torch/imagenet needs --data-dir'),
        (dict(name='torch/cifar10'), 'torch/cifar10 needs --data-dir'),
        (dict(name='torch/mnist', target_key='x'), 'expected no keys beside it, got target_key'),
        (dict(name='torch/mnist', root='.'), r'torch/mnist, split validation, cannot be opened: .*--download fetches'),
        (dict(name='hfds/x', labels='x'), 'expected input_key or target_key beside it, got labels'),
        (dict(name='photos', input_key='x'), 'expected labels beside it, got input_key'),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        load_data(**arguments)


class Rows:
    """A table of Hugging Face as timm's reader holds it."""

    cache_files = ()

    def __getitem__(self, key):
        return [i % 2 for i in range(8)]


class Reader:
    """timm's reader of Hugging Face's tables, as 1.0.27 has it."""

    dataset, label_key, class_to_idx = Rows(), 'label', {'tench, Tinca tinca': 0, 'goldfish, Carassius auratus': 1}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return io.BytesIO(png(IMAGES[index])), index % 2


def test_hugging_face_by_words(created):
    """ImageNet's classes are called by words there, models name them by WordNet ids."""
    calls = created(SimpleNamespace(reader=Reader()))
    data = load_data('hfds/org/ImageNet', split='test', target_key='label')
    assert calls == [('hfds/org/ImageNet', dict(root=None, split='test', target_key='label'))]
    assert data.classes == ('n01440764', 'n01443537')
    assert_holds(data, [i % 2 for i in range(8)])


def test_all_classes_of_imagenet_by_words():
    info = ImageNetInfo()
    words = tuple(info.label_descriptions())
    assert words.count('crane') == 2
    assert timm_data._as_synsets(words) == tuple(info.label_names())
    assert timm_data._as_synsets((*words[:-1], 'lorry'))[0] == words[0]


class Stream(list):
    """An iterable set of timm whose length is ``count``."""

    def __init__(self, count=8, labels=None, **reader):
        super().__init__((Image.fromarray(image), (labels or range(8))[i]) for i, image in enumerate(IMAGES))
        self.count, self.reader = count, SimpleNamespace(root='.', **reader)

    def __len__(self):
        return self.count


def test_stream(created, tmp_path):
    created(Stream(class_to_idx={f'c{i}': i for i in range(8)}))
    data = load_data('tfds/some', tmp_path, split='test[:8]')
    assert data.classes[:2] == ('c0', 'c1') and not len(data.labels)
    with pytest.raises(TypeError, match=r'got a stream; pixels\.prepare reads it'):
        data.sha256()
    assert_holds(data, range(8), cache=tmp_path / 'cache')
    data = load_data('tfds/some', tmp_path, limit=3)
    prepared = prepare(data, [CONFIG], tmp_path / 'cache')
    assert prepared.data.subset == 'first 3 of 8' and prepared.data.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    'stream, message',
    [
        (Stream(count=9), 'expected 9, as it says of itself, got 8'),
        (Stream(count=7), 'expected 7, as it says of itself, got 8'),
        (Stream(labels=[-1] * 8), 'expected a class for each image, got none, as in a split without labels'),
        (Stream(labels=['a'] * 8), "expected a class for each image, got 'a'; name another split"),
    ],
)
def test_wrong_stream(stream, message, created):
    created(stream)
    with pytest.raises(DataError, match=message):
        prepare(load_data('tfds/some'), [CONFIG])


def test_limit_of_a_stream_of_unknown_length(created):
    created(Stream(count=0))
    with pytest.raises(DataError, match='does not say how many images it has, as a limit needs'):
        load_data('wds/some', '.', limit=3)


def write_shards(folder, broken=False, info=True):
    for k in range(2):
        with tarfile.open(folder / f'val-{k}.tar', 'w') as archive:
            for i in range(4 * k, 4 * k + 4):
                content = png(IMAGES[i])
                add(archive, f'{i:04}.png', content[:90] if broken and i == 5 else content)
                add(archive, f'{i:04}.cls', str(i % 3).encode())
                add(archive, f'{i:04}.json', json.dumps({'other': i % 2}).encode())
    if info:
        names, lengths = ['val-0.tar', 'val-1.tar'], [4, 4]
        split = dict(name='validation', num_samples=8, filenames=names, shard_lengths=lengths)
        (folder / '_info.json').write_text(json.dumps({'splits': {'validation': split}}))
    return folder


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # webdataset leaves its files open
def test_shards_of_webdataset(tmp_path, monkeypatch, caplog):
    pytest.importorskip('webdataset')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'home'))
    folder = tmp_path / 'shards'
    folder.mkdir()
    write_shards(folder)
    data = load_data('wds/photos', folder)
    assert data.total == 8 and data.classes is None
    assert_holds(data, [i % 3 for i in range(8)], cache=tmp_path / 'cache')
    assert_holds(load_data('wds/photos', folder, target_key='other'), [i % 2 for i in range(8)])
    data = load_data('wds/photos', folder, split='val-{0..1}.tar', input_key='png;jpg')
    assert data.total is None  # it is read to the end, whatever its length
    assert_holds(data, [i % 3 for i in range(8)])
    write_shards(folder, broken=True)
    caplog.set_level(logging.ERROR)
    with pytest.raises(DataError, match=r'1 images of wds/photos cannot be read: .*|expected 8, as it says'):
        prepare(load_data('wds/photos', folder), [CONFIG], tmp_path / 'cache')
    with pytest.raises(DataError, match=r'wds/photos, split none, cannot be opened: split none not found'):
        load_data('wds/photos', folder, split='none')


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A local folder of pictures that Hugging Face's library reads offline."""
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'hf'))
    pytest.importorskip('datasets')
    write_folder(tmp_path / 'photos' / 'test', ('cat', 'dog'))
    return tmp_path


def test_tables_of_hugging_face(tables):
    data = load_data(f'hfds/{tables / "photos"}', tables / 'kept', split='test')
    assert data.classes == ('cat', 'dog') and data.total == 8
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    assert_holds(data, [0] * 4 + [1] * 4, order, cache=tables / 'cache')
    assert load_data(f'hfds/{tables / "photos"}', tables / 'kept', split='test', limit=3).subset == 'first 3 of 8'
    with pytest.raises(DataError, match='split validation, cannot be opened: .*validation'):
        load_data(f'hfds/{tables / "photos"}', tables / 'kept')


def test_streams_of_hugging_face(tables):
    data = load_data(f'hfids/{tables / "photos"}', tables / 'kept', split='test', download=True)
    assert data.classes == ('cat', 'dog') and data.total == 8
    assert_holds(data, [0] * 4 + [1] * 4, [0, 2, 4, 6, 1, 3, 5, 7])


def test_a_run_by_the_command(flat, capsys):
    """A flat folder, its labels and its split through the command, the pixels in a folder of the user's."""
    (flat / 'labels.txt').write_text(TEXTS['names.txt'])
    words = f'robustness --model zerosnet20 --data {flat} --split val --labels {flat / "labels.txt"} --device cpu'
    words += f' --corruption const --levels 0.1 --cache {flat / "cache"} --out {flat / "out"}'
    assert cli.main(words.split()) == 0
    assert '2 cells measured' in capsys.readouterr().out
    assert {row['corruption'] for row in rows(flat / 'out')} == {'clean', 'const'}
    summary = json.loads((flat / 'out' / 'summary.json').read_text())['data']
    assert (summary['name'], summary['images']) == (f'{flat.name}/val', 8)
    assert len([*(flat / 'cache').rglob('*.pixels')]) == 1


@pytest.mark.parametrize('split', [None, 'test', 'train'])
def test_cifar_of_torchvision(split, tmp_path, monkeypatch):
    """The test set unless the other is named; images, labels and names as torchvision has them."""
    seen = []

    def made(root, train, download):
        seen.append((root, train, download))
        return SimpleNamespace(data=IMAGES, targets=[i % 2 for i in range(8)], classes=['airplane', 'cat'])

    monkeypatch.setattr('torchvision.datasets.CIFAR10', made)
    data = load_data('torch/cifar10', tmp_path, limit=5, split=split)
    assert seen == [(str(tmp_path), split == 'train', False)]
    assert np.array_equal(data.images, IMAGES[:5]) and data.labels.tolist() == [0, 1, 0, 1, 0]
    assert (data.classes, data.total, data.notes) == (('airplane', 'cat'), 8, ())
    assert data.split == ('train' if split == 'train' else '')


@pytest.mark.parametrize('name', ['images.npz', 'images.tar', 'npy'])
def test_a_split_of_what_has_none_is_refused(name, tmp_path):
    (tmp_path / 'npy').mkdir()
    np.save(tmp_path / 'npy' / 'images.npy', np.zeros((1, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=f"{name}: expected no split beside it, as .* got 'train'"):
        load_data(tmp_path / name, split='train')
    with pytest.raises(DataError, match="torch/cifar10: expected split train, or test .* got 'banana'"):
        load_data('torch/cifar10', tmp_path, split='banana')


@pytest.mark.parametrize(
    'text, classes',
    [
        ('a.png,airplane of wood\nb.png,"airplane, of steel"\n', ('airplane of wood', 'airplane, of steel')),
        ('a.png airplane of wood\nb.png\tairplane of steel\n', ('airplane of steel', 'airplane of wood')),
        ('a.png 2 doors\nb.png no door\n', ('2 doors', 'no door')),
        ('ImageId,PredictionString\na.png,n02 1 2 3 4 n02 1 2 3 4\nb.png,n01 1 2 3 4\n', ('n01', 'n02')),
    ],
)
def test_labels_of_several_words(text, classes, tmp_path):
    """What stands behind the name, or in the second column, is the class; Kaggle's file for ImageNet adds boxes."""
    for name in ('a', 'b'):
        Image.new('RGB', (8, 8)).save(tmp_path / f'{name}.png')
    (tmp_path / 'labels.csv').write_text(text)
    found = load_data(tmp_path, labels=tmp_path / 'labels.csv')
    assert set(found.classes) == set(classes) and len(set(found.labels.tolist())) == 2
