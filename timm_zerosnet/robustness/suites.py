"""Perturbations of images in [0, 1], one row each.

The noise of an image depends on (seed, perturbation, index of the image) alone: not on batches, workers, device, other
draws or the model. For additive noise the level scales one draw, so levels share their random numbers.

Suite ``zerosnet`` works in floats, as its paper does; its levels are strengths. In ``cifar-c`` and ``imagenet-c`` the
level is a severity, 1 to 5, and images are 8-bit pictures, as in the official sets: pixels are rounded to the nearest
step of 1/255 before, and cut off to the next lower one after, which is what the scripts of those sets do.

These two suites have the nineteen corruptions of the official sets. mCE and other means over corruptions are those of
the fifteen ``STANDARD`` ones. Row ``frost`` needs pictures of frost, which are not packaged; where there are none,
``frost_like`` takes its place, whose frost is made from the seed and which no mean counts.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Sequence, TypeVar

import numpy as np
import torch
from torch import Tensor

from .._errors import nearest, type_of
from . import corruptions as do
from . import distortions, weather
from .arguments import real, sequence
from .corruptions import Draws
from .pictures import ROUNDING

Pixels = TypeVar('Pixels', Tensor, np.ndarray)

AUTHORS = 'robustness_eval.py of Chen, Jin, Shang 2022; the levels are ours'
CIFAR_C = 'make_cifar_c.py of Hendrycks and Dietterich 2019'
IMAGENET_C = 'make_imagenet_c.py of Hendrycks and Dietterich 2019'
OURS = 'ours, in place of frost; its shares are those of frost'
STANDARD_GROUPS = {
    'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise'),
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness'),
    'digital': ('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
}
STANDARD = tuple(name for group in STANDARD_GROUPS.values() for name in group)
EXTRA = ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
FROST, FROST_LIKE = 'frost', 'frost_like'
OFFICIAL = 'official'  # what runs call the official files, which are perturbed already
VALUES_AT_ONCE = 2**18  # values worked on at once: a batch of any size fits the memory, and the part the cache


@dataclass(frozen=True)
class Perturbation:
    """A row of a suite.

    Args:
        name: Name of the row in commands and results.
        function: ``function(x, strength, draws)``, without ``draws`` where ``seeded`` is False, gives the pixels before
            they are clamped; x is (N, C, H, W) in [0, 1].
        levels: Levels that a full run measures; 0 is clean in every row.
        source: Where formula and levels come from.
        signed: Whether a negative level makes sense.
        seeded: Whether the row is random; one that is not is measured once, without seeds.
        severities: Strength at severity 1, 2, ..., where the level is a severity and images are 8-bit pictures; empty
            where the level is the strength.
        min_size: Shortest side of images that the row makes sense for, px.
        version: Raised whenever the pixels of the row change.
        pictures: Whether ``function`` takes pictures of frost as well, see ``weather.load_frost``.
    """

    name: str
    function: Callable[..., Tensor]
    levels: tuple[float, ...]
    source: str
    signed: bool = False
    seeded: bool = True
    severities: tuple[Any, ...] = ()
    min_size: int = 1
    version: int = 1
    pictures: bool = False

    def check(self, level: float) -> float:
        """The level as a float.

        Raises:
            TypeError: if it is no number.
            ValueError: if it is no severity of a row that has severities; otherwise if it is not finite, above 1 in
                size, or negative where that makes no sense.
        """
        low = -1 if self.signed else 0
        what, expected = f'{self.name} level', f'a number from {low} to 1, as pixels lie in [0, 1]'
        if self.severities:
            what, expected = f'{self.name} severity', f'an integer from 0 (clean) to {len(self.severities)}'
        level = real(what, level, expected)
        if level not in range(len(self.severities) + 1) if self.severities else not low <= level <= 1:
            raise ValueError(f'{what}: expected {expected}, got {level:g}')
        return level

    def strength(self, level: float) -> Any:
        """What ``function`` takes for a level other than 0."""
        return self.severities[int(level) - 1] if self.severities else level

    def identity(self, level: float, frost_pictures: str | Path | None = None) -> dict[str, Any]:
        """What tells the pixels of this row at a level from those of an edited row, as plain values.

        Args:
            level: A level of the row.
            frost_pictures: Folder of the pictures that ``frost`` takes, see ``perturb``.
        """
        strength = self.strength(level) if level else 0
        found = {'function': self.function.__qualname__, 'strength': strength, '8 bits': bool(self.severities)}
        if self.version > 1:  # not in the keys of cells that were measured before rows had versions
            found['version'] = self.version
        if self.pictures:
            found['pictures'] = weather.load_frost(frost_pictures)[1]
        return found


def _both_signs(*levels: float) -> tuple[float, ...]:
    return tuple(sorted({sign * level for sign in (-1, 1) for level in levels}))


def _suite(*rows: Perturbation) -> dict[str, Perturbation]:
    return {row.name: row for row in rows}


def _graded(
    function: Callable[..., Tensor],
    cifar: Sequence[Any],
    imagenet: Sequence[Any],
    seeded: bool = True,
    pictures: bool = False,
    source: str | None = None,
) -> tuple[Perturbation, Perturbation]:
    """The rows of a corruption in ``cifar-c`` and in ``imagenet-c``, of which ``cifar`` and ``imagenet`` are the
    strengths at severity 1 to 5."""
    suites = ((cifar, source or CIFAR_C, 1), (imagenet, source or IMAGENET_C, 64))
    one, other = (
        Perturbation(
            function.__name__,
            function,
            tuple(range(1, len(severities) + 1)),
            where,
            seeded=seeded,
            severities=tuple(severities),
            min_size=min_size,
            pictures=pictures,
        )
        for severities, where, min_size in suites
    )
    return one, other


FROST_STRENGTHS = (
    ((1, 0.2, 5), (1, 0.3, 5), (0.9, 0.4, 5), (0.85, 0.4, 5), (0.75, 0.45, 5)),
    ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
)
GRADED = (
    _graded(do.gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.1), (0.08, 0.12, 0.18, 0.26, 0.38)),
    _graded(do.shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    _graded(do.impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),
    _graded(
        do.defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        seeded=False,
    ),
    _graded(
        distortions.glass_blur,
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    ),
    _graded(
        distortions.motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    _graded(
        distortions.zoom_blur,
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        seeded=False,
    ),
    _graded(
        weather.snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    ),
    _graded(weather.frost, *FROST_STRENGTHS, pictures=True),
    _graded(
        weather.fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    _graded(do.brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5), seeded=False),
    _graded(do.contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05), seeded=False),
    _graded(
        distortions.elastic_transform,
        (
            (0, 0, 32 * 0.08),
            (32 * 0.05, 32 * 0.2, 32 * 0.07),
            (32 * 0.08, 32 * 0.06, 32 * 0.06),
            (32 * 0.1, 32 * 0.04, 32 * 0.05),
            (32 * 0.1, 32 * 0.03, 32 * 0.03),
        ),
        (
            (244 * 2, 244 * 0.7, 244 * 0.1),
            (244 * 2, 244 * 0.08, 244 * 0.2),
            (244 * 0.05, 244 * 0.01, 244 * 0.02),
            (244 * 0.07, 244 * 0.01, 244 * 0.02),
            (244 * 0.12, 244 * 0.01, 244 * 0.02),
        ),
    ),
    _graded(do.pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25), seeded=False),
    _graded(do.jpeg_compression, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7), seeded=False),
    _graded(do.speckle_noise, (0.06, 0.1, 0.12, 0.16, 0.2), (0.15, 0.2, 0.35, 0.45, 0.6)),
    _graded(do.gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1), (1, 2, 3, 4, 6), seeded=False),
    _graded(
        weather.spatter,
        (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
    ),
    _graded(
        do.saturate,
        ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        seeded=False,
    ),
    _graded(weather.frost_like, *FROST_STRENGTHS, source=OURS),
)
"""The corruptions of the official sets and ``frost_like``: for each its rows in ``cifar-c`` and in ``imagenet-c``."""
SUITES: dict[str, dict[str, Perturbation]] = {
    'zerosnet': _suite(
        Perturbation(
            'const',
            do.constant,
            _both_signs(0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.45),
            f'x + c; {AUTHORS}',
            signed=True,
            seeded=False,
        ),
        Perturbation(
            'rand',
            do.one_sided,
            _both_signs(0.04, 0.06, 0.08, 0.1, 0.12, 0.2),
            f'x + c U[0, 1); {AUTHORS}',
            signed=True,
        ),
        Perturbation(
            'randn', do.gaussian_noise, (0.01, 0.02, 0.03, 0.035, 0.04, 0.05, 0.1, 0.2), f'x + c N(0, 1); {AUTHORS}'
        ),
        Perturbation('uniform', do.two_sided, (0.04, 0.06, 0.08, 0.1, 0.12, 0.2), 'x + c U[-1, 1); centred rand, ours'),
    ),
    'cifar-c': _suite(*(row for row, _ in GRADED)),
    'imagenet-c': _suite(*(row for _, row in GRADED)),
}


def suite_rows(suite: str, frost_pictures: str | Path | None = None) -> list[str]:
    """The rows that a whole run of a suite measures: ``frost`` if there are pictures of it, else ``frost_like``.

    Args:
        suite: A name of ``SUITES``.
        frost_pictures: Folder of pictures of frost, see ``perturb``.
    """
    pictures = frost_pictures is not None or weather.frost_folder() is not None
    return [name for name in SUITES[suite] if name != (FROST_LIKE if pictures else FROST)]


def has_whole_suite(suite: str, names: Iterable[str]) -> bool:
    """Whether these corruptions are those of a whole run of a suite, with either of the two rows for frost."""
    names = set(names)
    return any(names >= SUITES[suite].keys() - {left_out} for left_out in (FROST, FROST_LIKE))


def averaged_rows(names: Iterable[str]) -> list[str]:
    """The corruptions that a mean over corruptions counts: all but the extra ones, unless there are no others.

    The four extra corruptions of the official sets are outside of the published means, and so is ``frost_like``.
    """
    names = list(names)
    return [name for name in names if name not in (*EXTRA, FROST_LIKE)] or names


def rows_of(suite: str) -> dict[str, Perturbation]:
    """The rows of a suite by name.

    Raises:
        ValueError: for an unknown suite; the nearest ones are suggested.
    """
    if not isinstance(suite, str) or suite not in SUITES:
        raise ValueError(unknown_name('suite', suite, SUITES))
    return SUITES[suite]


def find_perturbation(suite: str, name: str) -> Perturbation:
    """The row of that name in that suite.

    Raises:
        ValueError: for an unknown suite or name; the nearest ones are suggested, and the suites that have the name.
    """
    rows = rows_of(suite)
    if not isinstance(name, str) or name not in rows:
        others = [other for other in SUITES if str(name).lower() in SUITES[other] and other != suite]
        hint = f'; it is in suite {" and ".join(others)}' if others else ''
        raise ValueError(unknown_name('perturbation', name, rows, f' of suite {suite!r}') + hint)
    return rows[name]


def unknown_name(kind: str, name: object, known: Iterable[str], where: str = '') -> str:
    """That a name is unknown, in words, with the nearest ones and all."""
    near = nearest(str(name).lower().replace('_', '-' if kind == 'suite' else '_'), known, 2, 0.4)
    hint = f'did you mean {" or ".join(near)}? ' if near else ''
    return f'unknown {kind} {name!r}{where}: {hint}expected one of {", ".join(known)}'


def perturb(
    images: Pixels,
    name: str,
    level: float,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    suite: str = 'zerosnet',
    frost_pictures: str | Path | None = None,
) -> Pixels:
    """Perturbed images, clamped to [0, 1] once.

    Args:
        images: A tensor or an array of pixels before normalisation, floats in [0, 1] or uint8. (N, C, H, W), or
            (N, H, W, C) where C is 1 or 3, as it must be where the level is a severity.
        name: A perturbation of ``SUITES[suite]``.
        level: Its strength in pixel values, or its severity where it has some; 0 changes nothing.
        seed: An integer from 0 to 2**64 - 1; ignored by rows that are not ``seeded``.
        indices: Index of each image in its data set, on which its noise depends; default 0..N-1.
        suite: A name of ``SUITES``.
        frost_pictures: Folder of pictures of frost for ``frost``, which takes the first five by name; default: those of
            an installed imagecorruptions-imaug.

    Returns:
        Floats in the shape, type and place of ``images``, which stay as they are; float32 in [0, 1] of uint8.

    Raises:
        TypeError: for images that are neither a tensor nor an array, a level or seed that is no number.
        ValueError: for an unknown name, a level, seed, index or pixels out of range, images smaller than the suite is
            for, another number of indices than of images, no pictures of frost.
    """
    row = find_perturbation(suite, name)
    level = row.check(level)
    if isinstance(images, np.ndarray):
        return perturb(_tensor(images), name, level, seed, indices, suite, frost_pictures).numpy()
    if not isinstance(images, Tensor):
        raise TypeError(f'images: expected a tensor or an array (N, C, H, W), got {type_of(images)}')
    if images.dtype == torch.uint8:
        images = images.float() / 255
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        channels_first = images.permute(0, 3, 1, 2)
        return perturb(channels_first, name, level, seed, indices, suite, frost_pictures).permute(0, 2, 3, 1)
    pixels = check_pixels(images)
    check_shape(tuple(pixels.shape), row, suite)
    indices = range(len(pixels)) if indices is None else sequence('indices', indices, 'integers >= 0')
    if len(indices) != len(pixels):
        raise ValueError(f'indices: expected one for each of {len(pixels)} images, got {len(indices)}')
    return _perturbed(row, pixels, level, Draws(seed, name, indices), frost_pictures)


def _tensor(images: np.ndarray) -> Tensor:
    kind = images.dtype
    if np.issubdtype(kind, np.floating):
        kind = kind.newbyteorder('=') if kind.itemsize <= 8 else np.dtype(np.float64)
    elif kind != np.uint8:
        raise ValueError(f'images: expected uint8, or floats in [0, 1], got {kind}')
    return torch.from_numpy(np.require(images, kind, ['C', 'W']))  # torch warns of an array that is not writable


def _perturbed(
    row: Perturbation, images: Tensor, level: float, draws: Draws, frost_pictures: str | Path | None
) -> Tensor:
    if level == 0 or not images.numel():
        return images.clone()
    function = row.function
    if row.pictures:
        function = functools.partial(function, pictures=weather.load_frost(frost_pictures)[0])
    work = _in_8_bits if row.severities else _in_floats
    step = max(1, VALUES_AT_ONCE // images[0].numel())
    parts = []
    for i in range(0, len(images), step):
        own_draws = [draws.part(i, i + step)] if row.seeded else []
        parts.append(work(function, images[i : i + step], row.strength(level), *own_draws))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _in_floats(function: Callable[..., Tensor], images: Tensor, *arguments: Any) -> Tensor:
    return function(images, *arguments).clamp_(0, 1)


def _in_8_bits(function: Callable[..., Tensor], images: Tensor, *arguments: Any) -> Tensor:
    # doubles on the CPU, as in the scripts: another device or type may cut a value off to the step below
    pictures = images.detach().cpu().double().mul(255).round_().div_(255)
    return _in_floats(function, pictures, *arguments).mul_(255).floor_().to(images) / 255


def check_shape(shape: tuple[int, ...], row: Perturbation, suite: str) -> None:
    """Refuse images that a row is not for.

    Raises:
        ValueError: if ``shape`` is not (N, C, H, W), or they are smaller than the suite is for; names one that fits.
    """
    channels = '1 or 3' if row.severities else 'C'
    if len(shape) != 4 or (row.severities and shape[1] not in (1, 3)):
        raise ValueError(f'images: expected shape (N, {channels}, H, W), got {shape}')
    side = min(shape[2:])
    if 0 < side < row.min_size:
        others = [o for o, rows in SUITES.items() if row.name in rows and rows[row.name].min_size <= side]
        raise ValueError(
            f'images of {shape[2]}x{shape[3]}: suite {suite} is for {row.min_size} px and more; '
            f'take suite {" or ".join(others)}'
        )


def check_pixels(images: Tensor) -> Tensor:
    """Float pixels in [0, 1]; what lies beyond by no more than ``ROUNDING`` is clipped, the rest refused.

    Raises:
        ValueError: naming the range that was seen.
    """
    if not images.is_floating_point():
        raise ValueError(f'images: expected uint8, or floats in [0, 1], got {images.dtype}')
    if images.numel() == 0:
        return images
    low, high = (float(v) for v in torch.aminmax(images))
    if low >= 0 and high <= 1:
        return images
    if low >= -ROUNDING and high <= 1 + ROUNDING:
        return images.clamp(0, 1)
    advice = '; already normalised? 8-bit pixels must be divided by 255 or passed as uint8'
    raise ValueError(
        f'expected pixels in [0, 1], before normalisation, got a range from {low:.9g} to {high:.9g}{advice}'
    )
