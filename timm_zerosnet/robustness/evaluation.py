"""Accuracy of a model on images, clean or perturbed, with its own preprocessing."""

from __future__ import annotations

import itertools
import json
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Sequence, Union

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn
from tqdm import tqdm

from .._errors import few
from ..memory import check_images
from .arguments import integer
from .corruptions import MAX_UINT64
from .suites import check_pixels, find_perturbation, perturb

Images = Union[np.ndarray, Tensor, Sequence[Image.Image]]
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
        TypeError: for a level that is no number, a seed or batch size that is no integer.
        ValueError: for pixels out of range (names the range seen), images of the wrong shape or number, labels beyond
            the model's classes, a perturbation without a level, unknown names, a model that cannot be made or that
            returns something else than (N, classes) finite logits.
        WeightError: for weights that are missing, damaged or do not fit.
    """
    if perturbation is not None:
        row = find_perturbation(suite, perturbation)
        if level is None:
            levels = ', '.join(f'{own:g}' for own in row.levels)
            raise ValueError(f'perturbation={perturbation!r} without a level: its own are {levels}')
        row.check(level)
    elif level:
        raise ValueError(f'level={level} without a perturbation: name the perturbation, or leave level at 0')
    seed = integer('seed', seed, most=MAX_UINT64)
    batch_size = default_batch_size(device) if batch_size is None else integer('batch_size', batch_size, least=1)
    targets = _labels(labels, len(images))
    if isinstance(model, str):
        from .models import Source  # which imports this module

        source = Source(model)
        source.check()
        net = source.open()
    else:
        net = model
    config = data_config(net, mean, std)

    def batches() -> Iterator[Tensor]:
        start = 0
        for pixels in tqdm(
            _batches(images, config, batch_size),
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
    center, scale = (torch.tensor(config[key], device=device).view(1, -1, 1, 1) for key in ('mean', 'std'))
    dtype = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
    # faster for convolutions; a stranger's module may call view(), which takes the plain layout alone
    layout = torch.channels_last if hasattr(_unwrapped(net), 'pretrained_cfg') else torch.contiguous_format
    parts: dict[str, list[Tensor]] = {name: [] for name in Evaluation.__dataclass_fields__}
    start = 0
    for pixels in batches:
        with torch.inference_mode(), torch.autocast(torch.device(device).type, enabled=amp):
            normalised = (pixels.to(device) - center) / scale
            logits = net(normalised.to(dtype=dtype, memory_format=layout))
        for name, values in _judge(logits, targets[start : start + len(pixels)]).items():
            parts[name].append(values)
        start += len(pixels)
    return Evaluation(**{name: torch.cat(values).numpy() for name, values in parts.items()})


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
        f'{len(names)} batch norms ({few(names, 1)}) normalise by the batch, not by running statistics: what the model '
        f'says of an image depends on the images beside it and on batch_size={batch_size}; name both with the figures'
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
        found = f'shape {tuple(logits.shape)}' if isinstance(logits, Tensor) else f'a {type(logits).__name__}'
        raise ValueError(f'the model returns {found}: expected logits of shape ({len(labels)}, classes)')
    logits = logits.float().cpu()
    if not torch.isfinite(logits).all():
        raise ValueError('the model returns NaN or infinite logits')
    classes = logits.shape[1]
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(
            f'labels range from {int(labels.min())} to {int(labels.max())}: the model has {classes} classes'
        )
    confidence, predicted = logits.softmax(1).max(1)
    top5 = logits.topk(min(5, classes)).indices
    return dict(
        correct=predicted == labels,
        predicted=predicted,
        confidence=confidence,
        loss=torch.nn.functional.cross_entropy(logits, labels, reduction='none'),
        correct_top5=(top5 == labels[:, None]).any(1),
    )


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)) else model


def data_config(model: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None) -> dict[str, Any]:
    """Preprocessing of a model: ``input_size`` (C, H, W), None where the images' own size is taken, and the rest."""
    model = _unwrapped(model)
    known = getattr(model, 'pretrained_cfg', None)
    if not known and (mean is None or std is None):
        raise ValueError(f'{type(model).__name__} has no timm config: give mean and std of its normalisation')
    if getattr(model, 'num_classes', None) == 0:
        raise ValueError('expected a model with a classifier, got one with num_classes=0, which returns features')
    own_mean, own_std = _per_channel('mean', mean), _per_channel('std', std)
    config = resolve_data_config(pretrained_cfg=known or dict(mean=own_mean, std=own_std), use_test_size=True)
    channels = getattr(model, 'in_chans', None) or (config['input_size'][0] if known else len(own_mean or ()))
    config['input_size'] = (channels, *(config['input_size'][1:] if known else (None, None)))
    for key, given in (('mean', own_mean), ('std', own_std)):
        values = given or tuple(config[key])
        if given is None and len(values) != channels:
            values = (sum(values) / len(values),)
        if len(values) not in (1, channels):
            raise ValueError(f'{key}: expected one value, or one for each of {channels} channels, got {len(values)}')
        config[key] = values * (channels if len(values) == 1 else 1)
    return config


def _per_channel(key: str, given: Any) -> tuple[float, ...] | None:
    if given is None:
        return None
    values = np.atleast_1d(np.asarray(given, dtype=np.float64))
    if (
        values.ndim != 1
        or not values.size
        or not np.isfinite(values).all()
        or (key == 'std' and not (values > 0).all())
    ):
        raise ValueError(
            f'{key}: expected finite numbers{" above 0" * (key == "std")}, one for each channel, got {given}'
        )
    return tuple(map(float, values))


