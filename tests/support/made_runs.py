"""Run folders made from numbers: a store as a run leaves it, without a model or an image."""

from __future__ import annotations

from contextlib import closing

from made_reports import made_plan

from timm_zerosnet.robustness.store import Store, Stored


def store_run(folder, models, conditions, failed=(), **options):
    """Write a store as a run leaves it; returns the folder.

    Args:
        folder: Folder of the run.
        models: The cells of each model; those that are left out have no result.
        conditions: Conditions of every planned cell of a model.
        failed: Names of models whose missing cells failed.
        options: Of ``made_plan``.
    """
    plan = made_plan(models, conditions, **options)
    results = {(cell.model, cell.condition): cell.result for own in models.values() for cell in own}
    with closing(Store(folder, write=True)) as store:
        store.set_plan(plan)
        for cell in plan.cells:
            if result := results.get((cell.model, cell.condition)):
                store.put(cell, Stored(result, None, 1.5, 'cpu'))
            elif cell.model in failed:
                store.put(cell, Stored(None, 'out of memory', 0.0, 'cpu'))
    return folder
