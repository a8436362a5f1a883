"""Corruptions by weather: snow, frost, fog and spatter.

Functions as in ``distortions``. What lies over an image is drawn once for all of its channels.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path
from typing import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .arguments import file_path
from .corruptions import Draws, gaussian_blur
from .distortions import cut_off, streak, zoom
from .pictures import ImageError, read_image
from .splashes import water_depth

LUMA = (0.299, 0.587, 0.114)
TURQUOISE = (175 / 255, 238 / 255, 238 / 255)
BROWN = (63 / 255, 42 / 255, 20 / 255)
ICE = (0.8, 0.93, 1.0)
FROST_PICTURES = 5  # the scripts have six and draw from the first five
PICTURE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp')


def fog(x: Tensor, strength: tuple[float, float], draws: Draws) -> Tensor:
    """Adds a plasma fractal and scales the brightest value back.

    Args:
        x: The images.
        strength: Thickness of the fog and decay of its roughness.
        draws: ``uniform`` of (N, s^2 - 1) as ``plasma`` takes it, s the power of two from the longer side on.
    """
    thickness, decay = strength
    height, width = x.shape[-2:]
    side = 1 << (max(height, width) - 1).bit_length()
    haze = plasma(draws.uniform(x.new_empty(len(x), side**2 - 1)), decay)[:, None, :height, :width]
    brightest = x.amax((1, 2, 3), keepdim=True)
    return (x + thickness * haze) * brightest / (brightest + thickness)


def plasma(uniform: Tensor, decay: float) -> Tensor:
    """Height maps (N, s, s) from 0 to 1 by the diamond-square algorithm on a torus, s a power of two.

    Args:
        uniform: (N, s^2 - 1) numbers in [0, 1), in the order of the algorithm: for each step, from s to 2, the centres
            of the squares, then the middles of the sides above them, then those of the sides left of them.
        decay: By what the roughness is divided at each step.
    """
    count, side = len(uniform), int((uniform.shape[1] + 1) ** 0.5)
    height = uniform.new_zeros(count, side, side)
    steps = [side >> k for k in range(side.bit_length() - 1)]
    drawn = iter(uniform.split([(side // step) ** 2 for step in steps for _ in range(3)], 1))
    roughness = 100.0
    for step in steps:
        half = step // 2
        corners = height[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        centres = height[:, half::step, half::step] = _roughened(pairs + pairs.roll(-1, 2), next(drawn), roughness)
        above = centres + centres.roll(1, 1) + (corners + corners.roll(-1, 2))
        left = centres + centres.roll(1, 2) + (corners + corners.roll(-1, 1))
        height[:, ::step, half::step] = _roughened(above, next(drawn), roughness)
        height[:, half::step, ::step] = _roughened(left, next(drawn), roughness)
        roughness /= decay
    height -= height.amin((1, 2), keepdim=True)
    return height / height.amax((1, 2), keepdim=True).clamp_(min=1e-300)


def _roughened(total: Tensor, drawn: Tensor, roughness: float) -> Tensor:
    return total / 4 + roughness * (2 * roughness * drawn.view_as(total) - roughness)


def snow(x: Tensor, strength: tuple[float, ...], draws: Draws) -> Tensor:
    """Bleaches the image and adds streaks of flakes, once as they are and once turned by 180 degrees.

    Args:
        x: The images.
        strength: Mean and deviation of the flakes' noise, its zoom, the threshold below which there is no flake, radius
            and deviation of the streaks in px, the share of the image that is not bleached.
        draws: ``normal`` of (N, H, W); ``uniform`` of (N, 1) of the part 'angle', which is -135 + 90 u degrees.
    """
    mean, deviation, factor, threshold, radius, sigma, share = strength
    flakes = torch.from_numpy(zoom((mean + deviation * draws.normal(x[:, 0])).numpy(), factor))
    flakes = (255 * flakes.masked_fill(flakes < threshold, 0).clamp(0, 1)).floor() / 255
    angles = 90 * draws.named('angle').uniform(x.new_empty(len(x), 1))[:, 0] - 135
    pairs = zip(flakes[:, None], angles.tolist(), strict=True)
    flakes = torch.stack([streak(layer, int(radius), sigma, angle) for layer, angle in pairs])
    x = x.float()  # as in the scripts
    bleached = share * x + (1 - share) * torch.maximum(x, _grey(x, x.shape[1]) * 1.5 + 0.5)
    return bleached.double() + flakes + flakes.flip(2, 3)


def _grey(x: Tensor, channels: int) -> Tensor:
    red, green, blue = x.expand(-1, 3, -1, -1).split(1, 1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def frost(x: Tensor, strength: tuple[float, float, int], draws: Draws, pictures: Sequence[np.ndarray]) -> Tensor:
    """Lays a part of a picture of frost over the image.

    Args:
        x: The images.
        strength: Share of the image, share of the frost, and k where every k-th pixel of the picture is taken. A
            picture that is too small then is enlarged.
        draws: ``uniform`` of (N, 3): which picture, the part's first row, its first column.
        pictures: Pictures of frost, uint8 (H, W, 3).
    """
    share, thickness, every = strength
    height, width = x.shape[-2:]
    layers = []
    for which, top, left in draws.uniform(x.new_empty(len(x), 3)).tolist():
        picture = _sized(pictures[int(which * len(pictures))], every, height, width)
        top, left = int(top * (picture.shape[0] - height)), int(left * (picture.shape[1] - width))
        layers.append(picture[top : top + height, left : left + width])
    return _overlay(x, share, thickness, torch.from_numpy(np.stack(layers)).permute(0, 3, 1, 2).double())


def frost_like(x: Tensor, strength: tuple[float, float, int], draws: Draws) -> Tensor:
    """Lays made-up frost over the image: the ridges of two plasma fractals, in the colour of ice.

    This is ours, for where there are no pictures; brightness and contrast are those of the pictures on average.

    Args:
        x: The images.
        strength: As that of ``frost``; the third number divides the size of the crystals.
        draws: ``uniform`` of (N, s^2 - 1) of the parts 'coarse' and 'fine' as ``plasma`` takes it, s the power of two
            from the longer side on.
    """
    share, thickness, every = strength
    height, width = x.shape[-2:]
    side = 1 << (max(height, width) - 1).bit_length()
    layer = torch.zeros(len(x), 1, height, width, dtype=torch.float64)
    for part, decay, weight in (('coarse', 2.0, 0.5), ('fine', 1.5 if every == 1 else 1.3, 0.5)):
        uniform = draws.named(part).uniform(x.new_empty(len(x), side**2 - 1))
        heights = plasma(uniform, decay)[:, None, :height, :width]
        layer += weight * (1 - (2 * heights - 1).abs() * 2).abs()
    shades = torch.tensor(ICE, dtype=torch.float64).view(1, 3, 1, 1)
    return _overlay(x, share, thickness, ((90 + 150 * layer) * shades).floor())


def _overlay(x: Tensor, share: float, thickness: float, layer: Tensor) -> Tensor:
    """The weighted sum with a layer from 0 to 255, cut off to 8 bits before it is scaled, as in the scripts."""
    layer = layer if x.shape[1] == 3 else _grey(layer, 1)
    return (share * (255 * x).round() + thickness * layer).floor() / 255


def _sized(picture: np.ndarray, every: int, height: int, width: int) -> np.ndarray:
    """Every ``every``-th pixel of a picture, enlarged if that is not larger than ``height`` x ``width``."""
    small = picture[every // 2 :: every, every // 2 :: every]
    factor = max((height + 1) / small.shape[0], (width + 1) / small.shape[1])
    if factor <= 1:
        return small
    rows, columns = (
        max(side + 1, round(factor * own)) for side, own in zip((height, width), small.shape, strict=False)
    )
    return np.asarray(Image.fromarray(np.ascontiguousarray(small)).resize((columns, rows), Image.Resampling.BICUBIC))


def frost_folder() -> Path | None:
    """Where an installed imagecorruptions-imaug has its pictures of frost; None if there is none."""
    try:
        found = importlib.util.find_spec('imagecorruptions')
    except (ImportError, ValueError):  # blocked: by an import hook, by None in sys.modules
        return None
    folders = [Path(place) / 'frost' for place in (found.submodule_search_locations or [])] if found else []
    return next((folder for folder in folders if folder.is_dir()), None)


def load_frost(folder: str | Path | None = None) -> tuple[tuple[np.ndarray, ...], str]:
    """The first five pictures of a folder by name, uint8 (H, W, 3), and a digest of their pixels.

    Args:
        folder: Folder of pictures of frost; default: that of an installed imagecorruptions-imaug.

    Raises:
        ValueError: if there is no folder, no picture in it, or one that cannot be read.
    """
    place = frost_folder() if folder is None else file_path('frost_pictures', folder)
    if place is None:
        raise ValueError(
            'frost needs pictures of frost: expected a folder of them or an installed imagecorruptions-imaug; '
            'frost_like needs none'
        )
    return _load_frost(place.resolve())


def check_frost(needed: bool, folder: str | Path | None) -> str:
    """Read the pictures of frost if a row needs them; otherwise a note where a folder of them is named, or ''.

    Raises:
        ValueError: as ``load_frost``.
    """
    if needed:
        load_frost(folder)
    elif folder is not None:
        file_path('frost_pictures', folder)
        return 'the pictures of frost are not used: the row frost is not asked for'
    return ''


@functools.lru_cache(maxsize=4)
def _load_frost(folder: Path) -> tuple[tuple[np.ndarray, ...], str]:
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    names = [name for name in names if name.suffix.lower() in PICTURE_SUFFIXES][:FROST_PICTURES]
    if not names:
        what = 'a folder without any' if folder.is_dir() else 'a file' if folder.exists() else 'no folder'
        raise ValueError(
            f'expected a folder with pictures of frost ({", ".join(PICTURE_SUFFIXES)}), got {what}: {folder}; a run '
            'that is given none takes those of an installed imagecorruptions-imaug, or frost_like in place of frost'
        )
    pictures, digest = [], hashlib.sha256()
    for name in names:
        try:
            pictures.append(np.asarray(read_image(name, 3, upright=False)[0]))
        except ImageError as error:
            raise ValueError(f'expected pictures of frost: {error}; replace or remove it') from error
        digest.update(f'{pictures[-1].shape}'.encode() + pictures[-1].tobytes())
    return tuple(pictures), digest.hexdigest()


def spatter(x: Tensor, strength: tuple[float, ...], draws: Draws) -> Tensor:
    """Water or mud on the lens.

    Args:
        x: The images.
        strength: Mean and deviation of the liquid's noise, the deviation of its blur in px, the threshold above which
            there is liquid, then the intensity of the water or the deviation in px of the mud's soft edge, then 0 for
            water and 1 for mud.
        draws: ``normal`` of (N, H, W).
    """
    mean, deviation, sigma, threshold, amount, mud = strength
    liquid = gaussian_blur((mean + deviation * draws.normal(x[:, 0]))[:, None], sigma)
    if mud:
        cover = gaussian_blur((liquid > threshold).double(), amount)
        cover = cover.masked_fill(cover < 0.8, 0).float()
        return cut_off(x.float() * (1 - cover) + _in_channels(BROWN, x) * cover)
    levels = (255 * liquid.masked_fill(liquid < threshold, 0)).floor().to(torch.uint8)[:, 0]
    depth = torch.from_numpy(water_depth(levels.numpy()))[:, None]
    most = depth.amax((1, 2, 3), keepdim=True)
    depth = depth / most.masked_fill(most == 0, 1) * amount
    return cut_off(x.float() + depth * _in_channels(TURQUOISE, x))


def _in_channels(colour: tuple[float, float, float], x: Tensor) -> Tensor:
    shade = torch.tensor(colour).view(1, 3, 1, 1)
    return shade if x.shape[1] == 3 else _grey(shade, 1)
