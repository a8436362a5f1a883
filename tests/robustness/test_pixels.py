"""Pictures are decoded once for all models; their pixels, kept in files, and hashes are those of images in memory."""

import os
import pickle
import shutil
import threading
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import rows

from timm_zerosnet._files import OutputError
from timm_zerosnet.recorded import INTERPOLATIONS
from timm_zerosnet.robustness import pixels as pixels_module
from timm_zerosnet.robustness.data import DataError, LabelledImages, load_data, load_labelled
from timm_zerosnet.robustness.pictures import PictureFiles, PictureStream
from timm_zerosnet.robustness.pixels import PixelFile, bytes_needed, cache_folder, prepare
from timm_zerosnet.robustness.preprocessing import resize, view
from timm_zerosnet.robustness.run import run

RNG = np.random.default_rng(0)
SIDES = [(40, 30), (30, 40), (24, 24), (64, 20)]


def config(size, channels=3, crop_pct=1.0, interpolation='bilinear'):
    mean = (0.5,) * channels
    size = (channels, size, size)
    return dict(
        input_size=size, crop_pct=crop_pct, interpolation=interpolation, crop_mode='center', mean=mean, std=mean
    )


CONFIGS = [config(24), config(16, crop_pct=0.875, interpolation='bicubic'), config(20, channels=1)]
KINDS = [view(each) for each in CONFIGS]


@pytest.fixture
def folder(tmp_path):
    """Pictures of several kinds and sizes, among them two that are equal and one of 16 bits."""
    root = tmp_path / 'photos'
    for i in range(14):
        height, width = SIDES[i % 4]
        array = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
        path = root / f'class{i % 3}' / f'{i}.{"jpg" if i % 2 else "png"}'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).convert('L' if i == 4 else 'RGB').save(path)
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(root / 'class1' / 'deep.png')
    shutil.copy(root / 'class0' / '0.png', root / 'class1' / 'again.png')
    return root


@pytest.fixture
def decoded(monkeypatch):
    """The names of all pictures that this process decodes."""
    names, decode = [], PictureFiles.decode

    def watched(self, index):
        names.append(self.names[index])
        return decode(self, index)

    monkeypatch.setattr(PictureFiles, 'decode', watched)
    return names


def assert_same(prepared, expected, part=slice(3, 7)):
    """The same set as ``expected``, whose images are in memory."""
    assert prepared.sha256 == expected.sha256()
    assert prepared.images_sha256 == expected.images_sha256()
    assert prepared.image_ids == expected.image_ids()
    assert prepared.data.labels.tolist() == expected.labels.tolist()
    assert (prepared.data.notes, prepared.data.classes) == (expected.notes, expected.classes)
    for kind, each in zip(KINDS, CONFIGS, strict=True):
        pixels, all_of_them = prepared.pixels(kind), resize(expected.images, each)
        assert len(pixels) == len(all_of_them) and torch.equal(pixels[: len(pixels)], all_of_them)
        again = pickle.loads(pickle.dumps(pixels))
        assert torch.equal(again[part], all_of_them[part]) and again[part].dtype == torch.uint8
        assert torch.equal(prepared.first_pixels(each), all_of_them[:1])


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('cached', [True, False])
def test_hashes_and_pixels_are_those_of_images_in_memory(workers, cached, folder, tmp_path, monkeypatch):
    monkeypatch.setattr('timm_zerosnet.robustness.reading.CHUNK_COUNT', 3)
    state = torch.get_rng_state()
    prepared = prepare(load_data(folder), CONFIGS, tmp_path / 'cache' if cached else None, workers)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(prepared, load_labelled(folder))
    assert any('16 bits' in note and 'class1/deep.png' in note for note in prepared.data.notes)
    assert all(isinstance(prepared.pixels(kind), PixelFile) == cached for kind in KINDS)


def test_a_folder_is_not_decoded_when_it_is_loaded(folder, decoded):
    data = load_data(folder, limit=5)
    assert not decoded and data.subset == 'first 5 of 16' and len(data.images) == 5
    assert np.array_equal(data.images[3], load_labelled(folder).images[3])
    assert [image.size for image in data.images[1:3]] == [image.size for image in load_labelled(folder).images[1:3]]
    assert data.sha256() == load_labelled(folder, limit=5).sha256()


def test_each_picture_is_decoded_once_and_never_again(folder, decoded, tmp_path):
    first = prepare(load_data(folder), CONFIGS, tmp_path / 'cache')
    assert sorted(decoded) == sorted(first.data.images.names) and len(decoded) == 16
    decoded.clear()
    again = prepare(load_data(folder), CONFIGS, tmp_path / 'cache')
    [again.pixels(kind) for kind in KINDS]
    assert not decoded
    assert_same(again, load_labelled(folder))


