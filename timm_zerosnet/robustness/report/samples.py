"""What the perturbations look like: one image of the data set, clean and at each level."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from ..evaluation import as_floats, resize
from ..plan import CLEAN, Condition
from ..suites import perturb

SIDE = 80  # px shown: 55 noisy pictures of 224 px would be 10 MB
LEVELS = 7


@dataclass(frozen=True)
class Samples:
    """One image as a model sees it before normalisation.

    Args:
        size: Height and width of what the model sees, px.
        shown: Height and width of its middle, which is all that the pictures show.
        clean: PNG as a data URI.
        perturbed: By corruption, at some of its levels with one seed, the same.
    """

    size: tuple[int, int]
    shown: tuple[int, int]
    clean: str
    perturbed: dict[str, dict[float, str]]


def sample_pictures(
    images: np.ndarray | Sequence[Image.Image],
    preprocessing: dict[str, Any],
    suite: str,
    conditions: Sequence[Condition],
) -> Samples:
    """The first image of a data set under the conditions of a plan.

    Args:
        images: uint8 (N, H, W, 1 or 3) or PIL images.
        preprocessing: Of the model whose view it is.
        suite: Name of the suite.
        conditions: What the run measures. Of several seeds the first is taken, of many levels a few evenly spread ones.
    """
    pixels = as_floats(resize(images[:1], preprocessing))
    chosen: dict[str, dict[float, Condition]] = {}
    for condition in conditions:
        if condition.corruption != CLEAN and condition.level:
            chosen.setdefault(condition.corruption, {}).setdefault(condition.level, condition)
    perturbed: dict[str, dict[float, str]] = {}
    for name, at in chosen.items():
        for level in spread(list(at)):
            try:
                picture = perturb(pixels, name, level, at[level].seed or 0, [0], suite)
            except ValueError:  # too small for the suite: the cells say so
                continue
            perturbed.setdefault(name, {})[level] = _png(picture)
    height, width = pixels.shape[2:]
    return Samples((height, width), (min(height, SIDE), min(width, SIDE)), _png(pixels), perturbed)


def spread(levels: Sequence[float], most: int = LEVELS) -> list[float]:
    """Up to so many of the levels, the first and the last among them."""
    if len(levels) <= most:
        return list(levels)
    return [levels[i] for i in np.linspace(0, len(levels) - 1, most).round().astype(int)]


def _png(pixels: Tensor) -> str:
    top, left = (max(0, side - SIDE) // 2 for side in pixels.shape[2:])
    part = pixels[0, :, top : top + SIDE, left : left + SIDE]
    array = (255 * part).round().byte().permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(file, 'PNG', optimize=True)
    return f'data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}'
