"""One figure for each question of the study, in colours that those who confuse red and green tell apart."""

from __future__ import annotations

from typing import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from study.intervals import by_set
from study.questions import OUTCOMES, PREDICTORS, Row, same_roots

STABLE, UNSTABLE, INK = '#0072b2', '#d55e00', '#444444'
MARKS = {True: ('o', STABLE, 'zero-stable'), False: ('^', UNSTABLE, 'not zero-stable')}


def _points(axes, rows: Sequence[Row], predictor: Callable[[Row], float], outcome: str) -> None:
    """A point for each run, a larger one for the mean of a set."""
    values = by_set(rows, OUTCOMES[outcome])
    place = {row['set']: (predictor(row), row['zero_stable'] == '1') for row in rows}
    for stable, (mark, colour, label) in MARKS.items():
        names = [name for name in values if place[name][1] == stable]
        for name in names:
            axes.plot([place[name][0]] * len(values[name]), values[name], mark, color=colour, ms=3, alpha=0.4)
        means = [np.mean(values[name]) for name in names]
        axes.plot([place[name][0] for name in names], means, mark, color=colour, ms=6, mec='white', label=label)
    axes.set_ylabel(f'{outcome}, % (points)' if 'gap' in outcome else f'{outcome}, %')


def _outcomes(rows: Sequence[Row], predictor: str, label: str) -> Figure:
    """Each outcome against a predictor of ``PREDICTORS``."""
    value, chosen = PREDICTORS[predictor]
    kept = [row for row in rows if chosen(row)]
    figure = Figure(figsize=(10.5, 3.4), layout='constrained')
    for axes, outcome in zip(figure.subplots(1, 3), OUTCOMES, strict=True):
        _points(axes, kept, value, outcome)
        axes.set_xlabel(label)
    return figure


def largest_modulus(rows: Sequence[Row]) -> Figure:
    """Does the largest modulus predict error, gap and noise?"""
    figure = _outcomes(rows, 'largest modulus', 'largest modulus of the roots')
    for axes in figure.axes:
        axes.axvline(1, color=INK, lw=0.8, ls=':')
    figure.axes[0].legend(frameon=False)
    return figure


def parasitic_radius(rows: Sequence[Row]) -> Figure:
    """Among zero-stable methods the largest modulus is 1: does the second one tell them apart?"""
    return _outcomes(rows, 'parasitic radius, stable methods', 'parasitic radius, stable methods')


def last_block(rows: Sequence[Row]) -> Figure:
    """Is it how much the last block still counts?"""
    figure = _outcomes(rows, 'last block', "-ln of the last slope's share")
    figure.axes[0].legend(frameon=False)
    return figure


def scale(rows: Sequence[Row]) -> Figure:
    """Equal roots, another b0: is it the roots?"""
    figure = Figure(figsize=(6.5, 3.6), layout='constrained')
    axes = figure.subplots()
    found = same_roots(rows)
    for i, family in enumerate(dict.fromkeys(entry[0] for entry in found)):
        points = [entry for entry in found if entry[0] == family]
        colour = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#555555', '#e69f00', '#56b4e9')[i % 7]
        spread = [0 if np.isnan(entry[3]) else entry[3] for entry in points]
        axes.errorbar(
            [e[1] for e in points], [e[2] for e in points], spread, color=colour, marker='o', ms=4, label=family
        )
    axes.set(xlabel='b0', ylabel='test error, %')
    axes.set_xscale('log', base=2)
    axes.xaxis.set_major_formatter('{x:g}')
    if found:
        axes.legend(frameon=False, title='roots of', loc='upper left', bbox_to_anchor=(1, 1))
    return figure


def against(first: Sequence[Row], second: Sequence[Row], labels: Sequence[str]) -> Figure:
    """The same sets in two groups of runs: do depth or data change what instability does?"""
    figure = Figure(figsize=(6.5, 3.8), layout='constrained')
    axes = figure.subplots()
    errors = [by_set(rows, OUTCOMES['test error']) for rows in (first, second)]
    stable = {row['set']: row['zero_stable'] == '1' for row in second}
    labelled, places = set(), {}
    for name in sorted(errors[0].keys() & errors[1].keys()):
        mark, colour, label = MARKS[stable[name]]
        x, y = (np.mean(found[name]) for found in errors)
        axes.plot(x, y, mark, color=colour, label=None if label in labelled else label)
        places[name] = x, y
        labelled.add(label)
    axes.set(xlabel=f'test error, %: {labels[0]}', ylabel=f'test error, %: {labels[1]}')
    if labelled:
        axes.legend(frameon=False, loc='upper left')
    axes.margins(0.1)
    if first[0]['data'] == second[0]['data']:  # errors of two data sets are not to be compared
        corner = min(min(place) for place in places.values()) if places else 0
        axes.axline((corner, corner), slope=1, color=INK, lw=0.8, ls=':')
    _name(axes, places)
    return figure


def _name(axes, places: Mapping[str, tuple[float, float]], size: float = 7) -> None:
    """Write the name of each point beside it, on the side where it hides least of what is there."""
    axes.figure.draw_without_rendering()  # places on the page are known from here on
    to_points = 72 / axes.figure.dpi
    points = {name: axes.transData.transform(place) * to_points for name, place in places.items()}
    left, bottom, right, top = axes.bbox.extents * to_points
    far = 1000.0
    taken = [(-far, -far, left, far), (-far, -far, far, bottom), (right, -far, far, far), (-far, top, far, far)]
    taken += [(x - 3, y - 3, x + 3, y + 3) for x, y in points.values()]
    for name, (x, y) in points.items():
        width = 0.6 * size * len(name)
        sides = [(dx, dy) for dx in (5, -5 - width) for dy in (2, -2 - size, -size / 2)]
        sides += [(-width / 2, 5), (-width / 2, -5 - size)]
        boxes = [(x + dx, y + dy, x + dx + width, y + dy + size) for dx, dy in sides]
        hidden = [sum(_common(box, other) for other in taken) for box in boxes]
        best = int(np.argmin(hidden))
        taken.append(boxes[best])
        axes.annotate(name, places[name], xytext=sides[best], textcoords='offset points', fontsize=size, color=INK)


def _common(a: Sequence[float], b: Sequence[float]) -> float:
    """The area that two boxes (left, bottom, right, top) share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def recipes(variants: Mapping[str, Sequence[Row]]) -> Figure:
    """The same sets with another recipe each: what do weight decay and batch norm repair?"""
    figure = Figure(figsize=(6.5, 3.8), layout='constrained')
    axes = figure.subplots()
    errors = {name: by_set(rows, OUTCOMES['test error']) for name, rows in variants.items()}
    common = set.intersection(*({*found} for found in errors.values()))
    stable = {row['set']: row['zero_stable'] == '1' for rows in variants.values() for row in rows}
    labelled = set()
    for name in sorted(common):
        mark, colour, label = MARKS[stable[name]]
        means = [np.mean(found[name]) for found in errors.values()]
        axes.plot([*errors], means, mark, color=colour, ls='-', lw=0.8, label=None if label in labelled else label)
        labelled.add(label)
    axes.set_ylabel('test error, %')
    if labelled:
        axes.legend(frameon=False, loc='upper left')
    return figure
