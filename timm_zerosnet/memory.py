"""Whether images of a size fit into the free memory, found out before anything is allocated for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

LARGEST_GROWTH = 1000  # no activation of one image is so many times as large as the image


class SizeError(ValueError):
    """An image size does not fit into memory; the message says how much it takes and how much is free."""


def free_memory() -> int | None:
    """Bytes that a process may still take, within the limit of its container; None where the system does not say."""
    known = [_free_of_machine(), _free_of_container()]
    return min((count for count in known if count is not None), default=None)


def _free_of_machine() -> int | None:
    try:
        lines = Path('/proc/meminfo').read_text(encoding='ascii').splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('MemAvailable:'))
    except (OSError, ValueError, StopIteration):
        return None


def _free_of_container(folder: Path = Path('/sys/fs/cgroup')) -> int | None:
    try:
        limit, used, stat = (
            (folder / name).read_text(encoding='ascii') for name in ('memory.max', 'memory.current', 'memory.stat')
        )
        cached = dict(line.split() for line in stat.splitlines()).get('inactive_file', 0)  # given up when needed
        return None if limit.strip() == 'max' else max(0, int(limit) - int(used) + int(cached))
    except (OSError, ValueError):
        return None


class _Largest(TorchFunctionMode):
    """Bytes of the largest tensor that any function gives back."""

    found = 0

    def __torch_function__(self, function: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, Tensor):
                self.found = max(self.found, value.numel() * value.element_size())
        return result


def largest_activation(net: nn.Module, input_size: tuple[int, ...]) -> int:
    """Bytes of the largest tensor in a forward pass with one image, for which nothing is allocated or computed.

    Args:
        net: The network, in eval mode; its tensors are left alone.
        input_size: The size (C, H, W) of the image.
    """
    tensors = {name: tensor.to('meta') for name, tensor in (*net.named_parameters(), *net.named_buffers())}
    like = next((tensor for tensor in tensors.values() if tensor.is_floating_point()), torch.empty(0))
    with torch.no_grad(), _Largest() as largest:
        functional_call(net, tensors, (torch.empty(1, *input_size, device='meta', dtype=like.dtype),))
    return largest.found


def check_size(net: nn.Module | Callable[[], nn.Module], input_size: tuple[int, ...], name: str) -> None:
    """Refuse an image size if one image and the largest activation exceed the free memory.

    Args:
        net: The network, or a function that makes it, which is called only if need be.
        input_size: The size (C, H, W) of an image.
        name: The name of the network, which the message gives.

    Raises:
        SizeError: with both numbers of bytes.
    """
    free = free_memory()
    channels, height, width = input_size
    needed = 4 * channels * height * width
    if free is None or needed * LARGEST_GROWTH < free:
        return
    if needed <= free:
        try:
            needed += largest_activation(net if isinstance(net, nn.Module) else net(), input_size)
        except Exception:  # a network that does not take the size, or works on values, is left to say so itself
            return
    if needed > free:
        raise SizeError(
            f'{height}x{width} pixels for model {name}: one image and its largest activation take at least '
            f'{gib(needed)}, {gib(free)} are free; give a smaller size'
        )


def check_images(count: int, input_size: tuple[int, ...]) -> None:
    """Refuse an image size if the images, one byte a value, exceed the free memory.

    Args:
        count: The number of images.
        input_size: The size (C, H, W) of an image.

    Raises:
        SizeError: with both numbers of bytes.
    """
    channels, height, width = input_size
    free, needed = free_memory(), count * channels * height * width
    if free is not None and needed > free:
        raise SizeError(
            f'{count:,} images of {height}x{width} pixels take {gib(needed)}, {gib(free)} are free; give a smaller '
            'size or fewer images'
        )


def gib(count: int) -> str:
    """Bytes in GiB, such as ``1.50 GiB``."""
    return f'{count / 2**30:,.2f} GiB'
