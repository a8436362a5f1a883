"""The networks that ``throughput.py`` and ``memory.py`` measure, by name.

``NAME`` is timm's, ``NAME:naive`` one of ours with the update as the authors write it (eight kernels), and
``authors:DEPTH`` the authors' ZeroSNet_Opt, from a checkout of theirs that ``--reference`` names.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import List

import timm
import torch
from torch import Tensor, nn

from timm_zerosnet.steps import FixedStep


class NaiveStep(nn.Module):
    """The update as a sum of scaled tensors; nothing in place."""

    def __init__(self, step: FixedStep) -> None:
        super().__init__()
        self.a, self.b0 = step.a, step.b0

    def forward(self, slope: Tensor, states: List[Tensor], slopes: List[Tensor]) -> Tensor:
        x = torch.mul(1, torch.mul(self.b0, slope))
        for weight, state in zip(self.a, states, strict=False):
            x = x + torch.mul(weight, state)
        return x


class First(nn.Module):
    """A network that returns its logits among other things."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[0]


def build(name: str, reference: Path | None = None) -> nn.Module:
    """The network of a name, in training mode, with random weights.

    Raises:
        ValueError: for ``authors:`` without ``--reference`` or of a depth that there is not, a suffix other than
            ``:naive``, or ``:naive`` of a network that has another update.
    """
    kind, colon, rest = name.partition(':')
    if kind == 'authors':
        return _authors(rest, reference)
    if colon and rest != 'naive':
        raise ValueError(f'{name}: accepted after a name is :naive')
    torch.manual_seed(0)
    network = timm.create_model(kind)
    if rest == 'naive':
        blocks = [module for module in network.modules() if hasattr(module, 'step')]
        multistep = [block for block in blocks if type(block.step) is FixedStep and len(block.step.a) > 1]
        if not multistep or any(type(block.step) is not FixedStep for block in blocks):
            raise ValueError(f'{name}: accepted are multistep networks with fixed coefficients')
        for block in multistep:
            block.step = NaiveStep(block.step)
    return network


def image_size(name: str) -> int:
    """Pixels that the network was made for."""
    return 32 if name.startswith('authors:') else timm.get_pretrained_cfg(name.partition(':')[0]).input_size[-1]


def _authors(depth: str, reference: Path | None) -> nn.Module:
    if not depth.isdecimal() or int(depth) < 8 or (int(depth) - 2) % 6:
        raise ValueError(f'authors:{depth}: accepted are depths 6 n + 2, such as 20 and 110')
    if reference is None:
        raise ValueError(
            f'authors:{depth} needs --reference DIR, a checkout of https://github.com/LongJin-lab/ZeroSNet'
        )
    path = reference / 'CIFAR' / 'models' / 'ZeroSNet.py'
    sys.modules.setdefault('netron', types.ModuleType('netron'))  # imported there, not used
    spec = importlib.util.spec_from_file_location('authors_zerosnet', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    return First(module.ZeroSNet_Opt(module.ZeroSBlock, [(int(depth) - 2) // 6] * 3))
