"""A picture of a design: the zero-stable methods around it, and how their roots move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import method_plot
from ._files import replacing
from .design import Design, parasitic_roots, radii, zero_stable_interval
from .method_plot import BAD, GOOD, INK

RAYS, TRIED = 120, 50  # directions about the design, and distances along each
THIN = 0.25  # of its height: a region that is thinner across its slope is drawn sheared


def plot(design: Design, path: Path) -> None:
    """Draw the zero-stable set over its free parameters, and the root locus: the parasitic roots as b0 changes.

    With one free parameter the set is an interval, under the curve of the radius; with two a region in the plane of b0
    and a0, with its radii, sheared where it is thin; with more the slice of it in which all others are those of the
    design. With none it is the method alone, drawn as any other.

    Args:
        design: Of ``design.design``.
        path: ``.png``, ``.svg`` or ``.pdf``; replaced once the picture is whole.

    Raises:
        OutputError: if it cannot be written.
    """
    if not design.free:
        method_plot.plot(design.method, path)
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.9), layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = f'{design.steps} steps, order {design.order}, one slope'
    found = '' if design.proven else ' found'
    figure.suptitle(f'{steps}: smallest parasitic radius{found} {design.radius:.6g}', fontsize=11)
    stable = _curve(left, design) if len(design.free) == 1 else _region(figure, left, design)
    _locus(figure, right, design, stable)
    with replacing(path) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=150)


def _values(design: Design, *first: np.ndarray) -> list[np.ndarray]:
    """All free parameters: ``first``, then those of the design."""
    return [*first, *(np.array(float(v)) for v in list(design.free.values())[len(first) :])]


def _radii(design: Design, *first: np.ndarray) -> np.ndarray:
    return radii(design.steps, design.order, *_values(design, *first))


def _stable(found: np.ndarray) -> np.ndarray:
    return found <= 1 + 1e-9


def _curve(axes: Any, design: Design) -> np.ndarray:
    interval = zero_stable_interval(design.steps, design.order)
    assert interval is not None  # the design is in it
    low, high = float(interval.low), float(interval.high)
    margin = 0.25 * (high - low)
    b0 = np.linspace(low - margin, high + margin, 1501)
    axes.axvspan(low, high, color=GOOD, alpha=0.12, linewidth=0)
    axes.plot(b0, _radii(design, b0), color=GOOD)
    axes.axhline(1, color=INK, linewidth=0.8, linestyle=':')
    axes.plot(float(design.free['b0']), design.radius, 'o', color=BAD, markeredgecolor='white', markersize=8)
    axes.set(xlabel='b0', ylabel='parasitic radius', xlim=(b0[0], b0[-1]), ylim=(0, None))
    _finish(axes, f'zero-stable for {interval}')
    return np.array([low, high])


def _region(figure: Any, axes: Any, design: Design) -> np.ndarray:
    best = _best(design)
    outline = _outline(design)
    slope = np.polyfit(outline[:, 0], outline[:, 1], 1)[0]
    shear = round(-slope, 2) if np.ptp(outline @ (-slope, 1)) < THIN * np.ptp(outline[:, 1]) else 0.0
    points = outline + best
    points[:, 1] += shear * points[:, 0]
    low, high = points.min(0), points.max(0)
    fine = int(np.clip((1e8 / design.steps**3) ** 0.5, 60, 240))
    x, y = (np.linspace(*ends, fine) for ends in zip(low - 0.1 * (high - low), high + 0.1 * (high - low), strict=True))
    found = _radii(design, x, y[:, None] - shear * x)
    inside = np.where(_stable(found), found, np.nan)
    filled = axes.contourf(x, y, inside, levels=np.linspace(0, 1, 21), cmap='viridis')
    axes.contour(x, y, np.minimum(found, 2), levels=[1], colors=[INK], linewidths=1)
    axes.plot(best[0], best[1] + shear * best[0], 'o', color=BAD, markeredgecolor='white', markersize=8)
    figure.colorbar(filled, ax=axes, label='parasitic radius', ticks=np.linspace(0, 1, 6))
    axes.set(xlabel='b0', ylabel=f'a0 {shear:+g} b0'.replace('-', '- ').replace('+', '+ ') if shear else 'a0')
    fixed = list(design.free)[2:]
    _finish(axes, f'zero-stable set, with {_few(fixed)} of the design' if fixed else 'zero-stable set')
    return best[0] + _reach(design, np.array([[-1.0, 0], [1, 0]])) * (-1, 1)


def _best(design: Design) -> np.ndarray:
    return np.array([float(design.free['b0']), float(design.free['a0'])])


def _reach(design: Design, directions: np.ndarray) -> np.ndarray:
    """How far along each direction (b0, a0) the methods stay zero-stable, counted from the design."""
    distances = np.geomspace(1e-5, 4.0**design.steps, TRIED)

    def stable(distance):
        points = _best(design) + distance[..., None] * directions
        return _stable(_radii(design, points[..., 0], points[..., 1]))

    first = np.argmin(stable(np.broadcast_to(distances[:, None], (TRIED, len(directions)))), 0)
    inside, outside = np.where(first > 0, distances[first - 1], 0), distances[first]
    for _ in range(14):
        middle = (inside + outside) / 2
        inside, outside = np.where(stable(middle), (middle, outside), (inside, middle))
    return inside


def _outline(design: Design) -> np.ndarray:
    """Points (b0, a0) of the boundary less the design; rays that are spread evenly about a region, however thin."""
    angles, spread = np.linspace(0, 2 * np.pi, RAYS, endpoint=False), np.eye(2)
    for _ in range(4):
        directions = np.stack([np.cos(angles), np.sin(angles)], 1) @ spread.T
        points = _reach(design, directions)[:, None] * directions
        spread = np.linalg.cholesky(points.T @ points / RAYS)
    return points


def _few(names: list[str]) -> str:
    return ', '.join(names) if len(names) < 3 else f'{names[0]} to {names[-1]}'


def _locus(figure: Any, axes: Any, design: Design, stable: np.ndarray) -> None:
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 400))
    axes.fill(circle.real, circle.imag, color=GOOD, alpha=0.08, linewidth=0)
    axes.plot(circle.real, circle.imag, color=INK, linewidth=1)
    axes.plot(design.radius * circle.real, design.radius * circle.imag, color=GOOD, linewidth=0.9, linestyle='--')
    best = float(design.free['b0'])
    near = np.linspace(0, 1, 1001) ** 4  # a multiple root splits fast
    b0 = np.concatenate([best + (end - best) * near for end in stable])
    roots = parasitic_roots(design.steps, design.order, *_values(design, b0))
    shown = np.broadcast_to(b0[:, None], roots.shape)
    points = axes.scatter(roots.real, roots.imag, c=shown, s=3, cmap='plasma', linewidths=0, rasterized=True)
    figure.colorbar(points, ax=axes, label='b0')
    axes.plot(1, 0, 'o', color=INK, markersize=6)
    parasitic = np.append(design.method.roots[1:], np.zeros(design.steps - design.method.steps))
    axes.plot(parasitic.real, parasitic.imag, 'o', color=BAD, markersize=7, markeredgecolor='white', zorder=3)
    axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect='equal')
    fixed = list(design.free)[1:]
    _finish(axes, f'root locus over b0, with {_few(fixed)} of the design' if fixed else 'root locus over b0')


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
