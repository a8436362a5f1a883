"""A run: every model under every condition of the plan, cell by cell into the store, then the files.

Images are read once, resized once for each kind of preprocessing, and models are held one at a time. What can be wrong
with names, images, classes or weights is found before the first cell; what a model does wrong fails its cell alone.
"""

from __future__ import annotations

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

from .._errors import one_line, shorten
from .._files import need
from .analysis.baselines import check_baseline
from .analysis.grids import architecture_of, training_of
from .arguments import integer, selection
from .data import LabelledImages, map_ahead
from .evaluation import Evaluation, batch_statistics, batch_statistics_text, default_batch_size, measure, ready
from .models import ModelError, ModelInfo, Source, class_indices, describe_model, mapped_by, mapping_note
from .origins import Origin, current_versions, device_name
from .plan import CLEAN, Condition, PlannedCell, RunPlan, cell_key, plan_conditions, precision
from .preprocessing import as_floats, resize, view
from .report.files import export
from .report.samples import sample_pictures
from .store import Store, Stored, locked_folder
from .suites import check_shape, find_perturbation, perturb

MOST_CELLS = 1_000_000  # the document of more outgrows the store


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        measured: Number of cells it measured.
        kept: Number of cells it found done.
        failed: ``'model, condition: reason'`` for each cell that failed.
        files: The files it wrote.
        subset: Such as ``'first 100 of 10000'``; empty if all images were measured.
        split: The split that was chosen of the data set, see ``LabelledImages``.
    """

    measured: int
    kept: int
    failed: list[str]
    files: list[Path]
    subset: str
    split: str = ''


@dataclass(frozen=True)
class _Settings:
    """What a run is asked for, checked."""

    suite: str
    conditions: list[Condition]
    device: str
    amp: bool
    batch_size: int
    workers: int
    progress: bool

    @property
    def precision(self) -> str:
        return precision(self.device, self.amp)

    def say(self, text: str) -> None:
        if self.progress:
            tqdm.write(text, file=sys.stderr)


@dataclass(frozen=True)
class _Entry:
    """A model on the data set, with the output that stands for each class and the cells to measure."""

    source: Source
    model: ModelInfo
    mapping: dict[str, int]
    mapped_by: str
    cells: list[PlannedCell]

    @property
    def view(self) -> str:
        """The same for models that take the same pixels."""
        return view(self.model.preprocessing)

    def document(self) -> dict[str, Any]:
        """What the plan of the run records of the model."""
        return {
            'name': self.model.name,
            'architecture': self.model.architecture,
            'arguments': {key: str(value) for key, value in self.model.arguments.items()},
            'checkpoint': self.source.checkpoint.name if self.source.checkpoint else None,
            'weights_sha256': self.model.weights,
            'parameters': self.model.parameters,
            'preprocessing': self.model.preprocessing,
            'classes': self.model.classes,
            'class_mapping': self.mapping,
            'mapped_by': self.mapped_by,
            'label_names': self.model.label_names if self.mapped_by == 'order' else None,
        }


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
        levels: Levels of each of them; default: the row's own.
        seeds: Noise seeds of the rows that are random.
        device: Where models run; default: a GPU if torch has one.
        amp: Run models under autocast.
        batch_size: Number of images at a time; changes nothing but speed and memory. For the exception, models that
            normalise by the batch, see ``evaluate``; their cells are of one batch size. Default: 50 on a CPU, 250
            elsewhere.
        workers: Number of threads that prepare batches while the model runs.
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
    if count > MOST_CELLS:
        raise ValueError(
            f'expected at most {MOST_CELLS:,} cells in a run, got {count:,}: name fewer seeds, levels or models'
        )
    conditions = plan_conditions(suite, corruptions, levels, seeds)
    device = _device(device)
    batch_size = default_batch_size(device) if batch_size is None else integer('batch_size', batch_size, least=1)
    settings = _Settings(suite, conditions, device, amp, batch_size, integer('workers', workers), progress)
    for source in sources:
        source.check()
        source.check_pictures()
    if baseline is not None:
        check_baseline([source.name for source in sources], suite, baseline)
    out = Path(out)
    with locked_folder(out), closing(Store(out, write=True)) as store:
        settings.say(f'{count:,} cells are to be measured, each on all images')
        images = data() if callable(data) else data
        images_and_labels = images.sha256()
        with tqdm(sources, desc='checking models', unit='model', disable=not progress, leave=False) as bar:
            entries = [_entry(source, images, images_and_labels, class_map, settings) for source in bar]
        plan = _plan(entries, images, images_and_labels, settings, data_name, baseline)
        if baseline is not None:
            check_baseline(
                plan.names, suite, baseline, plan.data['images_sha256'], image_count=plan.data['images']
            )
        store.set_plan(plan)
        keys, finished = {cell.key for cell in plan.cells}, store.finished()
        if not keys - finished:
            settings.say('all of them are measured already')
        elif len(keys - finished) < count:
            settings.say(
                f'{len(keys - finished):,} of them are left to do: others are done, or the same for several models'
            )
        _measure_cells(entries, images, keys - finished, store, settings)
        pictures = sample_pictures(images.images, entries[0].model.preprocessing, suite, conditions)
        files, failed = export(out, store, pictures)
    return Outcome(len(keys - finished), len(keys & finished), failed, files, images.subset, images.split)


def _entry(
    source: Source,
    images: LabelledImages,
    images_and_labels: str,
    class_map: Mapping[str, int] | None,
    settings: _Settings,
) -> _Entry:
    """Open a model once, to know it and the keys of its cells."""
    net = source.open()
    model, how = describe_model(source, net), settings.precision
    with ready(net, 'cpu'):
        if mixed := batch_statistics(net):
            warnings.warn(f'{model.name}: {batch_statistics_text(mixed, settings.batch_size)}', stacklevel=4)
            how = f'{how}, batches of {settings.batch_size}'
    _check_sizes(model, settings.suite, settings.conditions)
    mapping = class_indices(model, images, class_map)
    if class_map is None and (note := _few_labels(model, images)):
        settings.say(f'timm-zerosnet: {note}')
    cells = []
    for condition in settings.conditions:
        key = cell_key(model, images, images_and_labels, mapping, how, settings.suite, condition)
        cells.append(PlannedCell(model.name, settings.suite, condition, key))
    entry = _Entry(source, model, mapping, mapped_by(model, images, class_map), cells)
    if note := mapping_note(entry.document()):
        settings.say(f'timm-zerosnet: {note}')
    return entry


def _plan(
    entries: Sequence[_Entry],
    images: LabelledImages,
    images_and_labels: str,
    settings: _Settings,
    data_name: str,
    baseline: str | None,
) -> RunPlan:
    levels: dict[str, list[float]] = {}
    for corruption, level, _ in settings.conditions:
        if corruption != CLEAN and level not in levels.setdefault(corruption, []):
            levels[corruption].append(level)
    return RunPlan(
        versions=current_versions(),
        suite=settings.suite,
        levels=levels,
        seeds=sorted({condition.seed for condition in settings.conditions if condition.seed is not None}),
        precision=settings.precision,
        data={
            'name': '/'.join(part for part in (data_name, images.split) if part),
            'split': images.split,
            'notes': list(images.notes),
            'images': len(images.labels),
            'total': images.total or len(images.labels),
            'subset': images.subset,
            'sha256': images_and_labels,
            'images_sha256': images.images_sha256(),
        },
        models=[entry.document() for entry in entries],
        image_ids=images.image_ids(),
        labels=[images.classes[label] if images.classes else label for label in images.labels.tolist()],
        cells=[cell for entry in entries for cell in entry.cells],
        baseline=baseline,
    )


def _measure_cells(
    entries: Sequence[_Entry], images: LabelledImages, keys: set[str], store: Store, settings: _Settings
) -> None:
    """Measure the cells of these keys, models that take the same pixels one after the other."""
    left = len(keys)
    views = [entry.view for entry in entries]
    pixels_of, pixels = '', torch.empty(0)
    versions, machine = current_versions(), device_name(settings.device)
    first = True
    with tqdm(
        total=left * len(images.labels),
        unit='img',
        unit_scale=True,
        disable=not settings.progress or not left,
        mininterval=0.2 if sys.stderr.isatty() else 30,
    ) as bar:
        for entry in sorted(entries, key=lambda entry: views.index(entry.view)):
            cells = [cell for cell in entry.cells if cell.key in keys]
            keys = keys - {cell.key for cell in cells}  # the same network under a second name is measured once
            if not cells:
                continue
            if entry.view != pixels_of:
                pixels = torch.empty(0)  # two sizes at once need not fit
                pixels, pixels_of = resize(images.images, entry.model.preprocessing, settings.progress), entry.view
            targets = torch.from_numpy(_targets(images, entry.mapping))
            net = entry.source.open()
            if describe_model(entry.source, net).weights != entry.model.weights:
                raise ModelError(f'the weights of {entry.model.name} changed while the run was at work')
            with ready(net, settings.device):
                for cell in cells:
                    bar.set_description(str(cell), refresh=False)
                    digest = hashlib.sha256()
                    began, before = time.perf_counter(), bar.n
                    batches = _batches(pixels, cell, settings, bar, digest)
                    result, error = _attempt(net, entry.model, batches, targets, settings)
                    bar.update(before + len(targets) - bar.n)
                    seconds = time.perf_counter() - began
                    origin = Origin(versions, machine, None if error else digest.hexdigest())
                    store.put(cell, Stored(result, error, seconds, settings.device, origin))
                    if first and left > 1:
                        rest = duration(seconds * (left - 1))
                        settings.say(
                            f'the first cell took {duration(seconds)}: about {rest} left for {left - 1:,} more'
                        )
                    first = False
            del net  # before the next one is made: models are held one at a time


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
            raise ValueError(f'expected a name for each model, got {source.name!r} for two different ones')
    own = [name for name, source in sources.items() if source.module is not None or source.checkpoint is not None]
    for name in own:
        kind, seed = training_of(name)
        for other in sources:
            same = other != name and training_of(other) == (kind, seed)
            if same or not seed and other not in own and architecture_of(other) == kind:
                raise ValueError(
                    f"expected a name of its own for weights of yours, as in Source('mine', module), got {name!r} "
                    f'beside {other!r}: they would count as a training of the same network'
                )
    return list(sources.values())


def _device(name: str | None) -> str:
    name = name or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f'device {name!r} cannot be used: {one_line(error)}; cpu always can') from error
    return name


def _check_sizes(model: ModelInfo, suite: str, conditions: Sequence[Condition]) -> None:
    shape = model.preprocessing['input_size']
    if None not in shape:
        for name in dict.fromkeys(condition.corruption for condition in conditions):
            if name != CLEAN:
                try:
                    check_shape((1, *shape), find_perturbation(suite, name), suite)
                except ValueError as error:
                    raise ModelError(f'model {model.name}: {error}') from error


def _few_labels(model: ModelInfo, data: LabelledImages) -> str | None:
    """That labels without names fill less than half of the outputs, as those of another data set do."""
    most = int(data.labels.max())
    known = data.classes is not None or data.subset or model.classes is None
    if known or 2 * (most + 1) >= (model.classes or 0):
        return None
    return (
        f'the labels end at {most}, {model.name} has {model.classes} outputs, and the data have no class names to '
        'compare: if they are other classes, --class-map FILE says which output stands for each'
    )


def _targets(data: LabelledImages, mapping: Mapping[str, int]) -> np.ndarray:
    names = [data.classes[label] if data.classes else str(label) for label in data.labels.tolist()]
    return np.array([mapping[name] for name in names], dtype=np.int64)


def _batches(pixels: Tensor, cell: PlannedCell, settings: _Settings, bar: Any, digest: Any) -> Iterator[Tensor]:
    """Float pixels as a model is shown them; ``digest`` is fed with those of each image, whatever the batches."""
    (corruption, level, seed), size = cell.condition, settings.batch_size

    def prepare(start: int) -> tuple[Tensor, bytes]:
        batch = as_floats(pixels[start : start + size])
        if corruption != CLEAN:
            batch = perturb(batch, corruption, level, seed or 0, range(start, start + len(batch)), cell.suite)
        return batch, b''.join(hashlib.sha256(image.tobytes()).digest() for image in batch.numpy())

    for batch, pixels_seen in map_ahead(prepare, range(0, len(pixels), size), settings.workers):
        digest.update(pixels_seen)
        yield batch
        bar.update(len(batch))


def _attempt(
    net: nn.Module, model: ModelInfo, batches: Iterator[Tensor], targets: Tensor, settings: _Settings
) -> tuple[Evaluation | None, str | None]:
    try:
        return measure(net, model.preprocessing, batches, targets, settings.device, settings.amp), None
    except Exception as error:  # whatever a model raises is its own, the others go on
        text = one_line(error)
        return None, text if isinstance(error, ValueError) and text else f'{type(error).__name__}: {text}'


def describe_subset(data: LabelledImages) -> str | None:
    """A warning where the first images of a set leave classes out, as they do in one sorted by class."""
    if not data.subset or data.classes is None:
        return None
    present = set(data.labels.tolist())
    absent = [name for label, name in enumerate(data.classes) if label not in present]
    if not absent:
        return None
    return f'the {data.subset} images leave out {len(absent)} of {len(data.classes)} classes: {shorten(absent)}'
