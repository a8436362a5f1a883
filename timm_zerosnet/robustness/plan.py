"""Which cells a run has, and the key of each: the hash of all that its numbers depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Sequence

import torch

from .arguments import integer, selection
from .cells import CLEAN
from .data import LabelledImages
from .draws import WORD
from .models import Subject
from .suites import SUITES, find_perturbation, unknown


@dataclass(frozen=True)
class Point:
    """Clean, or one perturbation of a suite at one level with one seed (None where it is not random)."""

    suite: str
    corruption: str
    level: float
    seed: int | None

    def identity(self) -> dict[str, Any]:
        """What makes the pixels: clean ones are the same in all suites, an edited row is another."""
        if self.corruption == CLEAN:
            return {'corruption': CLEAN}
        row = find_perturbation(self.suite, self.corruption)
        strength = row.strength(self.level) if self.level else 0
        how = {'function': row.function.__qualname__, 'strength': strength, '8 bits': bool(row.severities)}
        return {'suite': self.suite, 'corruption': self.corruption, 'level': self.level, 'seed': self.seed, **how}

    def __str__(self) -> str:
        seed = '' if self.seed is None else f', seed {self.seed}'
        return self.corruption if self.corruption == CLEAN else f'{self.corruption} {self.level:g}{seed}'


def points(
    suite: str,
    corruptions: Sequence[str] | None = None,
    levels: Sequence[float] | None = None,
    seeds: Sequence[int] = (0,),
    clean: bool = True,
) -> list[Point]:
    """What to measure, clean first, then in the order of the suite; what is named twice is measured once.

    Args:
        suite: A name of ``SUITES``.
        corruptions: Some of its rows; default: all.
        levels: For each of them; default: the row's own.
        seeds: Of random rows.
        clean: Measure clean images, too.

    Raises:
        TypeError: for a selection that is no sequence, a level or seed that is no number.
        ValueError: for unknown names (the nearest are suggested), a level that a row does not take, nothing to do.
    """
    if suite not in SUITES:
        raise ValueError(unknown('suite', suite, SUITES))
    chosen = (
        list(SUITES[suite])
        if corruptions is None
        else selection('corruptions', corruptions, 'at least one name, or None for all')
    )
    seeds = [integer('seeds', seed, most=WORD) for seed in selection('seeds', seeds, 'at least one integer >= 0')]
    levels = (
        None
        if levels is None
        else selection('levels', levels, "at least one number, or None for each corruption's own")
    )
    wanted = {name: find_perturbation(suite, name) for name in chosen if name != CLEAN}
    found = [Point(suite, CLEAN, 0.0, None)] if clean else []
    for name in [name for name in SUITES[suite] if name in wanted]:
        row = wanted[name]
        for level in sorted({row.check(level) + 0.0 for level in (row.levels if levels is None else levels)}):
            for seed in sorted(set(seeds)) if row.seeded else [None]:
                found.append(Point(suite, name, level, seed))
    if not found:
        raise ValueError(f'corruptions: expected at least one besides clean, got {", ".join(chosen)}')
    return found


def precision(device: str | torch.device, amp: bool) -> str:
    """What the network computes in."""
    kind = torch.device(device).type
    return f'amp {torch.get_autocast_dtype(kind)}'.replace('torch.', '') if amp else 'of the weights'


def cell_key(subject: Subject, data: LabelledImages, data_sha256: str, mapping: Any, how: str, point: Point) -> str:
    """The key of a cell.

    Args:
        subject: The model.
        data: The images that are measured.
        data_sha256: Their hash.
        mapping: Of ``class_indices``.
        how: Of ``precision``.
        point: What is done to the images.
    """
    subset = [len(data.labels), data.total or len(data.labels)]
    return sha256_of([subject.identity(), data_sha256, subset, mapping, how, point.identity()])


def sha256_of(document: Any) -> str:
    """Hex digest of a document of plain values, whatever the order of its keys."""
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
