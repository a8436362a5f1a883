"""What timm's scripts run with: the padded crop among timm's transforms, several processes on a CPU, interruptions."""

import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform, transforms_factory

from timm_zerosnet.training.crop import PaddedCrop
from timm_zerosnet.training.patches import distributed_on_cpu, noting_interruptions, padded_crop


@pytest.fixture
def patched():
    with padded_crop():
        yield


PICTURE = Image.fromarray(np.random.default_rng(0).integers(1, 256, (32, 32, 3), dtype=np.uint8))
PADDED = np.pad(np.asarray(PICTURE), ((4, 4), (4, 4), (0, 0)))
WINDOWS = {PADDED[y : y + 32, x : x + 32].tobytes() for y in range(9) for x in range(9)}


def chain(mode='pad4', **kwargs):
    defaults = dict(is_training=True, train_crop_mode=mode, color_jitter=0.0, use_prefetcher=True)
    return create_transform(32, **{**defaults, **kwargs})


def test_timm_uses_it_when_asked_for(patched):
    transform = chain(hflip=0.0)
    assert isinstance(transform.transforms[0], PaddedCrop)
    assert transform(PICTURE).permute(1, 2, 0).numpy().tobytes() in WINDOWS


def test_other_modes_stay_timm_s(patched):
    for mode in (None, 'rrc', 'rkrc'):
        assert not any(isinstance(step, PaddedCrop) for step in chain(mode).transforms)
    with pytest.raises(AssertionError):
        chain('pad5')


def test_later_augmentations_stay_as_timm_has_them(patched):
    with_jitter = chain(color_jitter=0.4, vflip=0.5, use_prefetcher=False, re_prob=0.3, re_mode='pixel')
    names = [type(step).__name__ for step in with_jitter.transforms]
    assert names[0] == 'PaddedCrop'
    assert {'RandomVerticalFlip', 'ColorJitter', 'Normalize', 'RandomErasing'} <= set(names)
    assert 'RandomHorizontalFlip' not in names and 'RandomResizedCropAndInterpolation' not in names
    out = with_jitter(PICTURE)
    assert out.shape == (3, 32, 32) and out.is_floating_point()
    assert len(chain(separate=True)) == 3


def test_timm_has_its_own_transforms_afterwards():
    before = transforms_factory.transforms_imagenet_train
    with pytest.raises(KeyError), padded_crop():
        assert isinstance(chain().transforms[0], PaddedCrop)
        raise KeyError
    assert transforms_factory.transforms_imagenet_train is before
    with pytest.raises(AssertionError):
        chain()


def test_device_ids_are_dropped_for_modules_on_the_cpu_only():
    parallel, seen = torch.nn.parallel.DistributedDataParallel, []
    original = parallel.__init__
    try:
        parallel.__init__ = lambda self, module, device_ids=None, *args, **kwargs: seen.append(device_ids)
        with distributed_on_cpu():
            for device in ('cpu', 'meta'):
                parallel(torch.nn.Linear(1, 1, device=device), device_ids=[0])
    finally:
        parallel.__init__ = original
    assert seen == [None, [0]]


def test_interruptions_are_noted_and_passed_on():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    try:
        with pytest.raises(KeyboardInterrupt), noting_interruptions() as seen:
            os.kill(os.getpid(), signal.SIGINT)
        assert seen == [signal.SIGINT] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with noting_interruptions() as seen:
            pass
        assert seen == []
    finally:
        signal.signal(signal.SIGINT, before)
