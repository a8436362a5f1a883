"""A run: every model under every condition of the plan, cell by cell into the store, then the files.

What can be wrong with names, images, classes or weights is found before the first cell; ``measuring`` has the loop.
"""

from __future__ import annotations

import json
import sys
import warnings
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import torch
from tqdm import tqdm

from .._errors import counted, shorten
from .._files import need
from ..memory import gib
from .analysis.baselines import check_baseline, full_baseline, stored_baseline
from .arguments import boolean, file_path, integer, listed, selection, text, usable_device
from .data import LabelledImages
from .evaluation import batch_statistics, batch_statistics_text, default_batch_size, ready
from .labelled import checked_images
from .machine import usable_cores
from .measuring import Entry, Progress, Settings, measure_cells
from .models import (
    ModelError,
    ModelInfo,
    Source,
    checked_class_map,
    class_indices,
    describe_model,
    few_labels_note,
    mapped_by,
    mapping_note,
)
from .official import OfficialPrepared, OfficialSet, official_conditions
from .origins import current_versions
from .pixels import Prepared, bytes_needed, cache_folder, check_cache, prepare
from .plan import (
    CLEAN,
    FROST_DIGEST,
    OFFICIAL_FILES,
    Condition,
    PlannedCell,
    RunPlan,
    cell_key,
    count_conditions,
    differences,
    plan_conditions,
)
from .precision import Precision
from .preprocessing import view
from .report.files import export
from .report.samples import sample_pictures
from .report.unmeasured import unmeasured
from .sharing import Board, Rank, forget_failures, ignored_rank
from .sources import check_called, check_trainings, distinct_sources
from .store import Row, Store, StoreError, locked_folder
from .suites import FROST, OFFICIAL, check_shape, find_perturbation
from .weather import check_frost, load_frost

