"""A run as one HTML page without scripts or references to other files or addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Sequence

from ..._errors import shorten
from ..analysis.comparison import Difference
from ..analysis.corruption_error import Estimate
from ..analysis.run import Analysis
from ..corruptions import GENERATOR
from ..origins import versions_of
from ..plan import CLEAN, Condition, RunPlan, number
from ..store import Row, mixture_notes, origins_of
from ..suites import SUITES
from .charts import curves, forest, legend_line, reliability_diagram, row_at
from .comparison_markdown import ALPHA, count_significant, interval_and_p, p_text, signed, trainings_verdict
from .markdown import SUMMARY_COLUMNS, SUMMARY_LEGEND, baseline_name, caveats, data_notes, mce_legend, suite_text
from .samples import Samples

TEMPLATE = Path(__file__).with_name('report.html.jinja')
MAX_NAMED_CELLS = 40  # for each reason


def report_html(plan: RunPlan, rows: Sequence[Row], analysis: Analysis, samples: Samples | None = None) -> str:
    """Make the page of a run.

    Args:
        plan: The plan of the run.
        rows: Its cells, with or without a result.
        analysis: The statistics of the run.
        samples: Pictures of the perturbations; without them the page has none.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, signed=signed, p=p_text)
    names = plan.names
    bottom = _axis_bottom(analysis)
    limits = _axis_limits([row for found in analysis.comparisons for row in (found.overall, *found.rows) if row])
    origins = origins_of(rows)
    chosen = [row for name, row in SUITES[plan.suite].items() if name in plan.levels]
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
        eight_bits=any(row.severities for row in chosen),
        seeded=any(row.seeded for row in chosen),
        without_result=cells_without_result(rows),
        count={status: sum(row.status == status for row in rows) for status in ('ok', 'failed', 'missing')},
        findings={name: finding(name, analysis) for name in names},
        training_findings=training_findings(analysis),
        baseline=baseline_name(analysis),
        mce_legend=mce_legend(plan, analysis),
        summary_columns=SUMMARY_COLUMNS,
        summary_legend=SUMMARY_LEGEND,
        legend_lines={name: legend_line(i) for i, name in enumerate(names)},
        curves={
            corruption: curves(f'c{i}', plan.suite, corruption, levels, analysis.levels, names, bottom)
            for i, (corruption, levels) in enumerate(plan.levels.items())
            if analysis.summaries
        },
        levels={CLEAN: [0.0], **plan.levels},
        row_at=row_at,
        bottom=bottom,
        forests={found.a: forest(f'f{i}', found, limits) for i, found in enumerate(analysis.comparisons)},
        significant={found.a: count_significant(found) for found in analysis.comparisons},
        reliability={
            name: reliability_diagram(f'r{i}', name, *tables)
            for i, (name, tables) in enumerate(analysis.reliability.items())
        },
        alpha=ALPHA,
        caveats=caveats,
    )


def finding(name: str, analysis: Analysis) -> str:
    """The main figures of a model in a sentence, which claims no more than their intervals allow."""
    found = analysis.summaries.get(name)
    if found is None:
        return 'no cell has a result.'
    parts = []
    if found.clean.value is not None:
        parts.append(f'{found.clean.value:.2f} % on clean images')
    if found.mean_error.value is not None:
        parts.append(f'{_accuracy_text(found.mean_error)} on average over all corruptions')
    if found.worst_corruption is not None and found.worst_accuracy.value is not None:
        parts.append(f'{found.worst_accuracy.value:.2f} % at worst ({found.worst_corruption} {found.worst_level:g})')
    text = f'accuracy {", ".join(parts)}' if parts else 'incomplete'
    if found.missing:
        text += f'; only {found.cells} of {found.expected} cells have a result'
    return f'{text}{_comparison_text(name, analysis)}.'


def _comparison_text(name: str, analysis: Analysis) -> str:
    pair = next((found for found in analysis.comparisons if found.a == name), None)
    if pair is None or pair.overall is None:
        return ''
    row, where = pair.overall, 'where both have results' if pair.missing else 'over all corruptions'
    if row.p_holm > ALPHA:
        return f'; no difference from {pair.b} is shown {where} ({signed(row.difference)}; {interval_and_p(row)})'
    word = 'more' if row.difference > 0 else 'less'
    return f'; {abs(row.difference):.2f} points {word} accurate than {pair.b} {where} ({interval_and_p(row)})'


def training_findings(analysis: Analysis) -> list[str]:
    """Sentences on what the pairs show about architectures, which is nothing unless both were trained several times."""
    verdicts = {
        found.trainings.architectures: trainings_verdict(found.trainings)
        for found in analysis.comparisons
        if found.trainings and found.trainings.p is not None
    }
    lines = list(verdicts.values())
    single = [spread.architecture for spread in analysis.trainings.values() if len(spread.models) == 1]
    if single:
        which = f'{shorten(single, 4)} {"has" if len(single) == 1 else "have"}'
        if len(single) == len(analysis.trainings) > 1:
            which = 'each has'
        lines.append(
            f'{"The rest compares" if lines else "These figures compare"} sets of weights. One training seed shows '
            f'nothing about an architecture, and {which} only one.'
        )
    return lines


def cells_without_result(rows: Sequence[Row]) -> dict[tuple[str, str, str], tuple[int, str]]:
    """The number of cells without a result, and the first of them, by model, status and reason."""
    found: dict[tuple[str, str, str], list[Condition]] = {}
    for row in rows:
        if row.status != 'ok':
            found.setdefault((row.cell.model, row.status, row.error), []).append(row.cell.condition)
    return {key: (len(conditions), shorten(conditions, MAX_NAMED_CELLS)) for key, conditions in found.items()}


def _accuracy_text(error: Estimate) -> str:
    """The accuracy, with its interval, that belongs to an error."""
    assert error.value is not None
    interval = '' if error.low is None or error.high is None else f' ({100 - error.high:.2f} to {100 - error.low:.2f})'
    return f'{100 - error.value:.2f} %{interval}'


def _axis_bottom(analysis: Analysis) -> float:
    """The lower end of the accuracy axes: the multiple of ten below the lowest accuracy, at most 90."""
    lows = [row.low for rows in analysis.levels.values() for row in rows.values()]
    return min(90.0, 10 * (min(lows, default=0) // 10))


def _axis_limits(rows: Iterable[Difference]) -> tuple[float, float]:
    """The ends of an axis that includes 0 and all differences with their intervals."""
    ends = [0.0, *(end for row in rows for end in (row.low, row.high))]
    margin = 0.05 * (max(ends) - min(ends)) or 1.0
    return min(ends) - margin, max(ends) + margin
