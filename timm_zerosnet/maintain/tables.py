"""The generated tables of the checkout's documents, for maintainers who work in one.

An installed package has neither these documents nor ``benchmarks/results``; of its manifest alone the cards for the Hub
are made. A test fails when documents and figures disagree.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

from .. import weights
from .._errors import WeightError
from .._files import replacing
from .._markdown import escape, markdown_table
from ..robustness.report.comparison_markdown import p_text
from .models_table import defaults_table, models_table, recipe_table

DATA_NAMES = {'cifar10': 'CIFAR-10', 'cifar100': 'CIFAR-100'}


Rows = dict[str, dict[str, Any]]


def _rows(rows: Rows | None) -> Iterable[tuple[str, dict[str, Any]]]:
    return (weights.manifest() if rows is None else rows).items()


def _read_csv(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline='', encoding='utf-8') as file:
        yield from csv.DictReader(file)


def weights_table(rows: Rows | None = None) -> str:
    """The figures of each stored file.

    Args:
        rows: Rows of the manifest; the default are all.
    """
    return markdown_table(
        ('weight', 'data', 'parameters', 'top-1 %', 'top-5 %', 'recipe', 'epochs', 'seed'),
        (
            (
                f'`{name}`',
                DATA_NAMES[row['data']],
                f'{row["parameters"]:,}',
                f'{row["top1"]:.2f}',
                f'{row["top5"]:.2f}',
                row['recipe'].removesuffix('.yaml'),
                str(row['epochs']),
                str(row['seed']),
            )
            for name, row in _rows(rows)
        ),
    )


def provenance_table(rows: Rows | None = None) -> str:
    """How each weight was made.

    Args:
        rows: Rows of the manifest; the default are all.
    """
    return markdown_table(
        ('weight', 'weights', 'top-1 % in the log', 'hardware', 'wall time', 'torch / timm / scripts', 'added', 'note'),
        (
            (
                f'`{name}`',
                row['weights'],
                f'{row["logged_top1"]:.2f}',
                escape(row['hardware']),
                escape(row['wall_time'] or 'not recorded'),
                ' / '.join(value or 'not recorded' for value in row['versions'].values()),
                row['date'],
                escape(row['note'] or ''),
            )
            for name, row in _rows(rows)
        ),
    )


def reproduction_block(rows: Rows | None = None) -> str:
    """The command that trains each weight again.

    Args:
        rows: Rows of the manifest; the default are all.
    """
    commands = [f'# {name}\n{row["command"]}' for name, row in _rows(rows)]
    return '```console\n' + '\n'.join(commands) + '\n```'


RESULTS = Path(__file__).parents[2] / 'benchmarks' / 'results'
ROBUSTNESS = RESULTS / 'robustness.csv'
ACCURACY, PAIRS = RESULTS / 'accuracy.csv', RESULTS / 'robustness-pairs.csv'
TRAININGS = RESULTS / 'robustness-trainings.csv'
NOISES = {  # titles of the kinds of noise that the tables under ``benchmarks/results`` average over
    'clean': 'clean',
    'zerosnet': 'suite `zerosnet`',
    'noise': 'noise of `cifar-c`',
    'cifar-c': 'all of `cifar-c`',
}
PART_TITLES = {
    f'{data}-{noise}': f'{DATA_NAMES[data]}, {text}' for data in DATA_NAMES for noise, text in NOISES.items()
}
DEPTHS = '-depths'  # ends the names of the parts that measure ZeroSNet's default weights at each depth


def pairs_table(path: Path | None = None) -> str:
    """Paired differences under noise.

    Args:
        path: The measured differences; the default is ``benchmarks/results/robustness-pairs.csv``.
    """
    return markdown_table(
        ('images and noise', 'A', 'B', 'A %', 'B %', 'A - B', '95 % interval', 'p', 'needed', 'A : B better'),
        (
            (
                PART_TITLES[row['part']],
                f'`{row["a"]}`',
                f'`{row["b"]}`',
                *(f'{float(row[key]):.2f}' for key in ('accuracy_a', 'accuracy_b')),
                f'{float(row["difference"]):+.2f}',
                f'{float(row["low"]):+.2f} to {float(row["high"]):+.2f}',
                p_text(float(row['p_holm'])),
                f'{float(row["needed"]):.2f}',
                f'{row["better"]} : {row["worse"]} of {row["rows"]}',
            )
            for row in _read_csv(path or PAIRS)
        ),
    )


def trainings_table(path: Path | None = None) -> str:
    """Architectures over their training seeds.

    Args:
        path: The measured differences; the default is ``benchmarks/results/robustness-trainings.csv``.
    """
    return markdown_table(
        ('images and noise', 'A', 'B', 'trainings', 'A %, mean (sd)', 'B %, mean (sd)', 'A - B', '95 % interval', 'p'),
        (
            (
                PART_TITLES[row['part']],
                f'`{row["a"]}`',
                f'`{row["b"]}`',
                f'{row["trainings_a"]}, {row["trainings_b"]}',
                *(f'{float(row[f"mean_{side}"]):.2f} ({float(row[f"sd_{side}"]):.2f})' for side in 'ab'),
                f'{float(row["difference"]):+.2f}',
                f'{float(row["low"]):+.2f} to {float(row["high"]):+.2f}',
                p_text(float(row['p'])),
            )
            for row in _read_csv(path or TRAININGS)
        ),
    )


def depths_table(path: Path | None = None) -> str:
    """ZeroSNet's default weights at each depth, clean and under noise.

    Args:
        path: The measured figures; the default is ``benchmarks/results/robustness.csv``.
    """
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in _read_csv(path or ROBUSTNESS):
        if row['part'].endswith(DEPTHS):
            cells = lines.setdefault((row['data'], row['model']), {})
            low, mean, high = (100 - float(row[f'mean_error{end}']) for end in ('_high', '', '_low'))
            cells['clean'] = f'{float(row["clean"]):.2f}'
            cells[row['part']] = f'{mean:.2f} ({low:.2f} to {high:.2f})'
    noises = ('zerosnet', 'noise')
    return markdown_table(
        ('images', 'weight', 'clean, %', *(f'{NOISES[noise]}, %' for noise in noises)),
        (
            (DATA_NAMES[data], f'`{model}`', cells['clean'], *(cells[f'{data}-{noise}{DEPTHS}'] for noise in noises))
            for (data, model), cells in lines.items()
        ),
    )


TABLES: dict[str, Callable[[], str]] = {
    'models': models_table,
    'defaults': defaults_table,
    'long': recipe_table,
    'weights': weights_table,
    'provenance': provenance_table,
    'reproduction': reproduction_block,
    'pairs': pairs_table,
    'trainings': trainings_table,
    'depths': depths_table,
}
DOCUMENTS = ('README.md', 'MODEL_CARD.md', 'docs/backbones.md', 'docs/recipes.md', 'docs/results.md')


def fill(text: str) -> str:
    """The text with every table between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` made anew."""
    for name, make in TABLES.items():
        begin, end = f'<!-- {name}:begin -->', f'<!-- {name}:end -->'
        if begin in text:
            before, rest = text.split(begin, 1)
            text = f'{before}{begin}\n{make()}\n{end}{rest.split(end, 1)[1]}'
    return text


def documents() -> list[Path]:
    """The files of the checkout that carry generated tables."""
    root = weights.PACKAGE.parent
    return [root / name for name in DOCUMENTS if (root / name).is_file()]


def write_tables() -> list[Path]:
    """Write the tables into the checkout's documents.

    Returns:
        The documents that changed.

    Raises:
        WeightError: if the package does not lie in a checkout.
    """
    if not documents():
        raise WeightError(
            f'expected {", ".join(DOCUMENTS[:-1])} or {DOCUMENTS[-1]} beside {weights.PACKAGE}, found none: run this '
            'in a checkout'
        )
    changed = []
    for path in documents():
        text = path.read_text(encoding='utf-8')
        if fill(text) != text:
            with replacing(path) as partial:
                partial.write_text(fill(text), encoding='utf-8')
            changed.append(path)
    return changed
