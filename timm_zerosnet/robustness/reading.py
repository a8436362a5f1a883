"""Reading the pictures of a data set once: each is decoded, hashed, and resized for every kind of preprocessing."""

from __future__ import annotations

import functools
import hashlib
from typing import Any, BinaryIO, Collection, Iterator, Mapping, NamedTuple, Sequence

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..class_folders import DataError
from .data import map_ahead
from .labelled import LabelledImages, Losses, image_digest, label_header
from .machine import in_processes, usable_cores
from .pictures import ImageError, Pictures, PictureStream
from .preprocessing import resizer, several_sizes

GROWTH = 15
"""About how many bytes of pixels a byte of a compressed picture becomes."""
CHUNK_BYTES, CHUNK_COUNT = 4 * 2**20, 64
"""How much a worker decodes at a time. What it hands over waits in memory: two chunks for each worker."""


class Contents(NamedTuple):
    """What is known of a set of pictures that was read.

    Args:
        sha256: Its hash, of ``LabelledImages.sha256``.
        digests: The digest of each picture, of ``data.image_digest``.
        size: Height and width of the pictures; None if they have several sizes.
        notes: What was lost when they were decoded, in words.
        labels: The label of each picture.
    """

    sha256: str
    digests: list[bytes]
    size: tuple[int, int] | None
    notes: tuple[str, ...]
    labels: list[int]


class _Read(NamedTuple):
    """A picture as it was decoded, with its digest, its pixels of each kind and what was lost of it."""

    array: np.ndarray | None
    digest: bytes
    pixels: list[np.ndarray]
    notes: list[str]


def read_pictures(
    data: LabelledImages,
    configs: Sequence[Mapping[str, Any]],
    outputs: Sequence[BinaryIO],
    known: Contents | None = None,
    workers: int = 0,
    progress: bool = False,
) -> Contents:
    """Read all pictures of a data set.

    Args:
        data: A data set whose images are ``Pictures`` or a ``PictureStream``.
        configs: The kinds of preprocessing.
        outputs: The file for the pixels (N, C, H, W), uint8, of each kind.
        known: What was found when the pictures were read before; they are not hashed together again then.
        workers: Number of processes that decode and resize, for a stream of threads that resize; 0 does it here.
        progress: Show a progress bar.

    Raises:
        DataError: if pictures cannot be read (all are named), or are others than those that are known.
        ValueError: if they have several sizes where a model takes them as they are.
    """
    source, count = data.images, len(data.labels)
    if isinstance(source, PictureStream):
        count, results = source.count or 0, _stream(source, configs, workers)
    elif isinstance(source, Pictures):
        results = _in_workers(source, data.labels.tolist(), configs, workers, known is None)
    else:
        raise TypeError(f'expected Pictures or a PictureStream, got {type(source).__name__}')
    losses, whole = Losses(), hashlib.sha256()
    digests: list[bytes] = []
    labels: list[int] = []
    sizes: set[tuple[int, ...]] = set()
    with tqdm(total=count or None, disable=not progress, desc='reading images', unit='img', leave=False) as bar:
        for name, label, picture in results:
            bar.update()
            if isinstance(picture, str):
                losses.broken.append(picture)
                continue
            digests.append(picture.digest)
            labels.append(label)
            losses.add(name, picture.notes)
            if picture.array is not None:
                sizes.add(picture.array.shape[:2])
                whole.update(label_header(picture.array, data.name_of(label)))
                whole.update(picture.array.data)
            for output, pixels in zip(outputs, picture.pixels, strict=True):
                output.write(pixels.data)
    losses.refuse_broken(count)
    if known is None:
        check_one_size(configs, sizes)
        height, width = sizes.pop() if len(sizes) == 1 else (0, 0)
        known = Contents(whole.hexdigest(), digests, (height, width) if height else None, losses.notes(), labels)
    elif digests != known.digests:
        raise DataError('the pictures are others than when they were read first; the same command reads them anew')
    check_one_size(configs, [known.size] if known.size else [])
    return known


def check_one_size(configs: Sequence[Mapping[str, Any]], sizes: Collection[tuple[int, ...]]) -> None:
    """Refuse pictures of several sizes (H, W) where they are taken at their own, by a model without timm's config.

    Args:
        configs: The kinds of preprocessing.
        sizes: Some sizes of the pictures; none for several that are not known.
    """
    if len(sizes) != 1 and any(None in config['input_size'] for config in configs):
        raise several_sizes(sizes)


class _Chunks:
    """Pictures as worker processes read them, a few at a time."""

    def __init__(self, pictures: Pictures, chunks: Sequence[range], configs: Sequence[Any], keep: bool) -> None:
        self.pictures, self.chunks, self.configs, self.keep = pictures, chunks, configs, keep

    def __getitem__(self, index: int) -> list[_Read | str]:
        return [self._read(i) for i in self.chunks[index]]

    @functools.cached_property
    def _resizers(self) -> list[Any]:
        return [resizer(config) for config in self.configs]

    def _read(self, index: int) -> _Read | str:
        try:
            image, notes = self.pictures.read(index)
        except ImageError as error:
            return str(error)
        return _resized(image, notes, self._resizers, self.keep)


def _resized(image: Image.Image, notes: list[str], resizers: Sequence[Any], keep: bool) -> _Read:
    array = np.ascontiguousarray(image)
    pixels = [np.ascontiguousarray(resized(image).numpy()) for resized in resizers]
    return _Read(array if keep else None, image_digest(array), pixels, notes)


def _stream(stream: PictureStream, configs: Sequence[Any], workers: int) -> Iterator[tuple[str, int, _Read | str]]:
    """Number, label and pixels of each picture; threads resize while this one reads on."""
    resizers = [resizer(config) for config in configs]

    def finish(pair: tuple[Image.Image, int]) -> tuple[int, _Read]:
        return pair[1], _resized(pair[0], [], resizers, keep=True)

    for i, (label, picture) in enumerate(map_ahead(finish, stream, workers)):
        yield str(i), label, picture


def _in_workers(
    pictures: Pictures, labels: Sequence[int], configs: Sequence[Any], workers: int, keep: bool
) -> Iterator[tuple[str, int, _Read | str]]:
    """Name, label and what was read of each picture, in their order."""
    chunks = _chunks([pictures.stamp(i)[0] for i in range(len(pictures))])
    named = zip(pictures.names, labels, strict=True)
    workers = min(workers, len(chunks) // 2, usable_cores())  # at least two chunks for each; torch warns of more
    for chunk in in_processes(_Chunks(pictures, chunks, configs, keep), range(len(chunks)), workers):
        for picture in chunk:
            name, label = next(named)
            yield name, label, picture


def _chunks(sizes: Sequence[int]) -> list[range]:
    """Pictures that are read together, from the bytes of their files."""
    chunks, start, total = [], 0, 0
    for i, size in enumerate(sizes):
        if i > start and (total + GROWTH * size > CHUNK_BYTES or i - start == CHUNK_COUNT):
            chunks.append(range(start, i))
            start, total = i, 0
        total += GROWTH * size
    return [*chunks, range(start, len(sizes))]
