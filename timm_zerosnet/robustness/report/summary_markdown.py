"""The statistics of a run as Markdown tables, and the texts that Markdown and HTML reports share."""

from __future__ import annotations

from ..._errors import shorten
from ..._markdown import escape, markdown_table
from ..analysis.comparison import Comparison
from ..analysis.corruption_error import Estimate
from ..analysis.ranking import Ranking
from ..analysis.run_analysis import Analysis
from ..analysis.statistics import ALPHA
from ..models import mapping_note
from ..plan import RunPlan
from ..suites import SUITES, has_whole_suite, suite_rows
from .comparison_markdown import count_significant, p_text

FIGURE_COLUMNS = ('mean error', 'area', 'worst level', 'ECE clean', 'ECE mean', 'flips', 'noise sd')
SUMMARY_COLUMNS = ('model', 'clean', *FIGURE_COLUMNS)
MANY_MODELS = 12  # with more, the tables are sorted, and that of the levels is split
SUMMARY_LEGEND = (
    'All figures are in percent, with 95 % intervals by image. Mean error is the mean over corruptions of the mean '
    'over levels. Area is the area under accuracy against level, clean included. ECE is the expected calibration '
    'error. Flips are predictions that differ from the clean one. Noise sd is the standard deviation of the mean error '
    'over noise seeds, not over trainings.'
)


def summary_lines(plan: RunPlan, analysis: Analysis) -> list[str]:
    """The table of models and the table of pairs, each with its legend, as lines; none if no cell has a result.

    Up to ``MANY_MODELS`` models are in the order of the run. More are sorted by result, with their ranks and groups.
    """
    if not analysis.summaries:
        return []
    many = len(plan.names) > MANY_MODELS
    baseline = baseline_name(analysis)
    letters = group_letters(analysis.ranking)
    header = [*SUMMARY_COLUMNS, *(['mCE', 'relative mCE'] if baseline else [])]
    rows = []
    for name in analysis.ranking.order if many else analysis.summaries:
        found = analysis.summaries[name]
        worst = '' if found.worst_corruption is None else f' ({found.worst_corruption} {found.worst_level:g})'
        figures = [found.clean_ece, found.mean_ece, found.mean_flip_rate, found.noise_sd]
        row = [escape(name), _estimate_text(found.clean), _estimate_text(found.mean_error), _estimate_text(found.area)]
        row += [_estimate_text(found.worst_accuracy) + worst, *('' if f is None else f'{f:.2f}' for f in figures)]
        row += [_estimate_text(found.mce), _estimate_text(found.relative_mce)] if baseline else []
        ranked = [str(analysis.ranking.ranks.get(name, '')), ' '.join(filter(None, letters.get(name, [])))]
        rows.append([*ranked, *row] if many else row)
    note = mce_legend(plan, analysis)
    legend = SUMMARY_LEGEND + (f' {escape(note)}' if note else '')
    align = '-' + 'r' * (len(header) - 1)
    if many:
        header, align = ['rank', 'not told apart', *header], f'r-{align}'
        legend += f' {groups_legend(analysis.ranking)}'
    return [markdown_table(header, rows, align), '', legend.rstrip(), '', *_pair_lines(analysis, many)]


def group_letters(ranking: Ranking) -> dict[str, list[str]]:
    """For each ranked model, a letter for each group of two or more, and '' in the place of a group it is not in."""
    groups = [group for group in ranking.groups if len(group) > 1]
    letters = [_letter(i) for i in range(len(groups))]
    return {
        name: [letter if name in group else '' for letter, group in zip(letters, groups, strict=True)]
        for name in ranking.ranks
    }


