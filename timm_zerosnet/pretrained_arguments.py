"""Arguments of a network that must not pass in silence.

They change what weights compute, which names and shapes of a state dict do not show, or have no effect, or name a layer
that timm does not have.
"""

from __future__ import annotations

import shlex
import warnings
from pathlib import Path
from typing import Any, Iterator, Mapping

import torch
from timm.layers import get_act_layer, get_norm_act_layer
from torch import Tensor, nn

from ._errors import WeightError, shorten
from .methods import METHODS, parse_method
from .steps import MU_RANGE

_DEFAULTS = {'act_layer': 'relu', 'norm_layer': 'batchnorm2d'}
_DECISIVE = ('learn', 'method', 'projection', 'start_projection', 'euler_at_projection', 'constrain_mu', *_DEFAULTS)
"""The arguments that decide, beside its parameters and timm's own arguments, which function a network is."""
_OWN_FILE = (
    'A file of your own that was trained so loads by timm.models.load_checkpoint(model, FILE) into a model that is '
    'made without pretrained=True'
)
_LEARNING = (
    "Networks that learn their method are zerosnet*_tra (learn='mu') and lmresnet* (learn='k'); multistep_resnet* take "
    'method='
)


_LAYERS = {  # what timm has no public list of
    'act_layer': (
        *('relu', 'relu6', 'leaky_relu', 'prelu', 'elu', 'celu', 'selu', 'gelu', 'gelu_tanh', 'quick_gelu', 'silu'),
        *('mish', 'hard_swish', 'hard_sigmoid', 'hard_mish', 'sigmoid', 'tanh', 'identity'),
    ),
    'norm_layer': (
        *('batchnorm2d', 'groupnorm', 'groupnorm1', 'layernorm2d', 'rmsnorm2d', 'evonormb0', 'evonormb1', 'evonormb2'),
        *('evonorms0', 'evonorms1', 'evonorms2', 'frn', 'frntlu'),
    ),
}


def check_layer_names(arguments: Mapping[str, Any]) -> None:
    """Refuse names of layers that timm does not have, for which it raises a bare KeyError.

    Args:
        arguments: Arguments of a network of this package.

    Raises:
        ValueError: with the names there are.
    """
    for key, find in (('act_layer', get_act_layer), ('norm_layer', get_norm_act_layer)):
        given = arguments.get(key)
        if given is None or callable(given):
            continue
        try:
            known = isinstance(given, str) and bool(find(given))
        except KeyError:
            known = False
        if not known:
            raise ValueError(f'{key}: expected one of {", ".join(_LAYERS[key])}, got {given!r}')


def refuse_other_function(name: str, given: dict[str, Any], own: dict[str, Any], trained: dict[str, Any]) -> None:
    """Refuse arguments with which the weights of a network would be those of another one.

    Args:
        name: The name of the network.
        given: The arguments that the caller passed.
        own: The network's own arguments, which hold where the caller passed none.
        trained: The arguments that the weights were trained with.

    Raises:
        WeightError: naming both values.
    """
    asked = {**own, **given}
    advice = _LEARNING if asked.get('learn') and asked.get('method') else _OWN_FILE
    for key, new, old in _differences(asked, trained):
        expected = f'no {key}= beside pretrained=True. {advice}'
        if key not in given:
            expected = f'{key}={trained[key]!r} beside pretrained=True, as the file records it'
        raise WeightError(
            f'the weights of {name} are for {_text(key, old)}, not for {_text(key, new)}: expected {expected}'
        )


def refuse_other_training(
    path: Path, given: Mapping[str, Any], own: Mapping[str, Any], recorded: Mapping[str, Any]
) -> None:
    """Refuse arguments with which a network would not be the one that its checkpoint says was trained.

    Args:
        path: The file of the checkpoint.
        given: The arguments that the network is to be made with.
        own: The own arguments of a network of this package; of another network, which has none here, every argument
            that is recorded counts.
        recorded: The arguments that train.py made the network with.

    Raises:
        WeightError: naming the arguments that it was trained with, and those given.
    """
    counts = _DECISIVE if own else tuple(recorded)
    had, got = ({key: row[key] for key in counts if key in row} for row in (recorded, given))
    if had != got and (not own or _is_other_function({**own, **given}, {**own, **recorded})):
        expected = option_text(had) if had else f'no {", ".join(got)}'
        raise WeightError(f'{path}: expected {expected}, as in its training, got {option_text(got) if got else "none"}')


def _is_other_function(asked: dict[str, Any], trained: dict[str, Any]) -> bool:
    check_layer_names(asked)
    return (
        any(_differences(asked, trained))
        or bool(asked.get('constrain_mu')) != bool(trained.get('constrain_mu'))
        or not torch.equal(_layer_output(asked), _layer_output(trained))
    )


