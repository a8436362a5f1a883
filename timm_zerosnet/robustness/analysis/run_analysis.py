"""The statistics of a run. Models are read one at a time, so that the cells of all need not fit in memory."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from ..._errors import shorten
from ..origins import Origin, difference
from ..plan import CLEAN, OFFICIAL_FILES, Cell, Condition, RunPlan, changed_files, training_hashes
from ..preprocessing import view
from ..store import Store, read_cells
from .baselines import stored_baseline
from .comparison import Comparison, compare
from .grids import Level, architecture_of, find_model, grids_by_model
from .levels import LevelRow, accuracy_table
from .pairing import pair_images
from .ranking import Ranking, image_points, rank_models
from .statistics import reliability
from .summary import ModelSummary, TrainingSpread, summarise, training_spread

BINS = 15
DIGITS = 6  # further ones depend on the machine


@dataclass(frozen=True)
class Analysis:
    """The statistics of a run; models without any cell are left out.

    Args:
        summaries: The summary of each model, in the order of the run.
        levels: For each model, its accuracy at each corruption and level; clean has level 0.
        reliability: For each model, the table of ``statistics.reliability`` for its clean cell, None without one, and
            the table for all its other cells together.
        comparisons: The comparison of every other model with ``reference``, paired by image.
        reference: The baseline if it is a model of the run with a result, otherwise the first model with one.
        trainings: The spread over the trainings of each architecture.
        ranking: The models by their mean error. It is shown in the reports only; ``document`` leaves it out.
    """

    summaries: dict[str, ModelSummary]
    levels: dict[str, dict[Level, LevelRow]]
    reliability: dict[str, tuple[np.ndarray | None, np.ndarray]]
    comparisons: tuple[Comparison, ...]
    reference: str | None
    trainings: dict[str, TrainingSpread]
    ranking: Ranking

    def document(self) -> dict[str, Any]:
        """The statistics as plain values, for JSON."""
        return plain_values(
            {
                'models': {
                    name: {**plain_values(found), 'complete': found.complete} for name, found in self.summaries.items()
                },
                'levels': [row for rows in self.levels.values() for row in rows.values()],
                'reference': self.reference,
                'comparisons': [{**plain_values(found), 'complete': found.complete} for found in self.comparisons],
                'trainings': self.trainings,
            }
        )


def analyse(store: Store, **options: Any) -> Analysis:
    """Compute the statistics of the latest run of a store.

    Args:
        store: The store of the run.
        options: ``resamples`` and ``seed`` of the bootstrap.
    """
    plan = store.plan()
    return analyse_cells(plan.names, lambda name: read_cells(store, plan, name), plan, **options)


def analyse_cells(names: Sequence[str], read: Callable[[str], list[Cell]], plan: RunPlan, **options: Any) -> Analysis:
    """Compute the statistics of a run, see ``analyse``.

    Args:
        names: Names of the models.
        read: Returns the cells of a model, given its name.
        plan: The plan of the run.
        options: ``resamples`` and ``seed`` of the bootstrap.
    """
    entries = {model['name']: {**model, 'ids': ()} for model in plan.models}
    classes = {name: entry['class_mapping'] for name, entry in entries.items()}
    weights = training_hashes(entries)
    baseline = stored_baseline(plan)
    baseline_model = baseline if baseline in plan.names else None  # None for a packaged table
    baseline_cells = read(baseline_model) if baseline_model else []
    if baseline_model and not baseline_cells:
        baseline = None
    summaries, levels, tables, points = {}, {}, {}, {}
    for name in names:
        own = baseline_cells if name == baseline_model else read(name)
        if not own:
            continue
        cells = own if name == baseline_model else [*own, *baseline_cells]
        summaries[name] = summarise(cells, baseline, expected=plan.conditions, only=[name], **options)[name]
        lost = {(condition.corruption, condition.level) for condition in summaries[name].missing}
        whole = [cell for cell in own if (cell.corruption, cell.level) not in lost]
        levels[name] = {(row.corruption, row.level): row for row in accuracy_table(whole, **options)}
        tables[name] = _reliability_tables(whole)
        points[name] = image_points(grids_by_model(own, own[0].suite)[name], plan.conditions)
    reference = baseline_model if baseline_model in summaries else next(iter(summaries), None)
    comparisons = []
    for name in summaries:
        if reference and name != reference:
            kinds = {architecture_of(name), architecture_of(reference)}
            cells = [cell for other in summaries if architecture_of(other) in kinds for cell in read(other)]
            if _share_a_condition(cells, name, reference):
                known: dict[str, Any] = {'classes': classes, 'weights': weights, 'expected': plan.conditions}
                pair = compare(cells, name, reference, **known, **options)
                comparisons.append(replace(pair, notes=_noise_notes(entries[name], entries[reference])))
    ranking = rank_models(points, {name: found.clean.value for name, found in summaries.items()})
    trainings = training_spread(summaries.values(), weights)
    return Analysis(summaries, levels, tables, tuple(comparisons), reference, trainings, ranking)


def compare_run(folder: str | Path, a: str, b: str, other: str | Path | None = None) -> Comparison:
    """Compare two models of a run, or one of it with one of another run, see ``compare``.

    Args:
        folder: Folder of the run.
        a: Name of a model of this run.
        b: Name of a model of this run, or of the other one.
        other: Folder of another run of the same suite. Images are paired by their pixels, whatever their order.

    Raises:
        StoreError: if there is no run.
        ValueError: if a run does not have the model, if the runs have no image or no cell in common, if they are of two
            suites or on other official files, if they give common images different labels.
    """
    sides = [_side(folder, a, bool(other)), _side(other or folder, b, bool(other))]
    one, two = (side.entry for side in sides)
    if one['suite'] != two['suite']:
        raise ValueError(
            f'expected two runs of one suite, got {one["suite"]} in {folder} and {two["suite"]} in {other}'
        )
    if changed := changed_files(one, two):
        raise ValueError(
            f'{folder} and {other} were measured on other files of {shorten(changed)}: expected runs on the same '
            'official files; measure both on the same'
        )
    *paired, unchecked = pair_images(one, two, [str(folder), str(other or folder)])
    ids = {model: own for side, own in zip(sides, paired, strict=True) for model in side.cells}
    classes = {side.name: side.entry['class_mapping'] for side in sides}
    cells = [cell for own in {**sides[0].cells, **sides[1].cells}.values() for cell in own]
    expected = dict.fromkeys([*sides[0].expected, *sides[1].expected])
    weights = training_hashes({**sides[0].models, **sides[1].models})
    found = compare(cells, sides[0].name, sides[1].name, ids, classes=classes, weights=weights, expected=expected)
    names = [side.name for side in sides]
    same = view(one['preprocessing']) == view(two['preprocessing']) and one['ids'] == two['ids']
    measured = difference(names, [side.origins for side in sides], same)
    computed = [entry['precision'] for entry in (one, two)]
    if computed[0] != computed[1]:
        measured += (f'the two were not computed in the same precision: {" and ".join(computed)}',)
    subsets = dict.fromkeys(filter(None, (one['subset'], two['subset'])))
    limited = [f'a subset: the {" and the ".join(subsets)} images'] if subsets else []
    return replace(found, notes=(*limited, *_noise_notes(one, two), *measured, *[unchecked] * bool(unchecked)))


@dataclass(frozen=True)
class _Side:
    """One of the two models of a comparison.

    Args:
        name: Name of the model in the comparison.
        entry: The entry of the model in the plan, with suite, precision, image ids, labels and hash of its run.
        expected: Conditions of a finished run.
        cells: Cells of the model, and of further trainings of its architecture.
        models: What the plan records of each model that has cells here.
        origins: What each of its cells was measured with.
    """

    name: str
    entry: dict[str, Any]
    expected: tuple[Condition, ...]
    cells: dict[str, list[Cell]]
    models: dict[str, dict[str, Any]]
    origins: dict[Condition, Origin]


def _side(folder: str | Path, wanted: str, alone: bool) -> _Side:
    """Read one side of a comparison.

    Args:
        folder: Folder of the run.
        wanted: Name of the model.
        alone: Leave out further trainings of the architecture, and add the folder to the name of the model.
    """
    with closing(Store(folder)) as store:
        plan = store.plan()
        models = {model['name']: model for model in plan.models}
        name = find_model(models, wanted)
        entry = {
            **models[name],
            'suite': plan.suite,
            'precision': plan.precision,
            'ids': plan.image_ids,
            'subset': plan.data['subset'],
            'labels': plan.labels,
            'data_sha256': plan.data['sha256'],
            OFFICIAL_FILES: plan.data.get(OFFICIAL_FILES, {}),
        }
        found = store.origins()
        origins = {cell.condition: found[cell.key] for cell in plan.cells if cell.model == name and cell.key in found}
        if alone:
            full = f'{name} ({folder})'
            own = {full: [replace(cell, model=full) for cell in read_cells(store, plan, name)]}
            return _Side(full, entry, plan.conditions, own, {full: models[name]}, origins)
        kept = [model for model in models if architecture_of(model) == architecture_of(name)]
        cells = {model: read_cells(store, plan, model) for model in kept}
        return _Side(name, entry, plan.conditions, cells, {model: models[model] for model in kept}, origins)


def _noise_notes(*entries: dict[str, Any]) -> tuple[str, ...]:
    """A sentence if two models did not see the same noise, which depends on index and size of an image."""
    sizes = [entry['preprocessing']['input_size'] for entry in entries]
    places = [{id: i for i, id in enumerate(entry['ids'])} for entry in entries]
    if sizes[0] != sizes[1]:
        shapes = ' and '.join('x'.join(map(str, size)) if None not in size else 'any size' for size in sizes)
        return (f'the two did not see the same noise: their inputs are {shapes}',)
    if any(places[1].get(id, i) != i for id, i in places[0].items()):
        return ('the two did not see the same noise: their images are in another order',)
    return ()


def _share_a_condition(cells: Sequence[Cell], one: str, two: str) -> bool:
    places = [{c.condition for c in cells if c.model == model} for model in (one, two)]
    return bool(places[0] & places[1])


def _reliability_tables(cells: Sequence[Cell]) -> tuple[np.ndarray | None, np.ndarray]:
    """The table of the clean cell, and that of all cells with a level other than 0 together."""
    clean, other = None, np.zeros((BINS, 3))
    for cell in cells:
        table = reliability(cell.result.confidence, cell.result.correct, BINS)
        if cell.corruption == CLEAN:
            clean = table
        elif cell.level:
            other += table
    return clean, other


def plain_values(value: Any) -> Any:
    """Dataclasses, conditions and numbers as plain values with rounded numbers, for JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_values(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Condition):
        return str(value)
    if isinstance(value, dict):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item) for item in value]
    return round(value, DIGITS) if isinstance(value, float) else value