def test_another_kind_is_made_when_it_is_asked_for(folder, decoded, tmp_path):
    prepare(load_data(folder), CONFIGS[:1], tmp_path)
    decoded.clear()
    later = prepare(load_data(folder), CONFIGS, tmp_path)
    later.pixels(KINDS[0])
    assert not decoded
    later.pixels(KINDS[1])
    assert len(decoded) == 16
    later.pixels(KINDS[2])
    assert len(decoded) == 16
    assert_same(later, load_labelled(folder))


def change(folder):
    Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(folder / 'class0' / '0.png')


def touch(folder):
    (folder / 'class0' / '0.png').touch()


def add(folder):
    shutil.copy(folder / 'class0' / '0.png', folder / 'class2' / 'more.png')


def remove(folder):
    (folder / 'class0' / '0.png').unlink()


def move(folder):
    (folder / 'class0' / '0.png').rename(folder / 'class2' / '0.png')


@pytest.mark.parametrize('what', [change, touch, add, remove, move])
def test_a_change_is_noticed(what, folder, tmp_path):
    cache = tmp_path / 'cache'
    before = prepare(load_data(folder), CONFIGS, cache)
    old = {path.name for path in cache.rglob('*.pixels')}
    what(folder)
    (stays,) = cache.iterdir()
    (stays / '.cut.partial').write_bytes(b'of a process that was killed')
    after = prepare(load_data(folder), CONFIGS, cache)
    assert_same(after, load_labelled(folder))
    assert (after.sha256 == before.sha256) == (what is touch)
    assert not old & {path.name for path in cache.rglob('*.pixels')} and not [*cache.rglob('*.partial')]


def test_other_labels_share_the_pixels(folder, decoded, tmp_path):
    cache = tmp_path / 'cache'
    data = load_data(folder)
    other = replace(data, labels=(data.labels + 1) % 3)
    for each in (data, other):
        prepare(each, CONFIGS, cache).pixels(KINDS[0])
    expected = load_labelled(folder)
    decoded.clear()
    first, second = (prepare(each, CONFIGS, cache) for each in (data, other))
    [each.pixels(kind) for each in (first, second) for kind in KINDS]
    assert not decoded and len([*cache.rglob('*.pixels')]) == 3
    assert_same(first, expected)
    assert_same(second, replace(expected, labels=other.labels))


def test_first_images_have_pixels_of_their_own(folder, tmp_path):
    everything = prepare(load_data(folder), CONFIGS, tmp_path / 'cache')
    first = prepare(load_data(folder, limit=4), CONFIGS, tmp_path / 'cache')
    assert_same(first, load_labelled(folder, limit=4))
    assert_same(everything, load_labelled(folder))


def put_another_picture(path):
    """It has the size and the time of modification of the one before, as a copy that preserves times may."""
    time = path.stat().st_mtime_ns
    Image.fromarray(np.ones((9, 9, 3), np.uint8)).save(path)
    os.utime(path, ns=(time, time))


@pytest.fixture
def black(tmp_path):
    path = tmp_path / 'photos' / 'a' / '0.bmp'
    path.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(path)
    return path


def test_a_change_that_size_and_time_hide(black, tmp_path):
    before = prepare(load_data(tmp_path / 'photos'), CONFIGS, tmp_path / 'cache')
    put_another_picture(black)
    after = prepare(load_data(tmp_path / 'photos'), CONFIGS, tmp_path / 'cache')
    assert after.sha256 != before.sha256
    assert_same(after, load_labelled(tmp_path / 'photos'), part=slice(0, 1))


def test_a_change_that_everything_hides(black, tmp_path, monkeypatch):
    """It is noticed where pixels of another kind are made, and the same command then goes on."""
    monkeypatch.setattr('timm_zerosnet.robustness.pictures.file_stamp', lambda path: (1, 2, 3))
    before = prepare(load_data(tmp_path / 'photos'), CONFIGS[:1], tmp_path / 'cache')
    put_another_picture(black)
    with pytest.raises(DataError, match='others than when they were read first; the same command reads them anew'):
        prepare(load_data(tmp_path / 'photos'), CONFIGS, tmp_path / 'cache').pixels(KINDS[1])
    after = prepare(load_data(tmp_path / 'photos'), CONFIGS, tmp_path / 'cache')
    assert after.sha256 != before.sha256
    assert_same(after, load_labelled(tmp_path / 'photos'), part=slice(0, 1))


def test_damaged_cache_is_made_anew(folder, tmp_path):
    prepare(load_data(folder), CONFIGS, tmp_path / 'cache')
    for path in (tmp_path / 'cache').rglob('*.pixels'):
        path.write_bytes(path.read_bytes()[:-1])
    assert_same(prepare(load_data(folder), CONFIGS, tmp_path / 'cache'), load_labelled(folder))
    for path in (tmp_path / 'cache').rglob('*.json'):
        path.write_text('{"sha256": ')
    assert_same(prepare(load_data(folder), CONFIGS, tmp_path / 'cache'), load_labelled(folder))


