"""A run as one HTML page that refers to no other file or address.

Its only script lets the reader choose the curves that have a colour. The page's policy allows this script by its hash,
and no other; all text in the page is escaped.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Sequence

from ..._errors import shorten
from ..analysis.comparison import Difference
from ..analysis.run_analysis import Analysis
from ..analysis.statistics import ALPHA
from ..corruptions import GENERATOR
from ..origins import versions_of
from ..plan import CLEAN, RunPlan, number
from ..store import Row, mixture_notes, origins_of
from ..suites import SUITES
from .charts import BANDS, CURVES, MARKERS, curves, forest, reliability_diagram, row_at
from .comparison_markdown import count_significant, p_text, signed
from .findings import findings, sorted_models
from .samples import Samples
from .summary_markdown import (
    FIGURE_COLUMNS,
    SUMMARY_LEGEND,
    baseline_name,
    caveats,
    data_notes,
    group_letters,
    groups_legend,
    mce_legend,
    suite_text,
)
from .unmeasured import NAMED_CONDITIONS, unmeasured

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

FOLDER = Path(__file__).parent
OPEN_PAIRS = 3  # more charts of pairs than this are folded up


def report_html(plan: RunPlan, rows: Sequence[Row], analysis: Analysis, samples: Samples | None = None) -> str:
    """Make the page of a run.

    Args:
        plan: The plan of the run.
        rows: Its cells, with or without a result.
        analysis: The statistics of the run.
        samples: Pictures of the perturbations; without them the page has none.
    """
    names = sorted_models(plan.names, analysis)
    known = [name for name in names if name in analysis.summaries]
    bottom = _axis_bottom(analysis)
    pairs = sorted(analysis.comparisons, key=lambda found: names.index(found.a))
    limits = _axis_limits([row for found in pairs for row in (found.overall, *found.rows) if row])
    overall = [found.overall for found in pairs if found.overall]
    origins = origins_of(rows)
    chosen = [row for name, row in SUITES.get(plan.suite, {}).items() if name in plan.levels]
    script = (FOLDER / 'report.js').read_text(encoding='utf-8')
    return _template().render(
        plan=plan,
        analysis=analysis,
        samples=samples,
        names=names,
        known=known,
        suite=suite_text(plan),
        data_notes=data_notes(plan),
        versions=versions_of(origins) if origins else plan.versions,
        notes=mixture_notes(plan, rows),
        generator=GENERATOR,
        sources={row.name: row.source for row in chosen},
        eight_bits=any(row.severities for row in chosen),
        seeded=any(row.seeded for row in chosen),
        without_result=unmeasured(rows),
        named_conditions=NAMED_CONDITIONS,
        count={status: sum(row.status == status for row in rows) for status in ('ok', 'failed', 'missing')},
        findings=findings(plan.names, analysis),
        baseline=baseline_name(analysis),
        mce_legend=mce_legend(plan, analysis),
        figure_columns=FIGURE_COLUMNS,
        summary_legend=SUMMARY_LEGEND,
        ranks=analysis.ranking.ranks,
        letters=group_letters(analysis.ranking),
        groups_legend=groups_legend(analysis.ranking),
        accuracy_scale=_accuracy_scale(analysis),
        most_curves=CURVES,
        few_bands=BANDS,
        markers=MARKERS,
        curves={
            corruption: curves(f'c{i}', plan.suite, corruption, levels, analysis.levels, known, bottom)
            for i, (corruption, levels) in enumerate(plan.levels.items())
            if analysis.summaries
        },
        levels={CLEAN: [0.0], **plan.levels},
        row_at=row_at,
        bottom=bottom,
        pairs=pairs,
        pair_scale=_axis_limits(overall),
        forests={found.a: forest(f'f{i}', found, limits) for i, found in enumerate(pairs)},
        open_pairs=len(pairs) <= OPEN_PAIRS,
        significant={found.a: count_significant(found) for found in pairs},
        reliability={
            name: reliability_diagram(f'r{i}', name, *analysis.reliability[name]) for i, name in enumerate(known)
        },
        alpha=ALPHA,
        caveats=caveats,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@functools.cache
def _template() -> Template:
    """The template of the page, compiled once in a process: that takes longer than to fill it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, signed=signed, p=p_text, breakable=breakable, shorten=shorten)
    return environment.get_template('report.html.jinja')


def breakable(name: str) -> Markup:
    """A name, escaped, that may be broken after its underscores, dots and slashes."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r'([_./])(?=.)', r'\1<wbr>', str(escape(name))))


def _axis_bottom(analysis: Analysis) -> float:
    """The lower end of the accuracy axes: the multiple of ten below the lowest accuracy, at most 90."""
    lows = [row.low for rows in analysis.levels.values() for row in rows.values()]
    return min(90.0, 10 * (min(lows, default=0) // 10))


def _axis_limits(rows: Iterable[Difference]) -> tuple[float, float]:
    """The ends of an axis that includes 0 and all differences with their intervals."""
    ends = [0.0, *(end for row in rows for end in (row.low, row.high))]
    margin = 0.05 * (max(ends) - min(ends)) or 1.0
    return min(ends) - margin, max(ends) + margin


def _accuracy_scale(analysis: Analysis) -> tuple[float, float]:
    """The ends of a scale that includes the accuracies of all models over all corruptions with their intervals."""
    found = [summary.mean_error for summary in analysis.summaries.values()]
    ends = [100 - end for error in found for end in (error.value, error.low, error.high) if end is not None]
    if not ends:
        return 0.0, 100.0
    margin = 0.04 * (max(ends) - min(ends)) or 1.0
    return min(ends) - margin, max(ends) + margin
