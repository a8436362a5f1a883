"""Images as a model takes them: its size, channels and normalisation, and pixels of that size."""

from __future__ import annotations

import json
from typing import Any, Callable, Collection, Iterator, Sequence, Union

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn
from tqdm import tqdm

from .._errors import shorten
from ..memory import check_images
from .suites import check_pixels

Images = Union[np.ndarray, Tensor, Sequence[Image.Image]]


def unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)) else model


def data_config(model: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None) -> dict[str, Any]:
    """Preprocessing of a model: ``input_size`` (C, H, W), None where the images' own size is taken, and the rest."""
    model = unwrapped(model)
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
    if isinstance(given, Tensor):
        given = given.detach().double().cpu()
    try:
        values = np.atleast_1d(np.asarray(given, dtype=np.float64))
    except (TypeError, ValueError, RuntimeError, OverflowError):
        values = np.empty(0)
    if (
        isinstance(given, (str, bool))
        or values.ndim != 1
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


def picture_channels(config: dict[str, Any]) -> int:
    """Number of channels that a model takes, 1 or 3.

    Raises:
        ValueError: for a model of another number, which takes no pictures.
    """
    channels = int(config['input_size'][0])
    if channels not in (1, 3):
        raise ValueError(f'expected a model of 1 channel, for grey images, or 3, got one of {channels}')
    return channels


def resizer(config: dict[str, Any]) -> Callable[[Any], Tensor]:
    """A function from a PIL image or uint8 array (H, W, C) to its pixels (C, H, W), uint8, as timm's scripts make them.

    Args:
        config: Preprocessing of a model, of ``data_config``. Without a size the image keeps its own.
    """
    channels, *size = config['input_size']
    keys = ('interpolation', 'crop_pct', 'crop_mode', 'mean')
    transform: Any = None
    if None not in size:
        transform = create_transform(config['input_size'], **{key: config[key] for key in keys}, normalize=False)

    def resized(image: Any) -> Tensor:
        image = _to_pil(image, channels)
        if transform is None or ([image.height, image.width] == size and config['crop_pct'] == 1):
            return torch.from_numpy(np.array(image).reshape(image.height, image.width, channels)).permute(2, 0, 1)
        pixels: Tensor = transform(image)
        return pixels

    return resized


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
    picture_channels(config)
    if None not in config['input_size']:
        check_images(len(images), config['input_size'])
    out, start = torch.empty(0), 0
    for pixels in resized_batches(images, config, progress):
        if not start:
            out = torch.empty(len(images), *pixels.shape[1:], dtype=torch.uint8)
        out[start : start + len(pixels)] = pixels
        start += len(pixels)
    return out


def resized_batches(
    images: np.ndarray | Sequence[Image.Image], config: dict[str, Any], progress: bool = False
) -> Iterator[Tensor]:
    """The pixels of ``resize``, 256 images at a time."""
    if isinstance(images, np.ndarray) and images.shape[-1] != config['input_size'][0]:
        images = list(images)  # Pillow converts them
    with tqdm(total=len(images), disable=not progress, desc='resizing', unit='img', leave=False) as bar:
        for pixels in _pixels(images, config, 256):
            yield pixels
            bar.update(len(pixels))


def as_floats(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1]: uint8 ones are divided by 255."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def float_batches(images: Images, config: dict[str, Any], batch_size: int) -> Iterator[Tensor]:
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
    resized = None if as_it_is else resizer(config)
    for start in range(0, len(array), batch_size):
        chunk = array[start : start + batch_size]
        if resized is None:
            yield torch.from_numpy(np.require(np.moveaxis(chunk, -1, 1), requirements=['C', 'W']))
        else:
            yield torch.stack([resized(image) for image in chunk])


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


def several_sizes(sizes: Collection[tuple[int, ...]]) -> ValueError:
    """That images are of several sizes (H, W), of which some are known, and are not resized to one."""
    found = shorten((f'{height}x{width}' for height, width in sorted(sizes)), 2) or 'several sizes'
    return ValueError(
        'expected images of one size, or a size to resize them to, by --img-size or by '
        f"preprocessing={{'input_size': (H, W)}} of a Source, got {found}"
    )


def _stack(images: Images, channels: int) -> np.ndarray | Tensor:
    """Images of one size as an array."""
    if isinstance(images, (np.ndarray, Tensor)):
        return images
    arrays = [np.asarray(_to_pil(image, channels)) for image in images]
    if len(sizes := {array.shape[:2] for array in arrays}) > 1:
        raise several_sizes(sizes)
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
        way = '; torch.stack makes one array of a list of tensors' if isinstance(image, Tensor) else ''
        raise ValueError(
            'images: expected a list of PIL images or of uint8 arrays (H, W, C), or an array (N, H, W, C) of uint8 or '
            f'of floats in [0, 1], got an image that is a {what}{way}'
        )
    if image.mode.startswith(('I', 'F')):  # Pillow would cut them off at 255
        raise ValueError(f'images: expected 8 bits a channel, got Pillow mode {image.mode}')
    return image.convert('L' if channels == 1 else 'RGB')
