"""Data sets by the names of ``timm.data.create_dataset``, and tar files of class folders."""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
from collections.abc import Mapping as MappingOf
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image
from timm.data import ImageNetInfo, create_dataset
from torch import Tensor

from .._errors import one_line, shorten
from ..class_folders import DataError, natural_order
from .labelled import LabelledImages
from .pictures import ImageError, PictureFiles, Pictures, PictureStream, decode_file, file_stamp

PACKAGES = {
    'torch': 'torchvision',
    'hfds': 'datasets',
    'hfids': 'datasets',
    'wds': 'webdataset',
    'tfds': 'tensorflow_datasets',
}
"""The package that reads each kind of data set."""
STREAMS = ('hfids', 'wds', 'tfds')
NEEDS_FOLDER = ('torch', 'wds')
PASSED_OVER = 'Handling webdataset error'
"""How timm's log begins for a picture that its reader of webdataset leaves out."""


def prefix_of(name: str) -> str:
    """The kind of data set that a name of timm begins with, such as ``hfds``; empty for paths."""
    prefix = name.partition('/')[0].lower() if '/' in name else ''
    return prefix if prefix in PACKAGES else ''


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported, as timm's readers print where it is not there."""
    return importlib.util.find_spec(package) is not None


def load_timm(
    name: str,
    root: str | Path | None,
    split: str | None,
    download: bool,
    limit: int | None,
    keys: Mapping[str, str | None],
) -> LabelledImages:
    """Open a data set of timm; its pictures are read later.

    Args:
        name: Such as ``torch/mnist``, ``hfds/NAME`` and ``wds/NAME``.
        root: Its folder; see ``data.load_data``.
        split: The split to read; default: ``validation``.
        download: Fetch it if it is not there.
        limit: Number of images to take, the first ones; default: all.
        keys: What its reader calls the image and its label; None leaves the default.

    Raises:
        DataError: if it cannot be opened, saying why; if it has no labels.
    """
    kind = prefix_of(name)
    if not is_installed(PACKAGES[kind]):
        raise DataError(f'{name} needs the package {PACKAGES[kind]}: pip install {PACKAGES[kind].replace("_", "-")}')
    if root is None and kind in NEEDS_FOLDER:
        raise DataError(f'{name} needs --data-dir, the folder that holds it or that it is downloaded to')
    arguments: dict[str, Any] = {'root': None if root is None else str(root), 'split': split or 'validation'}
    if kind != 'torch':
        arguments.update({key: value for key, value in keys.items() if value is not None})
    if kind in ('torch', 'hfids', 'tfds'):
        arguments['download'] = download
    try:
        found: Any = create_dataset(name, **arguments)
    except Exception as error:  # each library raises its own
        unknown = isinstance(error, AssertionError)  # a name that timm does not have
        advice = '; --download fetches it' if 'download' in arguments and not download and not unknown else ''
        what = one_line(error) or type(error).__name__
        raise DataError(f'{name}, split {arguments["split"]}, cannot be opened: {what}{advice}') from error
    identity = [name, arguments['root'], arguments['split'], *keys.values()]
    if kind == 'torch':
        return _of_torchvision(name, found, identity, limit, split or '')
    if kind == 'hfds':
        return _of_hugging_face(name, found.reader, identity, limit, split or '')
    return _of_stream(name, found, identity, limit, split or '')


def load_tar(path: Path, limit: int | None = None) -> LabelledImages:
    """The pictures of a tar file in timm's order: of class folders, or of one tar file for each class.

    Raises:
        DataError: if it is no tar file or holds no pictures.
    """
    try:
        reader: Any = create_dataset('', root=str(path)).reader
    except Exception as error:  # tarfile and timm each raise their own
        raise DataError(f'{path} is no tar file of class folders that timm reads: {one_line(error)}') from error
    classes = _by_index(reader.class_name_to_idx)
    labels = np.asarray(reader.targets[:limit], dtype=np.int64)
    return LabelledImages(_TarPictures(path, reader.samples[:limit]), labels, classes, len(reader.samples))


