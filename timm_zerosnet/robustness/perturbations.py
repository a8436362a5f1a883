"""Perturbations of images in [0, 1], one row each.

The noise of an image depends on (seed, perturbation, index of the image) alone: not on batches, workers, device, other
draws or the model. For additive noise the level scales one draw, so levels share their random numbers.
"""

from __future__ import annotations

import difflib
import operator
import zlib
from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

AUTHORS = 'robustness_eval.py of Chen, Jin, Shang 2022; the levels are ours'


@dataclass(frozen=True)
class Perturbation:
    """A row of a suite.

    Args:
        name: What it is called in commands and results.
        draw: ``draw(generator, shape)`` gives the noise that the level scales, float32; None for none.
        levels: What a full run measures.
        signed: Whether a negative level makes sense.
        source: Where formula and levels come from.
    """

    name: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] | None
    levels: tuple[float, ...]
    signed: bool
    source: str

    def check(self, level: float) -> float:
        """The level as a float.

        Raises:
            ValueError: if it is not finite, above 1 in size, or negative where that makes no sense.
        """
        level = float(level)
        low = -1 if self.signed else 0
        if not low <= level <= 1:
            raise ValueError(f'{self.name} level {level}: accepted is {low} to 1, pixels lie in [0, 1]')
        return level


def _uniform01(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.random(shape, dtype=np.float32)


def _normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.standard_normal(shape, dtype=np.float32)


def _uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 2 * generator.random(shape, dtype=np.float32) - 1


def _both_signs(*levels: float) -> tuple[float, ...]:
    return tuple(sorted({sign * level for sign in (-1, 1) for level in levels}))


def _suite(*rows: Perturbation) -> dict[str, Perturbation]:
    return {row.name: row for row in rows}


SUITES: dict[str, dict[str, Perturbation]] = {
    'zerosnet': _suite(
        Perturbation('const', None, _both_signs(0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.45), True, f'x + c; {AUTHORS}'),
        Perturbation(
            'rand', _uniform01, _both_signs(0.04, 0.06, 0.08, 0.1, 0.12, 0.2), True, f'x + c U[0, 1); {AUTHORS}'
        ),
        Perturbation(
            'randn', _normal, (0.01, 0.02, 0.03, 0.035, 0.04, 0.05, 0.1, 0.2), False, f'x + c N(0, 1); {AUTHORS}'
        ),
        Perturbation(
            'uniform', _uniform, (0.04, 0.06, 0.08, 0.1, 0.12, 0.2), False, 'x + c U[-1, 1); centred rand, ours'
        ),
    ),
}


def find_perturbation(name: str) -> Perturbation:
    """The row of that name.

    Raises:
        ValueError: for an unknown name; the nearest ones are suggested.
    """
    rows = {row.name: row for suite in SUITES.values() for row in suite.values()}
    if name not in rows:
        near = difflib.get_close_matches(str(name).lower(), rows, n=2, cutoff=0.4)
        hint = f'did you mean {" or ".join(near)}? ' if near else ''
        raise ValueError(f'unknown perturbation {name!r}: {hint}accepted: {", ".join(rows)}')
    return rows[name]


def perturb(images: Tensor, name: str, level: float, seed: int = 0, indices: Sequence[int] | None = None) -> Tensor:
    """Perturbed images, clamped to [0, 1] once.

    Args:
        images: (N, C, H, W) float pixels in [0, 1], before normalisation.
        name: A perturbation of ``SUITES``.
        level: Its strength in pixel values; 0 changes nothing.
        seed: Any integer of 64 bits, >= 0; ``const`` ignores it.
        indices: Index of each image in its data set, on which its noise depends; default 0..N-1.

    Returns:
        (N, C, H, W) like ``images``, which stay as they are.

    Raises:
        ValueError: for an unknown name, a level, seed or pixels out of range, another number of indices than of images.
    """
    row = find_perturbation(name)
    level = row.check(level)
    check_pixels(images)
    if not 0 <= operator.index(seed) < 2**64:
        raise ValueError(f'seed={seed}: accepted is an integer from 0 to 2**64 - 1')
    indices = range(len(images)) if indices is None else indices
    if len(indices) != len(images):
        raise ValueError(f'{len(indices)} indices for {len(images)} images: accepted is one for each')
    if row.draw is None:
        return (images + level).clamp_(0, 1)
    key = np.array([seed, zlib.crc32(row.name.encode())], dtype=np.uint64)
    noise = (
        np.stack(
            [
                row.draw(
                    np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, int(i)])), tuple(images.shape[1:])
                )
                for i in indices
            ]
        )
        if len(images)
        else np.zeros(images.shape, dtype=np.float32)
    )
    return torch.from_numpy(noise).to(images).mul_(level).add_(images).clamp_(0, 1)


def check_pixels(images: Tensor) -> None:
    """Refuse what is not float pixels in [0, 1].

    Raises:
        ValueError: naming the range that was seen.
    """
    if not images.is_floating_point():
        raise ValueError(f'images are {images.dtype}: accepted is a floating point type with pixels in [0, 1]')
    if images.numel() == 0:
        return
    low, high = (float(v) for v in torch.aminmax(images))
    if not (low >= 0 and high <= 1):
        guess = ' (already normalised? 8-bit pixels must be divided by 255 or passed as uint8)'
        raise ValueError(f'pixels range from {low:.4g} to {high:.4g}{guess}: accepted is [0, 1], before normalisation')
