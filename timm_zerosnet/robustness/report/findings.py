"""What stands out in a run, in at most ten lines whatever the number of models."""

from __future__ import annotations

from typing import Iterable, NamedTuple, Sequence

import numpy as np

from ..._errors import shorten
from ..analysis.comparison import Comparison
from ..analysis.corruption_error import Estimate
from ..analysis.run_analysis import Analysis
from ..analysis.statistics import ALPHA
from .comparison_markdown import interval_and_p, signed, trainings_verdict

FEW_MODELS = 5  # up to so many models have a line each; more are summed up
MOST_LINES = 10
NAMED = 3  # models that a line names before it counts the others


class Finding(NamedTuple):
    """A line: what it is about, and a sentence or two."""

    subject: str
    text: str


def findings(names: Sequence[str], analysis: Analysis) -> list[Finding]:
    """The main results, each of which claims no more than the intervals and tests allow.

    Args:
        names: Names of the models of the run, with or without a result.
        analysis: The statistics of the run.
    """
    order = sorted_models(names, analysis)
    if len(order) <= FEW_MODELS:
        lines = [Finding(name, model_finding(name, analysis)) for name in order]
    else:
        lines = [*_ends(analysis), *_ranks(analysis), *_against_reference(analysis), *_incomplete(order, analysis)]
    lines += [*_corruptions(analysis), *_losses(analysis), *_calibration(analysis)]
    lines += [Finding('Training seeds', text) for text in training_findings(analysis)]
    assert len(lines) <= MOST_LINES
    return lines


def sorted_models(names: Iterable[str], analysis: Analysis) -> list[str]:
    """All models of a run: by their mean error, then those that lack cells, then those without a result."""
    order = analysis.ranking.order
    return [*order, *(name for name in names if name not in order)]


def model_finding(name: str, analysis: Analysis) -> str:
    """The main figures of a model in a sentence."""
    found = analysis.summaries.get(name)
    if found is None:
        return 'No cell has a result.'
    parts = []
    if found.clean.value is not None:
        parts.append(f'{found.clean.value:.2f} % on clean images')
    if found.mean_error.value is not None:
        parts.append(f'{_accuracy_text(found.mean_error)} on average over all corruptions')
    if found.worst_corruption is not None and found.worst_accuracy.value is not None:
        parts.append(f'{found.worst_accuracy.value:.2f} % at worst ({found.worst_corruption} {found.worst_level:g})')
    text = f'Accuracy {", ".join(parts)}' if parts else 'Incomplete'
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


def _ends(analysis: Analysis) -> list[Finding]:
    """The first and the last model, and which others are not told apart from each."""
    ranked = list(analysis.ranking.ranks)
    lines = []
    for what, name in (('First', ranked[0]), ('Last', ranked[-1])) if ranked else ():
        others = analysis.ranking.not_told_apart(name)
        listed = shorten([other for other in ranked if other in others], NAMED)
        apart = f'not told apart from {listed}' if listed else 'told apart from every other ranked model'
        accuracy = _accuracy_text(analysis.summaries[name].mean_error)
        lines.append(Finding(what, f'{name}, with an accuracy of {accuracy} on average over all corruptions; {apart}.'))
    return lines


def _ranks(analysis: Analysis) -> list[Finding]:
    """Whether the order on clean images is that under corruption."""
    ranks = analysis.ranking.ranks
    clean = {name: own.clean.value for name, own in analysis.summaries.items() if own.clean.value is not None}
    if not clean:
        return []
    best = max(clean, key=lambda name: clean[name])
    text = f'{best} is the most accurate on clean images ({clean[best]:.2f} %)'
    if ranks and ranks.keys() <= clean.keys():
        clean_ranks = {name: 1 + sum(clean[other] > clean[name] for other in ranks) for name in ranks}
        moved = max(ranks, key=lambda name: abs(clean_ranks[name] - ranks[name]))
        if best in ranks:
            text += f' and has rank {ranks[best]} of {len(ranks)} under corruption'
        if clean_ranks[moved] != ranks[moved]:
            text += f'; {moved} moves the most, from rank {clean_ranks[moved]} on clean images to {ranks[moved]}'
    return [Finding('Clean images', f'{text}.')]


