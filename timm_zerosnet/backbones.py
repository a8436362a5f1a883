"""Packaged weights of timm's own backbones, trained by the recipes of this package: what its networks compare with."""

from __future__ import annotations

import argparse
from typing import Any

import timm
from torch import nn

from . import pretrained
from .cifar import cifar_config
from .pretrained import WeightError


def weights_overlay(name: str) -> dict[str, Any]:
    """What ``timm.create_model(MODEL, pretrained=True, pretrained_cfg_overlay=...)`` needs to load a packaged weight.

    Args:
        name: ``MODEL.TAG``, such as ``'resnet10t.cifar10'``. Networks of this package load by that name alone.

    Returns:
        The file, and the configuration of the data it was trained on.

    Raises:
        WeightError: if nothing of that name is packaged (names what is), or the file is damaged.
    """
    if name not in pretrained.manifest():
        raise WeightError(f'there are no weights {name!r}; accepted: {", ".join(pretrained.manifest()) or "none"}')
    pretrained.verify(name)
    return {'file': pretrained.weight_file(name), **cifar_config(name.split('.', 1)[1])}


def create(name: str, pretrained: bool = True, **arguments: Any) -> nn.Module:
    """``timm.create_model``, which also takes the names of packaged backbones of timm's own."""
    if is_backbone(name):
        overlay = weights_overlay(name)
        return timm.create_model(name.split('.')[0], pretrained, pretrained_cfg_overlay=overlay, **arguments)
    return timm.create_model(name, pretrained, **arguments)


def is_backbone(name: str) -> bool:
    """Whether it names packaged weights of a model of timm's own."""
    return name in pretrained.backbones()


def script_arguments(arguments: list[str], args: argparse.Namespace) -> list[str]:
    """Arguments for timm's scripts, which know a packaged backbone by its plain name and an overlay."""
    if not is_backbone(args.model):
        return arguments
    passed = {'pretrained_cfg_overlay': weights_overlay(args.model), **args.model_kwargs}
    words = (f'{key}={value!r}' for key, value in passed.items())
    return [*arguments, '--model', args.model.split('.')[0], '--model-kwargs', *words]
