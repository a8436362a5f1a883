"""Accuracy of a model on images, clean or perturbed, with its own preprocessing."""

from __future__ import annotations

import itertools
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Sequence, Sized

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .._errors import shorten, type_of
from .arguments import ArgumentTypeError, integer, sequence, usable_device
from .corruptions import MAX_UINT64
from .models import Source
from .precision import DEFAULT, Precision
from .preprocessing import Images, data_config, float_batches, unwrapped
from .suites import find_perturbation, perturb, rows_of

ANSWERS = {
    'correct': torch.bool,
    'predicted': torch.int64,
    'confidence': torch.float32,
    'loss': torch.float32,
    'correct_top5': torch.bool,
}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Evaluation:
    """What a model answers on N images, in their order.

    Args:
        correct: (N,) bool, whether the label is the top-1 prediction.
        predicted: (N,) int64 class.
        confidence: (N,) float32 probability of the prediction, (0, 1].
        loss: (N,) float32 cross entropy of the label in nats, >= 0.
        correct_top5: (N,) bool, whether the label is among the five most probable (all, with five classes or fewer).
    """

    correct: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    loss: np.ndarray
    correct_top5: np.ndarray

    @property
    def top1(self) -> float:
        """Accuracy in percent."""
        return 100 * float(self.correct.mean())

    @property
    def top5(self) -> float:
        """Top-5 accuracy in percent."""
        return 100 * float(self.correct_top5.mean())


def default_batch_size(device: str | torch.device) -> int:
    """50 on a CPU: more does not fit its caches and takes up to twice as long; 250 elsewhere."""
    return 50 if torch.device(device).type == 'cpu' else 250


