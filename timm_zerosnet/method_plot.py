"""A picture of a multistep method: its roots beside its region of absolute stability."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ._files import replacing
from .multistep import MultistepMethod

GOOD, BAD, INK = '#1f6fb4', '#c0392b', '#444444'
FARTHEST = 4.0  # a boundary that runs to infinity is drawn up to this multiple of its median modulus
NARROW = 8.0  # if one side of the region is longer than this multiple of the other, each axis has its own scale


def plot(method: MultistepMethod, path: Path) -> None:
    """Draw the roots of rho on the unit circle and the region of absolute stability.

    Args:
        method: Any method.
        path: A file ``.png``, ``.svg`` or ``.pdf``, which is replaced once the picture is complete.

    Raises:
        OutputError: if it cannot be written.
    """
    figure, left, right = two_axes(width=9.5)
    figure.suptitle(f'{_title(method)}\n{_verdict(method)}', fontsize=11)
    _roots(left, method)
    _region(right, method)
    save(figure, path)


def two_axes(width: float) -> tuple[Any, Any, Any]:
    """A figure with two axes side by side, and these; pyplot, which may want a display, is not used."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 4.9), layout='constrained')
    FigureCanvasAgg(figure)
    return figure, *figure.subplots(1, 2)


def save(figure: Any, path: Path) -> None:
    """Write a figure in the format of the path's suffix; an old file is replaced once the new one is complete."""
    with replacing(path) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=150)


def _title(method: MultistepMethod) -> str:
    text = str(method)
    return text if len(text) <= 90 else f'{text[:87]}...'


def _verdict(method: MultistepMethod) -> str:
    stable = 'zero-stable' if method.is_zero_stable else 'not zero-stable'
    return f'{stable}, {f"order {method.order}" if method.is_consistent else "not consistent"}'


def _roots(axes: Any, method: MultistepMethod) -> None:
    radius = method.parasitic_radius
    inner = radius if radius is not None and 0 < radius < 1 - 1e-9 else None
    draw_circle(axes, inner)
    if inner is not None:
        axes.annotate(
            f'parasitic radius {inner:.3g}', (0, -inner), (0, -5), textcoords='offset points', color=GOOD,
            ha='center', va='top', fontsize=8,
        )  # fmt: skip
    found = Counter(complex(round(z.real, 9), round(z.imag, 9)) for z in method.roots)
    for z, times in found.items():
        stable = abs(z) < 1 - 1e-9 or (abs(z) <= 1 + 1e-9 and times == 1)
        color = GOOD if stable else BAD
        axes.plot(z.real, z.imag, 'o', color=color, markersize=8, zorder=3, markeredgecolor='white')
        if times > 1:
            axes.annotate(f'× {times}', (z.real, z.imag), (0, 9), textcoords='offset points', color=color, ha='center')
    reach = 1.15 * max(1.0, method.spectral_radius)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    _finish_plane(axes, 'roots of the characteristic polynomial')


def draw_circle(axes: Any, radius: float | None) -> None:
    """The unit circle, and a dashed circle of the given radius inside it."""
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 400))
    axes.fill(circle.real, circle.imag, color=GOOD, alpha=0.08, linewidth=0)
    axes.plot(circle.real, circle.imag, color=INK, linewidth=1)
    if radius is not None:
        axes.plot(radius * circle.real, radius * circle.imag, color=GOOD, linewidth=0.9, linestyle='--')


def _region(axes: Any, method: MultistepMethod) -> None:
    locus = method.boundary_locus(np.linspace(0, 2 * np.pi, 4001))
    finite = locus[np.isfinite(locus)]
    near = finite[np.abs(finite) <= FARTHEST * np.median(np.abs(finite))] if len(finite) else np.array([-1.0, 1.0])
    middle = (near.real.min() + near.real.max()) / 2
    width, height = 1.15 * np.ptp(near.real) / 2, 1.15 * np.ptp(near.imag) / 2
    thin = max(width, height) > NARROW * min(width, height) > 1e-6 * max(width, height)
    if not thin:
        width = height = max(width, height) or 1.0
    count = int(np.clip((2e7 / method.steps**3) ** 0.5, 60, 400))
    x, y = np.linspace(middle - width, middle + width, count), np.linspace(-height, height, count)
    grown = method.amplification(x + 1j * y[:, None])
    if not any(method.b) and not method.is_zero_stable:  # its double root of modulus 1 has none larger
        grown = np.full_like(grown, np.inf)
    axes.contourf(x, y, grown, levels=[0, 1 + 1e-9], colors=[GOOD], alpha=0.25)
    shown = np.where(np.abs(locus) < FARTHEST * max(width, height), locus, np.nan)
    empty = not (grown <= 1 + 1e-9).any()
    axes.plot(shown.real, shown.imag, color=GOOD, linewidth=1.2, linestyle='--' if empty else '-')
    axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    _finish_plane(axes, 'boundary locus (the region has no interior)' if empty else 'region of absolute stability')
    axes.set(xlabel='Re z', ylabel='Im z', aspect='auto' if thin else 'equal')


def _finish_plane(axes: Any, title: str) -> None:
    axes.axhline(0, color=INK, linewidth=0.5, alpha=0.5)
    axes.axvline(0, color=INK, linewidth=0.5, alpha=0.5)
    axes.set_aspect('equal')
    finish(axes, title)


def finish(axes: Any, title: str) -> None:
    """What all axes have in common: a title, small labels, a frame on two sides alone."""
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
