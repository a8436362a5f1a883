"""The cells of a run as rows: where they are in the plan, and their means over the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .store import Store

FIGURES = ('top1', 'top5', 'loss', 'confidence')


@dataclass(frozen=True)
class Row:
    """A cell's place in the plan and its means; ``figures`` is empty where ``status`` is not ``'ok'``."""

    cell: dict[str, Any]
    status: str
    figures: dict[str, float]
    error: str
    seconds: float
    device: str

    @property
    def label(self) -> str:
        """Such as ``'zerosnet20, randn 0.1, seed 2'``."""
        parts = [self.cell['model'], f'{self.cell["corruption"]} {number(self.cell["level"])}'.removesuffix(' 0')]
        return ', '.join(parts if self.cell['seed'] is None else [*parts, f'seed {self.cell["seed"]}'])


def read_rows(plan: dict[str, Any], store: Store) -> list[Row]:
    """The cells of the plan, one at a time: their records need not fit the memory together."""
    rows = []
    for cell in plan['cells']:
        stored = store.get(cell['key'])
        if stored is None:
            rows.append(Row(cell, 'missing', {}, '', 0.0, ''))
        elif stored.result is None:
            rows.append(Row(cell, 'failed', {}, stored.error or '', stored.seconds, stored.device))
        else:
            found = stored.result
            means = (found.top1, found.top5, *(float(np.mean(v, dtype=float)) for v in (found.loss, found.confidence)))
            rows.append(Row(cell, 'ok', dict(zip(FIGURES, means, strict=True)), '', stored.seconds, stored.device))
    return rows


def number(value: float) -> str:
    """The shortest text of a number: 0.1, 3, -0.45."""
    return repr(float(value)).removesuffix('.0')
