"""Tables of Markdown."""

from __future__ import annotations

import html
import re
from typing import Iterable


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]], align: str = '') -> str:
    """A table without a line break at its end.

    Args:
        header: Titles of the columns.
        rows: Cells of each row, as many as there are titles; ``escape`` protects those that hold any text.
        align: A letter for each column, ``l``, ``r`` or ``-`` for the reader's default; columns without one have that.
    """
    header = list(header)
    rules = {'l': ':---', 'r': '---:', '-': '---'}
    line = [rules[letter] for letter in align.ljust(len(header), '-')]
    return '\n'.join(f'| {" | ".join(cells)} |' for cells in (header, line, *rows))


def escape(text: object) -> str:
    """Text that a table shows as it is: no markup, no HTML, on one line."""
    return re.sub(r'([\\`*\[\]|~])', r'\\\1', html.escape(' '.join(str(text).split()), quote=False))
