"""A set of labelled images, what makes it the same as another, and what was lost when its pictures were read."""

from __future__ import annotations

import collections
import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

from .._errors import shorten, type_of
from ..class_folders import DataError
from .arguments import ArgumentTypeError
from .pictures import PictureStream


@dataclass(frozen=True)
class LabelledImages:
    """The images of a data set, or its first ones, with their labels.

    Args:
        images: uint8 (N, H, W, 3) or (N, H, W, 1), or PIL images where sizes differ: a list of them, or ``Pictures``
            that are decoded when they are asked for, or a ``PictureStream``, whose labels are known when it is read.
        labels: (N,) class indices.
        classes: Names of the classes 0, 1, ...; None where labels are bare numbers.
        total: Number of images of the whole data set; None if these are all.
        split: The folder that was chosen among those of several splits; empty if there was nothing to choose.
        notes: What was chosen, passed over or lost when the images were read, in words.
    """

    images: np.ndarray | Sequence[Image.Image]
    labels: np.ndarray
    classes: tuple[str, ...] | None = None
    total: int | None = None
    split: str = ''
    notes: tuple[str, ...] = ()

    @property
    def subset(self) -> str:
        """Such as ``'first 100 of 10000'``; empty if these are all."""
        count = len(self.labels)
        return '' if self.total in (None, count) else f'first {count} of {self.total}'

    def sha256(self) -> str:
        """Hex digest of the images, as they were decoded, and of the labels with the names of their classes."""
        digest = hashlib.sha256()
        for array, label in zip(self._arrays(), self.labels.tolist(), strict=True):
            digest.update(label_header(array, self.name_of(label)))
            digest.update(array.data)
        return digest.hexdigest()

    def name_of(self, label: int) -> str:
        """The name of a class, or its number as text where the classes have no names."""
        return self.classes[label] if self.classes else str(label)

    def label_names(self) -> list[str]:
        """The class of each image, see ``name_of``."""
        return [self.name_of(label) for label in self.labels.tolist()]

    @functools.cached_property
    def _digests(self) -> list[bytes]:
        return list(map(image_digest, self._arrays()))

    def _arrays(self) -> Iterator[np.ndarray]:
        if isinstance(self.images, PictureStream):
            raise TypeError('expected images that can be read again, got a stream; pixels.prepare reads it')
        return (np.ascontiguousarray(_with_its_colours(image)) for image in self.images)

    def images_sha256(self) -> str:
        """Hex digest of the images alone, in whatever order and file they come: which test set they are."""
        return digest_of_set(self._digests)

    def image_ids(self) -> list[str]:
        """An id for each image that is made of its pixels; equal images are numbered."""
        return ids_of_images(self._digests)


def _with_its_colours(image: np.ndarray | Image.Image) -> np.ndarray | Image.Image:
    """A picture of a palette holds numbers of colours, other modes hold more than RGB."""
    return image if isinstance(image, np.ndarray) or image.mode in ('L', 'RGB') else image.convert('RGB')


def label_header(array: np.ndarray, name: str) -> bytes:
    """What precedes the pixels of an image in ``LabelledImages.sha256``."""
    return f'{array.shape} {json.dumps(name)}\n'.encode()


def image_digest(array: np.ndarray) -> bytes:
    """The sha256 of one image: its shape and its pixels."""
    digest = hashlib.sha256(f'{array.shape}\n'.encode())
    digest.update(array.data)
    return digest.digest()


def digest_of_set(digests: Sequence[bytes]) -> str:
    """Hex digest of a set of images, from ``image_digest`` of each in any order."""
    return hashlib.sha256(b''.join(sorted(digests))).hexdigest()


def ids_of_images(digests: Sequence[bytes]) -> list[str]:
    """An id for each image, from ``image_digest`` of each; equal images are numbered."""
    seen: collections.Counter[str] = collections.Counter()
    ids = []
    for digest in digests:
        name = digest[:8].hex()
        ids.append(f'{name}-{seen[name]}' if seen[name] else name)
        seen[name] += 1
    return ids


class Losses:
    """Which pictures cannot be read and what was lost of the others, gathered while they are read."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self._names: dict[str, list[str]] = {}

    def add(self, name: str, notes: Iterable[str]) -> None:
        """Record what ``Pictures.read`` says of a picture."""
        for note in notes:
            self._names.setdefault(note, []).append(name)

    def refuse_broken(self, count: int) -> None:
        """Raise ``DataError`` that names all pictures which cannot be read, of ``count`` in all."""
        if self.broken:
            raise DataError(f'{len(self.broken)} of {count} images cannot be read:\n' + '\n'.join(self.broken))

    def notes(self) -> tuple[str, ...]:
        """A sentence for each kind of loss: how many pictures, and the first of them."""
        return tuple(f'{note}: {len(names)} images ({shorten(names, 3)})' for note, names in self._names.items())


def describe_subset(data: LabelledImages) -> str | None:
    """A warning where the first images of a set leave classes out, as they do in one sorted by class."""
    if not data.subset or data.classes is None:
        return None
    present = set(data.labels.tolist())
    absent = [name for label, name in enumerate(data.classes) if label not in present]
    if not absent:
        return None
    return f'the {data.subset} images leave out {len(absent)} of {len(data.classes)} classes: {shorten(absent)}'


def checked_images(data: Any) -> LabelledImages:
    """The labelled images that somebody handed over.

    Raises:
        ArgumentTypeError: for anything else.
        DataError: for other arrays than uint8, and for labels that are not one class index for each image.
    """
    if not isinstance(data, LabelledImages):
        raise ArgumentTypeError(f'data: expected LabelledImages, as load_data gives them, got {type_of(data)}')
    images, labels = data.images, data.labels
    if isinstance(images, PictureStream):  # whose labels are known when it is read
        return data
    if isinstance(images, np.ndarray) and (
        images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3)
    ):
        raise DataError(
            f'images: expected uint8 (N, H, W, 3) or (N, H, W, 1), got {images.dtype} {images.shape}; of floats in '
            "[0, 1], (255 * images).round().astype('uint8') makes them"
        )
    if not np.issubdtype(np.asarray(labels).dtype, np.integer) or np.shape(labels) != (len(images),):
        raise DataError(
            f'labels: expected {len(images)} integers, one for each image, got {np.asarray(labels).dtype} of shape '
            f'{np.shape(labels)}'
        )
    if data.classes is not None and len(wrong := labels[(labels < 0) | (labels >= len(data.classes))]):
        raise DataError(
            f'labels: expected indices of {len(data.classes)} classes, from 0 on, got {shorten(wrong.tolist(), 3)}'
        )
    return data
