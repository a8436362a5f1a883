"""A run as one HTML page that needs nothing else: no network, no script, no second file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from ..analysis.comparison import Difference
from ..analysis.corruption_error import Estimate
from ..analysis.grids import some
from ..analysis.levels import LevelRow
from ..analysis.run import Analysis
from ..corruptions import GENERATOR
from ..origins import versions_of
from ..plan import CLEAN, Condition, RunPlan, number
from ..store import Row, mixture_notes, origins_of
from ..suites import SUITES
from .charts import at_level, curves, difference_text, forest, heat, place, reliability_diagram, swatch
from .comparison_markdown import ALPHA, decision_text, p_text, signed, trainings_verdict
from .markdown import SUMMARY, data_notes, decided, marks, mce_legend, suite_text
from .samples import Samples

TEMPLATE = Path(__file__).with_name('report.html.jinja')
MOST = 40  # cells that are named for each reason


def report_html(plan: RunPlan, rows: Sequence[Row], analysis: Analysis, samples: Samples | None = None) -> str:
    """The page.

    Args:
        plan: Of the run.
        rows: Of its cells.
        analysis: Of them.
        samples: Pictures of the perturbations.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, signed=signed, p=p_text)
    names = plan.names
    bottom = _bottom(analysis)
    limits = _limits([row for found in analysis.comparisons for row in (found.overall, *found.rows) if row])
    origins = origins_of(rows)
    chosen = [row for name, row in SUITES[plan.suite].items() if name in plan.levels]
    overall = {found.a: found.overall for found in analysis.comparisons if found.overall}
    reach = max(map(abs, _limits(overall.values())))
    return environment.from_string(TEMPLATE.read_text(encoding='utf-8')).render(
        plan=plan,
        analysis=analysis,
        samples=samples,
        names=names,
        suite=suite_text(plan),
        data_notes=data_notes(plan),
        versions=versions_of(origins) if origins else plan.versions,
        notes=mixture_notes(plan, rows),
        generator=GENERATOR,
        sources={row.name: row.source for row in chosen},
        graded=any(row.severities for row in chosen),
        seeded=any(row.seeded for row in chosen),
        gone=gone(rows),
        count={status: sum(row.status == status for row in rows) for status in ('ok', 'failed', 'missing')},
        findings={name: finding(name, analysis) for name in names},
        trainings=training_findings(analysis),
        baseline=next((s.baseline for s in analysis.summaries.values() if s.baseline), None),
        mce_legend=mce_legend(plan, analysis),
        summary_header=SUMMARY[1:],
        swatches={name: swatch(i) for i, name in enumerate(names)},
        curves={
            corruption: curves(f'c{i}', plan.suite, corruption, levels, analysis.levels, names, bottom)
            for i, (corruption, levels) in enumerate(plan.levels.items())
            if analysis.summaries
        },
        heats=_heats(plan, analysis, bottom) if analysis.summaries else {},
        forests={found.a: forest(f'f{i}', found, limits) for i, found in enumerate(analysis.comparisons)},
        strips={name: _strip(row, reach) for name, row in overall.items()},
        decided={found.a: decided(found) for found in analysis.comparisons},
        reliability={
            name: reliability_diagram(f'r{i}', name, *tables)
            for i, (name, tables) in enumerate(analysis.reliability.items())
        },
        alpha=ALPHA,
        marks=marks,
        place=place,
        difference_text=difference_text,
    )


def finding(name: str, analysis: Analysis) -> str:
    """What stands out of a model, in a sentence that claims no more than the intervals do."""
    found = analysis.summaries.get(name)
    if found is None:
        return 'no cell of it has a result.'
    parts = []
    if found.clean.value is not None:
        parts.append(f'right on {found.clean.value:.2f} % of the clean images')
    if found.mean_error.value is not None:
        error = found.mean_error
        parts.append(f'on {_share_right(error)} over all corruptions')
    if found.worst_corruption is not None and found.worst_accuracy.value is not None:
        parts.append(f'at worst on {found.worst_accuracy.value:.2f} % ({found.worst_corruption} {found.worst_level:g})')
    text = ', '.join(parts) or 'incomplete'
    if found.missing:
        text += f'; only {found.cells} of {found.expected} cells have a result'
    return f'{text}{_against(name, analysis)}.'


