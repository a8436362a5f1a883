"""What the statistics say of a run: models are read one at a time, so that the cells of all need not fit the memory."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from ..evaluation import view
from ..origins import Origin, difference
from ..plan import CLEAN, Cell, Condition, RunPlan
from ..store import Store, read_cells
from .baselines import Baseline, check_baseline
from .comparison import Comparison, compare
from .grids import architecture, find_model
from .levels import LevelRow, accuracy_table
from .pairing import pair_images
from .statistics import reliability
from .summary import ModelSummary, TrainingSpread, summarise, training_spread

BINS = 15
DIGITS = 6  # the last ones depend on the machine


@dataclass(frozen=True)
class Analysis:
    """The statistics of a run; models without a single cell are in none of them.

    Args:
        summaries: By model, in the order of the run.
        levels: Accuracy with its interval by model, corruption and level, over the noise seeds; clean is level 0.
        reliability: By model the table of ``statistics.reliability`` of its clean cell (None where it has none), and of
            all its noisy cells together.
        comparisons: Every other model with ``reference``, paired by image.
        reference: The baseline where it is a model of the run, otherwise the first one.
        trainings: Spread over the training seeds of each architecture.
    """

    summaries: dict[str, ModelSummary]
    levels: dict[str, dict[tuple[str, float], LevelRow]]
    reliability: dict[str, tuple[np.ndarray | None, np.ndarray]]
    comparisons: tuple[Comparison, ...]
    reference: str | None
    trainings: dict[str, TrainingSpread]

    def document(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return plain(
            {
                'models': {
                    name: {**plain(found), 'complete': found.complete} for name, found in self.summaries.items()
                },
                'levels': [row for rows in self.levels.values() for row in rows.values()],
                'reference': self.reference,
                'comparisons': [{**plain(found), 'complete': found.complete} for found in self.comparisons],
                'trainings': self.trainings,
            }
        )


def analyse(store: Store, **options: Any) -> Analysis:
    """The statistics of the latest run of a store.

    Args:
        store: Of the run.
        options: ``resamples`` and ``seed`` of the bootstrap.
    """
    plan = store.plan()
    return analyse_cells(plan.names, lambda name: read_cells(store, plan, name), plan, **options)


def analyse_cells(names: Sequence[str], read: Callable[[str], list[Cell]], plan: RunPlan, **options: Any) -> Analysis:
    """As ``analyse``, for models whose cells ``read`` gives by name."""
    entries = {model['name']: {**model, 'ids': ()} for model in plan.models}
    classes = {name: entry['class_mapping'] for name, entry in entries.items()}
    baseline = plan.baseline
    found: str | Baseline | None = baseline and check_baseline(names, plan.suite, baseline)
    inside = found if isinstance(found, str) else None
    beside = read(inside) if inside else []
    if inside and not beside:
        baseline = None
    summaries, levels, tables = {}, {}, {}
    for name in names:
        own = beside if name == inside else read(name)
        if not own:
            continue
        cells = own if name == inside else [*own, *beside]
        summaries[name] = summarise(cells, baseline, expected=plan.conditions, only=[name], **options)[name]
        levels[name] = {(row.corruption, row.level): row for row in accuracy_table(own, **options)}
        tables[name] = _reliability(own)
    reference = inside if inside in summaries else next(iter(summaries), None)
    comparisons = []
    for name in summaries:
        if reference and name != reference:
            kinds = {architecture(name), architecture(reference)}
            cells = [cell for other in summaries if architecture(other) in kinds for cell in read(other)]
            if _common(cells, name, reference):
                pair = compare(cells, name, reference, classes=classes, expected=plan.conditions, **options)
                comparisons.append(replace(pair, notes=_notes(entries[name], entries[reference])))
    return Analysis(summaries, levels, tables, tuple(comparisons), reference, training_spread(summaries.values()))


def compare_run(folder: str | Path, a: str, b: str, other: str | Path | None = None) -> Comparison:
    """Compare two models of the run in a folder, or one of it with one of another run, see ``compare``.

    Args:
        folder: Of the run.
        a: A model of it.
        b: A model of it, or of ``other``.
        other: Folder of another run of the same suite. Images are paired by their pixels, wherever they stand.

    Raises:
        StoreError: if there is no run.
        ValueError: for a model that the run has not, runs without an image or cell in common, runs of two suites, runs
            that give common images other labels.
    """
    sides = [_side(folder, a, bool(other)), _side(other or folder, b, bool(other))]
    one, two = (side.entry for side in sides)
    if one['suite'] != two['suite']:
        raise ValueError(f'{folder} is a run of suite {one["suite"]}, {other} of {two["suite"]}: accepted is one suite')
    *paired, unchecked = pair_images(one, two, [str(folder), str(other or folder)])
    ids = {model: own for side, own in zip(sides, paired, strict=True) for model in side.cells}
    classes = {side.name: side.entry['class_mapping'] for side in sides}
    cells = [cell for own in {**sides[0].cells, **sides[1].cells}.values() for cell in own]
    expected = dict.fromkeys([*sides[0].expected, *sides[1].expected])
    found = compare(cells, sides[0].name, sides[1].name, ids, classes=classes, expected=expected)
    names = [side.name for side in sides]
    same = view(one['preprocessing']) == view(two['preprocessing']) and one['ids'] == two['ids']
    measured = difference(names, [side.origins for side in sides], same)
    return replace(found, notes=(*_notes(one, two), *measured, *[unchecked] * bool(unchecked)))


@dataclass(frozen=True)
class _Side:
    name: str
    entry: dict[str, Any]
    expected: tuple[Condition, ...]
    cells: dict[str, list[Cell]]
    origins: dict[Condition, Origin]


def _side(folder: str | Path, wanted: str, alone: bool) -> _Side:
    """A model with the further trainings of its architecture, or ``alone`` and named after its run, too."""
    with closing(Store(folder)) as store:
        plan = store.plan()
        models = {model['name']: model for model in plan.models}
        name = find_model(models, wanted)
        entry = {
            **models[name],
            'suite': plan.suite,
            'ids': plan.image_ids,
            'labels': plan.labels,
            'data_sha256': plan.data['sha256'],
        }
        found = store.origins()
        origins = {cell.condition: found[cell.key] for cell in plan.cells if cell.model == name and cell.key in found}
        if alone:
            full = f'{name} ({folder})'
            own = {full: [replace(cell, model=full) for cell in read_cells(store, plan, name)]}
            return _Side(full, entry, plan.conditions, own, origins)
        kept = [model for model in models if architecture(model) == architecture(name)]
        return _Side(name, entry, plan.conditions, {model: read_cells(store, plan, model) for model in kept}, origins)


def _notes(*entries: dict[str, Any]) -> tuple[str, ...]:
    """Whether the two saw the same noise: it is drawn by the index of an image, for pixels of the model's size."""
    sizes = [entry['preprocessing']['input_size'] for entry in entries]
    places = [{id: i for i, id in enumerate(entry['ids'])} for entry in entries]
    if sizes[0] != sizes[1]:
        shapes = ' and '.join('x'.join(map(str, size)) for size in sizes)
        return (f'the two did not see the same noise: their inputs are {shapes}',)
    if any(places[1].get(id, i) != i for id, i in places[0].items()):
        return ('the two did not see the same noise: their images are in another order',)
    return ()


def _common(cells: Sequence[Cell], one: str, two: str) -> bool:
    places = [{c.condition for c in cells if c.model == model} for model in (one, two)]
    return bool(places[0] & places[1])


def _reliability(cells: Sequence[Cell]) -> tuple[np.ndarray | None, np.ndarray]:
    clean, other = None, np.zeros((BINS, 3))
    for cell in cells:
        table = reliability(cell.result.confidence, cell.result.correct, BINS)
        if cell.corruption == CLEAN:
            clean = table
        elif cell.level:
            other += table
    return clean, other


def plain(value: Any) -> Any:
    """Rows of tables as plain values, for JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Condition):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return round(value, DIGITS) if isinstance(value, float) else value
