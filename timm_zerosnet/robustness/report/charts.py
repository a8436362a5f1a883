"""The charts of the HTML report, as SVG elements of the page. Equal numbers give equal bytes.

The page chooses the colours: a chart refers to them by CSS variables, so that it can be read on light and on dark
ground. To that end it is drawn in placeholder colours, which ``_svg`` replaces. Names of models appear only in the page
and in tooltips; the text in a chart comes from the suite.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

import numpy as np

from ..analysis.comparison import Comparison, Difference
from ..analysis.grids import Level
from ..analysis.levels import LevelRow
from ..plan import CLEAN
from ..suites import SUITES
from .comparison_markdown import ALPHA, interval_and_p, signed

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = 6
MARKERS = 'osD^vPX'  # 7 have no common factor with 6 colours, so 42 models differ in style
DASHES = ('-', (0, (4, 1.5)), (0, (1, 1)))
# placeholders for the colours of the page
INK, GRID, BETTER, WORSE = (f'#0000{i:02x}' for i in range(1, 5))
SERIES = [f'#0000{i:02x}' for i in range(16, 16 + COLOURS)]
VARIABLES = {INK: '--ink', GRID: '--grid', BETTER: '--better', WORSE: '--worse'} | {
    colour: f'--s{i}' for i, colour in enumerate(SERIES)
}
STYLE: Any = {
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


def line_style(i: int) -> dict[str, Any]:
    """Colour, marker and dashes of the line of the i-th model."""
    return dict(
        color=SERIES[i % COLOURS], marker=MARKERS[i % len(MARKERS)], linestyle=DASHES[i // COLOURS % len(DASHES)]
    )


def legend_line(i: int) -> Markup:
    """A piece of the line of the i-th model, for a legend."""
    with _style():
        figure, (axes,) = _figure(0.5, 0.18, (0, 0, 0.5, 0.18))
        axes.set_axis_off()
        axes.plot([0, 1, 2], [0, 0, 0], markevery=[1], markersize=5, linewidth=1.6, **line_style(i))
        return _svg(figure, f'k{i}', '')


def row_at(rows: Mapping[Level, LevelRow], corruption: str, level: float) -> LevelRow | None:
    """The row of a corruption at a level; without a row of its own, level 0 is clean."""
    return rows.get((corruption, level)) or (None if level else rows.get((CLEAN, 0.0)))


def curves(
    key: str,
    suite: str,
    corruption: str,
    levels: Sequence[float],
    models: Mapping[str, Mapping[Level, LevelRow]],
    order: Sequence[str],
    bottom: float,
) -> Markup:
    """Draw accuracy against level under one corruption, clean included: a line with its 95 % band for each model.

    Args:
        key: Prefix of the ids in this chart, different for each chart of a page.
        suite: Name of the suite.
        corruption: Name of the corruption.
        levels: Levels that were measured.
        models: The rows of each model, as ``Analysis.levels`` has them.
        order: Names of all models of the run; their order decides the line styles.
        bottom: Lower end of the accuracy axis, in percent.
    """
    row = SUITES.get(suite, {}).get(corruption)
    points = sorted({0.0, *levels})
    with _style():
        figure, (axes,) = _figure(4.0, 2.7, (0.48, 0.42, 3.42, 2.18))
        titles = {}
        alpha = min(0.18, 0.6 / max(len(models), 1))
        for name, rows in models.items():
            look = line_style(i := order.index(name))
            found = [row_at(rows, corruption, level) for level in points]
            values = np.array([(r.accuracy, r.low, r.high) if r else (np.nan,) * 3 for r in found]).T
            axes.fill_between(points, values[1], values[2], color=look['color'], alpha=alpha, linewidth=0)
            known = np.pad(np.isfinite(values[0]), 1)
            lone = known[1:-1] & ~known[:-2] & ~known[2:]  # points without a neighbour, which have no band
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
        text = '; '.join(f'{name} {accuracy_range(rows, corruption, points)}' for name, rows in models.items())
        return _svg(figure, key, f'Accuracy against level of {corruption}. {text}', titles)


def accuracy_range(rows: Mapping[Level, LevelRow], corruption: str, levels: Sequence[float]) -> str:
    """The highest and the lowest accuracy under a corruption, in words."""
    found = [r for level in levels if (r := row_at(rows, corruption, level))]
    if not found:
        return 'has no result'
    best, worst = (pick(found, key=lambda r: r.accuracy) for pick in (max, min))
    return f'from {best.accuracy:.2f} % at {best.level:g} to {worst.accuracy:.2f} % at {worst.level:g}'


def forest(key: str, found: Comparison, limits: tuple[float, float]) -> Markup:
    """Draw the differences of a pair with their intervals, overall on top; significant ones are filled.

    Args:
        key: Prefix of the ids in this chart, see ``curves``.
        found: The comparison of the pair.
        limits: Both ends of the axis, in percentage points.
    """
    rows = [*([found.overall] if found.overall else []), *found.rows]
    height = 0.165 * len(rows) + 0.1
    left = 0.15 + 0.07 * max(len(level_text(row)) for row in rows)
    with _style():
        figure, (axes,) = _figure(4.6, height + 0.55, (left, 0.45, 4.5 - left, height))
        axes.grid(axis='y', visible=False)
        axes.axvline(0, color=INK, linewidth=0.8)
        titles = {}
        for i, row in enumerate(rows):
            significant = row.p_holm <= ALPHA
            colour = (BETTER if row.difference > 0 else WORSE) if significant else INK
            overall = row is found.overall
            axes.plot([row.low, row.high], [i, i], color=colour, linewidth=2 if overall else 1.2, gid=f'interval{i}')
            axes.plot(
                [row.difference],
                [i],
                marker='D' if overall else 'o',
                markersize=6 if overall else 4.5,
                color=colour,
                markerfacecolor=colour if significant else 'none',
                gid=f'point{i}',
            )
            titles[f'interval{i}'] = titles[f'point{i}'] = difference_text(row)
            if i and row.corruption != rows[i - 1].corruption:
                axes.axhline(i - 0.5, color=GRID, linewidth=0.6)
        axes.set_yticks(range(len(rows)), [level_text(row) for row in rows])
        axes.tick_params(axis='y', length=0)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(*limits)
        axes.locator_params(axis='x', nbins=7)
        axes.set_xlabel('difference of top-1, percentage points', labelpad=2)
        count = sum(row.p_holm <= ALPHA for row in rows)
        label = f'Differences in {len(rows)} rows, {count} of them significant. {difference_text(rows[0])}'
        return _svg(figure, key, label, titles)


def level_text(row: Difference) -> str:
    """Corruption and level of a row, such as ``'randn 0.1'``."""
    return row.corruption if row.level is None or row.corruption == CLEAN else f'{row.corruption} {row.level:g}'


def difference_text(row: Difference) -> str:
    """A row of a comparison in words."""
    return f'{level_text(row)}: {signed(row.difference)} ({interval_and_p(row)})'


def reliability_diagram(key: str, name: str, clean: np.ndarray | None, noisy: np.ndarray) -> Markup:
    """Draw the share of right predictions against confidence, and below it the distribution of the confidence.

    Args:
        key: Prefix of the ids in this chart, see ``curves``.
        name: Name of the model.
        clean: The table of ``statistics.reliability`` for clean images; None without a clean cell.
        noisy: The table for all other cells together.
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