def option_text(arguments: Mapping[str, Any]) -> str:
    """The option that gives a network these arguments, as one writes it in a shell."""
    return shlex.join(['--model-kwargs', *(f'{key}={value}' for key, value in arguments.items())])


def preprocessing_options(config: Mapping[str, Any]) -> list[list[str]]:
    """The options of timm's scripts that say how images are prepared, such as ``['--input-size', '3', '48', '48']``."""
    values = {key: value if isinstance(value, (tuple, list)) else [value] for key, value in config.items()}
    return [[f'--{key.replace("_", "-")}', *map(str, value)] for key, value in values.items()]


def _differences(asked: dict[str, Any], trained: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The arguments that give weights another function, with their effective values in ``asked`` and ``trained``."""
    without_effect, values = _without_effect(asked), _effective(asked)
    for key, value in _effective(trained).items():
        if key not in without_effect and values[key] != value:
            yield key, values[key], value


def warn_of_arguments(
    name: str,
    given: dict[str, Any],
    own: dict[str, Any],
    trained: dict[str, Any],
    pretrained: bool,
    model: nn.Module,
) -> None:
    """Warn of arguments that have no effect, or that change the function of the weights which ``model`` has.

    Args:
        name: The name of the network.
        given: The arguments that the caller passed.
        own: The network's own arguments, which hold where the caller passed none.
        trained: The arguments that the weights were trained with, or the network's own where it has no weights.
        pretrained: Whether ``model`` has weights.
        model: The network, or timm's feature extractor of it.
    """
    asked = {**own, **given}
    values, before = _effective(asked), _effective(trained)
    remarks = [
        f'{key}={given[key]!r} has no effect: {why}'
        for key, why in _without_effect(asked).items()
        if key in given and values[key] != before[key]
    ]
    if pretrained:
        if 'lambda_init' in given and given['lambda_init'] != trained.get('lambda_init'):
            remarks.append(
                f'lambda_init={given["lambda_init"]!r} has no effect: the weights bring the lambda of each block'
            )
        remarks += _beside_weights(asked, trained, model)
    for remark in remarks:
        warnings.warn(f'{name}: {remark}', stacklevel=5)  # of timm.create_model


def _beside_weights(asked: dict[str, Any], trained: dict[str, Any], model: nn.Module) -> Iterator[str]:
    for key, default in _DEFAULTS.items():
        new, old = (arguments.get(key, default) for arguments in (asked, trained))
        if new != old and not torch.equal(_layer_output({**trained, key: new}), _layer_output(trained)):
            yield f'{key}={new!r} changes what the weights compute: expected {old!r}, unless the file was trained so'
    constrains = bool(asked.get('constrain_mu'))
    if constrains != bool(trained.get('constrain_mu')):
        low, high = MU_RANGE
        outside = [
            key.removesuffix('.step.mu')
            for key, mu in model.named_parameters()
            if key.endswith('.step.mu') and not low <= mu.item() <= high
        ]
        if outside:
            yield (
                f'constrain_mu={constrains} changes what the weights compute: mu lies outside [-1, 3) in '
                f'{shorten(outside)}'
            )


def _effective(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that decide, beside its parameters, which function a network is."""
    learn, method = arguments.get('learn'), arguments.get('method')
    projection = arguments.get('projection', 'bare')
    return {
        'learn': learn,
        'method': parse_method(method or 'zerosnet-opt') if method or learn is None else None,
        'projection': projection,
        'start_projection': arguments.get('start_projection') or projection,
        'euler_at_projection': bool(arguments.get('euler_at_projection')),
    }


def _without_effect(arguments: dict[str, Any]) -> dict[str, str]:
    """Arguments that have no effect on a network, whatever their value, and why."""
    reasons = {}
    if arguments['block'] == 'basic':
        reasons['start_projection'] = 'block 0 projects nothing, only that of a bottleneck does'
    method = _effective(arguments)['method']
    if method is not None and method == METHODS['euler']:
        reasons['euler_at_projection'] = 'every block is an Euler step'
    return reasons


def _layer_output(arguments: dict[str, Any]) -> Tensor:
    """The output of a norm with its activation for fixed numbers, which two names of one layer have in common."""
    with torch.device('cpu'), torch.no_grad():
        kinds = {**_DEFAULTS, **{key: arguments[key] for key in _DEFAULTS if key in arguments}}
        layer = get_norm_act_layer(**kinds)(64).eval()
        return layer(torch.linspace(-64, 64, 64).view(1, 64, 1, 1))


def _text(key: str, value: Any) -> str:
    if key != 'method':
        return f'{key}={value!r}'
    return 'a method that each block learns' if value is None else f'the method {value}'
