"""The loop of a run: groups of models that take the same pixels, conditions, batches, models.

A batch is perturbed once and shown to every model of its group that lacks the cell. Groups are held in memory together
as far as they fit. A model that fails leaves its condition and the others go on; memory that runs out halves the models
that are held together, and a device that answers no more ends the process, with no word against any model.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .._errors import one_line
from ..memory import free_memory
from .data import map_ahead
from .evaluation import Measurement, ready
from .machine import in_processes
from .models import ModelError, ModelInfo, Source, describe_model
from .official import OfficialPixels
from .origins import Origin, current_versions, device_name
from .plan import CLEAN, Condition, PlannedCell, sha256_of
from .precision import DEFAULT, Precision
from .preprocessing import as_floats, view
from .sharing import Board
from .store import Stored
from .suites import OFFICIAL, perturb

SMALL = 64 * 64  # pixels of an image up to which threads are faster than processes, whose batches travel
PAUSE = 0.5  # seconds between two looks at what other ranks have finished


class DeviceError(RuntimeError):
    """A device answers no more; what was measured before is kept."""


@dataclass(frozen=True)
class Entry:
    """A model on the data set, with the cells to measure.

    Args:
        source: Where the model comes from.
        model: What is known of it.
        targets: (N,) int64, the model's output for the label of each image.
        cells: Its cells, one for each condition.
    """

    source: Source
    model: ModelInfo
    targets: Tensor
    cells: list[PlannedCell]

    @property
    def view(self) -> str:
        """The same for models that take the same pixels."""
        return view(self.model.preprocessing)


@dataclass(frozen=True)
class Settings:
    """How a run is carried out.

    Args:
        suite: Name of the suite.
        device: Where models run.
        precision: What they compute in.
        batch_size: Number of images at a time.
        workers: Number of threads or processes that prepare batches ahead.
        models_at_once: At most how many models are held in memory together; None: as many as fit.
        frost_pictures: Folder of pictures of frost, see ``suites.perturb``.
        progress: Say how far the run is.
    """

    suite: str
    device: str
    precision: Precision = DEFAULT
    batch_size: int = 50
    workers: int = 0
    models_at_once: int | None = None
    frost_pictures: Path | None = None
    progress: bool = False


class Progress:
    """What is said while a run goes on.

    Args:
        images: Number of images of a cell.
        left: Number of cells that are to be measured.
        shown: Whether anything is said.
    """

    def __init__(self, images: int, left: int, shown: bool) -> None:
        self._images, self._left, self._first = images, left, True
        self.bar = tqdm(
            total=left * images,
            unit='img',
            unit_scale=True,
            disable=not shown or not left,
            mininterval=0.2 if sys.stderr.isatty() else 30,
        )
        self._began = time.perf_counter()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if not self.bar.disable:
            tqdm.write(f'timm-zerosnet: {text}', file=sys.stderr)

    def at(self, claim: _Claim) -> None:
        """Show which condition it is."""
        count = len(claim.cells)
        self.bar.set_description(
            f'{claim.condition}, {count} models' if count > 1 else str(claim.cells[0][1]), refresh=False
        )

    def shown(self, count: int) -> None:
        """Count images that a model was shown."""
        self.bar.update(min(count, self.bar.total - self.bar.n))  # two ranks may have measured a cell

    def finished(self, count: int) -> None:
        """Count cells; once, after the first ones, say how long the rest takes."""
        self.elsewhere(count)
        if self._first and self._left > 0 and not self.bar.disable:
            seconds = time.perf_counter() - self._began
            what = 'the first cell took' if count == 1 else f'the first {count} cells took'
            rest = duration(seconds / count * self._left)
            tqdm.write(f'{what} {duration(seconds)}: about {rest} left for {self._left:,} more', file=sys.stderr)
        self._first = False

    def elsewhere(self, count: int) -> None:
        """Count cells that were measured by other ranks."""
        self._left = max(0, self._left - count)
        self.bar.update(self.bar.total - self._left * self._images - self.bar.n if count else 0)


def duration(seconds: float) -> str:
    """Such as ``0.4 s``, ``3 min`` and ``2 h 5 min``."""
    if seconds < 60:
        return f'{seconds:.1f} s' if seconds < 10 else f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 60 else f'{minutes // 60:,} h {minutes % 60} min'


class _Claim(NamedTuple):
    """A condition that this process is to measure some models at."""

    name: str
    condition: Condition
    cells: list[tuple[Entry, PlannedCell]]


class _OutOfMemory(RuntimeError):
    """Models that are held together leave no memory for one of them."""


def measure_cells(
    entries: Sequence[Entry], pixels_of: Callable[[str], Any], board: Board, settings: Settings, progress: Progress
) -> None:
    """Measure what is not done yet, until all is done, by this process or another.

    Args:
        entries: The models.
        pixels_of: Gives the pixels of a ``view``: what slices to (n, C, H, W), uint8 or floats in [0, 1].
        board: What is done and who is at what.
        settings: How the run is carried out.
        progress: What is said of it.

    Raises:
        ModelError: if the weights of a model are no longer those that were described.
        DeviceError: if the device answers no more.
        StoreError: if cells cannot be written.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.view, []).append(entry)
    keys = {cell.key for entry in entries for cell in entry.cells}
    with settings.precision.applied():
        while keys - board.done(refresh=True):
            worked = [_measure_group(group, pixels_of, board, settings, progress) for group in groups.values()]
            progress.elsewhere(board.fold())
            if not any(worked):  # other ranks are at the rest
                time.sleep(PAUSE)
    progress.elsewhere(board.fold())  # what came last


