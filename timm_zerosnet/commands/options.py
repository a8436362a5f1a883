"""Options that several commands have, and how they print."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Iterable

from timm.utils import ParseKwargs


class ModelKwargs(ParseKwargs):
    """``KEY=VALUE ...``, with an error that says so."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        for value in values:
            if '=' not in value.strip('='):
                parser.error(f'{option_string} {value}: accepted is KEY=VALUE, such as method=ab3')
        super().__call__(parser, namespace, values, option_string)


def add_model_options(parser: argparse._ActionsContainer) -> None:
    """``--checkpoint`` and ``--model-kwargs``."""
    parser.add_argument('--checkpoint', type=Path, metavar='FILE', help='own weights in place of the packaged ones')
    parser.add_argument(
        '--model-kwargs', nargs='+', action=ModelKwargs, default={}, metavar='KEY=VALUE', help='such as method=ab3'
    )


def print_json(value: Any) -> None:
    """JSON that any parser reads."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(rows: Iterable[Iterable[Any]], left: int = 1) -> None:
    """Aligned columns, the first ``left`` of them to the left; the first row is the header."""
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    for row in text:
        cells = (
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print('  '.join(cells).rstrip())
