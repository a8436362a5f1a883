"""The pixels of a data set at the size of each model, made once.

Arrays are resized in memory when their pixels are first asked for. Pictures are read in one pass. Those of a small set
then stay in memory, others in one file for each kind of preprocessing in a cache folder, with an index beside them, so
that a later run decodes nothing.

A folder in the cache holds the pixels of one data set, made by one set of library versions. Its files carry a
fingerprint of the names, sizes and times of all pictures, so that any change makes them anew. All of them: the hash of
the set, which the cells of a run are named by, runs over the decoded pictures in their order. It runs over their labels
as well: the same pictures with other labels share the pixels and have an index of their own.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, Mapping, Sequence, Union, cast

import numpy as np
import PIL
import timm
import torch
import torchvision
from torch import Tensor
from tqdm import tqdm

from .._files import LockedError, cannot_write, check_folder, locked, make_folder, replacing
from ..class_folders import DataError
from ..memory import gib
from .arguments import file_path
from .labelled import LabelledImages, digest_of_set, ids_of_images
from .pictures import ImageError, Pictures, PictureStream
from .preprocessing import picture_channels, resize, resized_batches, view
from .reading import Contents, check_one_size, read_pictures

IN_MEMORY = 256 * 2**20
"""Bytes of pixels, of all kinds together, up to which a set stays in memory."""
OTHER_CACHE = 'name a folder with room by --cache'

Kinds = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class PixelFile:
    """Pixels (N, C, H, W), uint8, in a file: ``pixels[start:stop]`` reads a part of them.

    The file is opened for each part and read by position, so that worker processes can be given the object; the pages
    of a mapped file would count as memory of each of them.

    Args:
        path: The file.
        shape: N, C, H and W.
    """

    path: Path
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Tensor:
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f'expected pixels[start:stop], got a step of {step}')
        pixels = torch.empty(max(0, stop - start), *self.shape[1:], dtype=torch.uint8)
        left = pixels.view(-1).numpy().data
        try:
            with open(self.path, 'rb', buffering=0) as file:
                file.seek(start * _count_bytes(self.shape[1:]))
                while left and (count := file.readinto(left)):
                    left = left[count:]
        except OSError as error:
            raise DataError(f'{self.path} cannot be read: {error.strerror}; the same command makes it anew') from error
        if left:
            raise DataError(f'{self.path} was cut short while it was in use; the same command makes it anew')
        return pixels

    def is_whole(self) -> bool:
        """Whether the file is there in full size."""
        return self.path.is_file() and self.path.stat().st_size == _count_bytes(self.shape)


Pixels = Union[Tensor, PixelFile]


class Prepared:
    """A data set with its hashes, and its pixels at the size of each model.

    Args:
        data: The data set. Its notes say what was lost when pictures were decoded; of a stream the labels are there.
        pixels: A function that gives the pixels of a kind.
        contents: What was found when pictures were read; None for images in memory.
    """

    def __init__(self, data: LabelledImages, pixels: Callable[[str], Pixels], contents: Contents | None = None) -> None:
        self.data, self._pixels, self._contents = data, pixels, contents

    @functools.cached_property
    def sha256(self) -> str:
        """As ``LabelledImages.sha256``."""
        return self._contents.sha256 if self._contents else self.data.sha256()

    @functools.cached_property
    def images_sha256(self) -> str:
        """As ``LabelledImages.images_sha256``."""
        return digest_of_set(self._contents.digests) if self._contents else self.data.images_sha256()

    @functools.cached_property
    def image_ids(self) -> list[str]:
        """As ``LabelledImages.image_ids``."""
        return ids_of_images(self._contents.digests) if self._contents else self.data.image_ids()

    def pixels(self, kind: str) -> Pixels:
        """Pixels (N, C, H, W), uint8, of which ``pixels[start:stop]`` is a tensor; what is returned can be pickled.

        Args:
            kind: The ``preprocessing.view`` of one of the configs.

        Raises:
            ValueError: if images have several sizes and the model takes them as they are, or they do not fit into the
                free memory.
            OutputError: if the cache cannot be written.
        """
        return self._pixels(kind)

    def first_pixels(self, config: dict[str, Any]) -> Tensor:
        """Pixels (1, C, H, W), uint8, of the first image for one of the configs; no others are made for it."""
        images = self.data.images
        if isinstance(images, PictureStream):
            return self.pixels(view(config))[:1]
        return resize(images[:1], config)


def prepare(
    images: LabelledImages,
    configs: Sequence[dict[str, Any]],
    cache: str | Path | None = None,
    workers: int = 0,
    progress: bool = False,
) -> Prepared:
    """Read the pictures of a data set, unless a cache has their pixels, and make those that models take.

    Args:
        images: The data set.
        configs: The preprocessing of the models, of ``preprocessing.data_config``.
        cache: The folder for files of pixels, in which pictures are then always kept. By default those of more than 256
            MiB are kept in ``cache_folder()``.
        workers: Number of processes that decode and resize pictures; 0 does it in this one.
        progress: Show progress bars, and say when another process is waited for.

    Raises:
        DataError: if pictures cannot be read; all are named.
        ValueError: for a model that takes neither grey nor colour images, or one that takes images as they are where
            they have several sizes.
        OutputError: if the cache folder cannot be written or lacks room.
    """
    kinds = _kinds(configs)
    if not isinstance(images.images, (Pictures, PictureStream)):
        return Prepared(images, _ArrayPixels(images, kinds, cache, progress).pixels)
    found = _PictureCache(images, kinds, cache, workers, progress)
    if cache is None and found.fits_into_memory:
        return found.prepared_in_memory()
    return found.prepared()


def bytes_needed(images: LabelledImages, configs: Sequence[dict[str, Any]], cache: str | Path | None = None) -> int:
    """Bytes that ``prepare`` and ``Prepared.pixels`` will write into the cache; 0 where all is there or in memory.

    Args:
        images: The data set; a stream counts as empty where its length is unknown.
        configs: The preprocessing of the models.
        cache: As in ``prepare``.
    """
    kinds = _kinds(configs)
    if not isinstance(images.images, (Pictures, PictureStream)):
        sizes = (_count_bytes(_shape(config, len(images.labels), images.images)) for config in kinds.values())
        return sum(size for size in sizes if size > IN_MEMORY)
    found = _PictureCache(images, kinds, cache, 0, False)
    if cache is None and found.fits_into_memory:
        return 0
    return found.bytes_of(found.missing(found.load()))


def check_cache(cache: str | Path | None) -> None:
    """Refuse a folder for pixels that cannot be made or written to, before anything is read.

    Raises:
        ArgumentTypeError: for what is no path.
        OutputError: if a file is in its place, or it may not be written to.
    """
    if cache is not None:
        check_folder(file_path('cache', cache), OTHER_CACHE)


def cache_folder() -> Path:
    """Where pixels are kept by default: ``timm-zerosnet/pixels`` below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'timm-zerosnet' / 'pixels'


