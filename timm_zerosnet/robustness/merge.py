"""Joins runs that were made apart, on the same images under the same suite, into one."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Sequence

import numpy as np

from .._errors import shorten
from .._files import need
from .analysis.baselines import stored_baseline
from .plan import CLEAN, FROST_DIGEST, OFFICIAL_FILES, Condition, PlannedCell, RunPlan, differences
from .report.files import export
from .run import Outcome
from .sharing import unfolded
from .sources import check_trainings
from .store import TYPES, Store, Stored, locked_folder, mixture_notes, read_rows
from .suites import EXTRA, STANDARD, SUITES


@dataclass(frozen=True)
class Merged:
    """A run that was joined.

    Args:
        outcome: Its cells and files.
        notes: What its parts differ in, and which cells none of them has, in words.
    """

    outcome: Outcome
    notes: list[str]


def merge(folders: Sequence[str | Path], out: str | Path) -> Merged:
    """Join the latest runs of several folders: their models and their conditions are united, the folders stay.

    Args:
        folders: Folders of runs, two or more.
        out: A new folder.

    Raises:
        ValueError: for fewer than two folders, an ``out`` that holds something, runs of other images, suites, levels,
            seeds or precisions (named), a name that stands for two models, a cell that has two results.
        StoreError: if a folder holds no run.
        MissingExtraError: without the packages of the extra ``robustness``.
        OSError: if files cannot be written.
    """
    need('robustness')
    paths, out = [Path(folder) for folder in folders], Path(out)
    if len({path.resolve() for path in paths}) < 2:
        raise ValueError(f'expected two or more folders of runs, got {shorten(paths)}')
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        there = 'one that holds something' if out.is_dir() else 'a file'
        raise ValueError(f'--out {out}: expected a new folder, got {there}')
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(Store(path))) for path in paths]
        plans = [store.plan() for store in stores]
        # each with each: two of them may share a corruption or a kind of frost that the first one lacks
        for (one, plan), (two, other) in itertools.combinations(zip(paths, plans, strict=True), 2):
            if found := differences(plan, other):
                raise ValueError(f'{one} and {two} are no parts of one run; {"; ".join(found)}')
        baselines = list(filter(None, map(stored_baseline, plans)))
        plan = replace(_united(paths, plans), baseline=baselines[0] if baselines else None)
        cells = _collected(paths, stores, plans)
        stack.enter_context(locked_folder(out))
        store = stack.enter_context(closing(Store(out, write=True)))
        for cell, stored in cells.values():
            store.put(cell, stored)
        store.set_plan(plan)
        rows = read_rows(plan, store)
        notes = mixture_notes(plan, rows)
        if len(others := dict.fromkeys(baselines)) > 1:
            notes.append(f'the runs have several baselines ({", ".join(others)}): mCE is relative to {plan.baseline}')
        if absent := [str(row.cell) for row in rows if row.status == 'missing']:
            notes.append(f'{len(absent)} cells are in none of the runs: {shorten(absent)}')
        files, failed = export(out, store)
    measured = sum(row.status == 'ok' for row in rows)
    return Merged(Outcome.of(0, measured, failed, files, plan.data['subset'], plan.data.get('split', '')), notes)


def _united(paths: Sequence[Path], plans: Sequence[RunPlan]) -> RunPlan:
    models: dict[str, tuple[Path, dict]] = {}
    for path, plan in zip(paths, plans, strict=True):
        for model in plan.models:
            other, known = models.setdefault(model['name'], (path, model))
            keys = ('architecture', 'arguments', 'weights_sha256', 'preprocessing', 'class_mapping')
            different = [key for key in keys if _plain(known[key]) != _plain(model[key])]
            later = ('function_sha256', 'computed')  # early development versions do not record them
            recorded = [key for key in later if key in known and key in model]
            if different := different or [key for key in recorded if known[key] != model[key]]:
                raise ValueError(
                    f'{model["name"]} of {path} is not that of {other}: their {" and ".join(different)} differ; '
                    'expected a name for each model: measure one of them again under another, by --name or called=NAME'
                )
    check_trainings([model for _, model in models.values()])
    planned = {(cell.model, cell.condition): cell for plan in reversed(plans) for cell in plan.cells}
    suite, rows = plans[0].suite, [CLEAN, *SUITES.get(plans[0].suite, (*STANDARD, *EXTRA))]
    rows += [name for plan in plans for name in plan.levels if name not in rows]

    def place(condition: Condition) -> tuple:
        return rows.index(condition.corruption), condition.level, -1 if condition.seed is None else condition.seed

    conditions = sorted({condition for _, condition in planned}, key=place)
    frost = next(({FROST_DIGEST: plan.data[FROST_DIGEST]} for plan in plans if FROST_DIGEST in plan.data), {})
    files = {key: value for plan in plans for key, value in plan.data.get(OFFICIAL_FILES, {}).items()}
    return replace(
        plans[0],
        data={**plans[0].data, **frost, **({OFFICIAL_FILES: files} if files else {})},
        levels={name: plan.levels[name] for name in rows for plan in plans if name in plan.levels},
        seeds=sorted({seed for plan in plans for seed in plan.seeds}),
        models=[model for _, model in models.values()],
        cells=[
            planned.get((name, condition), PlannedCell(name, suite, condition))
            for name, condition in itertools.product(models, conditions)
        ],
    )


def _plain(value: object) -> object:
    """Tuples as the lists that JSON makes of them."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _collected(
    paths: Sequence[Path], stores: Sequence[Store], plans: Sequence[RunPlan]
) -> dict[str, tuple[PlannedCell, Stored]]:
    """The cells of all, by key: results before failures, and of equal results the first."""
    found: dict[str, tuple[PlannedCell, Stored]] = {}
    where: dict[str, Path] = {}
    for path, store, plan in zip(paths, stores, plans, strict=True):
        origins = store.origins()
        left = {cell.key: (cell, stored) for cell, stored in unfolded(path)}
        for cell in plan.cells:
            stored = store.get(cell.key)
            if stored is not None:
                stored = replace(stored, origin=origins[cell.key])
            elif cell.key in left:
                stored = left[cell.key][1]
            else:
                continue
            _, known = found.get(cell.key, (cell, None))
            if known is None or known.result is None:
                found[cell.key], where[cell.key] = (cell, stored), path
            elif stored.result is not None and any(
                not np.array_equal(getattr(known.result, name), getattr(stored.result, name)) for name in TYPES
            ):
                raise ValueError(
                    f'{cell} has other results in {path} than in {where[cell.key]}, though all that decides them is '
                    'the same: measure it again in one of them'
                )
    return found
