"""A picture of a design: the zero-stable methods around it, and how their roots move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import method_plot
from .design import Design, parasitic_roots, radii, zero_stable_interval
from .method_plot import BAD, GOOD, INK, draw_circle, finish

RAYS, DISTANCES = 120, 50  # directions about the design, and distances tried along each
THIN = 0.25  # a region whose width across its slope is less than this part of its height is drawn sheared


def plot(design: Design, path: Path) -> None:
    """Draw the zero-stable set over its free parameters, and the root locus: the parasitic roots as b0 changes.

    With one free parameter the set is an interval, drawn under the curve of the radius. With two it is a region in the
    plane of b0 and a0, coloured by radius, and sheared if it is thin. With more, a slice of it is drawn, in which all
    parameters but b0 and a0 are those of the design. With none, the method is drawn as any other.

    Args:
        design: A result of ``design.design``.
        path: A file ``.png``, ``.svg`` or ``.pdf``, which is replaced once the picture is complete.

    Raises:
        OutputError: if it cannot be written.
    """
    if not design.free:
        method_plot.plot(design.method, path)
        return
    figure, left, right = method_plot.two_axes(width=10.5)
    steps = f'{design.steps} steps, order {design.order}, one slope'
    found = '' if design.proven else ' found'
    figure.suptitle(f'{steps}: smallest parasitic radius{found} {design.radius:.6g}', fontsize=11)
    stable = _curve(left, design) if len(design.free) == 1 else _region(figure, left, design)
    _locus(figure, right, design, stable)
    method_plot.save(figure, path)


def _values(design: Design, *first: np.ndarray) -> list[np.ndarray]:
    """All free parameters: ``first``, then the rest as in the design."""
    return [*first, *(np.array(float(v)) for v in list(design.free.values())[len(first) :])]


def _radii(design: Design, *first: np.ndarray) -> np.ndarray:
    return radii(design.steps, design.order, *_values(design, *first))


def _stable(radius: np.ndarray) -> np.ndarray:
    return radius <= 1 + 1e-9


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
    finish(axes, f'zero-stable for {interval}')
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
    finish(axes, f'zero-stable set, with {_range(fixed)} of the design' if fixed else 'zero-stable set')
    return best[0] + _reach(design, np.array([[-1.0, 0], [1, 0]])) * (-1, 1)


def _best(design: Design) -> np.ndarray:
    return np.array([float(design.free['b0']), float(design.free['a0'])])


def _reach(design: Design, directions: np.ndarray) -> np.ndarray:
    """How far from the design, along each direction (b0, a0), the methods stay zero-stable."""
    distances = np.geomspace(1e-5, 4.0**design.steps, DISTANCES)

    def stable(distance):
        points = _best(design) + distance[..., None] * directions
        return _stable(_radii(design, points[..., 0], points[..., 1]))

    first = np.argmin(stable(np.broadcast_to(distances[:, None], (DISTANCES, len(directions)))), 0)
    inside, outside = np.where(first > 0, distances[first - 1], 0), distances[first]
    for _ in range(14):
        middle = (inside + outside) / 2
        inside, outside = np.where(stable(middle), (middle, outside), (inside, middle))
    return inside


def _outline(design: Design) -> np.ndarray:
    """Points of the boundary, as (b0, a0) less those of the design.

    They are where rays from the design leave the region. Each round spreads the directions by the shape that the last
    one found, so that a thin region gets rays along its whole length.
    """
    angles = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)
    spread: np.ndarray = np.eye(2)
    for _ in range(4):
        directions = np.stack([np.cos(angles), np.sin(angles)], 1) @ spread.T
        points = _reach(design, directions)[:, None] * directions
        spread = np.linalg.cholesky(points.T @ points / RAYS)
    return points


def _range(names: list[str]) -> str:
    return ', '.join(names) if len(names) < 3 else f'{names[0]} to {names[-1]}'


def _locus(figure: Any, axes: Any, design: Design, stable: np.ndarray) -> None:
    draw_circle(axes, design.radius)
    best = float(design.free['b0'])
    near = np.linspace(0, 1, 1001) ** 4  # dense at the design, where a multiple root splits fast
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
    finish(axes, f'root locus over b0, with {_range(fixed)} of the design' if fixed else 'root locus over b0')