class _TarPictures(Pictures):
    """Pictures inside a tar file, also inside tar files in it. Each is read by position, by any number of processes."""

    def __init__(self, path: Path, samples: Sequence[Any]) -> None:
        self.path, self._times = path, file_stamp(path)[1:]
        names, self._places = [], []
        for member, _, outer in samples:
            names.append(f'{outer.name}/{member.name}' if outer else member.name)
            self._places.append((member.offset_data + (outer.offset_data if outer else 0), member.size))
        super().__init__(names, [str(path.resolve())])

    def decode(self, index: int) -> tuple[Image.Image, list[str]]:
        start, size = self._places[index]
        with open(self.path, 'rb') as file:
            file.seek(start)
            content = BytesIO(file.read(size))
        return decode_file(content, f'{self.path}: {self.names[index]}', 3, upright=False)

    def stamp(self, index: int) -> tuple[int, ...]:
        return self._places[index][1], *self._times


class _ReaderPictures(Pictures):
    """Pictures that a function opens by their number."""

    def __init__(self, name: str, count: int, open_picture: Callable[[int], Any], identity: Sequence[Any]) -> None:
        super().__init__([str(i) for i in range(count)], identity)
        self.name, self._open = name, open_picture

    def decode(self, index: int) -> tuple[Image.Image, list[str]]:
        place = f'{self.name}, image {index}'
        try:
            found = self._open(index)
        except Exception as error:  # each library raises its own
            raise ImageError(f'{place} cannot be read: {one_line(error)}') from error
        if isinstance(found, Image.Image):
            return found.convert('RGB'), []
        file: BinaryIO = found
        with file:
            return decode_file(file, place, 3, upright=False)

    def stamp(self, index: int) -> tuple[int, ...]:
        return 0, 0, 0


def _of_torchvision(name: str, found: Any, identity: list[Any], limit: int | None, split: str) -> LabelledImages:
    classes = getattr(found, 'wnids', None) or getattr(found, 'classes', None)
    data = getattr(found, 'data', None)
    if data is not None:  # MNIST and its like lie in memory
        labels = np.array(
            found.targets.tolist() if isinstance(found.targets, Tensor) else found.targets, dtype=np.int64
        )
        labels = labels[:, 0] if labels.ndim == 2 else labels  # QMNIST has more columns
        array = (data.numpy() if isinstance(data, Tensor) else np.asarray(data))[:limit]
        array = array[..., None] if array.ndim == 3 else array
        return LabelledImages(array, labels[:limit], _names(classes), len(labels), split)
    if hasattr(found, 'all_categories'):  # iNaturalist
        places = [(os.path.join(found.root, found.all_categories[label], file), label) for label, file in found.index]
        classes = found.all_categories
    else:
        places = list(getattr(found, 'samples', None) or getattr(found, 'imgs', None) or [])
    if places and places[0][1] is not None:
        files = [Path(file) for file, _ in places[:limit]]
        pictures: Pictures = PictureFiles(files, Path(os.path.commonpath([file.parent for file in files])))
        values: list[Any] = [label for _, label in places[:limit]]
    else:
        count = min(len(found), limit or len(found))
        pictures = _ReaderPictures(name, count, _First(found), [*identity, len(found)])
        values = [found[i][1] for i in range(count)]
    return _labelled(name, pictures, values, _names(classes), len(found), split)


class _First:
    """The picture of each pair of a data set."""

    def __init__(self, pairs: Any) -> None:
        self.pairs = pairs

    def __call__(self, index: int) -> Any:
        return self.pairs[index][0]


def _of_hugging_face(name: str, reader: Any, identity: list[Any], limit: int | None, split: str) -> LabelledImages:
    total = len(reader)
    count = min(total, limit or total)
    if hasattr(reader, 'iter_targets'):
        values = list(itertools.islice(reader.iter_targets(), count))
    else:  # timm 1.0.27
        values = list(reader.dataset[reader.label_key][:count])
    files = [[file['filename'], *file_stamp(file['filename'])] for file in reader.dataset.cache_files]
    pictures = _ReaderPictures(name, count, _First(reader), [*identity, total, files])
    return _labelled(name, pictures, values, _by_index(reader.class_to_idx), total, split)


def _labelled(
    name: str, pictures: Pictures, values: Sequence[Any], classes: tuple[str, ...] | None, total: int, split: str
) -> LabelledImages:
    if values and all(isinstance(value, str) for value in values):
        classes = tuple(natural_order(set(values)))
        index = {value: i for i, value in enumerate(classes)}
        values = [index[value] for value in values]
    labels = np.array([_integer(name, value) for value in values], dtype=np.int64)
    return LabelledImages(pictures, labels, _as_synsets(classes), total, split)


