"""The official CIFAR-10-C, CIFAR-100-C and ImageNet-C as they are: one condition at a time, nothing is kept.

ImageNet-C is 560 GB as pixels. Its files are JPEG pictures of 224 pixels, cropped and compressed once more by its
authors, so that a model of that size takes them as they are: other sizes get a crop of the centre, never a resizing.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .._errors import nearest, shorten
from ..class_folders import DataError, find_pictures
from .arguments import integer, selection
from .data import load_official
from .labelled import LabelledImages
from .pictures import PictureFiles
from .plan import CLEAN, Condition, sha256_of
from .preprocessing import resizer, view
from .suites import EXTRA, STANDARD

SEVERITIES = range(1, 6)
SAMPLE = 8  # class folders, and pictures of each, that tell the files of a condition from others


class OfficialSet:
    """A folder of official perturbed images.

    Args:
        folder: CIFAR-10-C or CIFAR-100-C, ``CORRUPTION.npy`` beside ``labels.npy``; or ImageNet-C,
            ``CORRUPTION/SEVERITY/CLASS/PICTURE``, possibly in folders of groups (``noise``, ``blur``) as its archives
            have them.
        limit: Number of images of each condition to take, the first ones; default: all.

    Raises:
        DataError: if there are neither.
        ValueError: for a limit below 1.
    """

    def __init__(self, folder: str | Path, limit: int | None = None) -> None:
        self.folder, self.limit = Path(folder), None if limit is None else integer('limit', limit, least=1)
        self._names: Sequence[str] | None = None
        self._labels: np.ndarray | None = None
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

    def check(self, corruption: str, severity: float) -> None:
        """Refuse what is not there.

        Raises:
            DataError: naming what is.
        """
        if severity not in self.severities.get(corruption, ()):
            near = nearest(corruption.lower(), self.severities, 2, 0.4)
            hint = f'; did you mean {" or ".join(near)}?' if near and corruption not in self.severities else ''
            there = ', '.join(f'{name} {shorten(levels)}' for name, levels in self.severities.items())
            raise DataError(f'{self.folder} lacks {corruption} at severity {severity:g}{hint}; it holds {there}')

    def stamp(self, corruption: str, severity: int) -> list[Any]:
        """Names, sizes and times of the files of a condition; of pictures the names and times of their folders.

        A picture that is overwritten in its place leaves the time of its folder as it was.
        """
        if not self._folders:
            files = [self.folder / f'{name}.npy' for name in (corruption, 'labels')]
            return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        classes = sorted((self._folders[corruption] / str(severity)).iterdir())
        return [[path.name, path.stat().st_mtime_ns] for path in classes]

    def sha256(self, corruption: str, severity: int) -> str:
        """What tells the images of a condition from others, wherever their files lie; of pictures a few decide."""
        if not self._folders:
            return hashlib.sha256(np.ascontiguousarray(self.load(corruption, severity).images).data).hexdigest()
        digest = hashlib.sha256()
        for folder in _spread(path for path in (self._folders[corruption] / str(severity)).iterdir() if path.is_dir()):
            for file in _spread(path for path in folder.iterdir() if path.is_file()):
                digest.update(file.read_bytes())
        return digest.hexdigest()

    def load(self, corruption: str, severity: int) -> LabelledImages:
        """The images of one condition; pictures are decoded when they are asked for.

        Args:
            corruption: A key of ``severities``.
            severity: One of its severities.

        Raises:
            DataError: if it is not there (those that are there are named), or has other pictures than the condition
                that was loaded first.
        """
        self.check(corruption, severity)
        limit = self.limit
        if not self._folders:
            found = load_official(self.folder, corruption, severity)
            if self._labels is None:
                self._labels = found.labels
            if not np.array_equal(self._labels, found.labels):
                raise DataError(
                    f'{self.folder}: expected the labels of the other conditions, in the same order, got others for '
                    f'{corruption} at severity {severity}'
                )
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


def _spread(paths: Iterable[Path]) -> list[Path]:
    """At most ``SAMPLE`` of the paths, evenly spaced."""
    found = sorted(paths)
    return found[:: max(1, math.ceil(len(found) / SAMPLE))]


def _corruption_folders(folder: Path) -> dict[str, Path]:
    """Folders that hold folders of severities, in the folder itself or in folders of groups."""
    if not folder.is_dir():
        return {}
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    found = [path for path in inside if _has_severities(path)]
    groups = [path for path in inside if path not in found]  # classes of a corruption may be named 1 to 5
    found += [path for group in groups for path in sorted(group.iterdir()) if path.is_dir() and _has_severities(path)]
    by_name: dict[str, Path] = {}
    for path in found:
        if (other := by_name.setdefault(path.name, path)) != path:
            raise DataError(f'expected one folder for each corruption, got {other} and {path}')
    return by_name


def _has_severities(folder: Path) -> bool:
    return any((folder / str(severity)).is_dir() for severity in SEVERITIES)


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


class OfficialPixels:
    """The pixels that models of one kind of preprocessing are shown, read when they are asked for.

    Args:
        official: The folder.
        config: The preprocessing.
        count: Number of images of a condition.
    """

    def __init__(self, official: OfficialSet, config: Mapping[str, Any], count: int) -> None:
        self._official, self._config, self._count = official, dict(config), count
        self._loaded: tuple[tuple[str, float], Any] = ('', 0.0), None

    def __len__(self) -> int:
        return self._count

    @property
    def side(self) -> int:
        """The longer side of the model's images in px; 0 if it takes them as they are."""
        return max(side or 0 for side in self._config['input_size'][1:])

    def batch(self, condition: Condition, start: int, stop: int) -> Tensor:
        """Pixels (n, C, H, W), uint8, of the images from ``start`` to before ``stop``.

        Raises:
            DataError: for a model that is larger than the images, a picture that cannot be read.
        """
        place = condition.corruption, condition.level
        loaded = self._loaded  # another thread may be at the next condition
        if loaded[0] != place:
            loaded = self._loaded = place, self._official.load(condition.corruption, int(condition.level)).images
        images, cropped = loaded[1], centre_cropper(self._config)
        return torch.stack([cropped(images[i]) for i in range(start, min(stop, self._count))])


