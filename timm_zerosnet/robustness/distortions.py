"""Corruptions that move pixels: glass, motion and zoom blur, and the elastic transform.

Functions as in ``corruptions``: they take (N, C, H, W) doubles in [0, 1] in steps of 1/255, on the CPU. The scripts of
Hendrycks and Dietterich are written for one size; here the side of the image takes the place of that number, and
lengths in px stay as they are.
"""

from __future__ import annotations

import functools
import math
from typing import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from .corruptions import Draws, gaussian_blur

PLANES_AT_ONCE = 2**16  # values that zoom works on at once, for the cache
WARP_RANGE = -(2**20), 2**20 - 1  # of 1/32 px: OpenCV's positions have 16 bits


def glass_blur(x: Tensor, strength: tuple[float, int, int], draws: Draws) -> Tensor:
    """Blur, copy each pixel from nearby, blur again.

    The scripts mean to swap pixels, but both sides of their assignment are views of one array, so that the second half
    of the swap copies a pixel onto itself. What is left is a copy, and colours get lost; it is kept as it is.

    Args:
        x: The images.
        strength: Deviation of both blurs in px, reach r of a copy in px, how often all pixels are passed through.
        draws: ``uniform`` of (N, passes, rows, columns, 2), the last axis being the steps along x and y of a pixel,
            which are integers from -r to r - 1. The order is that of the passes: from the last pixel to the first.
    """
    sigma, reach, passes = strength
    count, channels, height, width = x.shape
    rows, columns = (max(0, side - 2 * reach) for side in (height, width))
    uniform = draws.uniform(x.new_empty(count, passes, rows, columns, 2))
    steps = (2 * reach * uniform).floor().long().numpy() - reach
    shuffled = (255 * gaussian_blur(x, sigma)).floor().flatten(2)
    for i in range(passes):
        sources = torch.from_numpy(_copy_sources(steps[:, i], reach, height, width))
        shuffled = shuffled.gather(2, sources[:, None].expand(-1, channels, -1))
    return gaussian_blur(shuffled.view_as(x) / 255, sigma)