REPLACED = {
    'weights_sha256': 'other weights',
    'preprocessing': 'other preprocessing',
    'class_mapping': 'other classes',
    'function_sha256': 'another network',
}
"""What a plan records of a model that makes other cells of it under the same name, and how a change of it is told."""
MOST_CELLS = 1_000_000  # the document of more outgrows the store


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        measured: Number of cells it measured, without those that failed.
        kept: Number of cells it found done.
        failed: ``'model, condition: reason'`` for each cell that failed.
        files: The files it wrote.
        subset: Such as ``'first 100 of 10000'``; empty if all images were measured.
        split: The split that was chosen of the data set, see ``LabelledImages``.
        plan: What a dry run says that there is to do.
        failures: The failed cells by model and reason, in at most ten lines.
    """

    measured: int
    kept: int
    failed: list[str]
    files: list[Path]
    subset: str
    split: str = ''
    plan: str = ''
    failures: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, measured: int, kept: int, failed: Sequence[Row], files: list[Path], subset: str, split: str = ''
    ) -> Outcome:
        """The outcome of a run with these failed cells."""
        each = [f'{row.cell}: {row.error}' for row in failed]
        return cls(measured, kept, each, files, subset, split, '', [group.text() for group in unmeasured(failed)])


@dataclass(frozen=True)
class _Model:
    """A model on the data set, with the output that stands for each class.

    Args:
        source: Where it comes from.
        model: What is known of it.
        how: What tells its numbers from those computed in another way.
        mapping: Its output for each class.
        mapped_by: What decided that, see ``models.mapped_by``.
    """

    source: Source
    model: ModelInfo
    how: str
    mapping: dict[str, int] = field(default_factory=dict)
    mapped_by: str = ''

    def document(self) -> dict[str, Any]:
        """What the plan of the run records of the model."""
        return {
            'name': self.model.name,
            'architecture': self.model.architecture,
            'arguments': {key: str(value) for key, value in self.model.arguments.items()},
            'checkpoint': self.source.checkpoint.name if self.source.checkpoint else None,
            'weights_sha256': self.model.weights,
            'function_sha256': self.model.function,
            'computed': self.how,
            'parameters': self.model.parameters,
            'preprocessing': self.model.preprocessing,
            'classes': self.model.classes,
            'class_mapping': self.mapping,
            'mapped_by': self.mapped_by,
            'label_names': self.model.label_names if self.mapped_by == 'order' else None,
        }


def run(
    models: Sequence[str | Source],
    data: LabelledImages | OfficialSet | Callable[[], LabelledImages],
    out: str | Path,
    *,
    suite: str = 'zerosnet',
    corruptions: Sequence[str] | None = None,
    levels: Sequence[float] | None = None,
    seeds: Sequence[int] = (0,),
    device: str | torch.device | None = None,
    amp: bool = False,
    amp_dtype: str | None = None,
    channels_last: bool | None = None,
    torchcompile: str | None = None,
    tf32: bool = False,
    batch_size: int | None = None,
    models_at_once: int | None = None,
    workers: int | None = 0,
    class_map: Mapping[str, int] | None = None,
    baseline: str | None = None,
    data_name: str = '',
    cache: str | Path | None = None,
    frost_pictures: str | Path | None = None,
    dry_run: bool = False,
    progress: bool = False,
) -> Outcome:
    """Measure models under a suite and write the results into a folder; a run that broke off goes on where it stopped.

    Several processes share one run if torchrun or srun starts them: each measures conditions that no other is at, and
    the first one writes the results.

    Args:
        models: Names for ``timm.create_model``, or sources.
        data: The test set, or what reads it: called when the folder is locked and the names are checked. With suite
            ``'official'``, the folder of the official perturbed images.
        out: Folder of the run. Cells of other runs in it are kept, and used where they are the same; models of an
            earlier run of the same data, suite, conditions and precision stay in the results.
        suite: A name of ``SUITES``, or ``'official'``.
        corruptions: Some of its rows; default: all.
        levels: Levels of each of them; default: the row's own.
        seeds: Noise seeds of the rows that are random.
        device: Where models run; default: a GPU if torch has one, each process its own.
        amp: Run models under autocast.
        amp_dtype: The type of autocast, ``'bfloat16'`` or ``'float16'``, which turns it on; default: torch's.
        channels_last: Hand pixels to models in channels-last order or not; default: to models with timm's config.
        torchcompile: Backend of ``torch.compile`` to run models by, such as ``'inductor'``; default: none.
        tf32: Let NVIDIA GPUs use TF32 in float32 convolutions and products; the process gets its settings back.
        batch_size: Number of images at a time; changes nothing but speed and memory. For the exception, models that
            normalise by the batch, see ``evaluate``; their cells are of one batch size. Default: 50 on a CPU, 250
            elsewhere.
        models_at_once: At most how many models of the same preprocessing are held in memory together, to be shown the
            same perturbed batches; default: as many as fill half of the free memory.
        workers: Number of threads, or of processes for images above 64 px, that prepare batches while the models run;
            None takes the cores that are left.
        class_map: The model's output for each class of the data set, where names do not tell.
        baseline: What mCE is relative to: one of the models, or one with a packaged error table.
        data_name: What the data set is called in the results.
        cache: Folder for the pixels of image folders that are too large for the memory; default: one in the user's
            cache folder.
        frost_pictures: Folder of pictures of frost for the row ``frost``; default: those of an installed
            imagecorruptions-imaug, without which ``frost_like`` takes its place.
        dry_run: Check everything, say in ``Outcome.plan`` what there is to do, and write nothing.
        progress: Show progress bars.

    Raises:
        TypeError: for an argument of another type.
        ValueError: for unknown names, levels out of range, an empty selection, images or classes that do not fit a
            model, a baseline that is neither in the run nor packaged for its images.
        WeightError: for weights that are missing, damaged or do not fit.
        MissingExtraError: without the packages of the extra ``robustness``.
        StoreError: if another run holds the folder, or the store cannot be written.
        DeviceError: if the device answers no more.
        OSError: if files cannot be written.
    """
    need('robustness')
    rank = Rank.current()
    progress = boolean('progress', progress) and rank.number == 0
    dry_run, suite, data_name = boolean('dry_run', dry_run), text('suite', suite), text('data_name', data_name)
    corruptions, levels, seeds = listed(corruptions), listed(levels), listed(seeds)
    if note := ignored_rank():
        _say(progress, f'timm-zerosnet: {note}')
    sources = distinct_sources(selection('models', models, 'at least one name or source'))
    if not isinstance(data, OfficialSet) and not callable(data):
        checked_images(data)
    official = data if isinstance(data, OfficialSet) else None
    if (official is None) != (suite != OFFICIAL):
        raise ValueError(
            f'expected an OfficialSet with suite {OFFICIAL!r}, and other data with other suites, got '
            f'{type(data).__name__} with suite {suite!r}'
        )
    if official is not None:
        conditions = official_conditions(official, corruptions, levels)
        count = len(sources) * len(conditions)
    else:
        count = len(sources) * count_conditions(suite, corruptions, levels, seeds, frost_pictures)
        if count > MOST_CELLS:
            raise ValueError(
                f'expected at most {MOST_CELLS:,} cells in a run, got {count:,}: name fewer seeds, levels or models'
            )
        conditions = plan_conditions(suite, corruptions, levels, seeds, frost_pictures=frost_pictures)
    if (note := check_frost(_needs_frost(suite, conditions), frost_pictures)) and rank.number == 0:
        if progress:
            _say(progress, f'timm-zerosnet: {note}')
        else:
            warnings.warn(note, stacklevel=2)
    class_map = None if class_map is None else checked_class_map(class_map)
    check_cache(cache)
    out = file_path('out', out)
    device = _device(device, rank)
    settings = Settings(
        suite=suite,
        device=device,
        precision=Precision.of(device, amp, amp_dtype, channels_last, torchcompile, tf32),
        batch_size=default_batch_size(device) if batch_size is None else integer('batch_size', batch_size, least=1),
        workers=_spare_cores(device, rank) if workers is None else integer('workers', workers),
        models_at_once=None if models_at_once is None else integer('models_at_once', models_at_once, least=1),
        frost_pictures=None if frost_pictures is None else Path(frost_pictures),
        progress=progress,
    )
    for source in sources:
        source.check()
        check_called(source)
        source.check_pictures()
    if baseline is not None:
        _check_baseline([source.result_name for source in sources], suite, conditions, baseline, out)
    with ExitStack() as stack:
        store = None
        if rank.number == 0 and not dry_run:
            once_unlocked = stack.enter_context(ExitStack())
            stack.enter_context(locked_folder(out))
            once_unlocked.callback(forget_failures, out)
            store = stack.enter_context(closing(Store(out, write=True)))
        _say(progress, f'{counted(count, "cell")} planned, each measured on all images')
        if isinstance(data, OfficialSet):
            images = data.load(conditions[0].corruption, int(conditions[0].level))
        else:
            images = checked_images(data() if callable(data) else data)
        with tqdm(sources, desc='checking models', unit='model', disable=not progress, leave=False) as bar:
            described = [_describe(source, images, class_map, conditions, settings) for source in bar]
        check_trainings([one.document() for one in described])
        if dry_run:
            preview = _preview(described, images, conditions, cache, official is not None)
            return Outcome(0, 0, [], [], images.subset, images.split, preview)
        configs = [one.model.preprocessing for one in described]
        prepared: Prepared | OfficialPrepared
        if official is not None:
            prepared = OfficialPrepared(official, conditions, configs)
        else:
            prepared = prepare(images, configs, cache, settings.workers, progress)
        for note in prepared.data.notes[len(images.notes) :]:
            _say(progress, f'timm-zerosnet: {note}')
        images = prepared.data
        described = [_mapped(one, images, class_map, settings) for one in described]
        entries = [_entry(one, images, prepared, conditions, settings) for one in described]
        board = Board(out, rank, store)
        keys = {cell.key for entry in entries for cell in entry.cells}
        finished = keys & board.done(refresh=True)
        if store is not None:
            plan = _plan(described, entries, images, prepared, settings, data_name, baseline)
            plan = _with_earlier_models(plan, store, lambda text: _say(progress, f'timm-zerosnet: {text}'))
            store.set_plan(replace(plan, baseline=full_baseline(plan)))
        if not keys - finished:
            _say(progress, 'all of them are measured already')
        elif len(keys - finished) < count:
            _say(
                progress,
                f'{len(keys - finished):,} of them are left to do: others are done, or the same for several models',
            )
        told = Progress(len(images.labels), len(keys - finished), progress)
        with closing(told.bar):
            measure_cells(entries, prepared.pixels, board, settings, told)
        files: list[Path] = []
        failed: list[Row] = []
        if store is not None:
            pictures, first = None, described[0].model
            if isinstance(prepared, Prepared):
                pixels, config = prepared.first_pixels(first.preprocessing), first.preprocessing
                pictures = sample_pictures(first.name, pixels, config, suite, conditions, frost_pictures)
            files, failed = export(out, store, pictures)
    measured = keys - finished - {row.cell.key for row in failed}
    return Outcome.of(len(measured), len(finished), failed, files, images.subset, images.split)


def _say(progress: bool, text: str) -> None:
    if progress:
        tqdm.write(text, file=sys.stderr)


def _preview(
    described: Sequence[_Model],
    images: LabelledImages,
    conditions: Sequence[Condition],
    cache: str | Path | None,
    official: bool,
) -> str:
    """What a run would do, in words."""
    groups: dict[str, list[ModelInfo]] = {}
    for one in described:
        groups.setdefault(view(one.model.preprocessing), []).append(one.model)
    perturbed = 0 if official else sum(condition.corruption != CLEAN for condition in conditions)
    needed = 0 if official else bytes_needed(images, [one.model.preprocessing for one in described], cache)
    lines = [
        f'{counted(len(described), "model")} x {counted(len(conditions), "condition")} = '
        f'{counted(len(described) * len(conditions), "cell")}, each on {counted(len(images.labels), "image")}',
        f'{counted(len(groups), "kind")} of preprocessing: '
        f'{counted(len(groups) * perturbed * len(images.labels), "image")} to perturb',
    ]
    if needed:
        lines.append(f'{gib(needed)} of pixels are to be written into {cache or cache_folder()}')
    for models in groups.values():
        _, height, width = models[0].preprocessing['input_size']
        size = f'{height}x{width}' if height else 'as they are'
        lines.append(f'  {size}: {shorten((model.name for model in models), 8)}')
    return '\n'.join(lines)


def _describe(
    source: Source,
    images: LabelledImages,
    class_map: Mapping[str, int] | None,
    conditions: Sequence[Condition],
    settings: Settings,
) -> _Model:
    """Open a model once, to know it and whether it fits the images."""
    net = source.open()
    model, how = describe_model(source, net), settings.precision.text(settings.device)
    with ready(net, 'cpu'):
        if mixed := batch_statistics(net):
            warnings.warn(f'{model.name}: {batch_statistics_text(mixed, settings.batch_size)}', stacklevel=4)
            how = f'{how}, batches of {settings.batch_size}'
    if settings.suite != OFFICIAL:
        _check_sizes(model, settings.suite, conditions)
    if len(images.labels):  # those of a stream are known when it was read
        class_indices(model, images, class_map)
    return _Model(source, model, how)


def _mapped(
    described: _Model, images: LabelledImages, class_map: Mapping[str, int] | None, settings: Settings
) -> _Model:
    """The model with its output for each class."""
    model = described.model
    found = replace(
        described,
        mapping=class_indices(model, images, class_map),
        mapped_by=mapped_by(model, images, class_map),
    )
    for note in (few_labels_note(model, images) if class_map is None else '', mapping_note(found.document())):
        if note:
            _say(settings.progress, f'timm-zerosnet: {note}')
    return found


def _entry(
    described: _Model,
    images: LabelledImages,
    prepared: Prepared | OfficialPrepared,
    conditions: Sequence[Condition],
    settings: Settings,
) -> Entry:
    model, mapping, suite = described.model, described.mapping, settings.suite
    cells = []
    for condition in conditions:
        data = prepared.sha256_at(condition) if isinstance(prepared, OfficialPrepared) else prepared.sha256
        key = cell_key(model, images, data, mapping, described.how, suite, condition, settings.frost_pictures)
        cells.append(PlannedCell(model.name, suite, condition, key))
    return Entry(described.source, model, torch.from_numpy(_targets(images, mapping)), cells)


def _plan(
    described: Sequence[_Model],
    entries: Sequence[Entry],
    images: LabelledImages,
    prepared: Prepared | OfficialPrepared,
    settings: Settings,
    data_name: str,
    baseline: str | None,
) -> RunPlan:
    conditions = [cell.condition for cell in entries[0].cells]
    levels: dict[str, list[float]] = {}
    for corruption, level, _ in conditions:
        if corruption != CLEAN and level not in levels.setdefault(corruption, []):
            levels[corruption].append(level)
    return RunPlan(
        versions=current_versions(),
        suite=settings.suite,
        levels=levels,
        seeds=sorted({condition.seed for condition in conditions if condition.seed is not None}),
        precision=settings.precision.text(settings.device),
        data={
            'name': '/'.join(part for part in (data_name, images.split) if part),
            'split': images.split,
            'notes': list(images.notes),
            'images': len(images.labels),
            'total': images.total or len(images.labels),
            'subset': images.subset,
            'sha256': prepared.sha256,
            'images_sha256': prepared.images_sha256,
            **({OFFICIAL_FILES: prepared.files(conditions)} if isinstance(prepared, OfficialPrepared) else {}),
            **_frost(conditions, settings),
        },
        models=[one.document() for one in described],
        image_ids=prepared.image_ids,
        labels=[images.classes[label] if images.classes else label for label in images.labels.tolist()],
        cells=[cell for entry in entries for cell in entry.cells],
        baseline=baseline,
    )


def _frost(conditions: Sequence[Condition], settings: Settings) -> dict[str, str]:
    """What tells the pictures of frost of this run from others, if it needs any."""
    needed = _needs_frost(settings.suite, conditions)
    return {FROST_DIGEST: load_frost(settings.frost_pictures)[1]} if needed else {}


def _needs_frost(suite: str, conditions: Sequence[Condition]) -> bool:
    return suite != OFFICIAL and any(condition.corruption == FROST for condition in conditions)


def _check_baseline(names: list[str], suite: str, conditions: Sequence[Condition], baseline: str, out: Path) -> None:
    """Refuse a baseline that is neither of this run, nor packaged, nor in the folder under the same conditions.

    Whether that was of the same images is known only when they are loaded.
    """
    try:
        check_baseline(names, suite, baseline)
    except ValueError:
        earlier: list[str] = []
        with suppress(StoreError), closing(Store(out)) as store:
            plan = store.plan()
            if plan.suite == suite and set(plan.conditions) == set(conditions):
                earlier = [name for name in plan.names if name not in names]
        if not earlier:
            raise
        check_baseline([*names, *earlier], suite, baseline)


def _with_earlier_models(plan: RunPlan, store: Store, say: Callable[[str], None]) -> RunPlan:
    """The plan with the models of the one before it, where that was of the same images and conditions."""
    try:
        earlier = store.plan()
    except StoreError:  # there was none
        return plan
    others = [model for model in earlier.models if model['name'] not in plan.names]
    names, known = {model['name'] for model in others}, {cell.key for cell in plan.cells}
    left = list(dict.fromkeys(cell.model for cell in earlier.cells if cell.key not in known))
    if found := differences(plan, earlier) or ['conditions'] * (plan.conditions != earlier.conditions):
        if left:
            say(f'not in these results: {shorten(left)} of an earlier run with other {"; ".join(found)}')
        return plan
    if replaced := [name for name in left if name not in names]:
        before, now = (json.loads(json.dumps(one.models)) for one in (earlier, plan))
        pairs = [(one, other) for one in before for other in now if one['name'] == other['name'] in replaced]
        changed = [
            told for key, told in REPLACED.items() if any(one.get(key) != other.get(key) for one, other in pairs)
        ]
        keeps = '--name' if len(plan.models) == 1 else '--out'
        what = f'of an earlier run with {" and ".join(changed) or "other settings"}; another {keeps} keeps both'
        say(f'not in these results: {shorten(replaced)} {what}')
    models = [*others, *plan.models]
    check_trainings(models, f'; in the folder, of an earlier run: {shorten(names)}. Another --out keeps them apart')
    return replace(
        plan,
        models=models,
        cells=[*(cell for cell in earlier.cells if cell.model in names), *plan.cells],
        baseline=plan.baseline or stored_baseline(earlier),
    )


def _device(name: str | torch.device | None, rank: Rank) -> str:
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if str(name) == 'cuda' and rank.count > 1 and torch.cuda.is_available():
        name = f'cuda:{rank.local % torch.cuda.device_count()}'
    return usable_device(name)


def _spare_cores(device: str, rank: Rank) -> int:
    """The cores of this process that the model leaves, at least one."""
    own = usable_cores() // rank.on_machine
    return max(1, own - (torch.get_num_threads() if torch.device(device).type == 'cpu' else 1))


def _check_sizes(model: ModelInfo, suite: str, conditions: Sequence[Condition]) -> None:
    shape = model.preprocessing['input_size']
    if None not in shape:
        for name in dict.fromkeys(condition.corruption for condition in conditions):
            if name != CLEAN:
                try:
                    check_shape((1, *shape), find_perturbation(suite, name), suite)
                except ValueError as error:
                    raise ModelError(f'model {model.name}: {error}') from error


def _targets(data: LabelledImages, mapping: Mapping[str, int]) -> np.ndarray:
    names = [data.classes[label] if data.classes else str(label) for label in data.labels.tolist()]
    return np.array([mapping[name] for name in names], dtype=np.int64)
