"""The tables of docs/study.md, made from the csv files of the study; ``analyse.py`` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
from records import read_csv, replace_table

from study.intervals import by_set
from study.questions import KENDALL, OUTCOMES, Group, Row, comparable, failures, main_group
from timm_zerosnet._markdown import markdown_table

DOCUMENT = Path(__file__).resolve().parents[2] / 'docs' / 'study.md'


def ranks_table(ranks: Sequence[Mapping[str, str]]) -> str:
    """How well the errors of one length or seed rank the methods as those of another do."""
    rows = [
        [row['sets_compared'], _side(row['first']), _side(row['second']), _figure(row['spearman']), row['sets']]
        for row in ranks
        if row['spearman'] != 'nan'
    ]
    return markdown_table(('methods', 'images', 'against', "Spearman's rho", 'number of methods'), rows, 'lllrr')


def pilot_table(rows: Sequence[Row]) -> str:
    """A row for each method of the pilot: its error after each number of images, one figure for each seed."""
    error = OUTCOMES['test error']
    lengths = sorted({int(row['images']) for row in rows})
    errors: dict[tuple[str, int], list[float]] = {}
    for row in sorted(rows, key=lambda row: int(row['seed'])):
        errors.setdefault((row['set'], int(row['images'])), []).append(error(row))
    stable = {row['set']: row['zero_stable'] == '1' for row in rows}
    table = [
        [name, _yes(stable[name]), *(', '.join(f'{value:.2f}' for value in errors.get((name, n), ())) for n in lengths)]
        for name in stable
    ]
    return markdown_table(
        ('method', 'zero-stable', *(f'{n:,} images' for n in lengths)), table, 'll' + 'r' * len(lengths)
    )


def answers_tables(answers: Sequence[Mapping[str, Any]]) -> str:
    """A table for each group of runs: what was compared, and of each outcome the statistic and its 95 % interval."""
    tables: dict[str, dict[tuple[str, ...], dict[str, str]]] = {}
    for row in answers:
        if row['statistic'] == KENDALL:  # the csv has it; it says what Spearman's says
            continue
        ties = f', {row["ties"]} ties' if int(row['ties']) else ''
        group = Group(row['data'], int(row['depth']), row['recipe'], int(row['images']), row['precision'])
        families = f' in {row["families"]} families' if row['families'] != row['sets'] else ''
        compared = row['sets_compared'], row['statistic'], f'{row["sets"]}{families}{ties}'
        interval = f'{_figure(row["value"])} ({_figure(row["low"])} to {_figure(row["high"])})'
        figures = tables.setdefault(group.text, {}).setdefault(compared, {})
        figures[row['outcome']] = '' if row['value'] == 'nan' else interval
    header = ('methods or predictor', 'statistic', 'methods', *OUTCOMES)
    return '\n\n'.join(
        f'{runs}:\n\n'
        + markdown_table(
            header, [[*key, *(found.get(name, '') for name in OUTCOMES)] for key, found in table.items()], 'lllrrr'
        )
        for runs, table in tables.items()
    )


def failures_table(rows: Sequence[Row]) -> str:
    """The methods whose errors are farthest from what their largest moduli say."""
    radius = {row['set']: row['spectral_radius'] for row in rows}
    table = [
        [name, _figure(radius[name]), f'{error:.2f}', f'{abs(off):.0f} {"worse" if off > 0 else "better"}']
        for name, error, off in failures(rows)
    ]
    return markdown_table(('method', 'largest modulus', 'test error, %', 'ranks off'), table, 'lrrr')


def costs_table(rows: Sequence[Row]) -> str:
    """What the runs of each group took on each processor."""
    kinds: dict[tuple[str, str], list[Row]] = {}
    for group, kept in comparable(rows).items():
        for row in kept:
            kinds.setdefault((group.text, row['processor']), []).append(row)
    table = []
    for kind, kept in kinds.items():
        seconds = np.array([float(row['seconds']) for row in kept])
        figures = (
            f'{len(kept)}',
            f'{sum(row["diverged"] == "1" for row in kept)}',
            f'{np.median(seconds):.0f}',
            f'{np.median([float(row["images_per_second"]) for row in kept]):.0f}',
            f'{seconds.sum() / 3600:.1f}',
        )
        table.append([*kind, *figures])
    header = ('runs', 'processor', 'number', 'diverged', 'seconds a run, median', 'images/s, median', 'core hours')
    return markdown_table(header, table, 'llrrrrr')


def sets_table(rows: Sequence[Row]) -> str:
    """A row for each method, the best first: moduli, order and b0, and what its runs reached."""
    figures = {name: by_set(rows, outcome) for name, outcome in OUTCOMES.items()}
    known = {row['set']: row for row in rows}
    table = []
    for name in sorted(known, key=lambda name: np.mean(figures['test error'][name])):
        row, errors = known[name], figures['test error'][name]
        spread = f' ± {np.std(errors, ddof=1):.2f}' if len(errors) > 1 else ''
        table.append(
            [
                name,
                _yes(row['zero_stable'] == '1'),
                _figure(row['spectral_radius']),
                _figure(row['parasitic_radius']),
                row['order'] or 'none',
                _figure(row['b0']),
                f'{np.mean(errors):.2f}{spread}',
                *(f'{np.mean(figures[outcome][name]):.2f}' for outcome in list(OUTCOMES)[1:]),
                str(len(errors)),
            ]
        )
    header = ('method', 'zero-stable', 'largest modulus', 'parasitic radius', 'order', 'b0')
    return markdown_table((*header, *(f'{name}, %' for name in OUTCOMES), 'runs'), table, 'llrrrrrrrr')


def methods_tables(rows: Sequence[Row]) -> str:
    """A table of the methods for each data set, depth and recipe, under its name."""
    return '\n\n'.join(f'{group.text}:\n\n{sets_table(kept)}' for group, kept in comparable(rows).items())


def write(results: Path) -> None:
    """Make the tables of docs/study.md anew."""
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding='utf-8'), results), encoding='utf-8')
    print(DOCUMENT)


def document(text: str, results: Path) -> str:
    """The text of docs/study.md with its tables made from the csv files in a folder; those without a file stay."""
    if (path := results / 'stability_pilot_ranks.csv').is_file():
        text = replace_table(text, 'pilot', pilot_table(read_csv(results / 'stability_pilot.csv')))
        text = replace_table(text, 'ranks', ranks_table(read_csv(path)))
    if (path := results / 'stability_study_answers.csv').is_file():
        rows = read_csv(results / 'stability_study.csv')
        groups = comparable(rows)
        main = groups[main_group(groups)]
        text = replace_table(text, 'answers', answers_tables(read_csv(path)))
        text = replace_table(text, 'failures', failures_table(main))
        for group in ('moduli', 'optimal'):
            text = replace_table(text, group, sets_table([row for row in main if group in row['groups'].split()]))
        text = replace_table(text, 'costs', costs_table(rows))
        text = replace_table(text, 'methods', methods_tables(rows))
    return text


def _side(images: str) -> str:
    """Such as ``'125,000, seed 0'``."""
    number, comma, seed = images.partition(',')
    return f'{int(number):,}{comma}{seed}'


def _yes(whether: bool) -> str:
    return 'yes' if whether else 'no'


def _figure(value: str) -> str:
    """Two digits after the point, three where two are 0.00 alone; nothing where there is no figure."""
    if value in ('', 'nan'):
        return ''
    digits = 3 if 0.0005 <= abs(float(value)) < 0.005 else 2
    return f'{round(float(value), digits) + 0.0:.{digits}f}'  # no -0.00