def _copy_sources(steps: np.ndarray, reach: int, height: int, width: int) -> np.ndarray:
    """Which pixel each one is a copy of after a pass, (N, H * W), as indices into the flattened image before it.

    A pixel that is copied from a later one gets what that one was given earlier in the same pass. Such chains are
    followed for all pixels at once, in steps that double in length.
    """
    inner = np.s_[:, reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    every = np.arange(len(steps) * height * width)
    layers = every.reshape(len(steps), height, width).copy()
    forwards = steps[:, ::-1, ::-1]
    layers[inner] += forwards[..., 0] + width * forwards[..., 1]
    source = layers.ravel()
    follows = source > every
    while (open_ := np.flatnonzero(follows)).size:
        at = source[open_]
        source[open_], follows[open_] = source[at], follows[at]
    return source.reshape(len(steps), -1) - np.arange(len(steps))[:, None] * (height * width)


def motion_blur(x: Tensor, strength: tuple[int, float], draws: Draws) -> Tensor:
    """ImageMagick's motion blur along a random direction between -45 and 45 degrees.

    Args:
        x: The images.
        strength: Radius and deviation of the one-sided bell, px.
        draws: ``uniform`` of (N, 1), of which the angle is -45 + 90 u degrees.
    """
    angles = 90 * draws.uniform(x.new_empty(len(x), 1))[:, 0] - 45
    return torch.stack([streak(image, *strength, angle) for image, angle in zip(x, angles.tolist(), strict=True)])


def streak(image: Tensor, radius: int, sigma: float, angle: float) -> Tensor:
    """ImageMagick's motion blur of one image (C, H, W), in steps of 1/255 before and after.

    Tap i of 2 ``radius`` + 1 is the pixel i px away at ``angle`` degrees, rounded to whole px, with the weight
    exp(-i^2 / 2 sigma^2); pixels beyond the border are those at the border. ImageMagick rounds to 16 bits,
    and its PNG writer, through which the scripts take the result, cuts off to 8.
    """
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    weights /= weights.sum()
    across, down = (
        np.ceil(taps * part - 0.5).astype(int)
        for part in (math.cos(math.radians(angle)), math.sin(math.radians(angle)))
    )
    height, width = image.shape[-2:]
    left, right, top, bottom = -min(across), max(across), -min(down), max(down)
    padded = pad(image[None] * 65535, (left, right, top, bottom), mode='replicate')[0]
    total = torch.zeros_like(image)
    for weight, dx, dy in zip(weights.tolist(), (across + left).tolist(), (down + top).tolist(), strict=True):
        total.add_(padded[:, dy : dy + height, dx : dx + width], alpha=weight)
    return ((total + 0.5).floor() / 257).floor() / 255


def zoom_blur(x: Tensor, strength: tuple[float, float]) -> Tensor:
    """Mean of the image and of its centre at growing zoom; ``strength``: end and step of the factors, from 1 on."""
    factors = np.arange(1, *strength)
    planes = x.float().flatten(0, 1).numpy()
    total = np.zeros_like(planes)  # of 32 bits, as the scripts add up
    step = max(1, PLANES_AT_ONCE // planes[0].size)
    for start in range(0, len(planes), step):
        part = planes[start : start + step].astype(np.float64)
        for factor in factors.tolist():
            total[start : start + step] += zoom(part, factor)
    found = (planes + total) / np.float32(len(factors) + 1)
    return cut_off(torch.from_numpy(found).view(x.shape))


def cut_off(x: Tensor) -> Tensor:
    """Floats in [0, 1] cut off to 8 bits, in steps of 1/255, where the scripts do it in 32 bits."""
    return (255 * x.clamp(0, 1)).floor().double() / 255


def zoom(values: np.ndarray, factor: float) -> np.ndarray:
    """The centre of (..., H, W), enlarged by ``factor`` >= 1 to the same size, with linear interpolation.

    As ``scipy.ndimage.zoom`` has it: the outermost pixels of the centre stay the outermost ones. What is then too large
    is cut off.
    """
    if factor == 1:
        return values
    for axis in (-2, -1):
        size = values.shape[axis]
        part = math.ceil(size / factor)
        length = round(part * factor)
        start, cut = (size - part) // 2, (length - size) // 2
        at = np.arange(cut, cut + size) * ((part - 1) / max(length - 1, 1))
        low = np.minimum(np.floor(at), part - 1).astype(int)
        share = at - low if axis == -1 else (at - low)[:, None]
        first = values.take(start + low, axis)
        second = values.take(start + np.minimum(low + 1, part - 1), axis)
        first *= 1 - share
        second *= share
        first += second
        values = first
    return values


def elastic_transform(x: Tensor, strength: tuple[float, float, float], draws: Draws) -> Tensor:
    """A random affine map, then a random smooth displacement.

    Args:
        x: The images.
        strength: Factor of the displacement; its smoothness, the deviation of a blur in px; how far each of the three
            points that define the affine map is moved at most, px.
        draws: ``uniform`` of (N, 6 + 2 H W): x and y of the three points, displacements along x, those along y.
    """
    factor, sigma, reach = strength
    height, width = x.shape[-2:]
    uniform = 2 * draws.uniform(x.new_empty(len(x), 6 + 2 * height * width)) - 1
    moves = uniform[:, :6].view(-1, 3, 2).numpy() * reach
    fields = uniform[:, 6:].view(-1, 2, height, width)
    down, across = (_reflecting_blur(side, sigma) for side in (height, width))
    found = []
    for image, move, field in zip(x.float().numpy(), moves, fields, strict=True):
        image = warp(image, affine_map(move, height, width))
        if factor:
            image = displace(image, *(down @ field @ across.T * factor).float().double().numpy())
        found.append(torch.from_numpy(image))
    return cut_off(torch.stack(found))


def affine_map(moves: np.ndarray, height: int, width: int) -> np.ndarray:
    """The (2, 3) matrix that takes three corners of the central square to themselves plus ``moves``, (3, 2) px.

    The scripts give the centre as (y, x) to a function that expects (x, y), which only matters off the square.
    """
    x, y, side = height // 2, width // 2, min(height, width) // 3
    if side == 0:  # the corners are one point, and OpenCV finds no map: zeros
        return np.zeros((2, 3))
    corners = np.array([[x + side, y + side], [x + side, y - side], [x - side, y - side]], dtype=np.float32)
    moved = corners + moves.astype(np.float32)
    return np.linalg.solve(np.c_[corners.astype(float), np.ones(3)], moved.astype(float)).T


def warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(C, H, W) of 32 bits under an affine map of (x, y), linear, mirrored at the border pixels.

    The positions are rounded to 1/32 px, as OpenCV did it until 4.10.
    """
    height, width = image.shape[-2:]
    (a, b), (c, d) = matrix[:, :2]
    determinant = a * d - b * c
    inverse = np.array([[d, -b], [-c, a]]) * (1 / determinant if determinant else 0.0)
    columns, rows = (
        np.rint(1024 * along * np.arange(width)) + np.rint(1024 * (across * np.arange(height) + start))[:, None]
        for (along, across), start in zip(inverse, -inverse @ matrix[:, 2], strict=True)
    )
    rows, columns = (np.floor((at + 16) / 32).clip(*WARP_RANGE) / 32 for at in (rows, columns))
    return _interpolate(image, rows, columns, mirror)


def displace(image: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """(C, H, W) with each pixel taken from ``across``, ``down`` px away, linear, mirrored beyond the border."""
    height, width = image.shape[-2:]
    rows, columns = down + np.arange(height)[:, None], across + np.arange(width)
    return _interpolate(image.astype(np.float64), rows, columns, reflect).astype(np.float32)


def _interpolate(
    image: np.ndarray, rows: np.ndarray, columns: np.ndarray, fold: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """Values of (C, H, W) at positions between its pixels; ``fold(index, size)`` brings indices inside."""
    height, width = image.shape[-2:]
    top, left = np.floor(rows), np.floor(columns)
    low, near = (rows - top).astype(image.dtype), (columns - left).astype(image.dtype)
    upper, lower = _neighbours(top, height, fold)
    first, second = _neighbours(left, width, fold)
    upper, lower = upper * width, lower * width
    flat, total = image.reshape(len(image), -1), np.zeros(image.shape, dtype=image.dtype)
    for line, vertical in ((upper, 1 - low), (lower, low)):
        for place, horizontal in ((first, 1 - near), (second, near)):
            corner = flat.take(line + place, 1)
            corner *= vertical * horizontal
            total += corner
    return total


def _neighbours(
    whole: np.ndarray, size: int, fold: Callable[[np.ndarray, int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the pixels at whole positions and after them, brought inside by a table, as division is slow."""
    lowest = int(whole.min())
    table = fold(np.arange(lowest, int(whole.max()) + 2), size)
    at = (whole - lowest).astype(int)
    return table.take(at), table.take(at + 1)


def mirror(index: np.ndarray, size: int) -> np.ndarray:
    """Indices mirrored at the centre of the border pixels: c b | a b c | b a."""
    around = index % max(2 * size - 2, 1)
    return np.minimum(around, abs(2 * size - 2 - around))


def reflect(index: np.ndarray, size: int) -> np.ndarray:
    """Indices mirrored at the edge of the border pixels: b a | a b c | c b."""
    around = index % (2 * size)
    return np.minimum(around, 2 * size - 1 - around)


@functools.lru_cache(maxsize=16)
def _reflecting_blur(size: int, sigma: float) -> Tensor:
    """(size, size) matrix of a blur of deviation ``sigma``, cut at 3 sigma, that reflects at the border."""
    radius = int(3 * sigma + 0.5)
    taps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 / max(sigma, 1e-9) ** 2 * taps**2)
    matrix = np.zeros((size, size))
    rows, columns = np.broadcast_arrays(np.arange(size)[:, None], reflect(np.arange(size)[:, None] + taps, size))
    np.add.at(matrix, (rows, columns), np.broadcast_to(weights / weights.sum(), columns.shape))
    return torch.from_numpy(matrix)