def view(preprocessing: dict[str, Any]) -> str:
    """A text that is the same for models that take the same pixels, made of their ``data_config``."""
    seen = {key: value for key, value in preprocessing.items() if key != 'std'}
    if seen.get('crop_mode') != 'border':  # alone fills with the mean
        seen.pop('mean', None)
    return json.dumps(seen, sort_keys=True, default=str)


def resize(images: np.ndarray | Sequence[Image.Image], config: dict[str, Any], progress: bool = False) -> Tensor:
    """Pixels (N, C, H, W), uint8, at the input size and with the channels of ``config``.

    Args:
        images: uint8 (N, H, W, 1 or 3) or PIL images.
        config: Preprocessing of a model, of ``data_config``.
        progress: Show a progress bar.

    Raises:
        ValueError: if the images have several sizes and the model takes them as they are, or it takes neither grey
            nor colour images, or they do not fit into the free memory.
    """
    channels = config['input_size'][0]
    if channels not in (1, 3):
        raise ValueError(f'expected a model of 1 channel, for grey images, or 3, got one of {channels}')
    if isinstance(images, np.ndarray) and images.shape[-1] != channels:
        images = list(images)  # Pillow converts them
    if None not in config['input_size']:
        check_images(len(images), config['input_size'])
    with tqdm(total=len(images), disable=not progress, desc='resizing', unit='img', leave=False) as bar:
        out, start = torch.empty(0), 0
        for pixels in _pixels(images, config, 256):
            if not start:
                out = torch.empty(len(images), *pixels.shape[1:], dtype=torch.uint8)
            out[start : start + len(pixels)] = pixels
            start += len(pixels)
            bar.update(len(pixels))
    return out


def as_floats(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1]: uint8 ones are divided by 255."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def _batches(images: Images, config: dict[str, Any], batch_size: int) -> Iterator[Tensor]:
    """Float pixels (n, C, H, W) in [0, 1] at the model's input size."""
    return map(as_floats, _pixels(images, config, batch_size))


def _pixels(images: Images, config: dict[str, Any], batch_size: int) -> Iterator[Tensor]:
    """Pixels (n, C, H, W) at the model's input size, uint8 or floats in [0, 1] as the images are."""
    channels, *size = config['input_size']
    as_it_is = size == [None, None]
    array = _array(_stack(images, channels) if as_it_is else images, channels)
    if isinstance(array, np.ndarray):
        fits = as_it_is or list(array.shape[1:3]) == size
        if array.dtype != np.uint8 and not fits:
            raise ValueError(
                f'expected float images of {size[0]}x{size[1]}, which the model takes, got '
                f'{array.shape[1]}x{array.shape[2]}; give uint8 or PIL images to have them resized'
            )
        as_it_is = array.dtype != np.uint8 or as_it_is or (fits and config['crop_pct'] == 1)
    keys = ('interpolation', 'crop_pct', 'crop_mode', 'mean')
    if not as_it_is:
        transform = create_transform(config['input_size'], **{key: config[key] for key in keys}, normalize=False)
    for start in range(0, len(array), batch_size):
        chunk = array[start : start + batch_size]
        if as_it_is:
            yield torch.from_numpy(np.require(np.moveaxis(chunk, -1, 1), requirements=['C', 'W']))
        else:
            yield torch.stack([transform(_to_pil(image, channels)) for image in chunk])


def _array(images: Images, channels: int) -> Any:
    """An array (N, H, W, C) of uint8, or of floats in [0, 1]; a list of images stays one."""
    if isinstance(images, Tensor):
        images = images.detach().cpu()
        images = (images.float() if images.is_floating_point() else images).numpy()
    if not isinstance(images, np.ndarray):
        return images
    images = _channels_last(images, channels)
    if np.issubdtype(images.dtype, np.floating):
        return check_pixels(torch.from_numpy(np.require(images, np.float32, ['C', 'W']))).numpy()
    if images.dtype != np.uint8:
        raise ValueError(f'images: expected uint8, or floats in [0, 1], got {images.dtype}')
    return images


def _stack(images: Images, channels: int) -> np.ndarray | Tensor:
    """Images of one size as an array."""
    if isinstance(images, (np.ndarray, Tensor)):
        return images
    arrays = [np.asarray(_to_pil(image, channels)) for image in images]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError("expected images of one size for a model without timm's config, got several sizes")
    array = np.stack(arrays)
    return array if array.ndim == 4 else array[..., None]


def _channels_last(array: np.ndarray, channels: int) -> np.ndarray:
    if array.ndim == 4 and array.shape[-1] == channels:
        return array
    if array.ndim == 4 and array.shape[1] == channels:
        return np.moveaxis(array, 1, -1)
    raise ValueError(
        f'images: expected shape (N, H, W, {channels}) or (N, {channels}, H, W), as the model takes {channels} '
        f'channels, got {array.shape}'
    )


def _to_pil(image: Any, channels: int) -> Image.Image:
    if (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim > 1
        and image.shape[2:] in ((), (1,), (3,))
    ):
        image = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
    if not isinstance(image, Image.Image):
        what = f'{image.dtype} array {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(
            'images: expected a list of PIL images or of uint8 arrays (H, W, C), or an array (N, H, W, C) of uint8 or '
            f'of floats in [0, 1], got an image that is a {what}'
        )
    if image.mode.startswith(('I', 'F')):  # Pillow would cut them off at 255
        raise ValueError(f'images: expected 8 bits a channel, got Pillow mode {image.mode}')
    return image.convert('L' if channels == 1 else 'RGB')
