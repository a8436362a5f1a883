"""Perturbed images as files: what the benchmark shows to a model, for other programs."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN
from torch import Tensor
from tqdm import tqdm

from .._errors import shorten
from .._files import replacing, writing
from ..recorded import INTERPOLATIONS
from .arguments import file_path, integer, real, text
from .data import DataError, LabelledImages
from .labelled import checked_images
from .pixels import check_cache, prepare
from .plan import Condition, number, plan_conditions
from .preprocessing import as_floats, view
from .store import locked_folder
from .suites import SUITES, check_shape, find_perturbation, perturb, unknown_name
from .weather import check_frost

LAYOUTS = ('folder', 'npz', 'cifar-c')
BATCH = 250


def corrupt(
    data: LabelledImages,
    out: str | Path,
    *,
    suite: str,
    size: int | None = None,
    layout: str = 'folder',
    corruptions: Sequence[str] | None = None,
    levels: Sequence[float] | None = None,
    seed: int = 0,
    interpolation: str = 'bilinear',
    crop_pct: float = 1.0,
    cache: str | Path | None = None,
    workers: int = 0,
    progress: bool = False,
    frost_pictures: str | Path | None = None,
) -> list[Path]:
    """Write the perturbed images of a data set as 8-bit pictures.

    In suites whose level is a severity they are the very pixels that a model of that input size is shown; those of
    other suites are rounded to the nearest of 256 steps.

    Args:
        data: The images.
        out: The folder to write into, made if need be; what it holds under other names stays.
        suite: A name of ``SUITES``.
        size: Height and width to resize and crop to, as timm does it for a model; None keeps the images' own size.
        layout: ``'folder'``: ``CORRUPTION/LEVEL/CLASS/INDEX.png``; ``'npz'``: ``CORRUPTION-LEVEL.npz`` with ``x_test``
            and ``y_test``; ``'cifar-c'``: as CIFAR-10-C is distributed, ``CORRUPTION.npy`` with all severities in a row
            and ``labels.npy``.
        corruptions: Some rows of the suite; default: all, with ``frost`` if there are pictures of it and
            ``frost_like`` if not.
        levels: Levels of each of them; default: the row's own.
        seed: Noise seed of the rows that are random.
        interpolation: How images are resized, a name of timm.
        crop_pct: Share of the resized image that is kept, as in a model's config.
        cache: Folder for the resized pictures, see ``pixels.prepare``.
        workers: Number of processes that decode pictures.
        progress: Show progress bars, and say what was lost when pictures were decoded.
        frost_pictures: Folder of pictures of frost, see ``perturb``.

    Returns:
        The files that were written, or for ``'folder'`` the folders of images.

    Raises:
        TypeError: for data, numbers and paths of another type.
        ValueError: for unknown names, levels out of range, images that are too small or of several sizes.
        StoreError: if another process writes into the folder.
        OutputError: if something cannot be written; what is written is whole.
    """
    data, suite, workers = checked_images(data), text('suite', suite), integer('workers', workers)
    for kind, name, known in (('layout', layout, LAYOUTS), ('interpolation', interpolation, INTERPOLATIONS)):
        if name not in known:
            raise ValueError(unknown_name(kind, name, known))
    size = None if size is None else integer('size', size, least=1)
    crop_pct = real('crop_pct', crop_pct, 'a number above 0, at most 1')
    if not 0 < crop_pct <= 1:
        raise ValueError(f'crop_pct: expected a number above 0, at most 1, got {crop_pct:g}')
    if size is None and crop_pct != 1:
        raise ValueError(f'expected a size beside crop_pct={crop_pct}, got none')
    check_cache(cache)
    conditions = plan_conditions(suite, corruptions, levels, [seed], clean=False, frost_pictures=frost_pictures)
    rows = {condition.corruption: find_perturbation(suite, condition.corruption) for condition in conditions}
    if layout == 'cifar-c':
        odd = [name for name in rows if [c.level for c in conditions if c.corruption == name] != [1, 2, 3, 4, 5]]
        if odd:
            graded = [name for name, suite_rows in SUITES.items() if all(r.severities for r in suite_rows.values())]
            raise ValueError(
                f'layout cifar-c: expected severities 1 to 5 of each corruption, as suites {" and ".join(graded)} have '
                f'them without --levels, got others of {", ".join(odd)} of suite {suite}'
            )
    config = {
        'input_size': (3, size, size),
        'interpolation': interpolation,
        'crop_pct': crop_pct,
        'crop_mode': 'center',
        'mean': IMAGENET_DEFAULT_MEAN,
    }
    if note := check_frost(any(row.pictures for row in rows.values()), frost_pictures):
        warnings.warn(note, stacklevel=2)
    out = file_path('out', out)
    prepared = prepare(data, [config], cache, workers, progress)
    if progress:
        for note in prepared.data.notes[len(data.notes) :]:
            tqdm.write(f'timm-zerosnet: {note}', file=sys.stderr)
    data, pixels = prepared.data, prepared.pixels(view(config))
    for row in rows.values():
        check_shape(tuple(pixels.shape), row, suite)
    with locked_folder(out), writing(out):
        writer: Any = {'folder': _Folders, 'npz': _Npz, 'cifar-c': _CifarC}[layout](out, data, tuple(pixels.shape))
        with tqdm(total=len(conditions) * len(pixels), unit='img', unit_scale=True, disable=not progress) as bar:
            for condition in conditions:
                bar.set_description(str(condition), refresh=False)
                for start in range(0, len(pixels), BATCH):
                    batch = pixels[start : start + BATCH]
                    writer.add(condition, start, _perturbed(batch, suite, condition, seed, start, frost_pictures))
                    bar.update(len(batch))
                writer.finish(condition)
    return writer.written


def _perturbed(
    pixels: Tensor, suite: str, condition: Condition, seed: int, start: int, frost_pictures: str | Path | None
) -> np.ndarray:
    """(n, H, W, C), uint8."""
    indices = range(start, start + len(pixels))
    images = perturb(
        as_floats(pixels), condition.corruption, condition.level, seed, indices, suite, frost_pictures=frost_pictures
    )
    return images.mul(255).round_().to(torch.uint8).permute(0, 2, 3, 1).numpy()


class _Folders:
    """One folder of class folders for each condition, named at the end."""

    def __init__(self, out: Path, data: LabelledImages, shape: tuple[int, ...]) -> None:
        self.out, self.data = out, data
        self.written: list[Path] = []
        self.digits = len(str(len(data.labels) - 1))
        if data.labels.min() < 0:
            raise DataError(
                f'layout folder has a folder for each label from 0 on, not for {data.labels.min()}: take npz'
            )
        width = len(str(data.labels.max()))
        self.classes = data.classes or [f'{label:0{width}}' for label in range(data.labels.max() + 1)]
        if wrong := [name for name in self.classes if name in ('', '.', '..') or Path(name).name != name]:
            raise DataError(
                'layout folder: expected class names that can name folders, without separators, got '
                f'{shorten(map(repr, wrong))}: take npz'
            )

    def add(self, condition: Condition, start: int, images: np.ndarray) -> None:
        partial = self.out / f'.{condition.corruption}-{number(condition.level)}.partial'
        if not start:
            shutil.rmtree(partial, ignore_errors=True)
            for name in self.classes:  # also those without images: readers say so, rather than nothing
                (partial / name).mkdir(parents=True)
        for i, image in enumerate(images, start):
            Image.fromarray(image).save(partial / self.classes[self.data.labels[i]] / f'{i:0{self.digits}}.png')

    def finish(self, condition: Condition) -> None:
        folder = self.out / condition.corruption / number(condition.level)
        folder.parent.mkdir(exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(self.out / f'.{condition.corruption}-{number(condition.level)}.partial', folder)
        self.written.append(folder)


class _Npz:
    """One npz file for each condition."""

    def __init__(self, out: Path, data: LabelledImages, shape: tuple[int, ...]) -> None:
        self.out, self.labels = out, data.labels
        self.written: list[Path] = []
        self.images = np.empty((shape[0], *shape[2:], shape[1]), dtype=np.uint8)

    def add(self, condition: Condition, start: int, images: np.ndarray) -> None:
        self.images[start : start + len(images)] = images

    def finish(self, condition: Condition) -> None:
        path = self.out / f'{condition.corruption}-{number(condition.level)}.npz'
        with replacing(path) as partial, open(partial, 'wb') as file:
            np.savez(file, x_test=self.images, y_test=self.labels)
        self.written.append(path)


class _CifarC(_Npz):
    """One npy file for each corruption, and the labels five times over."""

    def __init__(self, out: Path, data: LabelledImages, shape: tuple[int, ...]) -> None:
        super().__init__(out, data, (5 * shape[0], *shape[1:]))
        if data.labels.max() > 255 or data.labels.min() < 0:
            raise DataError('layout cifar-c holds labels from 0 to 255: take layout npz or folder')
        labels, there = np.tile(data.labels, 5).astype(np.uint8), out / 'labels.npy'
        others = sorted(path.name for path in out.glob('*.npy') if path != there)
        if others and not (there.is_file() and np.array_equal(np.load(there), labels)):
            raise DataError(f'{out} holds {shorten(others)} with other labels than these: expected a new folder')
        self._save('labels', labels)

    def add(self, condition: Condition, start: int, images: np.ndarray) -> None:
        super().add(condition, len(self.labels) * (int(condition.level) - 1) + start, images)

    def finish(self, condition: Condition) -> None:
        if condition.level == 5:
            self._save(condition.corruption, self.images)

    def _save(self, name: str, array: np.ndarray) -> None:
        with replacing(self.out / f'{name}.npy') as partial, open(partial, 'wb') as file:
            np.save(file, array)
        self.written.append(self.out / f'{name}.npy')
