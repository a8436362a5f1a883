"""What the perturbations do to pixels: functions of (N, C, H, W) floats in [0, 1] and a strength.

Here are noise, plain blurs, colours and compression; ``distortions`` and ``weather`` have the others.

Random ones take ``Draws`` as well. The results may leave [0, 1]. None looks beyond its own image, and sums are taken in
a fixed order or over integers, so that an image is the same to the last bit in any batch: the official sets cut off to
8 bits, where the last bit can make a step of 1/255. The corruptions follow the equations of Hendrycks and Dietterich,
"Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019, at any size.
"""

from __future__ import annotations

import copy
import zlib
from io import BytesIO
from typing import Callable, Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from .arguments import integer

MAX_UINT64 = 2**64 - 1
GENERATOR = (
    "numpy's Philox 4x64, whose key is the seed and the CRC-32 of the corruption's name, and the upper word of whose "
    'counter is the index of the image'
)


class Draws:
    """Random numbers of the images of a batch: they depend on (seed, name, index of the image) alone.

    Philox is a counter-based generator: the key holds seed and name, the upper word of the counter the index, so that
    images have disjoint streams of 2**192 blocks each, and going to one of them is a matter of setting the counter.
    They are drawn on the CPU, whatever the device of the images is. Each call begins the streams anew.

    Args:
        seed: An integer from 0 to 2**64 - 1.
        name: What is drawn for; names have independent streams.
        indices: Index of each image in its data set, from 0 to 2**64 - 1.

    Raises:
        TypeError: for a seed or an index that is no integer.
        ValueError: for one out of range.
    """

    def __init__(self, seed: int, name: str, indices: Iterable[int]) -> None:
        self._seed, self._name = integer('seed', seed, most=MAX_UINT64), name
        self._indices = [integer('indices', index, most=MAX_UINT64) for index in indices]

    def part(self, start: int, stop: int) -> Draws:
        """Those of the images ``start`` to ``stop - 1`` of the batch."""
        part = copy.copy(self)
        part._indices = self._indices[start:stop]
        return part

    def named(self, purpose: str) -> Draws:
        """Independent streams for the same images, for a row that draws more than one thing."""
        other = copy.copy(self)
        other._name = f'{self._name} {purpose}'
        return other

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
        key = np.array([self._seed, zlib.crc32(self._name.encode())], dtype=np.uint64)
        bits = np.random.Philox(key=key)
        generator, state = np.random.Generator(bits), bits.state
        noise = np.empty(tuple(like.shape), dtype=np.float32)
        for i, (index, out) in enumerate(zip(self._indices, noise, strict=True)):
            state['state']['counter'][3] = index
            bits.state = state  # a new generator for each image would cost as much as drawing it
            draw(generator, i, out)
        return torch.from_numpy(noise).to(like)


def constant(x: Tensor, c: float) -> Tensor:
    """x + c."""
    return x + c


def one_sided(x: Tensor, c: float, draws: Draws) -> Tensor:
    """x + c U[0, 1)."""
    return x + c * draws.uniform(x)


def two_sided(x: Tensor, c: float, draws: Draws) -> Tensor:
    """x + c U[-1, 1)."""
    return x + c * (2 * draws.uniform(x) - 1)


def gaussian_noise(x: Tensor, c: float, draws: Draws) -> Tensor:
    """x + c N(0, 1)."""
    return x + c * draws.normal(x)


def speckle_noise(x: Tensor, c: float, draws: Draws) -> Tensor:
    """x + c x N(0, 1)."""
    return x + c * (x * draws.normal(x))


def shot_noise(x: Tensor, c: float, draws: Draws) -> Tensor:
    """Poisson(c x) / c: c photons at white, variance x / c."""
    return draws.poisson(x * c) / c


