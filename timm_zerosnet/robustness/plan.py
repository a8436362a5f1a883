"""What a run measures: conditions and cells, and the key of each cell, a hash of all that its numbers depend on."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

from .._errors import shorten
from .arguments import integer, selection
from .corruptions import MAX_UINT64
from .data import LabelledImages
from .evaluation import Evaluation
from .models import ModelInfo
from .suites import OFFICIAL, find_perturbation, rows_of, suite_rows

CLEAN = 'clean'
FORMAT = 1
FROST_DIGEST = 'frost_pictures'
OFFICIAL_FILES = 'official_files'


class Condition(NamedTuple):
    """What is done to the images of a cell; equal to the bare triple (corruption, level, seed).

    Args:
        corruption: Row of the suite, or ``'clean'``.
        level: Strength or severity; 0 for clean.
        seed: Seed of the noise; None for clean and for rows that are not random.
    """

    corruption: str
    level: float
    seed: int | None

    def __str__(self) -> str:
        if self.corruption == CLEAN:
            return CLEAN
        return f'{self.corruption} {self.level:g}' + ('' if self.seed is None else f' seed {self.seed}')


@dataclass(frozen=True)
class Cell:
    """One model on one data set under one condition, with its result.

    Args:
        model: What the model is called in the run.
        suite: Name of the suite, such as ``zerosnet``.
        corruption, level, seed: The condition, see ``Condition``.
        result: What the model says of each image, in the order of the data set.
        plan: (corruption, level, seed) of every cell that its run measures a model at; None outside of a run.
    """

    model: str
    suite: str
    corruption: str
    level: float
    seed: int | None
    result: Evaluation
    plan: tuple[tuple[str, float, int | None], ...] | None = field(default=None, repr=False, compare=False)

    @property
    def condition(self) -> Condition:
        return Condition(self.corruption, self.level, self.seed)


@dataclass(frozen=True)
class PlannedCell:
    """A cell that a run is to measure.

    Args:
        model: What the model is called in the run.
        suite: Name of the suite.
        condition: What is done to the images.
        key: The cell's key in the store, see ``cell_key``.
    """

    model: str
    suite: str
    condition: Condition
    key: str = ''

    def __str__(self) -> str:
        return f'{self.model}, {self.condition}'

    def measured(self, result: Evaluation, planned: tuple[Condition, ...]) -> Cell:
        """The cell with its result, for a run that measures a model at ``planned``."""
        return Cell(self.model, self.suite, *self.condition, result, planned)

    def document(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {'suite': self.suite, **self.condition._asdict(), 'model': self.model, 'key': self.key}

    @classmethod
    def read(cls, document: dict[str, Any]) -> PlannedCell:
        """The cell that ``document`` gave."""
        condition = Condition(document['corruption'], document['level'], document['seed'])
        return cls(document['model'], document['suite'], condition, document['key'])


@dataclass(frozen=True)
class RunPlan:
    """What a run measures, on what and with what.

    The store keeps it as a JSON document of the same names; all but images and cells is in ``summary.json``, too.

    Args:
        versions: Version of each package of the process that planned the run.
        suite: Name of the suite.
        levels: Levels of each corruption.
        seeds: Noise seeds.
        precision: What the networks compute in, see ``Precision.text``.
        data: ``name``, ``split``, ``notes``, ``images`` (how many), ``total``, ``subset``, ``sha256`` and
            ``images_sha256`` of the data set; runs of early development versions lack ``split`` and ``notes``. Runs of
            the row ``frost`` have the digest of its pictures as well, ``frost_pictures``; those on official files a
            digest of each condition, ``official_files``.
        models: ``name``, ``architecture``, ``arguments``, ``checkpoint``, ``weights_sha256``, ``function_sha256``,
            ``computed`` (the precision, and the batch size where it decides), ``parameters``, ``preprocessing``,
            ``classes``, ``class_mapping``, ``mapped_by`` and ``label_names`` of each model; runs of early development
            versions lack some of them.
        image_ids: An id of each image, see ``LabelledImages.image_ids``.
        labels: Label of each image, by its name where classes have names; None in runs of early
            development versions.
        cells: Every cell, model by model.
        baseline: What mCE is relative to.
    """

    versions: dict[str, str]
    suite: str
    levels: dict[str, list[float]]
    seeds: list[int]
    precision: str
    data: dict[str, Any]
    models: list[dict[str, Any]]
    image_ids: list[str]
    labels: list[str | int] | None
    cells: list[PlannedCell]
    baseline: str | None = None

    @property
    def names(self) -> list[str]:
        """What the models are called."""
        return [model['name'] for model in self.models]

    @functools.cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """Those that each model has a cell for when the run is finished."""
        return tuple(dict.fromkeys(cell.condition for cell in self.cells))

    def document(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {'format': FORMAT, **own, 'cells': [cell.document() for cell in self.cells]}

    @classmethod
    def read(cls, document: dict[str, Any]) -> RunPlan:
        """The plan that ``document`` gave, in this version or an earlier one."""
        known = {'labels': None, **document, 'cells': [PlannedCell.read(cell) for cell in document['cells']]}
        return cls(**{entry.name: known[entry.name] for entry in fields(cls)})


def plan_conditions(
    suite: str,
    corruptions: Sequence[str] | None = None,
    levels: Sequence[float] | None = None,
    seeds: Sequence[int] = (0,),
    clean: bool = True,
    frost_pictures: str | Path | None = None,
) -> list[Condition]:
    """What to measure, clean first, then in the order of the suite; what is named twice is measured once.

    Args:
        suite: A name of ``SUITES``.
        corruptions: Some of its rows; default: all.
        levels: Levels of each of them; default: the row's own.
        seeds: Noise seeds of the rows that are random.
        clean: Measure clean images, too.
        frost_pictures: Folder of pictures of frost, which decides between the rows ``frost`` and ``frost_like``.

    Raises:
        TypeError: for a selection that is no sequence, a level or seed that is no number.
        ValueError: for unknown names (the nearest are suggested), a level that a row does not take, nothing to do.
    """
    rows = rows_of(suite)
    chosen = (
        suite_rows(suite, frost_pictures)
        if corruptions is None
        else selection('corruptions', corruptions, 'at least one name, or None for all')
    )
    seeds = [integer('seeds', seed, most=MAX_UINT64) for seed in selection('seeds', seeds, 'at least one integer >= 0')]
    levels = (
        None
        if levels is None
        else selection('levels', levels, "at least one number, or None for each corruption's own")
    )
    wanted = {name: find_perturbation(suite, name) for name in chosen if not (isinstance(name, str) and name == CLEAN)}
    found = [Condition(CLEAN, 0.0, None)] if clean else []
    for name in [name for name in rows if name in wanted]:
        row = wanted[name]
        for level in sorted({row.check(level) + 0.0 for level in (row.levels if levels is None else levels)}):
            for seed in sorted(set(seeds)) if row.seeded else [None]:
                found.append(Condition(name, level, seed))
    if not found:
        raise ValueError(f'corruptions: expected at least one besides clean, got {", ".join(chosen)}')
    return found


def count_conditions(
    suite: str,
    corruptions: Sequence[str] | None,
    levels: Sequence[float] | None,
    seeds: Sequence[int],
    frost_pictures: str | Path | None = None,
) -> int:
    """How many conditions ``plan_conditions`` gives, without making those of all seeds."""
    if isinstance(seeds, range) and seeds:
        different = (seeds[-1] - seeds[0]) // seeds.step + 1
    else:
        listed = selection('seeds', seeds, 'at least one integer >= 0')
        different = len({integer('seeds', seed, most=MAX_UINT64) for seed in listed})
    conditions = plan_conditions(suite, corruptions, levels, [0], frost_pictures=frost_pictures)
    return len(conditions) + (different - 1) * sum(condition.seed is not None for condition in conditions)


def cell_key(
    model: ModelInfo,
    data: LabelledImages,
    data_sha256: str,
    mapping: Any,
    how: str,
    suite: str,
    condition: Condition,
    frost_pictures: str | Path | None = None,
) -> str:
    """The key of a cell.

    Args:
        model: The model.
        data: The images that are measured.
        data_sha256: Their hash, of ``LabelledImages.sha256``.
        mapping: The model's output for each class, of ``class_indices``.
        how: What the network computes in, of ``Precision.text``.
        suite: Name of the suite.
        condition: What is done to the images.
        frost_pictures: Folder of pictures of frost, see ``suites.perturb``.
    """
    subset = [len(data.labels), data.total or len(data.labels)]
    return sha256_of([model.identity(), data_sha256, subset, mapping, how, _pixels(suite, condition, frost_pictures)])


def training_hashes(models: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What tells models of plans from each other: their weights, and what they do with them if all plans record it."""
    keys = ['weights_sha256']
    if all('function_sha256' in model for model in models.values()):
        keys.append('function_sha256')
    return {name: ' '.join(model[key] for key in keys) for name, model in models.items()}


