"""A comparison of two models as Markdown, and the texts of differences and p values that all reports share."""

from __future__ import annotations

from typing import Sequence

from ..._errors import counted
from ..._markdown import markdown_table
from ..analysis.comparison import Comparison, Difference, Trainings, missing_text
from ..analysis.statistics import ALPHA
from ..analysis.summary import ONE_TRAINING

COLUMNS = (
    'corruption',
    'level',
    'A',
    'B',
    'A - B',
    '95 % interval',
    'only A : B',
    'noise sd',
    'p',
    'p (Holm)',
    'needed',
)


def comparison_markdown(found: Comparison) -> str:
    """A comparison as Markdown: the data it rests on, its rows, and what they show."""
    rows = [*found.rows, *([found.overall] if found.overall else [])]
    parts = [
        f'# {found.a} (A) against {found.b} (B), suite {found.suite}',
        '\n'.join(f'- {line}' for line in _basis(found, rows)),
        markdown_table(COLUMNS, map(_cells, rows), '-' + 'r' * (len(COLUMNS) - 1)),
        _legend(rows),
        _verdict(found),
        _trainings(found),
    ]
    return '\n\n'.join(part for part in parts if part) + '\n'


def _basis(found: Comparison, rows: Sequence[Difference]) -> list[str]:
    """Lines on the images, cells and noise seeds that the comparison rests on."""
    images = f'{found.images} images'
    if found.images != found.images_a or found.images != found.images_b:
        images = f'**only the {images} that both saw** ({found.images_a} of A, {found.images_b} of B)'
    lines = [f'{images}, {found.cells} of {found.expected} cells of each model']
    if found.missing:
        lines.append(f'**incomplete**: missing {missing_text(found, 40)}; the rows use only what both models have')
    seeds = sorted({seed for row in rows for seed in row.seeds})
    lines.append(f'noise seeds {", ".join(map(str, seeds))}' if seeds else 'no noise seeds: nothing here is random')
    return [*lines, *(f'**{note}**' for note in found.notes)]


def _cells(row: Difference) -> list[str]:
    return [
        row.corruption,
        '' if row.level is None else f'{row.level:g}',
        f'{row.accuracy_a:.2f}',
        f'{row.accuracy_b:.2f}',
        f'{signed(row.difference)}{"*" if row.p_holm <= ALPHA else ""}',
        f'{signed(row.low)} to {signed(row.high)}',
        f'{row.only_a} : {row.only_b}',
        '' if row.noise_sd is None else f'{row.noise_sd:.2f}',
        p_text(row.p),
        p_text(row.p_holm),
        f'{row.smallest:.2f}',
    ]


def _legend(rows: Sequence[Difference]) -> str:
    tests = ', '.join(sorted({row.test for row in rows}))
    intervals = ', '.join(sorted({row.interval for row in rows}))
    return (
        f'Accuracies and differences are in percent. Intervals by image: {intervals}. Tests: {tests}. \\* marks rows '
        f"with p (Holm) of at most {ALPHA}. Holm's correction is for all {len(rows)} rows of the table; the intervals "
        'are not corrected. "only A : B" counts the outcomes in which only that model is right. "noise sd" is the '
        'standard deviation of the difference over noise seeds. "needed" is the smallest difference that these images '
        'and seeds can show, with 80 % power at a level of 5 %, if it were the only comparison. "overall" is the mean '
        'over corruptions of the mean over levels, without clean images.'
    )


def _verdict(found: Comparison) -> str:
    better, worse = count_significant(found)
    text = (
        f'Of {counted(len(found.rows), "condition")}, A is better in {better}, B in {worse}, and in '
        f'{len(found.rows) - better - worse} no difference is shown, which does not mean that there is none.'
    )
    row = found.overall
    if row is None:
        return text
    if row.p_holm > ALPHA:
        return f'Overall, no difference is shown: {signed(row.difference)} ({interval_and_p(row)}). {text}'
    winner = found.a if row.difference > 0 else found.b
    return f'Overall, {winner} is better by {abs(row.difference):.2f} points (A - B: {interval_and_p(row)}). {text}'


def count_significant(found: Comparison) -> tuple[int, int]:
    """The number of rows in which model A is better, and model B, after Holm's correction."""
    rows = [row for row in found.rows if row.p_holm <= ALPHA]
    better = sum(row.difference > 0 for row in rows)
    return better, len(rows) - better


def _trainings(found: Comparison) -> str:
    trainings = found.trainings
    if found.same_weights:
        return 'Both names mean the same weights.'
    if trainings is None:
        return 'This compares two sets of weights; it shows nothing about architectures.'
    lines = [_training(trainings, i) for i in (0, 1)]
    if trainings.p is None:
        alike = 'the trainings of each are all alike: without a spread nothing can be decided about the architectures'
        lines.append(f'This compares two sets of weights; {ONE_TRAINING if None in trainings.sds else alike}.')
    else:
        lines.append(trainings_verdict(trainings))
    return '## Trainings\n\n' + '\n'.join(f'- {line}' for line in lines)


def trainings_verdict(trainings: Trainings) -> str:
    """A sentence on what several trainings of both architectures show about them."""
    assert trainings.p is not None
    one, two = trainings.architectures
    differ = f'{one} and {two} differ' if trainings.p <= ALPHA else f'no difference between {one} and {two} is shown'
    return (
        f'Over their trainings {differ}: {signed(trainings.difference)} points '
        f'({signed(trainings.low)} to {signed(trainings.high)}, Welch, p {p_text(trainings.p)}).'
    )


def _training(trainings: Trainings, i: int) -> str:
    values, sd = trainings.accuracies[i], trainings.sds[i]
    listed = ', '.join(f'{model} {value:.2f}' for model, value in values.items())
    spread = '' if sd is None else f'; standard deviation {sd:.2f}'
    return f'{trainings.architectures[i]}, {counted(len(values), "training seed")}: {listed}{spread}'


def signed(value: float | None) -> str:
    """A number with its sign and two digits; what rounds to zero has no sign."""
    return '' if value is None else f'{value:+.2f}' if abs(value) >= 0.005 else '0.00'


def interval_and_p(row: Difference) -> str:
    """Interval and p value of a difference in words, which say that only p is corrected for the other rows."""
    return f"p {p_text(row.p_holm)} after Holm's correction; {signed(row.low)} to {signed(row.high)}, not corrected"


def p_text(value: float) -> str:
    """A p value with four digits."""
    return f'{value:.4f}' if value >= 0.0001 else '< 0.0001'