def _measure_group(
    group: list[Entry], pixels_of: Callable[[str], Any], board: Board, settings: Settings, progress: Progress
) -> bool:
    """Measure models that take the same pixels, as many at a time as fit; returns whether there was anything to do."""
    parts, pixels, worked = _parts(group, settings), None, False
    while parts:
        part = parts.pop(0)
        claims = _claims(part, board)
        first = next(claims, None)
        if first is None:
            continue
        worked = True
        pixels = pixels_of(group[0].view) if pixels is None else pixels
        try:
            _measure_part(part, pixels, itertools.chain([first], claims), board, settings, progress)
        except _OutOfMemory as error:
            half = (len(part) + 1) // 2
            parts[:0] = [part[:half], part[half:]]
            progress.say(f'{error}: from here on {half} models at a time')
        finally:
            board.release_all()
            gc.collect()  # models end in cycles; the next ones need their room
            if torch.device(settings.device).type == 'cuda':
                torch.cuda.empty_cache()
    return worked


def _parts(group: list[Entry], settings: Settings) -> list[list[Entry]]:
    """The models of a group, parted into those that are held together: their weights fill half of the free memory."""
    device = torch.device(settings.device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == 'cuda' else free_memory()
    parts: list[list[Entry]] = []
    room = 0.0
    for entry in group:
        size = 4 * entry.model.parameters
        full = len(parts[-1]) == settings.models_at_once if parts else True
        if full or (settings.models_at_once is None and size > room):
            parts.append([])
            room = float('inf') if free is None else free / 2
        parts[-1].append(entry)
        room -= size
    return parts


def _claims(part: list[Entry], board: Board) -> Iterator[_Claim]:
    """What is left to do for these models and that no other process is at, condition by condition."""
    planned: dict[Condition, list[tuple[Entry, PlannedCell]]] = {}
    for entry in part:
        for cell in entry.cells:
            planned.setdefault(cell.condition, []).append((entry, cell))
    for condition, cells in planned.items():
        done = board.done()
        left: dict[str, tuple[Entry, PlannedCell]] = {}  # the same network under two names is measured once
        for entry, cell in cells:
            if cell.key not in done:
                left.setdefault(cell.key, (entry, cell))
        name = sha256_of([part[0].view, condition, [entry.model.name for entry in part]])
        if left and board.claim(name):
            # what the first process has taken up from others is no file any more
            if not left.keys() & board.done(refresh=board.rank.number > 0):
                yield _Claim(name, condition, list(left.values()))
            else:  # another process finished it between the two looks
                board.release(name)


class _Answers:
    """What the models of a claim answer, batch by batch."""

    def __init__(self, claim: _Claim, nets: dict[str, nn.Module], settings: Settings) -> None:
        self.claim, self._settings, self._digest = claim, settings, hashlib.sha256()
        self._alone = len(nets) == 1
        self._measurements = {
            cell.key: Measurement(
                nets[entry.model.name], entry.model.preprocessing, entry.targets, settings.device, settings.precision
            )
            for entry, cell in claim.cells
        }
        self._errors: dict[str, str] = {}
        self._seconds = dict.fromkeys(self._measurements, 0.0)

    @property
    def open(self) -> int:
        """Number of the models that have not failed."""
        return len(self._measurements) - len(self._errors)

    def fail(self, reason: str) -> None:
        """Let all models fail that have not yet."""
        for key in self._measurements:
            self._errors.setdefault(key, reason)

    def add(self, batch: Tensor, digests: bytes, waited: float) -> None:
        """Show a batch to the models; it took ``waited`` seconds to come."""
        self._digest.update(digests)
        share = waited / self.open
        for key, measurement in self._measurements.items():
            if key in self._errors:
                continue
            began = time.perf_counter()
            try:
                measurement.add(batch)
            except Exception as error:  # whatever a model raises is its own, the others go on
                if is_broken(self._settings.device):
                    raise DeviceError(
                        f'{self._settings.device} answers no more ({one_line(error)}): finished cells are kept, and '
                        'the same command goes on where it stopped'
                    ) from error
                if not self._alone and _is_out_of_memory(error):
                    raise _OutOfMemory(_reason(error)) from error
                self._errors[key] = _reason(error)
            self._seconds[key] += time.perf_counter() - began + share

    def keep(self, board: Board, versions: dict[str, str], machine: str) -> None:
        """Put all cells."""
        for _, cell in self.claim.cells:
            error = self._errors.get(cell.key)
            result = None if error else self._measurements[cell.key].result()
            origin = Origin(versions, machine, None if error else self._digest.hexdigest())
            board.put(cell, Stored(result, error, self._seconds[cell.key], self._settings.device, origin))
        board.release(self.claim.name)


def _measure_part(
    part: list[Entry],
    pixels: Any,
    claims: Iterable[_Claim],
    board: Board,
    settings: Settings,
    progress: Progress,
) -> None:
    """Measure models that are held together at what is claimed."""
    versions, machine = current_versions(), device_name(settings.device)
    waiting: dict[Condition, _Claim] = {}

    def tasks() -> Iterator[tuple[Condition, int]]:
        for claim in claims:
            waiting[claim.condition] = claim
            for start in range(0, len(pixels), settings.batch_size):
                if claim.condition in waiting:  # otherwise all its models have failed
                    yield claim.condition, start

    with ExitStack() as stack:
        done, nets = board.done(), {}
        for entry in part:
            if any(cell.key not in done for cell in entry.cells):
                nets[entry.model.name] = _opened(entry, part, settings, stack)
                board.touch()
        answers: _Answers | None = None
        began = time.perf_counter()
        for (condition, start), batch, told in _ahead(_Perturbed(pixels, settings), tasks(), settings):
            if condition not in waiting:
                continue
            if answers is None or answers.claim.condition != condition:
                answers = _Answers(waiting[condition], nets, settings)
                progress.at(answers.claim)
            before = answers.open
            if batch is None:
                answers.fail(told)
            else:
                answers.add(torch.from_numpy(batch), told, time.perf_counter() - began)
                progress.shown(before * len(batch))
            board.touch()
            if start + settings.batch_size >= len(pixels) or not answers.open:
                del waiting[condition]
                answers.keep(board, versions, machine)
                progress.finished(len(answers.claim.cells))
                progress.elsewhere(board.fold())
            began = time.perf_counter()


def _opened(entry: Entry, part: list[Entry], settings: Settings, stack: ExitStack) -> nn.Module:
    """The network on its device, until the stack closes."""
    net = entry.source.open()
    if describe_model(entry.source, net).weights != entry.model.weights:
        raise ModelError(f'the weights of {entry.model.name} changed while the run was at work')
    try:
        stack.enter_context(ready(net, settings.device))
    except Exception as error:
        if len(part) > 1 and _is_out_of_memory(error):
            raise _OutOfMemory(_reason(error)) from error
        raise
    return settings.precision.compiled(net)


class _Perturbed:
    """Batches as models are shown them, by condition and first image.

    Args:
        pixels: Of all images.
        settings: Those of the run.
    """

    def __init__(self, pixels: Any, settings: Settings) -> None:
        self._pixels, self._settings = pixels, settings

    @property
    def is_small(self) -> bool:
        """Whether threads are faster than processes, to which and from which batches would travel."""
        if isinstance(self._pixels, OfficialPixels):
            return self._pixels.side**2 <= SMALL
        height, width = self._pixels[:1].shape[2:]
        return height * width <= SMALL

    def __getitem__(self, task: tuple[Condition, int]) -> tuple[tuple[Condition, int], Any, Any]:
        """The task, its pixels in [0, 1] as an array of floats, and the digests of its images.

        Where the pixels cannot be had, they are None, and a reason takes the place of the digests.
        """
        (corruption, level, seed), start = task
        suite, pictures = self._settings.suite, self._settings.frost_pictures
        try:
            if isinstance(self._pixels, OfficialPixels):
                batch = as_floats(self._pixels.batch(task[0], start, start + self._settings.batch_size))
            else:
                batch = as_floats(self._pixels[start : start + self._settings.batch_size])
            if corruption != CLEAN and suite != OFFICIAL:
                indices = range(start, start + len(batch))
                batch = perturb(batch, corruption, level, seed or 0, indices, suite, pictures)
        except Exception as error:
            return task, None, _reason(error)
        images = batch.numpy()
        return task, images, b''.join(hashlib.sha256(image.tobytes()).digest() for image in images)


def _ahead(dataset: _Perturbed, tasks: Iterator[tuple[Condition, int]], settings: Settings) -> Iterator[Any]:
    """What the dataset gives for each task, in their order, made ahead by workers."""
    if not settings.workers or dataset.is_small:
        yield from map_ahead(dataset.__getitem__, tasks, settings.workers)
    else:
        yield from in_processes(dataset, tasks, settings.workers)


def _reason(error: Exception) -> str:
    text = one_line(error)
    return text if isinstance(error, ValueError) and text else f'{type(error).__name__}: {text}'.removesuffix(': ')


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of a GPU or of the machine, for which torch has a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def is_broken(device: str | torch.device) -> bool:
    """Whether a GPU answers no more, as after a failed assertion in one of its kernels."""
    if torch.device(device).type == 'cpu':
        return False
    try:
        torch.zeros(1, device=device).item()
    except RuntimeError as error:
        return not _is_out_of_memory(error)
    return False
