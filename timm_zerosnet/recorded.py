"""What a checkpoint records of its training: the arguments of its network, and how its images were prepared."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

from timm.data import resolve_data_config

from ._errors import UnknownModelError, WeightError
from .checkpoint import RECORD, made_with, training_arguments
from .model_names import architecture_name, is_outside, model_config
from .pretrained_arguments import option_text, preprocessing_options, refuse_other_training
from .registry import is_own
from .zerosnet import network_arguments

PREPARATION = ('input_size', 'img_size', 'crop_pct', 'mean', 'std', 'interpolation')
"""The arguments of train.py that say how images are prepared; other scripts record other ones."""
INTERPOLATIONS = ('nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos')
"""How timm can resize images. Newer versions of Pillow have more."""


def recorded_arguments(path: Path, name: str) -> dict[str, Any] | None:
    """The arguments that a network was trained with; None where nothing says them, see ``checkpoint.made_with``.

    Args:
        path: The file of the checkpoint.
        name: Any name of a model, see ``model_names``.
    """
    args = _trained_as(path, name)
    told = made_with(args)
    began_outside = is_outside(str(args.get('model'))) and 'model_args' not in (args.get(RECORD) or {})
    return None if began_outside else told


def checkpoint_arguments(path: Path, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments to make the network of a checkpoint with: those given, and those of its training.

    Args:
        path: The file of the checkpoint.
        name: Any name of a model, see ``model_names``.
        given: Arguments for ``timm.create_model``.

    Raises:
        WeightError: if those given make another function of the weights than was trained.
    """
    arguments = {**(recorded_arguments(path, name) or {}), **given}
    check_recorded(path, name, arguments)
    return arguments


def check_recorded(path: Path, name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments with which a network would not be the one that a checkpoint says was trained.

    Args:
        path: The file of the checkpoint. One that does not say how it was trained passes.
        name: Any name of a model, see ``model_names``.
        arguments: All arguments for ``timm.create_model``.

    Raises:
        WeightError: naming the arguments of the training, and those given.
    """
    recorded = recorded_arguments(path, name)
    if recorded is None:
        return
    of_config = model_config(name).get('model_args') or {} if is_outside(name) else {}
    model = architecture_name(name).partition('.')[0]
    own = network_arguments(model) if is_own(model) else {}
    refuse_other_training(path, {**of_config, **arguments}, own, recorded)


def checkpoint_preprocessing(path: Path, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """How the images were prepared on which a checkpoint was trained, where that is not what its name says.

    Args:
        path: The file of the checkpoint.
        name: Any name of a model, see ``model_names``.
        arguments: The user's for ``timm.create_model``; what their ``pretrained_cfg_overlay`` says comes first.

    Returns:
        Some of ``mean``, ``std``, ``interpolation``, ``crop_pct`` and ``input_size`` (C, H, W); the latter two if
        train.py was given one of them. Nothing for a checkpoint of which no train.py of timm's says how it was trained.

    Raises:
        WeightError: for recorded values that train.py does not take.
    """
    args = _trained_as(path, name)
    if not args.keys() >= set(PREPARATION):
        return {}
    own, given = model_config(name), _overlay(arguments)
    trained_config = own if args['model'] == name else _config_or(own, args['model'])
    try:
        trained = resolve_data_config(args, pretrained_cfg={**trained_config, **_overlay(args.get('model_kwargs'))})
    except (AssertionError, TypeError) as error:
        values = ', '.join(f'{key} {args[key]}' for key in PREPARATION)
        raise WeightError(f'{path} says that it was trained with {values}: train.py does not take that') from error
    usual = resolve_data_config(pretrained_cfg=own, use_test_size=True) if own else {}
    for config in filter(None, (trained, usual)):
        config.update({key: _of_channels(config[key], trained['input_size'][0]) for key in ('mean', 'std')})
    sized = bool(args['input_size'] or args['img_size'])
    cut = sized or bool(args['crop_pct'])
    keys = ['mean', 'std', 'interpolation', *['input_size'] * sized, *['crop_pct'] * cut]
    return {key: trained[key] for key in keys if trained[key] != usual.get(key) and key not in given}


def say_recorded(
    checkpoint: Path | None,
    given: Mapping[str, Any],
    made_with: Mapping[str, Any],
    trained_on: Mapping[str, Any] | None = None,
) -> None:
    """Say on stderr what a network got from its checkpoint.

    Args:
        checkpoint: The file of the checkpoint, if there is one.
        given: The arguments that the user gave.
        made_with: All arguments of the network.
        trained_on: The preprocessing that the checkpoint says.
    """
    recorded = {key: value for key, value in made_with.items() if key not in given}
    words = [option_text(recorded)] if recorded else []
    if words := [*words, *map(shlex.join, preprocessing_options(trained_on or {}))]:
        print(f'timm-zerosnet: {checkpoint} was trained with {", ".join(words)}: used here, too', file=sys.stderr)


def _trained_as(path: Path, name: str) -> dict[str, Any]:
    """All arguments of train.py that trained a network, under its name or that of its architecture."""
    args = training_arguments(path, name)
    return args or (training_arguments(path, architecture_name(name)) if is_outside(name) else {})


def _config_or(other: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        return model_config(name)
    except (UnknownModelError, WeightError):  # a tag of other versions or packages, a folder that is not here
        return other


def _overlay(arguments: Any) -> dict[str, Any]:
    """What arguments for ``timm.create_model`` say in place of a model's configuration."""
    known = arguments if isinstance(arguments, Mapping) else {}
    found = (known.get(key) for key in ('pretrained_cfg', 'pretrained_cfg_overlay'))
    return {key: value for config in found if isinstance(config, dict) for key, value in config.items()}


def _of_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """One value for each channel: their mean where there is another number of them, as timm's loaders have it."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels
