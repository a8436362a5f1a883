"""The official CIFAR-10-C, CIFAR-100-C and ImageNet-C as they are: one condition at a time, nothing is kept.

ImageNet-C is 560 GB as pixels. Its files are JPEG pictures of 224 pixels, cropped and compressed once more by its
authors, so that a model of that size takes them as they are: other sizes get a crop of the centre, never a resizing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .._errors import nearest, shorten
from ..class_folders import DataError, find_pictures
from .data import load_official
from .labelled import LabelledImages
from .pictures import PictureFiles, Pictures
from .preprocessing import resizer
from .reading import read_batches

SEVERITIES = range(1, 6)


class OfficialSet:
    """A folder of official perturbed images.

    Args:
        folder: CIFAR-10-C or CIFAR-100-C, ``CORRUPTION.npy`` beside ``labels.npy``; or ImageNet-C,
            ``CORRUPTION/SEVERITY/CLASS/PICTURE``, possibly in folders of groups (``noise``, ``blur``) as its archives
            have them.

    Raises:
        DataError: if there are neither.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._names: Sequence[str] | None = None
        arrays = sorted(file.stem for file in self.folder.glob('*.npy') if file.stem != 'labels')
        self._folders = {} if arrays else _corruption_folders(self.folder)
        if not arrays and not self._folders:
            raise DataError(
                f'{folder}: expected CORRUPTION.npy beside labels.npy, as CIFAR-10-C has them, or folders '
                'CORRUPTION/SEVERITY/CLASS of pictures, as ImageNet-C has them; got neither'
            )
        self.severities: dict[str, list[int]] = {name: list(SEVERITIES) for name in arrays} or {
            name: [s for s in SEVERITIES if (path / str(s)).is_dir()] for name, path in self._folders.items()
        }

    def load(self, corruption: str, severity: int, limit: int | None = None) -> LabelledImages:
        """The images of one condition; pictures are decoded by ``batches``.

        Args:
            corruption: A key of ``severities``.
            severity: One of its severities.
            limit: Number of images to take, the first ones; default: all.

        Raises:
            DataError: if it is not there (those that are there are named), or has other pictures than the condition
                that was loaded first.
        """
        if severity not in self.severities.get(corruption, ()):
            near = nearest(corruption.lower(), self.severities, 2, 0.4)
            hint = f'; did you mean {" or ".join(near)}?' if near and corruption not in self.severities else ''
            there = ', '.join(f'{name} {shorten(levels)}' for name, levels in self.severities.items())
            raise DataError(f'{self.folder} lacks {corruption} at severity {severity}{hint}; it holds {there}')
        if not self._folders:
            found = load_official(self.folder, corruption, severity)
            return LabelledImages(np.asarray(found.images)[:limit], found.labels[:limit], None, len(found.labels))
        pictures = find_pictures(self._folders[corruption] / str(severity))
        files = PictureFiles([file for file, _ in pictures.files], pictures.root)
        if self._names is None:
            self._names = files.names
        if self._names != files.names:
            other = sorted(set(self._names) ^ set(files.names))
            raise DataError(
                f'{pictures.root}: expected the pictures of the other conditions, got {len(other)} that differ: '
                f'{shorten(other, 3)}'
            )
        labels = np.array([label for _, label in pictures.files], dtype=np.int64)
        images = PictureFiles([file for file, _ in pictures.files[:limit]], pictures.root)
        return LabelledImages(images, labels[:limit], pictures.classes, len(labels))


def _corruption_folders(folder: Path) -> dict[str, Path]:
    """Folders that hold folders of severities, in the folder itself or in folders of groups."""
    if not folder.is_dir():
        return {}
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    nested = [path for group in inside for path in sorted(group.iterdir()) if path.is_dir()]
    return {path.name: path for path in [*inside, *nested] if any((path / str(s)).is_dir() for s in SEVERITIES)}


def centre_cropper(config: Mapping[str, Any]) -> Callable[[Any], Tensor]:
    """A function from a picture to its pixels (C, H, W), uint8: the middle of it, not resized.

    Args:
        config: Preprocessing of a model, of ``preprocessing.data_config``; its size and channels are taken alone.
    """
    channels, *size = config['input_size']
    as_it_is = resizer({**config, 'input_size': (channels, None, None)})

    def cropped(image: Any) -> Tensor:
        pixels = as_it_is(image)
        if None in size:
            return pixels
        top, left = (have - want for have, want in zip(pixels.shape[1:], size, strict=True))
        if top < 0 or left < 0:
            raise DataError(
                f'expected a model of at most {pixels.shape[1]}x{pixels.shape[2]} pixels, the size of the official '
                f'images, which are not resized, got one of {size[0]}x{size[1]}; --img-size gives another size'
            )
        return pixels[:, top // 2 : top // 2 + size[0], left // 2 : left // 2 + size[1]]

    return cropped


def official_batches(
    data: LabelledImages, configs: Sequence[Mapping[str, Any]], batch_size: int, workers: int = 0
) -> Iterator[list[Tensor]]:
    """The pixels of one condition, batch by batch.

    Args:
        data: What ``OfficialSet.load`` gives.
        configs: The preprocessing of the models.
        batch_size: Number of images at a time.
        workers: Number of processes that decode pictures; 0 does it in this one.

    Yields:
        For each config the pixels (n, C, H, W), uint8, of the next images.

    Raises:
        DataError: for a model that is larger than the images, a picture that cannot be read.
    """
    first: Image.Image | np.ndarray = data.images[0]
    for config in configs:  # also before workers begin, which would add their traceback
        centre_cropper(config)(first)
    if isinstance(data.images, Pictures):
        yield from read_batches(data.images, configs, batch_size, workers, centre_cropper)
        return
    croppers = [centre_cropper(config) for config in configs]
    for start in range(0, len(data.labels), batch_size):
        images = data.images[start : start + batch_size]
        yield [torch.stack([cropped(image) for image in images]) for cropped in croppers]
