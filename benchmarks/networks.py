"""The networks that ``throughput.py`` and ``memory.py`` measure, by name.

``NAME`` is a model of timm or of this package. ``NAME:naive`` is a model of this package whose update is written as the
authors write it, which takes eight kernels. ``authors:DEPTH`` is the authors' ZeroSNet_Opt, loaded from the checkout
that ``--reference`` names.
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
    """The update as a sum of scaled tensors, without in-place operations."""

    def __init__(self, step: FixedStep) -> None:
        super().__init__()
        self.a, self.b0 = step.a, step.b0

    def forward(self, slope: Tensor, states: List[Tensor], slopes: List[Tensor]) -> Tensor:
        x = torch.mul(1, torch.mul(self.b0, slope))
        for weight, state in zip(self.a, states, strict=False):
            x = x + torch.mul(weight, state)
        return x


class FirstOutput(nn.Module):
    """A network of which the first output, its logits, is returned alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[0]


def build(name: str, reference: Path | None = None) -> nn.Module:
    """Build the network of a name, in training mode, with random weights.

    Args:
        name: A name as the module explains it.
        reference: A checkout of the authors' implementation, needed for ``authors:DEPTH``.

    Raises:
        ValueError: for ``authors:`` without ``reference`` or with an impossible depth, for a suffix other than
            ``:naive``, and for ``:naive`` after a network without fixed multistep coefficients.
    """
    kind, colon, rest = name.partition(':')
    if kind == 'authors':
        return _authors(rest, reference)
    if colon and rest != 'naive':
        raise ValueError(f'expected :naive or nothing after the name of a model, got {name}')
    torch.manual_seed(0)
    network = timm.create_model(kind)
    if rest == 'naive':
        blocks = [module for module in network.modules() if hasattr(module, 'step')]
        multistep = [block for block in blocks if type(block.step) is FixedStep and len(block.step.a) > 1]
        if not multistep or any(type(block.step) is not FixedStep for block in blocks):
            raise ValueError(f'{name}: expected a multistep network with fixed coefficients before :naive')
        for block in multistep:
            assert isinstance(block.step, FixedStep)
            block.step = NaiveStep(block.step)
    return network


def image_size(name: str) -> int:
    """Side of the images that the network was made for, in pixels."""
    if name.startswith('authors:'):
        return 32
    config = timm.get_pretrained_cfg(name.partition(':')[0])
    assert config is not None  # build() refused unknown names
    return config.input_size[-1]


def _authors(depth: str, reference: Path | None) -> nn.Module:
    if not depth.isdecimal() or int(depth) < 8 or (int(depth) - 2) % 6:
        raise ValueError(f'expected a depth 6 n + 2, such as 20 or 110, got authors:{depth}')
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
    return FirstOutput(module.ZeroSNet_Opt(module.ZeroSBlock, [(int(depth) - 2) // 6] * 3))
