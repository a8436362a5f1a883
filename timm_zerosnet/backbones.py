"""Packaged weights of timm's own backbones, trained by the recipes of this package: what its networks compare with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import timm
from torch import nn

from . import weights as pretrained
from ._errors import WeightError
from .cifar import cifar_config
from .weights import check_taken

NOT_TIMMS = {  # of timm's own weights, of which these are none
    **dict.fromkeys(('hf_hub_id', 'hf_hub_filename', 'origin_url', 'paper_ids', 'paper_name', 'notes')),
    **dict.fromkeys(('test_input_size', 'test_crop_pct')),
    **{'url': '', 'crop_mode': 'center', 'license': 'apache-2.0'},
}


def overlay(tag: str, file: str | Path | None = None) -> dict[str, Any]:
    """What timm's configuration of any model becomes with weights of ours.

    Args:
        tag: Such as ``cifar10`` or ``cifar10_seed1``.
        file: That holds them.
    """
    return {'tag': tag, 'file': file and str(file), **NOT_TIMMS, **cifar_config(tag)}


def weights_overlay(name: str) -> dict[str, Any]:
    """What ``timm.create_model(MODEL, pretrained=True, pretrained_cfg_overlay=...)`` needs to load a packaged weight.

    Args:
        name: ``MODEL.TAG``, such as ``'resnet10t.cifar10'``. Networks of this package load by that name alone.

    Returns:
        The file, and the configuration of the data it was trained on. With another ``in_chans``, timm rounds the first
        layer, which it adapts, to the float16 of the file; that of this package's own networks becomes float32.

    Raises:
        WeightError: if nothing of that name is packaged (names what is), or the file is damaged.
    """
    refuse_empty_tag(name)
    if name not in pretrained.manifest():
        raise WeightError(f'there are no weights {name!r}; accepted: {", ".join(pretrained.manifest()) or "none"}')
    pretrained.check_taken(name)
    pretrained.verify(name)
    return overlay(name.split('.', 1)[1], pretrained.weight_file(name))


def refuse_empty_tag(name: str) -> None:
    """Refuse a name such as ``zerosnet20.``, of which timm would make the default tag.

    Raises:
        WeightError: with the name that is complete.
    """
    if name.endswith('.') and ':' not in name:  # of a folder or a repo of the Hub it may be the end
        raise WeightError(f'{name!r} has an empty tag: expected {name.rstrip(".")!r} or a tag after the dot')


def is_backbone(name: str) -> bool:
    """Whether it names packaged weights of a model of timm's own."""
    return name in pretrained.backbones()


def create(name: str, pretrained: bool = True, **arguments: Any) -> nn.Module:
    """``timm.create_model``, which also takes the names of packaged backbones of timm's own.

    Raises:
        WeightError: for an empty tag, a name of packaged weights that another package has, and for weights of the Hub
            or a folder that differ from the sha256 in their config.
    """
    refuse_empty_tag(name)
    check_taken(name)
    if ':' in name:
        from .model_names import outside_name

        name = outside_name(name, pretrained)
    if is_backbone(name):
        name, arguments = name.split('.')[0], _with_overlay(name, arguments)
    return timm.create_model(name, pretrained, **arguments)


def script_arguments(arguments: list[str], args: argparse.Namespace) -> list[str]:
    """Arguments for timm's validate.py, which knows a packaged backbone by its plain name and an overlay."""
    if not is_backbone(args.model):
        return arguments
    words = (f'{key}={value!r}' for key, value in _with_overlay(args.model, args.model_kwargs).items())
    return [*arguments, '--model', args.model.split('.')[0], '--model-kwargs', *words]


def _with_overlay(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    given = arguments.get('pretrained_cfg_overlay') or {}
    return {**arguments, 'pretrained_cfg_overlay': {**weights_overlay(name), **given}}