def _letter(i: int) -> str:
    """a to z, then aa to az and so on."""
    return (_letter(i // 26 - 1) if i >= 26 else '') + chr(ord('a') + i % 26)


def groups_legend(ranking: Ranking) -> str:
    """What a group means."""
    if ranking.pairs == 0:
        return ''
    tested = 'the one pair' if ranking.pairs == 1 else f'all {ranking.pairs} pairs'
    return (
        'Models that share a letter are not told apart: a sign-flip test of their accuracy over all corruptions, '
        f"paired by image, has a p value above {ALPHA} after Holm's correction for {tested}. That does not mean that "
        'they are equally good; more images may tell them apart. A model may be in several groups; one without a '
        'letter is told apart from all others. The groups compare sets of weights, not architectures.'
    )


def baseline_name(analysis: Analysis) -> str | None:
    """The baseline that mCE is relative to, if there is one with a result."""
    return next((found.baseline for found in analysis.summaries.values() if found.baseline), None)


def data_notes(plan: RunPlan) -> list[str]:
    """Notes on how the images were selected and converted, and on classes that are mapped by their order."""
    return [*plan.data.get('notes', ()), *filter(None, map(mapping_note, plan.models))]


def suite_text(plan: RunPlan) -> str:
    """The suite of a run, with the chosen corruptions if they are not all."""
    chosen = list(plan.levels)
    if plan.suite not in SUITES or has_whole_suite(plan.suite, chosen):
        return plan.suite
    if not chosen:
        return f'{plan.suite}, only clean images'
    return f'{plan.suite}, {len(chosen)} of its {len(suite_rows(plan.suite))} corruptions ({shorten(chosen, 6)})'


def mce_legend(plan: RunPlan, analysis: Analysis) -> str:
    """Sentences on the baseline of mCE and on the corruptions that mCE and relative mCE average.

    The two may differ: a corruption that raises the accuracy of the baseline has no relative error.
    """
    found = analysis.summaries.values()
    baseline = baseline_name(analysis)
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


def _pair_lines(analysis: Analysis, many: bool) -> list[str]:
    pairs = [(found, found.overall) for found in analysis.comparisons if found.overall]
    if many:
        pairs.sort(key=lambda pair: analysis.ranking.order.index(pair[0].a))
    if not pairs:
        return []
    title = f'against {escape(analysis.reference)}, paired by image'
    rows = []
    for found, row in pairs:
        better, worse = count_significant(found)
        cells = [
            f'{row.difference:+.2f}' + ''.join(f' ({caveat})' for caveat in caveats(found)),
            f'{row.low:+.2f} to {row.high:+.2f}',
            p_text(row.p_holm),
            f'{row.smallest:.2f}',
        ]
        rows.append([escape(found.a), *cells, f'{better} : {worse} of {len(found.rows)}'])
    seeds = [f'{spread.architecture} {len(spread.models)}' for spread in analysis.trainings.values()]
    legend = (
        'The difference is that of the mean accuracy over all corruptions and levels. Its interval is not corrected; p '
        "has Holm's correction for the rows of a pair. Needed is the smallest difference that these images and seeds "
        'can show with 80 % power, if it were the only comparison. Rows are clean and each level, counted if p (Holm) '
        f'is at most {ALPHA}. The pairs compare sets of weights; what they show about architectures depends on the '
        f'number of training seeds: {escape(shorten(seeds, MANY_MODELS))}.'
    )
    for found, _ in pairs:
        lost = [f'{found.cells} of {found.expected} cells'] * bool(found.missing)
        if reasons := [*lost, *found.notes]:
            legend += f' {escape(found.a)}: {"; ".join(reasons)}.'
    header = [title, 'difference', '95 % interval', 'p (Holm)', 'needed', 'rows better : worse']
    return [markdown_table(header, rows, '-rrrrr'), '', legend, '']


def caveats(found: Comparison) -> list[str]:
    """Words that are shown next to a difference if the comparison is not exact."""
    return ['incomplete'] * bool(found.missing) + ['other noise'] * bool(found.notes)


def _estimate_text(found: Estimate) -> str:
    if found.value is None:
        return 'incomplete' if found.reason.startswith('missing') else 'none'
    low, high = found.low, found.high
    return f'{found.value:.2f}' + ('' if low is None or high is None else f' ({low:.2f} to {high:.2f})')