def evaluate(
    model: str | nn.Module,
    images: Images,
    labels: Sequence[int] | np.ndarray | Tensor,
    *,
    perturbation: str | None = None,
    level: float | None = None,
    seed: int = 0,
    suite: str = 'zerosnet',
    batch_size: int | None = None,
    device: str | torch.device = 'cpu',
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure a model on images, clean or under one perturbation.

    The images are resized and cropped as timm's validate.py does it (to a config's test size if it has one), perturbed
    as pixels in [0, 1], then normalised. No global random state is read or changed.

    Args:
        model: A name for ``timm.create_model(..., pretrained=True)`` or a module, which is measured as ``eval()``
            leaves it and handed back in the mode and on the device it had. A module without timm's config takes the
            images at the size they have.
        images: N images: PIL images, a uint8 array, or floats in [0, 1] (up to rounding: 1e-6). Arrays and
            tensors are (N, H, W, C) or (N, C, H, W), C = 1 or 3; floats must have the model's input size.
        labels: N class indices.
        perturbation: A name of ``SUITES[suite]``, None for clean.
        level: Its strength, or its severity (1 to 5) in suites that have severities; 0 is clean. Needed with a
            perturbation.
        seed: Seed of the noise.
        suite: A name of ``SUITES``.
        batch_size: Number of images at a time. Changes nothing but speed and memory, unless the model normalises by the
            batch also in eval mode, as batch norms with ``track_running_stats=False`` and test-time adaptation do: then
            an image's answer depends on those beside it, and a warning says so. Default: see ``default_batch_size``.
        device: Where the model runs; noise is drawn on the CPU.
        mean, std: Normalisation, one value for each channel the model takes; needed for a module without timm's config.
        progress: Show a progress bar.

    Warns:
        UserWarning: where batch norms use the statistics of the batch; names the first.

    Raises:
        TypeError: for a model or images of another type, a level that is no number, a seed or batch size that is no
            integer.
        ValueError: for pixels out of range (names the range seen), images of the wrong shape or number, labels beyond
            the model's classes, a perturbation without a level, unknown names, a model that cannot be made or that
            returns something else than (N, classes) finite logits.
        WeightError: for weights that are missing, damaged or do not fit.
    """
    rows_of(suite)
    if not isinstance(model, (str, nn.Module)):
        raise ArgumentTypeError(f'model: expected a name for timm.create_model or a module, got {type_of(model)}')
    if not isinstance(images, Sized):
        raise ArgumentTypeError(f'images: expected an array, a tensor or a list of pictures, got {type_of(images)}')
    if perturbation is not None:
        row = find_perturbation(suite, perturbation)
        if level is None:
            levels = ', '.join(f'{own:g}' for own in row.levels)
            raise ValueError(f'perturbation={perturbation!r} without a level: its own are {levels}')
        row.check(level)
    elif level:
        raise ValueError(f'level={level} without a perturbation: name the perturbation, or leave level at 0')
    seed, device = integer('seed', seed, most=MAX_UINT64), usable_device(device)
    batch_size = default_batch_size(device) if batch_size is None else integer('batch_size', batch_size, least=1)
    targets = _labels(labels, len(images))
    if isinstance(model, str):
        source = Source(model)
        source.check()
        net = source.open()
    else:
        net = model
    config = data_config(net, mean, std)

    def batches() -> Iterator[Tensor]:
        start = 0
        for pixels in tqdm(
            float_batches(images, config, batch_size),
            total=-(-len(images) // batch_size),
            disable=not progress,
            desc=perturbation or 'clean',
            unit='batch',
            leave=False,
        ):
            indices = range(start, start := start + len(pixels))
            yield pixels if perturbation is None else perturb(pixels, perturbation, level or 0.0, seed, indices, suite)

    with ready(net, device):
        found = measure(net, config, batches(), targets, device)
        if mixed := batch_statistics(net):  # asked last: a network may change the mode of its parts when it is called
            warnings.warn(batch_statistics_text(mixed, batch_size), stacklevel=2)
    return found


class Measurement:
    """Takes a network through batches of pixels, and gives what it answers on all of them.

    Args:
        net: The network, in eval mode on ``device``, see ``ready``.
        config: Its preprocessing, of ``data_config``.
        targets: (N,) int64 labels.
        device: The device of the network.
        precision: What the network computes in; default: as its weights are.
    """

    def __init__(
        self,
        net: nn.Module,
        config: dict[str, Any],
        targets: Tensor,
        device: str | torch.device,
        precision: Precision = DEFAULT,
    ) -> None:
        self._net, self._targets, self._device, self._precision = net, targets, device, precision
        self._mean, self._std = (torch.tensor(config[key], device=device).view(1, -1, 1, 1) for key in ('mean', 'std'))
        dtype = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
        # faster for convolutions; a stranger's module may call view(), which takes the plain layout alone
        channels_last = precision.channels_last
        if channels_last is None:
            channels_last = hasattr(unwrapped(net), 'pretrained_cfg')
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self._form: dict[str, Any] = {'dtype': dtype, 'memory_format': layout}
        # made before the first batch: small tensors that stay, between large ones that go, would leave gaps in the heap
        # which no further batch fits into, a batch's worth for every call
        self._answers = {name: torch.empty(len(targets), dtype=kind) for name, kind in ANSWERS.items()}
        self._count = 0

    def add(self, pixels: Tensor) -> None:
        """Show the network the next batch: floats (n, C, H, W) in [0, 1], not normalised.

        Raises:
            ValueError: for a label beyond the classes, or something else than (n, classes) finite logits.
        """
        with torch.inference_mode(), self._precision.autocast(self._device):
            normalised = (pixels.to(self._device) - self._mean).div_(self._std)
            logits = self._net(normalised.to(**self._form))
        part = slice(self._count, self._count + len(pixels))
        for name, values in _judge(logits, self._targets[part]).items():
            self._answers[name][part] = values
        self._count += len(pixels)

    def result(self) -> Evaluation:
        """The answers on all images that were shown."""
        return Evaluation(**{name: values[: self._count].numpy() for name, values in self._answers.items()})


def measure(
    net: nn.Module,
    config: dict[str, Any],
    batches: Iterable[Tensor],
    targets: Tensor,
    device: str | torch.device,
    amp: bool = False,
) -> Evaluation:
    """Run a network on batches of pixels.

    Args:
        net: The network, in eval mode on ``device``, see ``ready``.
        config: Its preprocessing, of ``data_config``.
        batches: Floats (n, C, H, W) in [0, 1], N in all, not normalised.
        targets: (N,) int64 labels.
        device: The device of the network.
        amp: Run the network under autocast.

    Raises:
        ValueError: for a label beyond the classes, or something else than (n, classes) finite logits.
    """
    measurement = Measurement(net, config, targets, device, Precision.of(device, amp))
    for pixels in batches:
        measurement.add(pixels)
    return measurement.result()


def batch_statistics(net: nn.Module) -> list[str]:
    """Names of the batch norms that normalise by the batch: in train mode, or without running statistics."""
    return [
        name or type(module).__name__
        for name, module in net.named_modules()
        if isinstance(module, BATCH_NORMS) and (module.training or module.running_mean is None)
    ]


def batch_statistics_text(names: Sequence[str], batch_size: int) -> str:
    """That the batch size changes what is measured."""
    return (
        f'{len(names)} batch norms ({shorten(names, 1)}) normalise by the batch, not by running statistics: what the '
        f'model says of an image depends on the images beside it and on batch_size={batch_size}; name both '
        'with the figures'
    )


@contextmanager
def ready(net: nn.Module, device: str | torch.device) -> Iterator[None]:
    """``net`` as ``eval()`` leaves it on ``device``; each of its modules gets its mode back, the network its device."""
    modes = [(module, module.training) for module in net.modules()]
    home = next((tensor.device for tensor in itertools.chain(net.parameters(), net.buffers())), torch.device('cpu'))
    try:
        net.eval().to(device)
        yield
    finally:
        for module, training in modes:
            module.training = training
        net.to(home)


def _labels(labels: Any, count: int) -> Tensor:
    if isinstance(labels, Iterator):
        labels = sequence('labels', labels, 'class indices')
    array = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    if array.shape != (count,) or count == 0:
        raise ValueError(
            f'expected at least one image and a label for each, got {count} images and labels of shape {array.shape}'
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f'labels: expected integers, got {array.dtype}')
    return torch.from_numpy(array.astype(np.int64))


def _judge(logits: Any, labels: Tensor) -> dict[str, Tensor]:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(labels):
        found = f'shape {tuple(logits.shape)}' if isinstance(logits, Tensor) else type_of(logits)
        raise ValueError(f'the model returns {found}: expected logits of shape ({len(labels)}, classes)')
    logits = logits.float().cpu()
    if not torch.isfinite(logits).all():
        raise ValueError('the model returns NaN or infinite logits')
    classes = logits.shape[1]
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(
            f'labels range from {int(labels.min())} to {int(labels.max())}: the model has {classes} classes'
        )
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction='none')
    if not torch.isfinite(loss).all():
        raise ValueError(f'the model returns logits up to {logits.abs().max():.3g}: their cross entropy is infinite')
    predicted = logits.argmax(1)  # of probabilities, nearly equal ones could be rounded to the same
    top5 = logits.topk(min(5, classes)).indices
    return dict(
        correct=predicted == labels,
        predicted=predicted,
        confidence=logits.softmax(1).gather(1, predicted[:, None])[:, 0],
        loss=loss,
        correct_top5=(top5 == labels[:, None]).any(1),
    )