def test_pixels_that_go_while_they_are_in_use(folder, tmp_path):
    pixels = prepare(load_data(folder), CONFIGS, tmp_path / 'cache').pixels(KINDS[0])
    pixels.path.write_bytes(pixels.path.read_bytes()[:-1])
    assert len(pixels[:15]) == 15
    with pytest.raises(DataError, match='was cut short while it was in use; the same command makes it anew'):
        pixels[14:16]
    pixels.path.unlink()
    with pytest.raises(DataError, match='cannot be read: No such file or directory; the same command makes it anew'):
        pixels[:1]


def test_parts_of_pixels(folder, tmp_path):
    pixels = prepare(load_data(folder), CONFIGS, tmp_path / 'cache').pixels(KINDS[0])
    whole = pixels[:16]
    for part in (slice(0, 0), slice(9, 3), slice(14, 99), slice(-3, None), slice(None)):
        assert torch.equal(pixels[part], whole[part])
    with pytest.raises(ValueError, match='got a step of 2'):
        pixels[::2]


@pytest.mark.parametrize('workers', [0, 2])
def test_all_unreadable_pictures_are_named(workers, folder, tmp_path, monkeypatch):
    monkeypatch.setattr('timm_zerosnet.robustness.reading.CHUNK_COUNT', 3)
    (folder / 'class0' / '0.png').write_bytes(b'text')
    (folder / 'class2' / 'folder.jpg').mkdir()
    (folder / 'class2' / 'gone.png').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(DataError) as error:
        prepare(load_data(folder), [*CONFIGS, config(None)], tmp_path / 'cache', workers)
    with pytest.raises(DataError) as expected:
        load_labelled(folder)
    assert str(error.value) == str(expected.value) and str(error.value).startswith('3 of 18 images cannot be read:\n')
    assert not [path for path in (tmp_path / 'cache').rglob('*') if 'lock' not in path.name and path.is_file()]


def test_images_as_they_are(tmp_path):
    images = RNG.integers(0, 256, (4, 12, 17, 3), dtype=np.uint8)
    (tmp_path / 'photos' / 'a').mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / 'photos' / 'a' / f'{i}.png')
    own = config(None)
    for cache in (None, tmp_path / 'cache'):
        found = prepare(load_data(tmp_path / 'photos'), [own, CONFIGS[0]], cache)
        assert torch.equal(found.pixels(view(own))[:4], torch.from_numpy(images).permute(0, 3, 1, 2))
    Image.fromarray(images[0]).resize((5, 5)).save(tmp_path / 'photos' / 'a' / '9.png')
    for cache in (None, tmp_path / 'cache'):
        with pytest.raises(ValueError, match='expected images of one size, or a size to .*, got 5x5, 12x17$'):
            prepare(load_data(tmp_path / 'photos'), [own, CONFIGS[0]], cache).pixels(view(own))
    prepare(load_data(tmp_path / 'photos'), CONFIGS, tmp_path / 'cache')
    with pytest.raises(ValueError, match="by preprocessing={'input_size': .H, W.} of a Source, got several sizes$"):
        prepare(load_data(tmp_path / 'photos'), [own], tmp_path / 'cache').pixels(view(own))


def test_models_that_take_no_pictures(folder):
    with pytest.raises(ValueError, match='expected a model of 1 channel, for grey images, or 3, got one of 4'):
        prepare(load_data(folder), [config(8, channels=4)])


def test_bytes_needed(folder, tmp_path):
    data, cache = load_data(folder), tmp_path / 'cache'
    sizes = [16 * 3 * 24 * 24, 16 * 3 * 16 * 16, 16 * 20 * 20]
    assert bytes_needed(data, CONFIGS) == 0
    assert bytes_needed(data, CONFIGS, cache) == sum(sizes) and not cache.exists()
    prepare(data, CONFIGS[:2], cache)
    assert sum(path.stat().st_size for path in cache.rglob('*.pixels')) == sum(sizes[:2])
    assert bytes_needed(data, CONFIGS, cache) == sizes[2]
    arrays = LabelledImages(np.zeros((3, 8, 8, 3), np.uint8), np.arange(3))
    assert bytes_needed(arrays, CONFIGS, cache) == 0
    assert bytes_needed(arrays, [config(10_000)], cache) == 3 * 3 * 10_000**2


