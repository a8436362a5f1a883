"""Images of a study in memory: the held-out split, smaller copies, and random crops of whole batches."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

KEYS = ('x_train', 'y_train', 'x_test', 'y_test')


@dataclass(frozen=True)
class Images:
    """Training and test images of one size.

    Args:
        x_train, x_test: (N, H, W, 3) uint8.
        y_train, y_test: (N,) int64 class indices.
        classes: Number of classes.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int

    def sha256(self) -> str:
        """Hex digest of images and labels, which tells two files of one name apart."""
        digest = hashlib.sha256()
        for part in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(f'{tuple(part.shape)} '.encode())
            digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()

    def at(self, size: int) -> Images:
        """The same images at ``size`` x ``size`` pixels, see ``resize``."""
        return Images(resize(self.x_train, size), self.y_train, resize(self.x_test, size), self.y_test, self.classes)


def load(path: Path, holdout: int = 0) -> Images:
    """Read ``x_train``, ``y_train``, ``x_test`` and ``y_test`` (uint8, NHWC) from an .npz file.

    Args:
        path: The file.
        holdout: 0 tests on the test images. Otherwise that many training images, the last ones of each class in equal
            shares, leave the training set and take their place; the test images are then not looked at.

    Raises:
        ValueError: for a file without these arrays, arrays that do not fit each other, or a holdout that is no
            multiple of the number of classes or leaves a class without training images.
    """
    try:
        with path.open('rb') as file, np.load(file) as arrays:
            x_train, y_train, x_test, y_test = (torch.from_numpy(arrays[key]) for key in KEYS)
    except Exception as error:  # numpy, zipfile and torch each raise their own
        said = str(error).split('If you trust')[0].strip() or type(error).__name__
        raise ValueError(f'{path}: expected an .npz file with {", ".join(KEYS)}, got: {said}') from None
    for name, x, y in (('train', x_train, y_train), ('test', x_test, y_test)):
        if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[-1] != 3 or y.shape != x.shape[:1]:
            raise ValueError(
                f'{path}: expected x_{name} uint8 (N, H, W, 3) and y_{name} (N,), got {x.dtype} {tuple(x.shape)} and '
                f'{tuple(y.shape)}'
            )
    for name, y in (('train', y_train), ('test', y_test)):
        if not len(y) or y.is_floating_point() or y.dtype == torch.bool or y.min() < 0:
            raise ValueError(
                f'{path}: expected integers >= 0 in y_{name}, at least one, got {y.dtype} {y[:5].tolist()}'
            )
    y_train, y_test = y_train.long(), y_test.long()
    classes = int(y_train.max()) + 1
    if len(y_train.unique()) < classes or y_test.max() >= classes:
        raise ValueError(
            f'{path}: expected class indices 0 to {classes - 1}, each in y_train, got {len(y_train.unique())} of them '
            f'there and up to {int(y_test.max())} in y_test'
        )
    if holdout:
        if holdout < 0 or holdout % classes:
            raise ValueError(f'--holdout: expected a multiple >= 0 of {classes}, the number of classes, got {holdout}')
        members = [torch.nonzero(y_train == label).flatten() for label in range(classes)]
        share = holdout // classes
        smallest = min(map(len, members))
        if share >= smallest:
            raise ValueError(f'--holdout: expected less than {smallest * classes}, got {holdout}')
        kept = torch.cat([part[:-share] for part in members]).sort().values
        held = torch.cat([part[-share:] for part in members]).sort().values
        x_train, y_train, x_test, y_test = x_train[kept], y_train[kept], x_train[held], y_train[held]
    return Images(x_train, y_train, x_test, y_test, classes)


def resize(x: Tensor, size: int) -> Tensor:
    """uint8 images (N, H, W, 3) at (N, size, size, 3).

    Bilinear with antialiasing: each pixel is a mean of the pixels below it, weighted by a triangle as wide as two
    pixels of the result, and is rounded to the nearest of 256 values. Images of that size are handed back.
    """
    if x.shape[1:3] == (size, size):
        return x
    out = torch.empty(len(x), size, size, x.shape[-1], dtype=torch.uint8)
    for start in range(0, len(x), 1000):
        part = x[start : start + 1000].permute(0, 3, 1, 2).float()
        part = interpolate(part, (size, size), mode='bilinear', antialias=True, align_corners=False)
        out[start : start + 1000] = part.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return out


@dataclass(frozen=True)
class Draws:
    """What is random in one pass over N training images; a function of (seed, epoch) alone.

    Args:
        order: (N,) int64 permutation of the images.
        shift: (N, 2) floats in [0, 1), down and right; crops of any size are made of the same draws.
        flip: (N,) bool.
    """

    order: Tensor
    shift: Tensor
    flip: Tensor

    @classmethod
    def of(cls, seed: int, epoch: int, count: int) -> Draws:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(count, generator=generator)
        shift = torch.rand(count, 2, generator=generator)
        return cls(order, shift, torch.rand(count, generator=generator) < 0.5)


def padded(x: Tensor) -> Tensor:
    """Images (N, H, H, 3) with a black border of H // 8 pixels, as ``--train-crop-mode pad4`` has it."""
    border = x.shape[1] // 8
    return pad(x, (0, 0, border, border, border, border))


def crop(bordered: Tensor, index: Tensor, shift: Tensor, flip: Tensor, size: int) -> Tensor:
    """A batch of random crops, some of them mirrored; one gather, no loop over images.

    Args:
        bordered: (N, H, H, 3) of ``padded``.
        index: (B,) int64, which images.
        shift: (B, 2) in [0, 1): where in the border the crop begins, down and right.
        flip: (B,) bool, which are mirrored.
        size: Of the crops, px.

    Returns:
        (B, 3, size, size) uint8, channels last in memory.
    """
    begin = (shift * (bordered.shape[1] - size + 1)).long()
    along = torch.arange(size, device=bordered.device)
    rows = begin[:, :1] + along
    columns = begin[:, 1:] + torch.where(flip[:, None], size - 1 - along, along)
    return bordered[index[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
