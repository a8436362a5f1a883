"""A comparison as Markdown."""

from __future__ import annotations

from typing import Sequence

from ..analysis.comparison import Comparison, Difference, Trainings, missing_text
from ..analysis.grids import training
from ..analysis.summary import ONE_TRAINING

ALPHA = 0.05
HEADER = (
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
    """A comparison as Markdown: what it rests on, its rows, and what they decide."""
    rows = [*found.rows, *([found.overall] if found.overall else [])]
    parts = [
        f'# {found.a} (A) against {found.b} (B), suite {found.suite}',
        '\n'.join(f'- {line}' for line in _basis(found, rows)),
        '\n'.join(
            [
                _line(HEADER),
                _line(['---', *(['---:'] * (len(HEADER) - 1))]),
                *(_line(_cells(row)) for row in rows),
            ]
        ),
        _legend(rows),
        _verdict(found),
        _trainings(found),
    ]
    return '\n\n'.join(part for part in parts if part) + '\n'


def _basis(found: Comparison, rows: Sequence[Difference]) -> list[str]:
    lines = [f'{found.images} images, {found.cells} of {found.expected} cells of each model']
    if found.images != found.images_a or found.images != found.images_b:
        lines[0] = (
            f'**only the {found.images} images that both saw** ({found.images_a} of A, {found.images_b} of B), '
            f'{found.cells} of {found.expected} cells of each model'
        )
    if found.missing:
        lines.append(f'**incomplete**: missing {missing_text(found, 40)}; the rows rest on what both have')
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
        f'Accuracies and differences in percent. Intervals by image: {intervals}. Tests: {tests}. \\* marks p (Holm) '
        f'of at most {ALPHA}, corrected for all {len(rows)} rows; intervals are not corrected. "noise sd" is the '
        'spread of the difference over noise seeds. "needed" is the smallest difference that these images and seeds '
        'show with 80 % power at 5 %, as the only comparison. "overall" is the mean over corruptions of the mean over '
        'levels, without clean.'
    )


def _verdict(found: Comparison) -> str:
    shown = [row for row in found.rows if row.p_holm <= ALPHA]
    better = sum(row.difference > 0 for row in shown)
    text = (
        f'A is better in {better} and B in {len(shown) - better} of {len(found.rows)} rows; the other '
        f'{len(found.rows) - len(shown)} show no difference, which is no order either.'
    )
    row = found.overall
    if row is None:
        return text
    figures = decision_text(row)
    if row.p_holm > ALPHA:
        return f'Overall no difference is shown: {signed(row.difference)} ({figures}). {text}'
    winner = found.a if row.difference > 0 else found.b
    return f'Overall {winner} is better by {abs(row.difference):.2f} (A - B: {figures}). {text}'


def _trainings(found: Comparison) -> str:
    trainings = found.trainings
    if training(found.a) == training(found.b):
        return 'Both names mean the same weights.'
    if trainings is None:
        return 'Two sets of weights are compared; about architectures nothing is decided.'
    lines = [_training(trainings, i) for i in (0, 1)]
    if trainings.p is None:
        lines.append(f'Two sets of weights are compared; {ONE_TRAINING}.')
    else:
        lines.append(trainings_verdict(trainings))
    return '## Trainings\n\n' + '\n'.join(f'- {line}' for line in lines)


def trainings_verdict(trainings: Trainings) -> str:
    """What trainings of both architectures, several of each, say of them."""
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
    return f'{trainings.architectures[i]}, {len(values)} training seed{"s" * (len(values) > 1)}: {listed}{spread}'


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'


def signed(value: float | None) -> str:
    # a rounded zero has no sign
    return '' if value is None else f'{value:+.2f}' if abs(value) >= 0.005 else '0.00'


def decision_text(row: Difference) -> str:
    """Interval and p of a difference in words, which of them allows for the other rows and which does not."""
    return f"p {p_text(row.p_holm)} after Holm's correction; {signed(row.low)} to {signed(row.high)}, not corrected"


def p_text(value: float) -> str:
    return f'{value:.4f}' if value >= 0.0001 else '< 0.0001'