def test_disk_without_room(folder, tmp_path, monkeypatch):
    usage = namedtuple('usage', 'free')(10)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    message = (
        r'the pixels of 16 images in 3 kinds of preprocessing take .* GiB, 0\.00 GiB are free; name a folder with room '
        r'by --cache, or measure models of fewer kinds of preprocessing at a time'
    )
    with pytest.raises(OutputError, match=message):
        prepare(load_data(folder), CONFIGS, tmp_path / 'cache')


def test_disk_that_fills_up(folder, tmp_path, monkeypatch):
    def full(data, configs, outputs, *args):
        outputs[0].write(bytes(100))
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(pixels_module, 'read_pictures', full)
    with pytest.raises(OutputError, match='cannot write .*pixels: No space left on device; make room there'):
        prepare(load_data(folder), CONFIGS, tmp_path / 'cache')
    assert not [*(tmp_path / 'cache').rglob('*.pixels'), *(tmp_path / 'cache').rglob('*.partial')]


def test_one_of_several_reads_and_the_others_wait(folder, decoded, tmp_path):
    expected, found = load_labelled(folder), []
    decoded.clear()

    def read():
        found.append(prepare(load_data(folder), CONFIGS, tmp_path / 'cache'))

    threads = [threading.Thread(target=read) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(decoded) == 16 and len(found) == 3
    for prepared in found:
        assert_same(prepared, expected)


def test_small_sets_leave_nothing_on_disk(folder, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'home'))
    assert cache_folder() == tmp_path / 'home' / 'timm-zerosnet' / 'pixels'
    prepare(load_data(folder), CONFIGS).pixels(KINDS[0])
    assert not (tmp_path / 'home').exists()
    monkeypatch.setattr(pixels_module, 'IN_MEMORY', 1000)
    assert_same(prepare(load_data(folder), CONFIGS), load_labelled(folder))
    assert len([*cache_folder().rglob('*.pixels')]) == 3


def test_arrays_are_resized_when_they_are_asked_for(tmp_path, monkeypatch):
    images = RNG.integers(0, 256, (9, 24, 24, 3), dtype=np.uint8)
    for kind in (images, [Image.fromarray(image) for image in images]):
        data = LabelledImages(kind, np.arange(9) % 2, ('a', 'b'))
        with monkeypatch.context() as patch:
            patch.setattr(pixels_module, 'resize', None)
            prepared = prepare(data, CONFIGS, tmp_path)
        assert_same(prepared, data)
    assert not [*tmp_path.iterdir()]


def test_many_pixels_of_arrays_lie_in_files(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels_module, 'IN_MEMORY', 1000)
    data = LabelledImages(RNG.integers(0, 256, (9, 24, 24, 3), dtype=np.uint8), np.arange(9))
    assert_same(prepare(data, CONFIGS, tmp_path), data)
    monkeypatch.setattr(pixels_module, 'resized_batches', None)
    assert_same(prepare(data, CONFIGS, tmp_path), data)


class Stream(PictureStream):
    """A stream of the images of ``data`` that can be read once."""

    def __init__(self, data, count, identity=('made', 'test')):
        super().__init__(identity, count)
        self.data, self.read = data, 0

    def __iter__(self):
        self.read += 1
        return zip(self.data.images[:], self.data.labels.tolist(), strict=True)


@pytest.mark.parametrize('count', [None, 16])
@pytest.mark.parametrize('cached', [True, False])
def test_a_stream_is_read_once(count, cached, folder, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'home'))
    expected = load_labelled(folder)
    expected = LabelledImages(expected.images, expected.labels, expected.classes)
    stream = Stream(expected, count)
    data = LabelledImages(stream, np.empty(0, np.int64), expected.classes)
    cache = tmp_path / 'cache' if cached else None
    assert_same(prepare(data, CONFIGS, cache), expected)
    assert stream.read == 1
    stored = cached or count is None  # what is unknown may be large
    assert_same(prepare(data, CONFIGS, cache), expected)
    assert stream.read == 1 + (not stored)


def test_a_run_goes_on_with_the_cells_of_images_in_memory(folder, tmp_path):
    few = dict(corruptions=['const', 'randn'], levels=[0.1], class_map=dict(class0=0, class1=1, class2=2))
    run(['zerosnet20'], load_labelled(folder), tmp_path / 'out', **few)
    before = rows(tmp_path / 'out')
    outcome = run(['zerosnet20'], load_data(folder), tmp_path / 'out', cache=tmp_path / 'cache', **few)
    assert (outcome.measured, outcome.kept) == (0, 3) and rows(tmp_path / 'out') == before
    run(['zerosnet20'], load_data(folder), tmp_path / 'new', cache=tmp_path / 'cache', workers=2, **few)
    assert rows(tmp_path / 'new') == before


@pytest.mark.parametrize('name', INTERPOLATIONS)
def test_each_interpolation_is_one_that_timm_takes(name, folder):
    prepare(load_data(folder), [config(8, interpolation=name)])
