"""The cells of a run as rows: where they are in the plan, and their means over the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from .origins import NOT_RECORDED, Origin, changed_pixels, mixture
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
    origin: Origin = NOT_RECORDED

    @property
    def label(self) -> str:
        """Such as ``'zerosnet20, randn 0.1, seed 2'``."""
        parts = [self.cell['model'], f'{self.cell["corruption"]} {number(self.cell["level"])}'.removesuffix(' 0')]
        return ', '.join(parts if self.cell['seed'] is None else [*parts, f'seed {self.cell["seed"]}'])


def read_rows(plan: dict[str, Any], store: Store) -> list[Row]:
    """The cells of the plan, one at a time: their records need not fit the memory together."""
    rows, origins = [], store.origins()
    for cell in plan['cells']:
        stored, origin = store.get(cell['key']), origins.get(cell['key'], NOT_RECORDED)
        if stored is None:
            rows.append(Row(cell, 'missing', {}, '', 0.0, ''))
        elif stored.result is None:
            rows.append(Row(cell, 'failed', {}, stored.error or '', stored.seconds, stored.device, origin))
        else:
            found = stored.result
            means = (found.top1, found.top5, *(float(np.mean(v, dtype=float)) for v in (found.loss, found.confidence)))
            figures = dict(zip(FIGURES, means, strict=True))
            rows.append(Row(cell, 'ok', figures, '', stored.seconds, stored.device, origin))
    return rows


def origins_of(rows: Sequence[Row]) -> list[Origin]:
    """With what the cells that were measured were measured."""
    return [row.origin for row in rows if row.status != 'missing']


def mixture_notes(plan: dict[str, Any], rows: Sequence[Row]) -> list[str]:
    """Sentences about cells that were not measured alike; none where all were."""
    return [*mixture(origins_of(rows)), *changed_pixels(plan, ((row.cell, row.origin) for row in rows))]


def number(value: float) -> str:
    """The shortest text of a number: 0.1, 3, -0.45."""
    return repr(float(value)).removesuffix('.0')