@contextmanager
def _style() -> Iterator[None]:
    """Use matplotlib's defaults and ``STYLE`` instead of the user's settings, which are restored afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def _figure(width: float, height: float, *boxes: tuple[float, float, float, float]) -> tuple[Figure, list[Axes]]:
    """Make a figure with axes in boxes of (left, bottom, width, height), all in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor='none')
    scale = np.array([width, height, width, height])
    return figure, [figure.add_axes(tuple(np.array(box) / scale)) for box in boxes]


def _svg(figure: Figure, key: str, label: str, titles: Mapping[str, str] | None = None) -> Markup:
    """Convert a figure to an SVG element of a page.

    Args:
        figure: The figure.
        key: Prefix of all ids.
        label: Text for screen readers; empty for a decoration.
        titles: Tooltips by the gid of the artist.
    """
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
    body = re.sub(r'<[^>]*>', lambda tag: _adapt_tag(tag[0], key), re.sub(r'\n\s*', '\n', body))
    for gid, title in (titles or {}).items():
        body = body.replace(f'<g id="{key}-{gid}">', f'<g id="{key}-{gid}"><title>{escape(title)}</title>')
    return Markup(f'<svg {view.group()} {role}>{body}')


def _adapt_tag(tag: str, key: str) -> str:
    """Give a tag the prefix of its ids and the colours of the page, and drop digits that depend on the machine."""
    tag = re.sub(r'(\.\d\d)\d+', r'\1', tag)
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf'\g<1>{key}-', tag)
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f'var({variable})')
    return tag