def _kinds(configs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for config in configs:
        picture_channels(config)
    return {view(config): config for config in configs}


def _shape(config: Mapping[str, Any], count: int, images: Any) -> tuple[int, ...]:
    """(N, C, H, W) of the pixels of images in memory; a model without a size takes that of the first one."""
    channels, *size = config['input_size']
    if None in size:
        first = np.asarray(images[0])
        size = list(first.shape[:2])
    return (count, channels, *size)


def _count_bytes(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _hash(document: Any) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _versions() -> list[str]:
    """What decides pixels beside the pictures: another Pillow may decode or resize otherwise."""
    return [PIL.__version__, timm.__version__, torchvision.__version__]


class _ArrayPixels:
    """Pixels of images that are in memory: in memory too, of one kind at a time, or in the cache if these are many."""

    def __init__(self, data: LabelledImages, kinds: Kinds, cache: str | Path | None, progress: bool) -> None:
        self.data, self.kinds, self.progress = data, kinds, progress
        self.images: Any = data.images
        self.cache = Path(cache or cache_folder())
        self._kind, self._in_memory = '', torch.empty(0)

    def pixels(self, kind: str) -> Pixels:
        config = self.kinds[kind]
        shape = _shape(config, len(self.data.labels), self.images)
        if _count_bytes(shape) > IN_MEMORY:
            return self._in_file(kind, shape)
        if kind != self._kind:
            self._kind, self._in_memory = '', torch.empty(0)  # two sizes at once need not fit
            self._kind, self._in_memory = kind, resize(self.images, config, self.progress)
        return self._in_memory

    def _in_file(self, kind: str, shape: tuple[int, ...]) -> PixelFile:
        folder = self.cache / f'arrays-{_hash([_versions(), self.data.sha256()])}'
        found = PixelFile(folder / f'{_hash(kind)}.pixels', shape)
        if not found.is_whole():
            with _locked(folder, self.progress):
                if not found.is_whole():
                    _check_room(folder, _count_bytes(shape), len(self.data.labels), 1)
                    with _writing([found.path]) as (file,):
                        for batch in resized_batches(self.images, self.kinds[kind], self.progress):
                            file.write(batch.contiguous().numpy().data)
        return found


class _PictureCache:
    """Pixels of pictures in files: ``FINGERPRINT-LABELS.json``, and ``FINGERPRINT-KIND.pixels`` for each kind.

    Args:
        data: A data set whose images are ``Pictures`` or a ``PictureStream``.
        kinds: The kinds of preprocessing.
        cache: The folder of all data sets.
        workers: Number of processes that read.
        progress: Show progress bars.
    """

    def __init__(
        self, data: LabelledImages, kinds: Kinds, cache: str | Path | None, workers: int, progress: bool
    ) -> None:
        self.data, self.kinds, self.workers, self.progress = data, kinds, workers, progress
        self.source = cast(Any, data.images)
        self.streamed = isinstance(data.images, PictureStream)
        self.count: int = self.source.count or 0 if self.streamed else len(data.labels)
        self._cache = Path(cache or cache_folder())

    @functools.cached_property
    def folder(self) -> Path:
        name = re.sub(r'[^\w.-]', '_', Path(str(self.source.identity[0])).name)[-40:]
        first = self.count if self.data.subset else None  # the first pictures do not replace all of them
        return self._cache / f'{name}-{_hash([_versions(), self.source.identity, first])}'

    @functools.cached_property
    def files(self) -> list[tuple[str | int, ...]]:
        """Name, size and times of each picture; nothing for a stream, whose identity says as much."""
        return [] if self.streamed else [(name, *self.source.stamp(i)) for i, name in enumerate(self.source.names)]

    @functools.cached_property
    def fingerprint(self) -> str:
        return _hash(self.files)

    @functools.cached_property
    def _first_size(self) -> tuple[int, int]:
        """Height and width of the first picture; zeros where it cannot be known before all are read."""
        try:
            first = self.source[0] if self.count and not self.streamed else None
        except ImageError:  # named with all others when they are read
            first = None
        return (first.height, first.width) if first else (0, 0)

    def bytes_of(self, kinds: Sequence[str]) -> int:
        """Bytes of the pixels of these kinds, as far as they can be known before the pictures are read."""
        total = 0
        for channels, *size in (self.kinds[kind]['input_size'] for kind in kinds):
            total += _count_bytes((self.count, channels, *(self._first_size if None in size else size)))
        return total

    @property
    def fits_into_memory(self) -> bool:
        return self.count > 0 and self.bytes_of(list(self.kinds)) <= IN_MEMORY

    def prepared_in_memory(self) -> Prepared:
        """Read the pictures; nothing is written."""
        buffers = [BytesIO() for _ in self.kinds]
        contents = self._read(list(self.kinds), buffers)
        pixels: dict[str, Tensor] = {}
        for kind, buffer in zip(self.kinds, buffers, strict=True):
            values = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
            pixels[kind] = values.view(self._shape(kind, contents))
        return Prepared(self._complete(contents), pixels.__getitem__, contents)

    def prepared(self) -> Prepared:
        """Read the pictures unless they are known, in all kinds at once; other kinds are made when one is asked for."""
        contents = self.load()
        if contents is None:
            with _locked(self.folder, self.progress):
                contents = self.load() or self._make(self.missing(None), None)
        return Prepared(self._complete(contents), functools.partial(self._pixels, contents), contents)

    def load(self) -> Contents | None:
        """What is known of the pictures; None if they were not read, or their index is damaged."""
        try:
            found = json.loads(self._index.read_text(encoding='utf-8'))
            digests = [bytes.fromhex(digest) for digest in found['digests']]
            size = (int(found['size'][0]), int(found['size'][1])) if found['size'] else None
            return Contents(str(found['sha256']), digests, size, tuple(found['notes']), list(found['labels']))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def missing(self, contents: Contents | None) -> list[str]:
        """The kinds whose pixels are not there, or not known to be those of the pictures."""
        if contents is None and self.streamed:
            return list(self.kinds)
        return [kind for kind in self.kinds if not self._file(kind, contents).is_whole()]

    def _pixels(self, contents: Contents, kind: str) -> Pixels:
        check_one_size([self.kinds[kind]], [contents.size] if contents.size else [])
        found = self._file(kind, contents)
        if not found.is_whole():
            with _locked(self.folder, self.progress):
                if not found.is_whole():
                    self._make(self.missing(contents), contents)
        return found

    def _make(self, kinds: list[str], known: Contents | None) -> Contents:
        """Write the pixels of some kinds, and the index if the pictures were not known; the lock is held."""
        for path in self.folder.iterdir():
            if path.suffix in ('.pixels', '.json') and not path.name.startswith(self.fingerprint):
                path.unlink(missing_ok=True)  # of the pictures before they changed
        _check_room(self.folder, self.bytes_of(kinds), self.count, len(kinds))
        try:
            with _writing([self._path(kind) for kind in kinds]) as files:
                contents = self._read(kinds, files, known)
        except DataError:  # what is known of the pictures holds no more, for whatever labels
            for path in self.folder.glob(f'{self.fingerprint}-*'):
                path.unlink(missing_ok=True)
            raise
        if known is None:
            document = {**contents._asdict(), 'digests': [digest.hex() for digest in contents.digests]}
            with replacing(self._index) as partial:
                partial.write_text(json.dumps({**document, 'files': self.files}), encoding='utf-8')
        return contents

    def _read(self, kinds: list[str], files: Sequence[BinaryIO], known: Contents | None = None) -> Contents:
        configs = [self.kinds[kind] for kind in kinds]
        return read_pictures(self.data, configs, files, known, self.workers, self.progress)

    @property
    def _index(self) -> Path:
        return self.folder / f'{self.fingerprint}-{_hash(self.data.label_names())}.json'

    def _path(self, kind: str) -> Path:
        return self.folder / f'{self.fingerprint}-{_hash(kind)}.pixels'

    def _shape(self, kind: str, contents: Contents | None) -> tuple[int, ...]:
        channels, *size = self.kinds[kind]['input_size']
        if None in size:
            size = [*((contents.size or (0, 0)) if contents else self._first_size)]
        return (len(contents.digests) if contents else self.count, channels, *size)

    def _file(self, kind: str, contents: Contents | None) -> PixelFile:
        return PixelFile(self._path(kind), self._shape(kind, contents))

    def _complete(self, contents: Contents) -> LabelledImages:
        """The data set with what was found when its pictures were read."""
        labels = np.array(contents.labels, dtype=np.int64)
        return replace(self.data, labels=labels, notes=(*self.data.notes, *contents.notes))


@contextmanager
def _locked(folder: Path, progress: bool) -> Iterator[None]:
    """Make a folder and hold its lock: one process makes pixels, others wait and then find them."""
    make_folder(folder)
    lock = folder / 'lock'
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock))
        except LockedError as error:
            if progress:
                tqdm.write(f'waiting for process {error.holder}, which makes the pixels in {folder}', file=sys.stderr)
            stack.enter_context(locked(lock, wait=True))
        for path in folder.glob('.*.partial'):  # of a process that was killed
            path.unlink(missing_ok=True)
        yield


@contextmanager
def _writing(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    """Files that take their places together when all went well."""
    with ExitStack() as stack:
        files: list[BinaryIO] = []
        for path in paths:
            partial = stack.enter_context(replacing(path))
            files.append(stack.enter_context(open(partial, 'wb')))
        yield files
        for file in files:
            file.flush()
            os.fsync(file.fileno())  # a full-size file of zeros would be measured after a power cut


def _check_room(folder: Path, needed: int, images: int, kinds: int) -> None:
    """Refuse a cache whose disk cannot take the pixels.

    Raises:
        OutputError: with both numbers of bytes.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        of_kinds = f' in {kinds} kinds of preprocessing' if kinds > 1 else ''
        fewer = ', or measure models of fewer kinds of preprocessing at a time' if kinds > 1 else ''
        reason = f'the pixels of {images:,} images{of_kinds} take {gib(needed)}, {gib(free)} are free'
        raise cannot_write(folder, reason, f'{OTHER_CACHE}{fewer}')