def _against_reference(analysis: Analysis) -> list[Finding]:
    """The number of models that are better and worse than the reference."""
    rows = [(pair.a, pair.overall) for pair in analysis.comparisons if pair.overall]
    if not rows:
        return []
    better, worse = (
        [name for name, row in rows if row.p_holm <= ALPHA and (row.difference > 0) == more] for more in (True, False)
    )
    alike = len(rows) - len(better) - len(worse)
    text = (
        f'{len(better)} of {len(rows)} models are more accurate over all corruptions and {len(worse)} are less '
        f'accurate; no difference is shown for {alike} '
        f"(p at most {ALPHA} after Holm's correction for the rows of each pair)."
    )
    return [Finding(f'Against {analysis.reference}', text)]


def _incomplete(order: Sequence[str], analysis: Analysis) -> list[Finding]:
    lost = [name for name in order if name not in analysis.ranking.ranks]
    if not lost or not analysis.ranking.ranks:
        return []
    return [Finding('Not ranked', f'{shorten(lost, NAMED)}: cells without a result.')]


def _corruptions(analysis: Analysis) -> list[Finding]:
    """The corruptions under which the models are the least and the most accurate."""
    errors: dict[str, list[float]] = {}
    for summary in analysis.summaries.values():
        for own in summary.corruptions:
            if own.error.value is not None:
                errors.setdefault(own.corruption, []).append(100 - own.error.value)
    means = {name: float(np.mean(own)) for name, own in errors.items() if len(own) == len(analysis.summaries)}
    if len(means) < 2:
        return []
    hard, easy = (pick(means, key=lambda name: means[name]) for pick in (min, max))
    texts = [f'{name} ({means[name]:.2f} %{_range(errors[name])})' for name in (hard, easy)]
    over = ', averaged over models' if len(analysis.summaries) > 1 else ''
    return [Finding('Corruptions', f'Accuracy is lowest under {texts[0]} and highest under {texts[1]}{over}.')]


def _range(values: Sequence[float]) -> str:
    return f'; {min(values):.2f} to {max(values):.2f}' if len(values) > 1 else ''


def _losses(analysis: Analysis) -> list[Finding]:
    """The models that lose the most and the least accuracy; with one model its own line says it."""
    losses = {
        name: found.clean.value - (100 - found.mean_error.value)
        for name, found in analysis.summaries.items()
        if found.clean.value is not None and found.mean_error.value is not None
    }
    if len(losses) < 2:
        return []
    least, most = (pick(losses, key=lambda name: losses[name]) for pick in (min, max))
    text = (
        f'From clean images to the average over all corruptions, {least} loses the least ({losses[least]:.2f} points) '
        f'and {most} the most ({losses[most]:.2f}).'
    )
    return [Finding('Loss', text)]


def _calibration(analysis: Analysis) -> list[Finding]:
    pairs = {
        name: (found.clean_ece, found.mean_ece)
        for name, found in analysis.summaries.items()
        if found.clean_ece is not None and found.mean_ece is not None
    }
    if not pairs:
        return []
    clean, noisy = (float(np.median([pair[i] for pair in pairs.values()])) for i in (0, 1))
    text = f'The expected calibration error is {clean:.2f} % on clean images and {noisy:.2f} % under corruption'
    if len(pairs) > 1:
        worst = max(pairs, key=lambda name: pairs[name][1])
        text += f', at the median of the models; the largest is that of {worst} ({pairs[worst][1]:.2f} %)'
    return [Finding('Calibration', f'{text}.')]


def training_findings(analysis: Analysis) -> list[str]:
    """At most two sentences on what the pairs show about architectures.

    That is nothing unless both architectures of a pair were trained several times.
    """
    tested: dict[tuple[str, str], Comparison] = {
        found.trainings.architectures: found
        for found in analysis.comparisons
        if found.trainings and found.trainings.p is not None
    }
    verdicts = [found.trainings for found in tested.values() if found.trainings]
    lines = [trainings_verdict(verdicts[0])] if len(verdicts) == 1 else []
    if len(verdicts) > 1:
        apart = [found.architectures[0] for found in verdicts if found.p is not None and found.p <= ALPHA]
        named = f': {shorten(apart, NAMED)}' if apart else ''
        lines.append(
            f'Over their trainings, {len(apart)} of {len(verdicts)} architectures differ from '
            f'{verdicts[0].architectures[1]} (Welch, p at most {ALPHA}, not corrected){named}.'
        )
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


def _accuracy_text(error: Estimate) -> str:
    """The accuracy, with its interval, that belongs to an error."""
    assert error.value is not None
    interval = '' if error.low is None or error.high is None else f' ({100 - error.high:.2f} to {100 - error.low:.2f})'
    return f'{100 - error.value:.2f} %{interval}'
