"""What networks compute in: number types, memory format, compilation, and TF32 on NVIDIA GPUs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Iterator

import torch
from torch import nn

from .arguments import boolean

AMP_DTYPES = ('bfloat16', 'float16')


@dataclass(frozen=True)
class Precision:
    """How the networks of a run compute. The defaults are their weights' own numbers, without TF32.

    Args:
        amp_dtype: ``'bfloat16'`` or ``'float16'`` for autocast to it; None for none.
        channels_last: Whether pixels lie in channels-last order; None takes it for models with timm's config alone.
        torchcompile: Backend of ``torch.compile``, such as ``'inductor'``; None runs models as they are.
        tf32: Let NVIDIA GPUs round the factors of float32 products to 10 bits.
    """

    amp_dtype: str | None = None
    channels_last: bool | None = None
    torchcompile: str | None = None
    tf32: bool = False

    @classmethod
    def of(
        cls,
        device: str | torch.device,
        amp: bool = False,
        amp_dtype: str | None = None,
        channels_last: bool | None = None,
        torchcompile: str | None = None,
        tf32: bool = False,
    ) -> Precision:
        """The precision that options ask for: ``amp`` alone takes the type that torch prefers on the device.

        Raises:
            TypeError: for flags that are no booleans.
            ValueError: for a type or a backend that there is not.
        """
        amp, tf32 = boolean('amp', amp), boolean('tf32', tf32)
        channels_last = None if channels_last is None else boolean('channels_last', channels_last)
        amp_dtype = str(amp_dtype).removeprefix('torch.') if isinstance(amp_dtype, torch.dtype) else amp_dtype
        if amp_dtype is not None and amp_dtype not in AMP_DTYPES:
            raise ValueError(f'amp_dtype: expected {" or ".join(AMP_DTYPES)}, got {amp_dtype!r}')
        if amp and amp_dtype is None:
            amp_dtype = str(torch.get_autocast_dtype(torch.device(device).type)).removeprefix('torch.')
        if torchcompile is not None and torchcompile not in torch.compiler.list_backends(()):  # all, also for tests
            known = ', '.join(torch.compiler.list_backends())
            raise ValueError(
                f'torchcompile: expected a backend of torch.compile, such as {known}, got {torchcompile!r}'
            )
        return cls(amp_dtype, channels_last, torchcompile, tf32)

    def text(self, device: str | torch.device) -> str:
        """What tells the numbers of a network from those computed in another way; part of the keys of cells.

        What a CPU computes with the defaults is said in the words of the first versions, whose cells are thereby kept.
        """
        kind = torch.device(device).type
        layouts = {None: '', True: 'channels last', False: 'channels first'}
        parts = [
            f'amp {self.amp_dtype}' if self.amp_dtype else 'of the weights',
            layouts[self.channels_last],
            f'compiled by {self.torchcompile}' if self.torchcompile else '',
            'TF32' if self.tf32 else '',
            f'on {kind}' if kind != 'cpu' else '',
        ]
        return ', '.join(filter(None, parts))

    def autocast(self, device: str | torch.device) -> torch.autocast:
        """The context for a forward pass on the device."""
        dtype = getattr(torch, self.amp_dtype) if self.amp_dtype else None
        return torch.autocast(torch.device(device).type, dtype=dtype, enabled=dtype is not None)

    def compiled(self, net: nn.Module) -> nn.Module:
        """The network as it is to be called."""
        return net if self.torchcompile is None else torch.compile(net, backend=self.torchcompile)  # type: ignore

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set TF32 for the body, for convolutions and products of matrices; the process gets its settings back."""
        places: tuple[Any, Any] = (torch.backends.cuda.matmul, torch.backends.cudnn)
        before = [place.allow_tf32 for place in places]
        try:
            for place in places:
                place.allow_tf32 = self.tf32
            yield
        finally:
            for place, value in zip(places, before, strict=True):
                place.allow_tf32 = value


DEFAULT = Precision()
