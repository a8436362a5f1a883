"""Parameters and multiply-accumulate operations of the registered networks, without their weights in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .registry import is_own
from .zerosnet import DEPTHS

SHALLOW = 4  # blocks of a stage; each further block costs the same as the one before


@dataclass(frozen=True)
class Cost:
    """Number of parameters, and of multiply-accumulate operations (MACs) for one image."""

    parameters: int
    macs: int


def measure(net: nn.Module, input_size: tuple[int, ...]) -> Cost:
    """Count a network's operations in one forward pass; on the meta device nothing is computed.

    Args:
        net: A network in eval mode.
        input_size: Size (C, H, W) of the image.
    """
    like = next(net.parameters())
    needed = [p for p in net.parameters() if p.requires_grad]
    net.requires_grad_(False)  # torch's counter would ask for gradients, which there are none of under no_grad
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.empty(1, *input_size, device=like.device, dtype=like.dtype))
    finally:
        for parameter in needed:
            parameter.requires_grad_(True)
    return Cost(sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2)


def cost(model: str, num_classes: int) -> Cost:
    """Cost of a registered network at its own image size. That of a deep one is extrapolated, exactly.

    Args:
        model: Registered name without a tag.
        num_classes: Width of the classifier, 0 for none.
    """
    (depth,) = map(int, re.findall(r'\d+', model))
    shape = DEPTHS[depth]
    layers = shape['layers']
    if shape['stem'] == 'imagenet':
        return _count(model, num_classes, layers)
    shallow = model.replace(str(depth), '20' if shape['block'] == 'basic' else '164')
    if not is_own(shallow):  # another package has that name
        shallow = model
    if layers[0] <= SHALLOW:
        return _count(shallow, num_classes, layers)
    one, other = (_count(shallow, num_classes, (n,) * len(layers)) for n in (SHALLOW, SHALLOW + 1))
    times = layers[0] - SHALLOW
    return Cost(
        one.parameters + times * (other.parameters - one.parameters), one.macs + times * (other.macs - one.macs)
    )


def _count(model: str, num_classes: int, layers: tuple[int, ...]) -> Cost:
    backbone, features = _backbone(model, layers)
    if not num_classes:
        return backbone
    return Cost(backbone.parameters + (features + 1) * num_classes, backbone.macs + features * num_classes)


@lru_cache
def _backbone(model: str, layers: tuple[int, ...]) -> tuple[Cost, int]:
    net: Any = timm.create_model(model, num_classes=0, layers=layers, device='meta').eval()
    return measure(net, net.pretrained_cfg['input_size']), int(net.head_hidden_size)
