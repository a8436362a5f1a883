"""The charts of the report: SVG that a page takes in, byte for byte the same for the same numbers.

Colours are the page's: a chart names them as CSS variables, so that it can be read on light and on dark ground. Names
of models are in the page or in tooltips; drawn text comes from the suite alone.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

import numpy as np

from ..analysis.comparison import Comparison, Difference
from ..analysis.levels import LevelRow
from ..plan import CLEAN
from ..suites import SUITES
from .comparison_markdown import ALPHA, decision_text, signed

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = 6
MARKERS = 'osD^vPX'  # as many as share no factor with the colours: 42 styles
DASHES = ('-', (0, (4, 1.5)), (0, (1, 1)))
INK, GRID, BETTER, WORSE = (f'#0000{i:02x}' for i in range(1, 5))
SERIES = [f'#0000{i:02x}' for i in range(16, 16 + COLOURS)]
VARIABLES = {INK: '--ink', GRID: '--grid', BETTER: '--better', WORSE: '--worse'} | {
    colour: f'--s{i}' for i, colour in enumerate(SERIES)
}
STYLE = {
    'svg.fonttype': 'none',
    'svg.hashsalt': 'timm-zerosnet',
    'font.sans-serif': ['DejaVu Sans'],
    'font.size': 9,
    'text.color': INK,
    'axes.labelcolor': INK,
    'axes.edgecolor': GRID,
    'axes.facecolor': 'none',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': GRID,
    'grid.linewidth': 0.6,
    'xtick.color': GRID,
    'ytick.color': GRID,
    'xtick.labelcolor': INK,
    'ytick.labelcolor': INK,
    'xtick.labelsize': 8,
    'ytick.labelsize': 8,
}


def series(i: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line of model ``i``."""
    return dict(
        color=SERIES[i % COLOURS], marker=MARKERS[i % len(MARKERS)], linestyle=DASHES[i // COLOURS % len(DASHES)]
    )


def swatch(i: int) -> Markup:
    """The line of model ``i``, for a legend."""
    with _style():
        figure, (axes,) = _figure(0.5, 0.18, (0, 0, 0.5, 0.18))
        axes.set_axis_off()
        axes.plot([0, 1, 2], [0, 0, 0], markevery=[1], markersize=5, linewidth=1.6, **series(i))
        return _svg(figure, f'k{i}', '')


def at_level(rows: Mapping[tuple[str, float], LevelRow], corruption: str, level: float) -> LevelRow | None:
    """The row of a corruption at a level; clean is its level 0."""
    return rows.get((corruption, level)) or (None if level else rows.get((CLEAN, 0.0)))


def curves(
    key: str,
    suite: str,
    corruption: str,
    levels: Sequence[float],
    models: Mapping[str, Mapping[tuple[str, float], LevelRow]],
    order: Sequence[str],
    bottom: float,
) -> Markup:
    """Accuracy against level under one corruption, from clean on: a line with its 95 % band for each model.

    Args:
        key: Sets the ids of this chart apart from those of others.
        suite, corruption, levels: What was measured.
        models: ``Analysis.levels``.
        order: All models of the run, which decides their colours.
        bottom: Of the axis, percent.
    """
    row = SUITES.get(suite, {}).get(corruption)
    points = sorted({0.0, *levels})
    with _style():
        figure, (axes,) = _figure(4.0, 2.7, (0.48, 0.42, 3.42, 2.18))
        titles = {}
        alpha = min(0.18, 0.6 / max(len(models), 1))
        for name, rows in models.items():
            look = series(i := order.index(name))
            found = [at_level(rows, corruption, level) for level in points]
            values = np.array([(r.accuracy, r.low, r.high) if r else (np.nan,) * 3 for r in found]).T
            axes.fill_between(points, values[1], values[2], color=look['color'], alpha=alpha, linewidth=0)
            known = np.pad(np.isfinite(values[0]), 1)
            lone = known[1:-1] & ~known[:-2] & ~known[2:]  # has no band
            axes.vlines(np.array(points)[lone], *values[1:, lone], color=look['color'], linewidth=1)
            (line,) = axes.plot(points, values[0], markersize=3.2, linewidth=1.4, **look)
            line.set_gid(f'line{i}')
            titles[f'line{i}'] = name
        axes.set_ylim(bottom, 101)
        if row and row.severities:
            axes.set_xticks(points)
        else:
            axes.locator_params(axis='x', nbins=6)
        axes.set_xlabel('severity, 0 is clean' if row and row.severities else 'level, 0 is clean', labelpad=2)
        axes.set_ylabel('top-1, %', labelpad=2)
        text = '; '.join(f'{name} {accuracies(rows, corruption, points)}' for name, rows in models.items())
        return _svg(figure, key, f'Accuracy against level of {corruption}. {text}', titles)


def accuracies(rows: Mapping[tuple[str, float], LevelRow], corruption: str, levels: Sequence[float]) -> str:
    """From which accuracy to which, in words."""
    found = [r for level in levels if (r := at_level(rows, corruption, level))]
    if not found:
        return 'has no result'
    best, worst = (pick(found, key=lambda r: r.accuracy) for pick in (max, min))
    return f'from {best.accuracy:.2f} % at {best.level:g} to {worst.accuracy:.2f} % at {worst.level:g}'


def forest(key: str, found: Comparison, limits: tuple[float, float]) -> Markup:
    """Differences of a pair with their intervals, overall on top; filled where Holm's correction decides.

    Args:
        key: As for ``curves``.
        found: Of ``compare``.
        limits: Of the axis, percent.
    """
    rows = [*([found.overall] if found.overall else []), *found.rows]
    height = 0.165 * len(rows) + 0.1
    left = 0.15 + 0.07 * max(len(place(row)) for row in rows)
    with _style():
        figure, (axes,) = _figure(4.6, height + 0.55, (left, 0.45, 4.5 - left, height))
        axes.grid(axis='y', visible=False)
        axes.axvline(0, color=INK, linewidth=0.8)
        titles = {}
        for i, row in enumerate(rows):
            decided = row.p_holm <= ALPHA
            colour = (BETTER if row.difference > 0 else WORSE) if decided else INK
            overall = row is found.overall
            axes.plot([row.low, row.high], [i, i], color=colour, linewidth=2 if overall else 1.2, gid=f'interval{i}')
            axes.plot(
                [row.difference],
                [i],
                marker='D' if overall else 'o',
                markersize=6 if overall else 4.5,
                color=colour,
                markerfacecolor=colour if decided else 'none',
                gid=f'point{i}',
            )
            titles[f'interval{i}'] = titles[f'point{i}'] = difference_text(row)
            if i and row.corruption != rows[i - 1].corruption:
                axes.axhline(i - 0.5, color=GRID, linewidth=0.6)
        axes.set_yticks(range(len(rows)), [place(row) for row in rows])
        axes.tick_params(axis='y', length=0)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(*limits)
        axes.locator_params(axis='x', nbins=7)
        axes.set_xlabel('difference of top-1, percentage points', labelpad=2)
        decided_rows = sum(row.p_holm <= ALPHA for row in rows)
        label = f'Differences in {len(rows)} rows, of which {decided_rows} are decided. {difference_text(rows[0])}'
        return _svg(figure, key, label, titles)


def place(row: Difference) -> str:
    """Such as ``'randn 0.1'``."""
    return row.corruption if row.level is None or row.corruption == CLEAN else f'{row.corruption} {row.level:g}'


def difference_text(row: Difference) -> str:
    """A difference in words."""
    return f'{place(row)}: {signed(row.difference)} ({decision_text(row)})'


def reliability_diagram(key: str, name: str, clean: np.ndarray | None, noisy: np.ndarray) -> Markup:
    """Share that is right against confidence, and below how many predictions have that confidence.

    Args:
        key: As for ``curves``.
        name: Of the model.
        clean, noisy: Tables of ``statistics.reliability``.
    """
    with _style():
        figure, (axes, counts) = _figure(3.2, 3.5, (0.48, 1.02, 2.62, 2.4), (0.48, 0.4, 2.62, 0.5))
        axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        texts = []
        for what, table, colour, marker in (('clean', clean, SERIES[0], 'o'), ('under noise', noisy, SERIES[1], 'D')):
            if table is None or not table[:, 0].sum():
                continue
            used = table[:, 0] > 0
            share, confidence, right = 100 * table.T
            number = table[used, 0]
            axes.plot(confidence[used] / number, right[used] / number, color=colour, linewidth=1.2, alpha=0.5)
            axes.scatter(
                confidence[used] / number,
                right[used] / number,
                s=3 + 80 * (number / number.sum()) ** 0.5,
                color=colour,
                marker=marker,
                linewidths=0,
                clip_on=False,
            )
            edges = np.linspace(0, 100, len(table) + 1)
            counts.stairs(share / table[:, 0].sum(), edges, color=colour, linewidth=1.2, fill=False)
            texts.append(
                f'{what}: mean confidence {confidence.sum() / table[:, 0].sum():.1f} %, '
                f'right {right.sum() / table[:, 0].sum():.1f} %'
            )
        axes.set(xlim=(0, 100), ylim=(0, 101), ylabel='right, %')
        axes.tick_params(labelbottom=False)
        counts.set(xlim=(0, 100), ylim=(0, None), xlabel='confidence, %', ylabel='share, %')
        for each in (axes, counts):
            each.xaxis.labelpad = each.yaxis.labelpad = 2
        return _svg(figure, key, f'Reliability of {name}. {"; ".join(texts)}')


def heat(value: float, bottom: float) -> tuple[str, str]:
    """Colour of the ground and of the text on it for an accuracy between ``bottom`` and 100."""
    from matplotlib import colormaps

    red, green, blue, _ = colormaps['viridis'](min(max((value - bottom) / (100 - bottom), 0), 1))
    light = sum(w * v**2.2 for w, v in zip((0.2126, 0.7152, 0.0722), (red, green, blue), strict=True))
    return '#' + ''.join(f'{round(255 * v):02x}' for v in (red, green, blue)), '#000' if light > 0.18 else '#fff'


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own settings and ours, whatever the user's are; those are there again afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def _figure(width: float, height: float, *boxes: tuple[float, float, float, float]) -> tuple[Figure, list[Axes]]:
    """A figure with axes at (left, bottom, width, height), all in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor='none')
    scale = np.array([width, height, width, height])
    return figure, [figure.add_axes(tuple(np.array(box) / scale)) for box in boxes]


def _svg(figure: Figure, key: str, label: str, titles: Mapping[str, str] | None = None) -> Markup:
    """The figure as an element of a page; ``titles`` are tooltips by gid. Without a label it is decoration."""
    from markupsafe import Markup, escape
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = StringIO()
    FigureCanvasSVG(figure).print_svg(file, metadata=dict.fromkeys(('Creator', 'Date', 'Format', 'Type')))
    text = file.getvalue()
    text = re.sub(r'<!--.*?-->|<metadata>.*?</metadata>', '', text[text.index('<svg') :], flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view
    role = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    body = text[text.index('>') + 1 :]
    body = re.sub(r'<[^>]*>', lambda tag: _tidy(tag[0], key), re.sub(r'\n\s*', '\n', body))
    for gid, title in (titles or {}).items():
        body = body.replace(f'<g id="{key}-{gid}">', f'<g id="{key}-{gid}"><title>{escape(title)}</title>')
    return Markup(f'<svg {view.group()} {role}>{body}')


def _tidy(tag: str, key: str) -> str:
    """With ids of its own, the page's colours, and without the digits that depend on the machine."""
    tag = re.sub(r'(\.\d\d)\d+', r'\1', tag)
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf'\g<1>{key}-', tag)
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f'var({variable})')
    return tag
