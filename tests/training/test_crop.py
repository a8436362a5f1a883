"""The padded random crop and its place in timm's transforms."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform, transforms_factory

from timm_zerosnet.training import crop


@pytest.fixture
def installed():
    original = transforms_factory.transforms_imagenet_train
    crop.install()
    yield
    transforms_factory.transforms_imagenet_train = original


def picture(side=32, mode='RGB', seed=0):
    shape = (side, side, 3) if mode == 'RGB' else (side, side)
    return Image.fromarray(np.random.default_rng(seed).integers(1, 256, shape, dtype=np.uint8))


def windows(image):
    """Every crop of the zero-padded image by its shift."""
    padded = np.pad(np.asarray(image), ((4, 4), (4, 4), (0, 0)))
    return {padded[y : y + 32, x : x + 32].tobytes(): (y, x) for y in range(9) for x in range(9)}


def test_every_window_of_the_padded_image_and_nothing_else():
    image, known = picture(), None
    known = windows(image)
    random.seed(0)
    transform = crop.PaddedCrop(32, hflip=0.0)
    seen = {known[transform(image).permute(1, 2, 0).numpy().tobytes()] for _ in range(2000)}
    assert len(seen) == 81


def test_flip_is_a_mirror_and_half_of_the_time():
    image = picture()
    known = windows(image)
    random.seed(1)
    transform = crop.PaddedCrop(32)
    flips = 0
    for _ in range(1000):
        pixels = transform(image).permute(1, 2, 0).numpy()
        flipped = pixels.tobytes() not in known
        flips += flipped
        assert not flipped or np.ascontiguousarray(pixels[:, ::-1]).tobytes() in known
    assert 430 < flips < 570


@pytest.mark.parametrize('mode, channels', [('RGB', 3), ('L', 1)])
@pytest.mark.parametrize('size', [16, 20, 32, (24, 40)])
def test_resizes_to_the_size_asked_for(mode, channels, size):
    height, width = (size, size) if isinstance(size, int) else size
    out = crop.PaddedCrop(size, interpolation='random')(picture(32, mode))
    assert out.dtype == torch.uint8 and out.shape == (channels, height, width)
    assert crop.PaddedCrop(size, as_tensor=False)(picture(32, mode)).size == (width, height)


def chain(mode='pad4', **kwargs):
    defaults = dict(is_training=True, train_crop_mode=mode, color_jitter=0.0, use_prefetcher=True)
    return create_transform(32, **{**defaults, **kwargs})


def test_timm_uses_it_when_asked_for(installed):
    transform = chain(hflip=0.0)
    assert isinstance(transform.transforms[0], crop.PaddedCrop)
    image = picture()
    assert transform(image).permute(1, 2, 0).numpy().tobytes() in windows(image)


def test_other_modes_stay_timm_s(installed):
    for mode in (None, 'rrc', 'rkrc'):
        assert not any(isinstance(step, crop.PaddedCrop) for step in chain(mode).transforms)
    with pytest.raises(AssertionError):
        chain('pad5')


def test_later_augmentations_stay_as_timm_has_them(installed):
    with_jitter = chain(color_jitter=0.4, vflip=0.5, use_prefetcher=False, re_prob=0.3, re_mode='pixel')
    names = [type(step).__name__ for step in with_jitter.transforms]
    assert names[0] == 'PaddedCrop'
    assert {'RandomVerticalFlip', 'ColorJitter', 'Normalize', 'RandomErasing'} <= set(names)
    assert 'RandomHorizontalFlip' not in names and 'RandomResizedCropAndInterpolation' not in names
    out = with_jitter(picture())
    assert out.shape == (3, 32, 32) and out.is_floating_point()
    assert len(chain(separate=True)) == 3


def test_install_twice_wraps_once(installed):
    once = transforms_factory.transforms_imagenet_train
    crop.install()
    assert transforms_factory.transforms_imagenet_train is once
