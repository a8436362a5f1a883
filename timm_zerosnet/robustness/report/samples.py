"""Pictures of the perturbations for the report: one image of the data set, clean and at several levels."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from ..plan import CLEAN, Condition
from ..preprocessing import as_floats, resize
from ..suites import perturb

MAX_SIDE = 80  # pixels; 55 noisy pictures of 224 pixels would take 10 MB
MAX_LEVELS = 7  # of a corruption
MIN_LEVELS = 3
MAX_PICTURES = 60  # with more, each corruption shows fewer levels


@dataclass(frozen=True)
class Samples:
    """An image as a model sees it before normalisation, clean and perturbed.

    Args:
        model: Name of the model.
        size: Height and width of the model's input, in pixels.
        shown: Height and width of the part in the middle that the pictures show.
        clean: The clean picture as a data URI of a PNG file.
        perturbed: The same for some levels of each corruption, with one noise seed.
    """

    model: str
    size: tuple[int, int]
    shown: tuple[int, int]
    clean: str
    perturbed: dict[str, dict[float, str]]


def sample_pictures(
    model: str,
    images: np.ndarray | Sequence[Image.Image] | Tensor,
    preprocessing: dict[str, Any],
    suite: str,
    conditions: Sequence[Condition],
    frost_pictures: str | Path | None = None,
) -> Samples:
    """Perturb the first image of a data set under the conditions of a run.

    Args:
        model: Name of the model whose input is shown.
        images: uint8 (N, H, W, 1 or 3), or PIL images; or a tensor of pixels (N, C, H, W), uint8, as the model takes
            them.
        preprocessing: The preprocessing of this model.
        suite: Name of the suite.
        conditions: The conditions of the run. The pictures show the first noise seed and at most seven levels of each
            corruption, evenly spaced; fewer if there are many corruptions.
        frost_pictures: Folder of pictures of frost, see ``suites.perturb``.
    """
    pixels = as_floats(images[:1] if isinstance(images, Tensor) else resize(images[:1], preprocessing))
    chosen: dict[str, dict[float, Condition]] = {}
    for condition in conditions:
        if condition.corruption != CLEAN and condition.level:
            chosen.setdefault(condition.corruption, {}).setdefault(condition.level, condition)
    perturbed: dict[str, dict[float, str]] = {}
    most = max(MIN_LEVELS, min(MAX_LEVELS, MAX_PICTURES // max(len(chosen), 1)))
    for name, at in chosen.items():
        for level in evenly_spaced(list(at), most):
            try:
                picture = perturb(pixels, name, level, at[level].seed or 0, [0], suite, frost_pictures)
            except ValueError:  # the image is too small for the suite; the cells fail with this reason
                continue
            perturbed.setdefault(name, {})[level] = _png(picture)
    height, width = pixels.shape[2:]
    shown = min(height, MAX_SIDE), min(width, MAX_SIDE)
    return Samples(model, (height, width), shown, _png(pixels), perturbed)


def evenly_spaced(levels: Sequence[float], most: int = MAX_LEVELS) -> list[float]:
    """At most ``most`` of the levels, evenly spaced from the first to the last."""
    if len(levels) <= most:
        return list(levels)
    return [levels[i] for i in np.linspace(0, len(levels) - 1, most).round().astype(int)]


def _png(pixels: Tensor) -> str:
    top, left = (max(0, side - MAX_SIDE) // 2 for side in pixels.shape[2:])
    part = pixels[0, :, top : top + MAX_SIDE, left : left + MAX_SIDE]
    array = (255 * part).round().byte().permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(file, 'PNG', optimize=True)
    return f'data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}'
