"""The statistics of a run as Markdown tables."""

from __future__ import annotations

import html
import re

from ..analysis.comparison import Comparison
from ..analysis.corruption_error import Estimate
from ..analysis.grids import some
from ..analysis.run import Analysis
from ..models import mapping_note
from ..plan import RunPlan
from ..suites import SUITES
from .comparison_markdown import ALPHA, p_text

SUMMARY = ('model', 'clean', 'mean error', 'area', 'worst level', 'ECE clean', 'ECE mean', 'flips', 'noise sd')


def summary_lines(plan: RunPlan, analysis: Analysis) -> list[str]:
    """Two tables with their legends: each model summed up, and pairs; nothing where no cell has a result."""
    if not analysis.summaries:
        return []
    baseline = next((s.baseline for s in analysis.summaries.values() if s.baseline), None)
    header = [*SUMMARY, *(['mCE', 'relative mCE'] if baseline else [])]
    lines = [_row(header), _row(['---', *['---:'] * (len(header) - 1)])]
    for name, found in analysis.summaries.items():
        worst = '' if found.worst_corruption is None else f' ({found.worst_corruption} {found.worst_level:g})'
        figures = [found.clean_ece, found.mean_ece, found.mean_flip_rate, found.noise_sd]
        row = [markdown(name), _interval(found.clean), _interval(found.mean_error), _interval(found.area)]
        row += [_interval(found.worst_accuracy) + worst, *('' if f is None else f'{f:.2f}' for f in figures)]
        lines.append(_row([*row, *([_interval(found.mce), _interval(found.relative_mce)] if baseline else [])]))
    legend = (
        'In percent, with 95 % intervals by image. Mean error: over corruptions of the mean over levels. Area: under '
        'accuracy against level, clean included. ECE: calibration error. Flips: predictions that are not the clean '
        'one. Noise sd: of the mean error over noise seeds.'
    )
    if note := mce_legend(plan, analysis):
        legend += f' {markdown(note)}'
    return [*lines, '', legend, '', *_pairs(analysis)]


def data_notes(plan: RunPlan) -> list[str]:
    """What was chosen, passed over or lost of the images, and classes that map by their order."""
    return [*plan.data.get('notes', ()), *filter(None, map(mapping_note, plan.models))]


def suite_text(plan: RunPlan) -> str:
    """The suite of a run, and which of its corruptions where they are not all."""
    chosen, every = list(plan.levels), SUITES[plan.suite]
    if len(chosen) == len(every):
        return plan.suite
    if not chosen:
        return f'{plan.suite}, clean images alone'
    return f'{plan.suite}, {len(chosen)} of its {len(every)} corruptions ({some(chosen, 6)})'


def mce_legend(plan: RunPlan, analysis: Analysis) -> str:
    """What the two kinds of mCE average: a baseline that a corruption helps has no relative one under it."""
    found = analysis.summaries.values()
    baseline = next((s.baseline for s in found if s.baseline), None)
    if baseline is None:
        return f'No mCE: the baseline {plan.baseline} has no result.' if plan.baseline else ''
    over, relative = (
        ', '.join(sorted({name for _, names in pairs for name in names}))
        or f'nothing ({"; ".join(dict.fromkeys(estimate.reason for estimate, _ in pairs))})'
        for pairs in ([(s.mce, s.mce_over) for s in found], [(s.relative_mce, s.relative_mce_over) for s in found])
    )
    if over == relative:
        return f'mCE and relative mCE: {baseline} is 100; over {over}.'
    return f'mCE: {baseline} is 100; over {over}. Relative mCE: over {relative}.'


def _pairs(analysis: Analysis) -> list[str]:
    pairs = [found for found in analysis.comparisons if found.overall]
    if not pairs:
        return []
    title = f'against {markdown(str(analysis.reference))}, paired by image'
    lines = [_row([title, 'difference', '95 % interval', 'p (Holm)', 'needed', 'rows better : worse'])]
    lines.append(_row(['---', *['---:'] * 5]))
    for found in pairs:
        row = found.overall
        assert row is not None
        better, worse = decided(found)
        cells = [
            f'{row.difference:+.2f}' + ''.join(f' ({mark})' for mark in marks(found)),
            f'{row.low:+.2f} to {row.high:+.2f}',
            p_text(row.p_holm),
            f'{row.smallest:.2f}',
        ]
        lines.append(_row([markdown(found.a), *cells, f'{better} : {worse} of {len(found.rows)}']))
    seeds = [f'{spread.architecture} {len(spread.models)}' for spread in analysis.trainings.values()]
    legend = (
        'Difference of accuracy over all corruptions and levels; its interval is not corrected, p is, by Holm over the '
        'rows of a pair. Needed: the smallest difference that these images and seeds show with 80 % power, as the only '
        f'comparison. Rows: clean and each level, decided at {ALPHA} (Holm). These are sets of weights; about '
        'architectures they say as much as there are training seeds: '
        f'{markdown(", ".join(seeds))}.'
    )
    for found in pairs:
        lost = [f'{found.cells} of {found.expected} cells'] * bool(found.missing)
        if reasons := [*lost, *found.notes]:
            legend += f' {markdown(found.a)}: {"; ".join(reasons)}.'
    return [*lines, '', legend, '']


def marks(found: Comparison) -> list[str]:
    """What a reader must know before the difference."""
    return ['incomplete'] * bool(found.missing) + ['other noise'] * bool(found.notes)


def decided(found: Comparison) -> tuple[int, int]:
    """In how many rows the first model is better, and the second, after Holm's correction."""
    rows = [row for row in found.rows if row.p_holm <= ALPHA]
    better = sum(row.difference > 0 for row in rows)
    return better, len(rows) - better


def _interval(found: Estimate) -> str:
    if found.value is None:
        return 'incomplete' if found.reason.startswith('missing') else 'none'
    low, high = found.low, found.high
    return f'{found.value:.2f}' + ('' if low is None or high is None else f' ({low:.2f} to {high:.2f})')


def _row(cells: list[str]) -> str:
    return f'| {" | ".join(cells)} |'


def markdown(text: str) -> str:
    """Text that stays as it is in a table: no markup, no HTML."""
    return re.sub(r'([\\`*\[\]|~])', r'\\\1', html.escape(' '.join(str(text).split()), quote=False))