def _integer(name: str, value: Any) -> int:
    """A label as an index of a class."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 0:
        return int(value)
    got = 'none, as in a split without labels' if value in (None, -1) else repr(value)
    raise DataError(f'{name}: expected a class for each image, got {got}; name another split, or a key by --target-key')


def _names(classes: Any) -> tuple[str, ...] | None:
    return tuple(map(str, classes)) if classes else None


def _by_index(names: Mapping[str, int] | None) -> tuple[str, ...] | None:
    """Names of the classes 0, 1, ... of a reader; None where it does not know them all."""
    if not isinstance(names, MappingOf) or sorted(names.values()) != list(range(len(names))) or not names:
        return None
    return tuple(sorted(names, key=names.__getitem__))


def _as_synsets(classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """ImageNet's classes by their WordNet ids, as models name them, where all are called by their words."""
    if not classes:
        return classes
    info = ImageNetInfo()
    synsets, found = info.label_names(), []
    ids: dict[str, list[str]] = {}
    for synset in synsets:
        ids.setdefault(info.label_name_to_description(synset), []).append(synset)
    for i, name in enumerate(classes):
        meant = ids.get(name, [])
        if len(meant) > 1:  # crane, the bird and the machine
            meant = [synset for synset in meant if synsets[i : i + 1] == [synset]]
        if len(meant) != 1:
            return classes
        found += meant
    return tuple(found)


def _of_stream(name: str, found: Any, identity: list[Any], limit: int | None, split: str) -> LabelledImages:
    reader = found.reader
    total = int(len(found)) or None
    if limit is not None and total is None:
        raise DataError(
            f'{name} does not say how many images it has, as a limit needs; expected an info.json with num_samples, or '
            "the number beside the shards, as in --split 'val-{0000..0009}.tar|5000'"
        )
    builder = getattr(reader, 'builder', None)
    state: list[Any] = [str(getattr(getattr(builder, 'info', None), 'version', '')), str(getattr(builder, 'hash', ''))]
    if shards := getattr(getattr(reader, 'split_info', None), 'filenames', None):
        state += [
            [path, *file_stamp(path)] for path in (os.path.join(str(reader.root), str(shard)) for shard in shards)
        ]
    stream: Any = _TimmStream(name, found, [*identity, *state], total and min(total, limit or total), limit is None)
    classes = _as_synsets(_by_index(getattr(reader, 'class_to_idx', None)))
    return LabelledImages(stream, np.empty(0, dtype=np.int64), classes, total, split)


class _TimmStream(PictureStream):
    """The pictures of one of timm's iterable readers, not shuffled."""

    def __init__(self, name: str, found: Any, identity: Sequence[Any], count: int | None, whole: bool) -> None:
        super().__init__(identity, count)
        self.name, self._found, self._whole = name, found, whole

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        read = 0
        with _watched_log() as passed_over:
            try:
                for image, label in itertools.islice(self._found, None if self._whole else self.count):
                    yield image.convert('RGB'), _integer(self.name, label)
                    read += 1
            except DataError:
                raise
            except Exception as error:  # each library raises its own
                raise DataError(f'{self.name} cannot be read after {read} images: {one_line(error)}') from error
        if passed_over:
            raise DataError(f'{len(passed_over)} images of {self.name} cannot be read: {shorten(passed_over)}')
        if read == 0 or (self.count is not None and read != self.count):
            raise DataError(f'{self.name}: expected {self.count or "images"}, as it says of itself, got {read}')


class _Gatherer(logging.Handler):
    def __init__(self, passed_over: list[str]) -> None:
        super().__init__()
        self.passed_over = passed_over

    def emit(self, record: logging.LogRecord) -> None:
        if (message := record.getMessage()).startswith(PASSED_OVER):
            self.passed_over.append(message)


@contextmanager
def _watched_log() -> Iterator[list[str]]:
    """Gather what timm's log says of pictures that are passed over."""
    passed_over: list[str] = []
    handler = _Gatherer(passed_over)
    logger = logging.getLogger('timm')
    logger.addHandler(handler)
    try:
        yield passed_over
    finally:
        logger.removeHandler(handler)
