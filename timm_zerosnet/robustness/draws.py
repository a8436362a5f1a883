"""Random numbers of images: they depend on (seed, name, index of the image) alone.

Philox is a counter-based generator: the key holds seed and name, the upper word of the counter the index, so that
images have disjoint streams of 2**192 blocks each and going to one of them is a matter of setting the counter.
"""

from __future__ import annotations

import copy
import zlib
from typing import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from .arguments import integer

WORD = 2**64 - 1
GENERATOR = (
    "numpy's Philox 4x64, whose key is the seed and the CRC-32 of the corruption's name, and the upper word of whose "
    'counter is the index of the image'
)


class Draws:
    """Draws for a batch, on the CPU, whatever the device of the images is. Each call begins the streams anew.

    Args:
        seed: An integer from 0 to 2**64 - 1.
        name: What is drawn for; names have independent streams.
        indices: Index of each image in its data set, from 0 to 2**64 - 1.

    Raises:
        TypeError: for a seed or an index that is no integer.
        ValueError: for one out of range.
    """

    def __init__(self, seed: int, name: str, indices: Iterable[int]) -> None:
        self._key = np.array([integer('seed', seed, most=WORD), zlib.crc32(name.encode())], dtype=np.uint64)
        self._indices = [integer('index', index, most=WORD) for index in indices]

    def part(self, start: int, stop: int) -> Draws:
        """Those of the images ``start`` to ``stop - 1`` of the batch."""
        part = copy.copy(self)
        part._indices = self._indices[start:stop]
        return part

    def normal(self, like: Tensor) -> Tensor:
        """N(0, 1) of 24 bits in the shape (N, ...), type and device of ``like``."""
        return self._fill(like, lambda generator, i, out: generator.standard_normal(out=out, dtype=np.float32))

    def uniform(self, like: Tensor) -> Tensor:
        """U[0, 1) of 24 bits in the shape (N, ...), type and device of ``like``."""
        return self._fill(like, lambda generator, i, out: generator.random(out=out, dtype=np.float32))

    def poisson(self, mean: Tensor) -> Tensor:
        """Poisson numbers (below 2**24) of ``mean`` >= 0 (N, ...), in its type and on its device."""
        means = mean.double().cpu().numpy()
        return self._fill(mean, lambda generator, i, out: np.copyto(out, generator.poisson(means[i]), 'unsafe'))

    def _fill(self, like: Tensor, draw: Callable[[np.random.Generator, int, np.ndarray], object]) -> Tensor:
        bits = np.random.Philox(key=self._key)
        generator, state = np.random.Generator(bits), bits.state
        noise = np.empty(tuple(like.shape), dtype=np.float32)
        for i, (index, out) in enumerate(zip(self._indices, noise, strict=True)):
            state['state']['counter'][3] = index
            bits.state = state  # a new generator for each image would cost as much as drawing it
            draw(generator, i, out)
        return torch.from_numpy(noise).to(like)
