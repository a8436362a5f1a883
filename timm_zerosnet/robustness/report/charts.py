"""The charts of the HTML report, written as SVG elements. Equal numbers give equal bytes.

A page with twenty models has some 400 lines in its curves and 2,000 rows in its pairs, and the reader chooses which
models have a colour. So a chart says what an element is, by its class and the number of its model, and the style sheet
of the page says how it looks: an element takes about a tenth of the text that a plotting library writes for it.

Names of models appear only in tooltips; the text in a chart comes from the suite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterable, Mapping, Sequence

import numpy as np

from ..analysis.comparison import Comparison, Difference
from ..analysis.grids import Level
from ..analysis.levels import LevelRow
from ..analysis.statistics import ALPHA
from ..plan import CLEAN
from ..suites import OFFICIAL, SUITES
from .comparison_markdown import interval_and_p, signed

if TYPE_CHECKING:
    from markupsafe import Markup

CURVES = 8  # at a time: more colours and markers cannot be told apart
BANDS = 4  # with more, bands cover one another
MARKERS = (  # one for each colour, in a square from -5 to 5
    'M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z',
    'M-3.5 -3.5H3.5V3.5H-3.5Z',
    'M0 -5L4.5 3.5H-4.5Z',
    'M0 -5L5 0L0 5L-5 0Z',
    'M0 5L4.5 -3.5H-4.5Z',
    'M-1.5 -4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5V-1.5H-1.5Z',
    'M-4.5 -2.5L-2.5 -4.5L0 -2L2.5 -4.5L4.5 -2.5L2 0L4.5 2.5L2.5 4.5L0 2L-2.5 4.5L-4.5 2.5L-2 0Z',
    'M0 -5L1.4 -1.5L5 -1.5L2.2 .8L3.1 4.5L0 2.4L-3.1 4.5L-2.2 .8L-5 -1.5L-1.4 -1.5Z',
)


@dataclass(frozen=True)
class Axis:
    """Maps numbers to places on a chart.

    Args:
        low, high: The numbers at both ends.
        start, end: Their places, in units of the chart.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> str:
        return _place(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start))

    def ticks(self, most: int = 6) -> list[float]:
        """At most about ``most`` round numbers in the range, equally far apart."""
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


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
        order: Names of all models of the run. The place of a model in it is its number; the first ``CURVES`` of them
            have a colour until the reader chooses others.
        bottom: Lower end of the accuracy axis, in percent.
    """
    row = SUITES.get(suite, {}).get(corruption)
    severities = bool(row and row.severities) or suite == OFFICIAL
    points = sorted({0.0, *levels})
    x = Axis(points[0], points[-1] if points[-1] > points[0] else points[0] + 1, 46, 382)
    y = Axis(bottom, 100, 222, 10)
    parts = _grid(x, y, points if severities else x.ticks(), y.ticks(5))
    parts.append(_text(214, 264, 'severity, 0 is clean' if severities else 'level, 0 is clean', 'middle'))
    parts.append(_text(13, 118, 'top-1, %', 'middle', ' transform="rotate(-90 13 118)"'))
    lines, texts = {}, []
    for name, rows in models.items():
        found = [(level, row_at(rows, corruption, level)) for level in points]
        runs = _runs(found)
        band, line = '', ''
        for run in runs:
            ends = [(x(level), y(max(r.low, bottom)), y(r.high)) for level, r in run]
            upper, lower = [f'{at} {high}' for at, _, high in ends], [f'{at} {low}' for at, low, _ in ends]
            band += f'M{"L".join([*upper, *reversed(lower)])}Z'
            line += (
                'M' + 'L'.join(f'{x(level)} {y(max(r.accuracy, bottom))}' for level, r in run) + 'h0' * (len(run) == 1)
            )
        i = order.index(name)
        slot = f' data-s="{i}"' if i < CURVES else ''
        title = f'<title>{_escape(name)}</title>'
        drawn = f'<path class="band" d="{band}"/><path class="line" d="{line}"/>' if runs else ''
        lines[i] = f'<g id="{key}-line{i}" data-m="{i}"{slot}>{title}{drawn}</g>'
        texts.append(f'{name} {accuracy_range(rows, corruption, points)}')
    parts += [f'<g>{"".join(lines[i] for i in sorted(lines, reverse=True))}</g>']  # the best ones on top
    return _svg('curve', key, 400, 270, f'Accuracy against level of {corruption}. {"; ".join(texts)}', parts)


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
    left = 14 + 6.2 * max(len(level_text(row)) for row in rows)
    height = 16 * len(rows) + 12
    x = Axis(*limits, left, 448)
    parts = [f'<path class="grid" d="{"".join(f"M{x(tick)} 4V{height}" for tick in x.ticks(7))}"/>']
    parts += [_text(x(tick), height + 15, _tick(tick), 'middle') for tick in x.ticks(7)]
    parts += [f'<path class="zero" d="M{x(0)} 4V{height}"/>']
    parts += [_text((left + 448) / 2, height + 34, 'difference of top-1, percentage points', 'middle')]
    for i, row in enumerate(rows):
        at = 16 * i + 14
        side = ('better' if row.difference > 0 else 'worse') if row.p_holm <= ALPHA else 'same'
        kind = f'{side} overall' if row is found.overall else side
        if i and row.corruption != rows[i - 1].corruption:
            parts.append(f'<path class="grid" d="M0 {at - 8}H448"/>')
        parts.append(
            f'<g class="{kind}"><title>{_escape(difference_text(row))}</title>'
            f'{_text(left - 8, at + 4, level_text(row), "end")}'
            f'<path d="M{x(row.low)} {at}H{x(row.high)}"/><circle cx="{x(row.difference)}" cy="{at}" r="4"/></g>'
        )
    count = sum(row.p_holm <= ALPHA for row in rows)
    label = f'Differences in {len(rows)} rows, {count} of them significant. {difference_text(rows[0])}'
    return _svg('forest', key, 460, height + 42, label, parts)


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
    both = {'clean': clean, 'under noise': noisy}
    tables = {what: table for what, table in both.items() if table is not None and table[:, 0].sum()}
    shares = {what: 100 * table[:, 0] / table[:, 0].sum() for what, table in tables.items()}
    x, y = Axis(0, 100, 46, 302), Axis(0, 100, 236, 10)
    most = max((float(share.max()) for share in shares.values()), default=1.0)
    counts = Axis(0, most, 312, 262)
    parts = _grid(x, y, [], y.ticks(5)) + _grid(x, counts, x.ticks(5), counts.ticks(2))
    parts.append(f'<path class="ideal" d="M{x(0)} {y(0)}L{x(100)} {y(100)}"/>')
    texts = []
    for what, table in tables.items():
        kind = 'clean' if what == 'clean' else 'noisy'
        number, confidence, right = table[table[:, 0] > 0].T
        places = [(x(c), y(r)) for c, r in zip(100 * confidence / number, 100 * right / number, strict=True)]
        marks = ''.join(
            f'<circle cx="{at}" cy="{up}" r="{_place(1.5 + 6 * math.sqrt(n / number.sum()))}"/>'
            for (at, up), n in zip(places, number, strict=True)
        )
        edges = np.linspace(0, 100, len(table) + 1)
        steps = ''.join(f'V{counts(share)}H{x(edge)}' for share, edge in zip(shares[what], edges[1:], strict=True))
        line = 'L'.join(f'{at} {up}' for at, up in places)
        parts.append(
            f'<g class="{kind}"><path class="faint" d="M{line}"/>{marks}'
            f'<path d="M{x(0)} {counts(0)}{steps}V{counts(0)}"/></g>'
        )
        texts.append(
            f'{what}: mean confidence {100 * confidence.sum() / number.sum():.1f} %, '
            f'right {100 * right.sum() / number.sum():.1f} %'
        )
    parts += [_text(174, 348, 'confidence, %', 'middle')]
    parts += [
        _text(13, up, text, 'middle', f' transform="rotate(-90 13 {up})"')
        for up, text in ((123, 'right, %'), (287, 'share'))
    ]
    return _svg('dial', key, 320, 352, f'Reliability of {name}. {"; ".join(texts)}', parts)


def _runs(found: Iterable[tuple[float, LevelRow | None]]) -> list[list[tuple[float, LevelRow]]]:
    """The points that follow one another without a gap."""
    runs: list[list[tuple[float, LevelRow]]] = [[]]
    for level, row in found:
        if row is None:
            runs.append([])
        else:
            runs[-1].append((level, row))
    return [run for run in runs if run]


def _grid(x: Axis, y: Axis, columns: Sequence[float], lines: Sequence[float]) -> list[str]:
    """Grid lines with their numbers."""
    path = ''.join(f'M{_place(x.start)} {y(tick)}H{_place(x.end)}' for tick in lines)
    path += ''.join(f'M{x(tick)} {_place(y.end)}V{_place(y.start)}' for tick in columns)
    texts = [_text(x.start - 6, float(y(tick)) + 4, _tick(tick), 'end') for tick in lines]
    texts += [_text(x(tick), y.start + 18, _tick(tick), 'middle') for tick in columns]
    return [f'<path class="grid" d="{path}"/>', *texts]


def _text(x: float | str, y: float, text: str, anchor: str, more: str = '') -> str:
    return f'<text x="{_place(float(x))}" y="{_place(y)}" class="{anchor}"{more}>{_escape(text)}</text>'


def _tick(value: float) -> str:
    return f'{value:g}'.replace('-', '\u2212')


def _place(value: float) -> str:
    return f'{round(float(value), 1):g}'


def _escape(text: str) -> str:
    from markupsafe import escape

    return str(escape(text))


def _svg(kind: str, key: str, width: float, height: float, label: str, parts: Iterable[str]) -> Markup:
    """An SVG element.

    Args:
        kind: Name of the kind of chart, for the style sheet.
        key: Prefix of the ids in it.
        width, height: Size of its coordinate system.
        label: Text for screen readers.
        parts: The elements in it.
    """
    from markupsafe import Markup

    head = f'<svg id="{key}-chart" class="chart {kind}" viewBox="0 0 {width:g} {height:g}"'
    return Markup(f'{head} role="img" aria-label="{_escape(label)}">\n{"".join(parts)}</svg>')
