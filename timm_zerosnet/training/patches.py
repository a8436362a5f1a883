"""What timm's unmodified scripts run with: each patch, why it is needed, and what upstream would have to change.

Each is a context manager, in force while a script runs, that leaves timm and torch as they were.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import Any, Iterator

import torch
from timm.data import transforms_factory
from torchvision.transforms import Compose

from .crop import MODE, PaddedCrop


@contextmanager
def padded_crop() -> Iterator[None]:
    """Make ``--train-crop-mode pad4`` known to timm's training transforms; any other mode goes to timm as before.

    Why: timm has no padded random crop, by which the CIFAR networks of the literature were trained.
    Upstream: a padded crop among the modes of ``transforms_imagenet_train``. Not reported.
    """
    original = transforms_factory.transforms_imagenet_train

    def transforms_imagenet_train(
        img_size: Any = 224,
        train_crop_mode: str | None = None,
        hflip: float = 0.5,
        separate: bool = False,
        **kwargs: Any,
    ) -> Any:
        if train_crop_mode != MODE:
            return original(img_size, train_crop_mode=train_crop_mode, hflip=hflip, separate=separate, **kwargs)
        # all that timm does after its own crop and flip stays as timm has it
        crop, *rest = (part.transforms for part in original(img_size, hflip=0.0, separate=True, **kwargs))
        after = crop[1:] + rest[0]
        as_tensor = kwargs.get('use_prefetcher', False) and not after
        first = [PaddedCrop(img_size, hflip, kwargs.get('interpolation', 'random'), as_tensor), *crop[1:]]
        parts = [Compose(first), *map(Compose, rest)]
        return tuple(parts) if separate else Compose([step for part in parts for step in part.transforms])

    patched: Any = transforms_imagenet_train  # not with timm's signature
    transforms_factory.transforms_imagenet_train = patched
    try:
        yield
    finally:
        transforms_factory.transforms_imagenet_train = original


@contextmanager
def distributed_on_cpu() -> Iterator[None]:
    """Drop the ``device_ids`` of ``DistributedDataParallel`` for modules on the CPU.

    Why: train.py passes ``device_ids=[device]`` for every device, and torch refuses any for the CPU.
    Upstream: timm's train.py would pass None for the CPU. Not reported.
    """
    parallel = torch.nn.parallel.DistributedDataParallel
    original = parallel.__init__

    def init(self: Any, module: torch.nn.Module, device_ids: Any = None, *args: Any, **kwargs: Any) -> None:
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            device_ids = None
        original(self, module, device_ids, *args, **kwargs)

    parallel.__init__ = init  # type: ignore[method-assign]
    try:
        yield
    finally:
        parallel.__init__ = original  # type: ignore[method-assign]


@contextmanager
def noting_interruptions() -> Iterator[list[int]]:
    """Note each interruption in the list that this gives, and pass it on.

    Why: train.py takes an interruption for the end of the training and exits with code 0.
    Upstream: timm's train.py would raise KeyboardInterrupt again, once it has closed its files. Not reported.
    """
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handled and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, signal.default_int_handler)
