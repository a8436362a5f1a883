"""Accuracy of a model on images, clean or perturbed, with its own preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Sequence, Union

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn
from tqdm import tqdm

from .perturbations import check_pixels, perturb

Images = Union[np.ndarray, Tensor, Sequence[Image.Image]]


@dataclass(frozen=True)
class Evaluation:
    """What a model says of N images, in their order.

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


def evaluate(
    model: str | nn.Module,
    images: Images,
    labels: Sequence[int] | np.ndarray | Tensor,
    *,
    perturbation: str | None = None,
    level: float = 0.0,
    seed: int = 0,
    batch_size: int = 250,
    device: str | torch.device = 'cpu',
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure a model on images, clean or under one perturbation.

    The images are resized and cropped as the model's config has it, perturbed as pixels in [0, 1], then normalised.

    Args:
        model: A name for ``timm.create_model(..., pretrained=True)`` or a module, which is measured in eval mode and
            handed back in the mode it had.
        images: N images: PIL images, a uint8 array, or floats in [0, 1]. Arrays and tensors are (N, H, W, C) or
            (N, C, H, W), C = 1 or 3; floats must have the model's input size.
        labels: N class indices.
        perturbation: A name of ``SUITES``, None for clean.
        level: Its strength; 0 is clean.
        seed: Of the noise.
        batch_size: Images at a time; changes nothing but speed and memory.
        device: Where the model runs; noise is drawn on the CPU.
        mean, std: Normalisation per channel for a module without timm's config.
        progress: Show a progress bar.

    Raises:
        ValueError: for pixels out of range (names the range seen), images of the wrong shape or number, labels beyond
            the model's classes, a model that returns something else than (N, classes) finite logits.
    """
    net = timm.create_model(model, pretrained=True) if isinstance(model, str) else model
    config = _data_config(net, mean, std)
    labels_t = torch.as_tensor(np.asarray(labels), dtype=torch.int64)
    if len(images) != len(labels_t) or len(labels_t) == 0:
        raise ValueError(
            f'{len(images)} images and {len(labels_t)} labels: accepted is one label for each, at least one'
        )
    center = torch.tensor(config['mean'], device=device).view(1, -1, 1, 1)
    scale = torch.tensor(config['std'], device=device).view(1, -1, 1, 1)
    was_training = net.training
    parts: dict[str, list[Tensor]] = {name: [] for name in Evaluation.__dataclass_fields__}
    net.eval().to(device)
    try:
        for start, pixels in tqdm(
            _batches(images, config, batch_size),
            total=-(-len(images) // batch_size),
            disable=not progress,
            desc=perturbation or 'clean',
            unit='batch',
            leave=False,
        ):
            if perturbation is not None:
                pixels = perturb(pixels, perturbation, level, seed, range(start, start + len(pixels)))
            with torch.inference_mode():
                logits = net((pixels.to(device) - center) / scale).float().cpu()
            for name, values in _judge(logits, labels_t[start : start + len(pixels)]).items():
                parts[name].append(values)
    finally:
        net.train(was_training)
    return Evaluation(**{name: torch.cat(values).numpy() for name, values in parts.items()})


def _judge(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    if logits.ndim != 2 or len(logits) != len(labels):
        raise ValueError(f'the model returns shape {tuple(logits.shape)}: accepted is ({len(labels)}, classes)')
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


def _data_config(model: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None) -> dict[str, Any]:
    if not getattr(model, 'pretrained_cfg', None) and (mean is None or std is None):
        raise ValueError(f'{type(model).__name__} has no timm config: give mean and std of its normalisation')
    args = {key: value for key, value in (('mean', mean), ('std', std)) if value is not None}
    if in_chans := getattr(model, 'in_chans', None):
        args['in_chans'] = in_chans
    config = resolve_data_config(model=model)
    channels = in_chans or config['input_size'][0]
    config['input_size'] = (channels, *config['input_size'][1:])
    for key in ('mean', 'std'):
        given = tuple(args.get(key) or config[key])
        if len(given) != channels:
            given = (sum(given) / len(given),) * channels
        config[key] = given
    return config


def _batches(images: Images, config: dict[str, Any], batch_size: int) -> Iterator[tuple[int, Tensor]]:
    """Float pixels (n, C, H, W) in [0, 1] at the model's input size, with the index of the first."""
    array = images.numpy() if isinstance(images, Tensor) else images
    if isinstance(array, np.ndarray):
        array = _channels_last(array, config['input_size'][0])
        if np.issubdtype(array.dtype, np.floating):
            whole = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
            check_pixels(whole)
            if tuple(array.shape[1:3]) != tuple(config['input_size'][1:]):
                raise ValueError(
                    f'float images of {array.shape[1]}x{array.shape[2]}: the model takes '
                    f'{config["input_size"][1]}x{config["input_size"][2]}; give uint8 or PIL images to have '
                    'them resized'
                )
        elif array.dtype != np.uint8:
            raise ValueError(f'images are {array.dtype}: accepted is uint8, or floats in [0, 1]')
    transform = create_transform(
        **{key: config[key] for key in ('input_size', 'interpolation', 'crop_pct', 'crop_mode')}, normalize=False
    )
    as_it_is = isinstance(array, np.ndarray) and (
        array.dtype != np.uint8
        or (config['crop_pct'] == 1 and tuple(array.shape[1:3]) == tuple(config['input_size'][1:]))
    )
    for start in range(0, len(array), batch_size):
        chunk = array[start : start + batch_size]
        if as_it_is:
            pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(chunk, -1, 1)))
        else:
            pixels = torch.stack([transform(_to_pil(image, config['input_size'][0])) for image in chunk])
        yield start, pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def _channels_last(array: np.ndarray, channels: int) -> np.ndarray:
    if array.ndim == 4 and array.shape[-1] == channels:
        return array
    if array.ndim == 4 and array.shape[1] == channels:
        return np.moveaxis(array, 1, -1)
    raise ValueError(
        f'images of shape {array.shape}: accepted is (N, H, W, {channels}) or (N, {channels}, H, W), '
        f'the model takes {channels} channels'
    )


def _to_pil(image: Any, channels: int) -> Image.Image:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    if not isinstance(image, Image.Image):
        raise ValueError(
            f'an image is a {type(image).__name__}: accepted are PIL images, uint8 arrays and float arrays'
        )
    return image.convert('L' if channels == 1 else 'RGB')
