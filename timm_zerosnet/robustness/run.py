"""A run: every model on every point of the plan, cell by cell into the store, then the files.

Images are read once, resized once for each kind of preprocessing, and models are held one at a time. What can be wrong
with names, images, classes or weights is found before the first cell; what a model does wrong fails its cell alone.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import time
import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .._errors import few, one_line
from .._files import need
from .analysis.baselines import check_baseline
from .analysis.grids import architecture_of, training_of
from .arguments import integer, selection
from .data import LabelledImages, ahead
from .evaluation import (
    as_floats,
    batch_statistics,
    batch_statistics_text,
    default_batch_size,
    measure,
    ready,
    resize,
    view,
)
from .models import ModelError, Source, Subject, class_indices, describe, mapped_by, mapping_note
from .origins import Origin, current_versions, device_name
from .plan import CLEAN, Condition, PlannedCell, RunPlan, cell_key, plan_conditions, precision
from .report.files import export
from .report.samples import sample_pictures
from .store import Store, Stored, locked
from .suites import check_shape, find_perturbation, perturb

MOST = 1_000_000  # cells; the document of more outgrows the store


@dataclass(frozen=True)
class Outcome:
    """How a run ended: cells it measured, those it found done, and ``'model, point: reason'`` for each that failed."""

    measured: int
    kept: int
    failed: list[str]
    files: list[Path]
    subset: str
    split: str = ''


@dataclass(frozen=True)
class _Entry:
    """A model on the data set; ``keys`` by condition."""

    source: Source
    subject: Subject
    mapping: dict[str, int]
    how_mapped: str
    keys: dict[Condition, str]

    def classes(self) -> dict[str, Any]:
        """How the classes of the data set map to the outputs, as it is recorded."""
        names = self.subject.label_names if self.how_mapped == 'order' else None
        return {'class_mapping': self.mapping, 'mapped_by': self.how_mapped, 'label_names': names}

    @property
    def view(self) -> str:
        """The same for models that take the same pixels."""
        return view(self.subject.preprocessing)


def run(
    models: Sequence[str | Source],
    data: LabelledImages | Callable[[], LabelledImages],
    out: str | Path,
    *,
    suite: str = 'zerosnet',
    corruptions: Sequence[str] | None = None,
    levels: Sequence[float] | None = None,
    seeds: Sequence[int] = (0,),
    device: str | None = None,
    amp: bool = False,
    batch_size: int | None = None,
    workers: int = 0,
    class_map: Mapping[str, int] | None = None,
    baseline: str | None = None,
    data_name: str = '',
    progress: bool = False,
) -> Outcome:
    """Measure models under a suite and write the results into a folder; a run that broke off goes on where it stopped.

    Args:
        models: Names for ``timm.create_model``, or sources.
        data: The test set, or what reads it: called when the folder is locked and the names are checked.
        out: Folder of the run. Cells of other runs in it are kept, and used where they are the same.
        suite: A name of ``SUITES``.
        corruptions: Some of its rows; default: all.
        levels: For each of them; default: the row's own.
        seeds: Of random rows.
        device: Where models run; default: a GPU if torch has one.
        amp: Run them under autocast.
        batch_size: Images at a time; changes nothing but speed and memory, see ``evaluate`` for the exception, whose
            cells are of one batch size. Default: 50 on a CPU, 250 elsewhere.
        workers: Threads that prepare batches while the model runs.
        class_map: The model's output for each class of the data set, where names do not tell.
        baseline: What mCE is relative to: one of the models, or one with a packaged error table.
        data_name: What the data set is called in the results.
        progress: Show progress bars.

    Raises:
        TypeError: for seeds, levels and sizes that are no numbers, selections that are no sequence.
        ValueError: for unknown names, levels out of range, an empty selection, images or classes that do not fit a
            model, a baseline that is neither in the run nor packaged for its images.
        WeightError: for weights that are missing, damaged or do not fit.
        MissingExtraError: without the packages of the extra ``robustness``.
        StoreError: if another run holds the folder, or the store cannot be written.
        OSError: if files cannot be written.
    """
    need('robustness')
    sources = _sources(selection('models', models, 'at least one name or source'))
    count = len(sources) * count_conditions(suite, corruptions, levels, seeds)
    say = functools.partial(tqdm.write, file=sys.stderr) if progress else lambda text: None
    if count > MOST:
        raise ValueError(f'expected at most {MOST:,} cells in a run, got {count:,}: name fewer seeds, levels or models')
    conditions = plan_conditions(suite, corruptions, levels, seeds)
    device = _device(device)
    batch_size = default_batch_size(device) if batch_size is None else integer('batch_size', batch_size, least=1)
    workers = integer('workers', workers)
    for source in sources:
        source.check()
        source.check_pictures()
    if baseline is not None:
        check_baseline([source.name for source in sources], suite, baseline)
    out = Path(out)
    with locked(out), closing(Store(out, write=True)) as store:
        say(f'{count:,} cells are to be measured, each on all images')
        images = data() if callable(data) else data
        data_sha256, how = images.sha256(), precision(device, amp)
        entries = []
        for source in tqdm(sources, desc='checking models', unit='model', disable=not progress, leave=False):
            net = source.open()
            subject = describe(source, net)
            made = how
            with ready(net, 'cpu'):
                if mixed := batch_statistics(net):
                    warnings.warn(f'{subject.name}: {batch_statistics_text(mixed, batch_size)}', stacklevel=2)
                    made = f'{how}, batches of {batch_size}'
            del net
            _check_sizes(subject, suite, conditions)
            mapping = class_indices(subject, images, class_map)
            if progress and class_map is None and (note := _few_labels(subject, images)):
                tqdm.write(f'timm-zerosnet: {note}', file=sys.stderr)
            keys = {
                condition: cell_key(subject, images, data_sha256, mapping, made, suite, condition)
                for condition in conditions
            }
            entry = _Entry(source, subject, mapping, mapped_by(subject, images, class_map), keys)
            if progress and (note := mapping_note({'name': subject.name, **entry.classes()})):
                tqdm.write(f'timm-zerosnet: {note}', file=sys.stderr)
            entries.append(entry)
        plan = _plan(entries, suite, conditions, images, data_sha256, how, data_name, baseline)
        if baseline is not None:
            check_baseline(plan.names, suite, baseline, plan.data['images_sha256'])
        store.set_plan(plan)
        finished = store.finished()
        wanted = {key for entry in entries for key in entry.keys.values()}
        todo = wanted - finished
        left = len(todo)
        if progress and left < count:
            say(f'{left:,} of them are left to do: others are done, or the same for several models')
        with tqdm(
            total=len(todo) * len(images.labels),
            unit='img',
            unit_scale=True,
            disable=not progress or not todo,
            mininterval=0.2 if sys.stderr.isatty() else 30,
        ) as bar:
            seen, pixels, first = '', torch.empty(0), True
            versions, machine = current_versions(), device_name(device)
            views = [entry.view for entry in entries]
            for entry in sorted(entries, key=lambda entry: views.index(entry.view)):
                pending = {condition: key for condition, key in entry.keys.items() if key in todo}
                todo -= set(pending.values())  # the same network under a second name is measured once
                if not pending:
                    continue
                if entry.view != seen:
                    pixels = torch.empty(0)  # two sizes at once need not fit
                    pixels, seen = resize(images.images, entry.subject.preprocessing, progress), entry.view
                targets = torch.from_numpy(_targets(images, entry.mapping))
                net = entry.source.open()
                if describe(entry.source, net).weights != entry.subject.weights:
                    raise ModelError(f'the weights of {entry.subject.name} changed while the run was at work')
                with ready(net, device):
                    for condition, key in pending.items():
                        cell = PlannedCell(entry.subject.name, suite, condition, key)
                        bar.set_description(str(cell), refresh=False)
                        digest = hashlib.sha256()
                        batches = _batches(pixels, suite, condition, batch_size, workers, bar, digest)
                        began, before = time.perf_counter(), bar.n
                        result, error = _attempt(net, entry.subject, batches, targets, device, amp)
                        bar.update(before + len(targets) - bar.n)
                        seconds = time.perf_counter() - began
                        origin = Origin(versions, machine, None if error else digest.hexdigest())
                        store.put(cell, Stored(result, error, seconds, str(device), origin))
                        if first and left > 1:
                            rest = duration(seconds * (left - 1))
                            say(f'the first cell took {duration(seconds)}: about {rest} left for {left - 1:,} more')
                        first = False
                del net
        pictures = sample_pictures(images.images, entries[0].subject.preprocessing, suite, conditions)
        files, failed = export(out, store, pictures)
    return Outcome(len(wanted - finished), len(wanted & finished), failed, files, images.subset, images.split)


def count_conditions(
    suite: str, corruptions: Sequence[str] | None, levels: Sequence[float] | None, seeds: Sequence[int]
) -> int:
    """How many conditions ``plan.plan_conditions`` gives, without making those of all seeds."""
    if not isinstance(seeds, range):
        seeds = selection('seeds', seeds, 'at least one integer >= 0')
    different = len(seeds if isinstance(seeds, range) else set(seeds))
    one, two = (len(plan_conditions(suite, corruptions, levels, some)) for some in ([0], [0, 1]))
    return one + (different - 1) * (two - one)


def duration(seconds: float) -> str:
    """Such as ``0.4 s``, ``3 min`` and ``2 h 5 min``."""
    if seconds < 60:
        return f'{seconds:.1f} s' if seconds < 10 else f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 60 else f'{minutes // 60:,} h {minutes % 60} min'


def _sources(models: Sequence[str | Source]) -> list[Source]:
    sources: dict[str, Source] = {}
    for model in models:
        source = model if isinstance(model, Source) else Source(model)
        if sources.setdefault(source.name, source) != source:
            raise ValueError(f'two different models are called {source.name!r}: accepted is one name for each')
    own = [name for name, source in sources.items() if source.module is not None or source.checkpoint is not None]
    for name in own:
        kind, seed = training_of(name)
        for other in sources:
            same = other != name and training_of(other) == (kind, seed)
            if same or not seed and other not in own and architecture_of(other) == kind:
                raise ValueError(
                    f'weights of yours are called {name!r} beside {other!r}, so that they would count as a training of '
                    "the same network: accepted is another name, as in Source('mine', module)"
                )
    return list(sources.values())


def _device(name: str | None) -> str:
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f'device {name!r} cannot be used: {one_line(error)}; cpu always can') from error
    return name


def _check_sizes(subject: Subject, suite: str, conditions: Sequence[Condition]) -> None:
    shape = subject.preprocessing['input_size']
    if None not in shape:
        for name in dict.fromkeys(condition.corruption for condition in conditions):
            if name != CLEAN:
                try:
                    check_shape((1, *shape), find_perturbation(suite, name), suite)
                except ValueError as error:
                    raise ModelError(f'model {subject.name}: {error}') from error


def _few_labels(subject: Subject, data: LabelledImages) -> str | None:
    """That labels without names fill less than half of the outputs, as those of another data set do."""
    most = int(data.labels.max())
    known = data.classes is not None or data.subset or subject.classes is None
    if known or 2 * (most + 1) >= (subject.classes or 0):
        return None
    return (
        f'the labels end at {most}, {subject.name} has {subject.classes} outputs, and the data have no class names to '
        'compare: if they are other classes, --class-map FILE says which output stands for each'
    )


def _targets(data: LabelledImages, mapping: Mapping[str, int]) -> np.ndarray:
    names = [data.classes[label] if data.classes else str(label) for label in data.labels.tolist()]
    return np.array([mapping[name] for name in names], dtype=np.int64)


def _batches(
    pixels: Tensor, suite: str, condition: Condition, size: int, workers: int, bar: Any, digest: Any
) -> Iterator[Tensor]:
    """Float pixels as a model is shown them; ``digest`` is fed with those of each image, whatever the batches."""

    def prepare(start: int) -> tuple[Tensor, bytes]:
        batch = as_floats(pixels[start : start + size])
        if condition.corruption != CLEAN:
            indices = range(start, start + len(batch))
            batch = perturb(batch, condition.corruption, condition.level, condition.seed or 0, indices, suite)
        return batch, b''.join(hashlib.sha256(np.ascontiguousarray(image)).digest() for image in batch.numpy())

    for batch, seen in ahead(prepare, range(0, len(pixels), size), workers):
        digest.update(seen)
        yield batch
        bar.update(len(batch))


def _attempt(
    net: nn.Module, subject: Subject, batches: Iterator[Tensor], targets: Tensor, device: str, amp: bool
) -> tuple[Any, str | None]:
    try:
        return measure(net, subject.preprocessing, batches, targets, device, amp), None
    except Exception as error:  # whatever a model raises is its own, the others go on
        text = one_line(error)
        return None, text if isinstance(error, ValueError) and text else f'{type(error).__name__}: {text}'


def _plan(
    entries: list[_Entry],
    suite: str,
    conditions: Sequence[Condition],
    data: LabelledImages,
    digest: str,
    how: str,
    name: str,
    baseline: str | None,
) -> RunPlan:
    levels: dict[str, list[float]] = {}
    for corruption, level, _ in conditions:
        if corruption != CLEAN and level not in levels.setdefault(corruption, []):
            levels[corruption].append(level)
    return RunPlan(
        versions=current_versions(),
        suite=suite,
        levels=levels,
        seeds=sorted({condition.seed for condition in conditions if condition.seed is not None}),
        precision=how,
        data={
            'name': '/'.join(part for part in (name, data.split) if part),
            'split': data.split,
            'notes': list(data.notes),
            'images': len(data.labels),
            'total': data.total or len(data.labels),
            'subset': data.subset,
            'sha256': digest,
            'images_sha256': data.images_sha256(),
        },
        models=[
            {
                'name': entry.subject.name,
                'architecture': entry.subject.architecture,
                'arguments': {key: str(value) for key, value in entry.subject.arguments.items()},
                'checkpoint': entry.source.checkpoint.name if entry.source.checkpoint else None,
                'weights_sha256': entry.subject.weights,
                'parameters': entry.subject.parameters,
                'preprocessing': entry.subject.preprocessing,
                'classes': entry.subject.classes,
                **entry.classes(),
            }
            for entry in entries
        ],
        image_ids=data.image_ids(),
        labels=[data.classes[label] if data.classes else label for label in data.labels.tolist()],
        cells=[
            PlannedCell(entry.subject.name, suite, condition, entry.keys[condition])
            for entry in entries
            for condition in conditions
        ],
        baseline=baseline,
    )


def describe_subset(data: LabelledImages) -> str | None:
    """A warning where the first images of a set leave classes out, as they do in one sorted by class."""
    if not data.subset or data.classes is None:
        return None
    seen = set(data.labels.tolist())
    gone = [name for label, name in enumerate(data.classes) if label not in seen]
    return (
        f'the {data.subset} images leave out {len(gone)} of {len(data.classes)} classes: {few(gone)}' if gone else None
    )