def impulse_noise(x: Tensor, c: float, draws: Draws) -> Tensor:
    """A share c of all values is replaced, half by 0 and half by 1; a larger share contains the smaller ones."""
    u = draws.uniform(x)
    return x.masked_fill(u < c / 2, 0).masked_fill(u >= 1 - c / 2, 1)


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Blur of deviation ``sigma`` px, cut at 4 sigma; pixels beyond the border are those at the border."""
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    half = (weights / weights.sum())[radius:].tolist()
    for axis, margins in ((-2, (0, 0, radius, radius)), (-1, (radius, radius, 0, 0))):
        size, padded = x.shape[axis], pad(x, margins, mode='replicate')
        x = padded.narrow(axis, radius, size) * half[0]
        pair = torch.empty_like(x)
        for k in range(radius, 0, -1):  # scipy's order, which decides what a plain area is cut off to
            torch.add(padded.narrow(axis, radius - k, size), padded.narrow(axis, radius + k, size), out=pair)
            x += pair.mul_(half[k])
    return x


def defocus_blur(x: Tensor, strength: tuple[float, float]) -> Tensor:
    """Mean over a disc; ``strength``: its radius and the deviation of its soft edge, px. The border mirrors."""
    kernel = disc(*strength)
    margin = len(kernel) // 2
    height, width = x.shape[-2:]
    rows, columns = (_mirrored(size, margin) for size in (height, width))
    size = [_fast_length(side + 2 * margin) for side in (height, width)]
    spectrum = torch.fft.rfft2(torch.from_numpy(kernel).to(x), s=size)  # symmetric: correlation is convolution
    return torch.stack(
        [
            torch.fft.irfft2(torch.fft.rfft2(image[:, rows][:, :, columns], s=size) * spectrum, s=size)[
                :, 2 * margin : 2 * margin + height, 2 * margin : 2 * margin + width
            ]
            for image in x  # one by one: a transform of many may round as their number suggests
        ]
    )


def _fast_length(least: int) -> int:
    """The next length whose prime factors are 2, 3 and 5, of which transforms take a third of the time of others.

    It decides no pixel of 8 bits: transforms round to 1e-15, and means of 8-bit values over a ``disc`` were never seen
    nearer than 3e-9 to the next step, other than black, which is clamped.
    """
    rest = least
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    return least if rest == 1 else _fast_length(least + 1)


def disc(radius: float, edge: float) -> np.ndarray:
    """Weights (2 m + 1, 2 m + 1), float32 as the official sets have them, of sum 1 up to rounding."""
    margin, reach = (8, 1) if radius <= 8 else (int(radius), 2)
    grid = np.arange(-margin, margin + 1)
    weights = (grid[:, None] ** 2 + grid**2 <= radius**2).astype(np.float32)
    weights /= weights.sum()
    soft = np.exp(-0.5 / edge**2 * np.arange(reach + 1) ** 2)
    soft = (soft / (2 * soft.sum() - soft[0])).astype(np.float32)
    for _ in range(2):
        rows = np.pad(weights.T, ((reach, reach), (0, 0)), mode='reflect')
        around = [rows[k : k + len(weights)] for k in range(2 * reach + 1)]
        weights = soft[0] * around[reach]
        for k in range(1, reach + 1):  # one rounding a step, as OpenCV's fused multiply-add has it
            pair = (around[reach - k] + around[reach + k]).astype(np.float64)
            weights = (weights + pair * soft[k]).astype(np.float32)
    return weights


def _mirrored(size: int, margin: int) -> Tensor:
    """Indices of ``size`` pixels and ``margin`` more on both sides, mirrored at the border pixels, however few."""
    around = torch.arange(-margin, size + margin) % max(2 * size - 2, 1)
    return torch.minimum(around, 2 * size - 2 - around)


def contrast(x: Tensor, c: float) -> Tensor:
    """c (x - m) + m with the mean m of each channel; x must be in steps of 1/255."""
    mean = (255 * x).round().sum((-2, -1), keepdim=True) / (255 * x.shape[-2] * x.shape[-1])
    return (x - mean) * c + mean


def brightness(x: Tensor, c: float) -> Tensor:
    """HSV value + c; for one channel x + c."""
    if x.shape[1] == 1:
        return x + c
    hue, saturation, value = _hsv(x)
    return _rgb(hue, saturation, (value + c).clamp(0, 1))


def saturate(x: Tensor, strength: tuple[float, float]) -> Tensor:
    """HSV saturation s to a s + b with ``strength`` (a, b); one channel stays as it is."""
    if x.shape[1] == 1:
        return x
    hue, saturation, value = _hsv(x)
    return _rgb(hue, (saturation * strength[0] + strength[1]).clamp(0, 1), value)


# red, green, blue in each sixth of the hues: 0 highest, 1 rising, 2 lowest, 3 falling
SEXTANTS = torch.tensor([[0, 3, 2, 2, 1, 0], [1, 0, 0, 3, 2, 2], [2, 2, 1, 0, 0, 3]])


def _hsv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in [0, 1), saturation and value in [0, 1], each (N, H, W); hue and saturation of grey are 0."""
    red, green, blue = x.unbind(1)
    value = x.amax(1)
    span = value - x.amin(1)
    safe = span.masked_fill(span == 0, 1)
    sextant = torch.where(green == value, 2 + (blue - red) / safe, (green - blue) / safe)
    sextant = torch.where(blue == value, 4 + (red - green) / safe, sextant).masked_fill(span == 0, 0)
    return sextant / 6 % 1, span / value.masked_fill(value == 0, 1), value


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(N, 3, H, W) of ``_hsv``'s three."""
    sextant = (6 * hue).floor()
    way = 6 * hue - sextant
    low, falling, rising = (value * (1 - part * saturation) for part in (1, way, 1 - way))
    palette = torch.stack([value, rising, low, falling], 1)
    return palette.gather(1, SEXTANTS.to(value.device)[:, sextant.long() % 6].movedim(0, 1))


def jpeg_compression(x: Tensor, quality: int) -> Tensor:
    """Through Pillow's JPEG encoder at ``quality``; one channel as a grey picture."""

    def compress(picture: Image.Image) -> Image.Image:
        buffer = BytesIO()
        picture.save(buffer, 'JPEG', quality=quality)
        return Image.open(buffer)

    return _each_picture(x, compress)


def pixelate(x: Tensor, share: float) -> Tensor:
    """Box filter down to ``share`` of each side, cut off to whole pixels, and up again."""

    def shrink(picture: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        width, height = (max(1, int(side * share)) for side in picture.size)
        return picture.resize((width, height), box).resize(picture.size, box)

    return _each_picture(x, shrink)


def _each_picture(x: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    arrays = (255 * x).round().to('cpu', torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    grey = x.shape[1] == 1
    changed = [np.asarray(change(Image.fromarray(array[..., 0] if grey else array))) for array in arrays]
    return torch.from_numpy(np.stack(changed).reshape(arrays.shape)).permute(0, 3, 1, 2).to(x) / 255