class OfficialPrepared:
    """What a run needs of a folder of official images; the counterpart of ``pixels.Prepared``.

    What tells a condition's images from others are its files' names, sizes and times: to read all of them first would
    take as long as to measure a model.

    Args:
        official: The folder.
        conditions: What is measured.
        configs: The preprocessing of the models.

    Raises:
        DataError: for a condition that is not there, or conditions whose labels differ.
    """

    def __init__(
        self, official: OfficialSet, conditions: Sequence[Condition], configs: Sequence[Mapping[str, Any]]
    ) -> None:
        self._official, self._configs = official, {view(dict(config)): config for config in configs}
        self.data = official.load(conditions[0].corruption, int(conditions[0].level))
        images = self.data.images
        self.image_ids = (
            list(images.names) if isinstance(images, PictureFiles) else [str(i) for i in range(len(self.data.labels))]
        )
        self.sha256 = self.images_sha256 = sha256_of(['official', self.image_ids, self.data.label_names()])

    def sha256_at(self, condition: Condition) -> str:
        """What tells the images of a condition from others."""
        return sha256_of([self.sha256, self._official.stamp(condition.corruption, int(condition.level))])

    def files(self, conditions: Sequence[Condition]) -> dict[str, str]:
        """What tells the images of each condition from those of other files, see ``OfficialSet.sha256``."""
        return {str(one): self._official.sha256(one.corruption, int(one.level)) for one in conditions}

    def pixels(self, kind: str) -> OfficialPixels:
        """What gives the pixels for a ``preprocessing.view``."""
        return OfficialPixels(self._official, self._configs[kind], len(self.data.labels))


def official_conditions(
    official: OfficialSet, corruptions: Sequence[str] | None = None, levels: Sequence[float] | None = None
) -> list[Condition]:
    """The conditions that a folder holds: the standard corruptions in their order, the extra ones, others.

    Args:
        official: The folder.
        corruptions: Some of them; default: all.
        levels: Severities; default: all.

    Raises:
        DataError: for a corruption or severity that is not there.
    """
    known = [*STANDARD, *EXTRA]
    names = sorted(official.severities, key=lambda name: (known.index(name) if name in known else len(known), name))
    chosen = names if corruptions is None else selection('corruptions', corruptions, 'at least one name')
    if CLEAN in chosen:
        raise DataError(
            f'{official.folder}: {CLEAN} is what results call images that are not perturbed: expected another name of '
            'a corruption, or --corruption with those to measure'
        )
    found = []
    for name in sorted(set(chosen), key=lambda name: names.index(name) if name in names else -1):
        wanted = official.severities.get(name, [1]) if levels is None else sorted(set(levels))
        for severity in wanted:
            official.check(name, severity)
            found.append(Condition(name, float(severity), None))
    return found