def _against(name: str, analysis: Analysis) -> str:
    pair = next((found for found in analysis.comparisons if found.a == name), None)
    row = pair and pair.overall
    if pair is None or row is None:
        return ''
    where = 'where both have results' if pair.missing else 'over all corruptions'
    if row.p_holm > ALPHA:
        found = f'{signed(row.difference)}; {decision_text(row)}'
        return f'; no difference to {pair.b} is shown {where} ({found})'
    word = 'more' if row.difference > 0 else 'less'
    return f'; {abs(row.difference):.2f} points {word} accurate than {pair.b} {where} ({decision_text(row)})'


def training_findings(analysis: Analysis) -> list[str]:
    """What the pairs say of architectures: nothing, unless both were trained several times."""
    lines: dict[tuple[str, ...], str] = {}
    for found in analysis.comparisons:
        if found.trainings and found.trainings.p is not None:
            lines[found.trainings.architectures] = trainings_verdict(found.trainings)
    single = [spread.architecture for spread in analysis.trainings.values() if len(spread.models) == 1]
    if single:
        which = 'each' if len(single) == len(analysis.trainings) > 1 else some(single, 4)
        lines['', ''] = (
            f'{"The rest" if lines else "All of this"} is about sets of weights: one training seed decides nothing '
            f'about an architecture, and there is one of {which}.'
        )
    return list(lines.values())


def gone(rows: Sequence[Row]) -> dict[tuple[str, str, str], tuple[int, str]]:
    """How many cells have no result, and which, by model, status and reason."""
    found: dict[tuple[str, str, str], list[Condition]] = {}
    for row in rows:
        if row.status != 'ok':
            found.setdefault((row.cell.model, row.status, row.error), []).append(row.cell.condition)
    return {key: (len(cells), some(cells, MOST)) for key, cells in found.items()}


def _share_right(error: Estimate) -> str:
    assert error.value is not None
    interval = '' if error.low is None or error.high is None else f' ({100 - error.high:.2f} to {100 - error.low:.2f})'
    return f'{100 - error.value:.2f} %{interval}'


def _bottom(analysis: Analysis) -> float:
    """Of the axes of accuracy: the ten below the lowest."""
    lows = [row.low for rows in analysis.levels.values() for row in rows.values()]
    return min(90.0, 10 * (min(lows, default=0) // 10))


def _limits(rows: Iterable[Difference]) -> tuple[float, float]:
    """Of an axis that holds differences with their intervals, and 0."""
    ends = [0.0, *(end for row in rows for end in (row.low, row.high))]
    margin = 0.05 * (max(ends) - min(ends)) or 1.0
    return min(ends) - margin, max(ends) + margin


def _strip(row: Difference, reach: float) -> dict[str, str]:
    """Where a difference lies on an axis from ``-reach`` to ``reach``, in percent of its width."""
    places = {'low': row.low, 'high': row.high, 'difference': row.difference}
    kind = ('better' if row.difference > 0 else 'worse') if row.p_holm <= ALPHA else 'undecided'
    return {**{key: f'{50 + 50 * value / reach:.2f}' for key, value in places.items()}, 'kind': kind}


def _heats(plan: RunPlan, analysis: Analysis, bottom: float) -> dict[str, dict[str, Any]]:
    """By corruption its levels, and by model a cell for each."""
    blocks = {CLEAN: [0.0], **plan.levels}
    return {
        corruption: {
            'levels': levels,
            'models': {
                model: [_heat(analysis.levels.get(model, {}), corruption, level, bottom) for level in levels]
                for model in plan.names
            },
        }
        for corruption, levels in blocks.items()
    }


def _heat(
    rows: Mapping[tuple[str, float], LevelRow], corruption: str, level: float, bottom: float
) -> dict[str, Any] | None:
    row = at_level(rows, corruption, level)
    if row is None:
        return None
    ground, ink = heat(row.accuracy, bottom)
    return {'row': row, 'style': f'background:{ground};color:{ink}'}
