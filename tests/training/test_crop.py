"""The padded random crop."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from timm_zerosnet.training import crop


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


@pytest.mark.parametrize('width, height', [(80, 40), (40, 80), (100, 31), (33, 32), (57, 200)])
def test_other_shapes_are_cut_as_in_the_evaluation(width, height):
    """Not squeezed: without its shift the crop is what the network is measured on."""
    image = Image.fromarray(np.random.default_rng(0).integers(1, 256, (height, width, 3), dtype=np.uint8))
    wanted = create_transform(32, crop_pct=1.0, interpolation='bilinear', normalize=False)(image).numpy()
    transform, shifts = crop.PaddedCrop(32, hflip=0.0), []
    random.seed(0)
    for _ in range(400):
        found = transform(image).numpy()
        shifts.append(np.array_equal(found, wanted))
        assert found.shape == (3, 32, 32)
    assert 0 < sum(shifts) < 20  # of 81 windows one


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