def differences(plan: RunPlan, other: RunPlan) -> list[str]:
    """What keeps two plans from being those of one run, in words; empty where they are of the same images, suite,
    levels, seeds and precision. Their models and corruptions may differ."""
    both = plan.levels.keys() & other.levels.keys()
    values: dict[str, tuple[Any, Any]] = {
        'data set': (_data_set(plan), _data_set(other)),
        'images': (plan.data['subset'] or 'all', other.data['subset'] or 'all'),
        'suite': (plan.suite, other.suite),
        'seeds': (plan.seeds, other.seeds),
        'precision': (plan.precision, other.precision),
        **{f'levels of {name}': (plan.levels[name], other.levels[name]) for name in sorted(both)},
    }
    if plan.data['sha256'] == other.data['sha256']:
        del values['data set']  # by whatever names
    if not plan.seeds or not other.seeds:
        del values['seeds']  # nothing is random in one of them
    pictures = plan.data.get(FROST_DIGEST), other.data.get(FROST_DIGEST)
    if all(pictures):
        values['pictures of frost'] = pictures
    if changed := changed_files(plan.data, other.data):
        one, two = (own.data[OFFICIAL_FILES][changed[0]][:12] for own in (plan, other))
        values[f'files of {shorten(changed)}'] = one, two
    return [f'{what}: {one} and {two}' for what, (one, two) in values.items() if one != two]


def changed_files(data: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The conditions that two runs measured on official files which differ, from the ``data`` of their plans."""
    one, two = (own.get(OFFICIAL_FILES, {}) for own in (data, other))
    return [condition for condition in one if two.get(condition, one[condition]) != one[condition]]


def _data_set(plan: RunPlan) -> str:
    return f'{plan.data["name"]} ({plan.data["sha256"][:12]})'


def _pixels(suite: str, condition: Condition, frost_pictures: str | Path | None) -> dict[str, Any]:
    """What makes the pixels: clean ones are the same in all suites, an edited row is another."""
    if condition.corruption == CLEAN:
        return {'corruption': CLEAN}
    if suite == OFFICIAL:
        return {'suite': suite, **condition._asdict()}
    row = find_perturbation(suite, condition.corruption)
    return {'suite': suite, **condition._asdict(), **row.identity(condition.level, frost_pictures)}


def sha256_of(document: Any) -> str:
    """Hex digest of a document of plain values, whatever the order of its keys."""
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def number(value: float) -> str:
    """The shortest text of a number: 0.1, 3, -0.45."""
    return repr(float(value)).removesuffix('.0')
