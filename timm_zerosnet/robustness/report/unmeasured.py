"""The cells of a run that have no result: equal failures of a model together, in at most ten lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from ..._errors import shorten
from ..plan import Condition
from ..store import Row

MOST_LINES = 10
NAMED_CONDITIONS = 40
"""Conditions that a row of the reports names before it counts the others; a line in the terminal has three."""


@dataclass(frozen=True)
class Unmeasured:
    """Cells of one model that lack a result for the same reason.

    Args:
        model: Name of the model; ``'others'`` where cells of several are counted together.
        status: ``'failed'`` or ``'missing'``, or ``'without a result'``.
        reason: Why they failed; empty for cells that were not measured yet.
        count: Number of cells.
        which: Their conditions, or the models of ``'others'``.
    """

    model: str
    status: str
    reason: str
    count: int
    which: Sequence[Condition | str]

    def text(self, most: int = 3) -> str:
        """Model, conditions and reason in a line, which names at most so many conditions."""
        cells = f'{self.which[0]}' if self.count == 1 else f'{self.count:,} cells ({shorten(self.which, most)})'
        return f'{self.model}, {cells}: {self.reason or "not measured"}'


def unmeasured(rows: Sequence[Row]) -> list[Unmeasured]:
    """The cells without a result by model, status and reason, in the order of the run.

    If these are more than ``MOST_LINES``, the reasons of a model are counted together. If its models are more, those
    with the most cells have a line each, and the last line counts the cells of the others.
    """
    groups: dict[tuple[str, str], dict[str, list[Condition]]] = {}
    for row in rows:
        if row.status != 'ok':
            reasons = groups.setdefault((row.cell.model, row.status), {})
            reasons.setdefault(row.error, []).append(row.cell.condition)
    found = [
        Unmeasured(*key, reason, len(conditions), conditions)
        for key, reasons in groups.items()
        for reason, conditions in reasons.items()
    ]
    if len(found) <= MOST_LINES:
        return found
    found = []
    for key, reasons in groups.items():
        conditions = [condition for each in reasons.values() for condition in each]
        first = next(iter(reasons))
        reason = first if len(reasons) == 1 else f'{len(reasons)} reasons, the first: {first}'
        found.append(Unmeasured(*key, reason, len(conditions), conditions))
    if len(found) <= MOST_LINES:
        return found
    most = sorted(found, key=lambda group: -group.count)[: MOST_LINES - 1]
    rest = [group for group in found if group not in most]
    statuses = {group.status for group in rest}
    status = statuses.pop() if len(statuses) == 1 else 'without a result'
    models = list(dict.fromkeys(group.model for group in rest))
    own = [group for group in found if group in most]
    return [*own, Unmeasured('others', status, 'see cells.csv', sum(group.count for group in rest), models)]
