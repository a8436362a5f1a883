"""Which models a run takes: one of each name, and no two that would count as trainings of one network."""

from __future__ import annotations

import itertools
from typing import Any, Mapping, Sequence

import timm

from .._errors import type_of
from ..model_names import architecture_name, is_outside
from ..weights import is_backbone
from .analysis.grids import default_tag, training_of
from .arguments import ArgumentTypeError
from .models import Source


def distinct_sources(models: Sequence[str | Source]) -> list[Source]:
    """A source for each name, where no two count as trainings of one network that are none.

    Raises:
        TypeError: for what is neither a name nor a source.
        ValueError: for two different sources of one name, or of names that differ in the seed of a training alone.
    """
    sources: dict[str, Source] = {}
    for model in models:
        if not isinstance(model, (str, Source)):
            raise ArgumentTypeError(
                f"models: expected names or sources, such as Source('mine', module), got {type_of(model)}"
            )
        source = model if isinstance(model, Source) else Source(model)
        if sources.setdefault(source.result_name, source) != source:
            raise ValueError(f'expected a name for each model, got {source.result_name!r} for two different ones')
    own = {name for name, source in sources.items() if source.module is not None or source.checkpoint is not None}
    _refuse_mixture([(name, name in own, None) for name in sources])
    return list(sources.values())


def check_called(source: Source) -> None:
    """Refuse a name for the results that means another network, or packaged weights that the source does not have.

    Raises:
        ValueError: with the name.
    """
    if not source.called:
        return
    own, (called, _) = _architecture(source), training_of(source.called)
    network = called.partition('.')[0]
    if is_outside(called) or (own is not None and timm.is_model(network) and network != own):
        raise ValueError(
            f'model {source.name}: expected a name for the results that means no other network, got {source.called!r}'
        )
    packaged = source.name if '.' in source.name else f'{source.name}.{default_tag(source.name)}'
    has_them = source.module is None and source.checkpoint is None and source.called in (source.name, packaged)
    if not has_them and _means_weights(source.called):
        raise ValueError(
            f'model {source.name}: expected a name for the results that means no other weights, got {source.called!r}'
        )


def _architecture(source: Source) -> str | None:
    """The network of a source as timm calls it; None for a module that does not say it."""
    if source.module is None:
        return architecture_name(source.name).partition('.')[0]
    return (getattr(source.module, 'pretrained_cfg', None) or {}).get('architecture')


def _means_weights(name: str) -> bool:
    """Whether a name with a tag is that of weights of timm or of this package."""
    if '.' not in name:
        return False
    try:
        return is_backbone(name) or timm.get_pretrained_cfg(name) is not None
    except RuntimeError:  # timm's, for a tag that it does not know
        return False


def check_trainings(models: Sequence[Mapping[str, Any]], advice: str = '') -> None:
    """Refuse models of several runs of which two would count as trainings of one network that are none.

    Args:
        models: What the plans record of them.
        advice: How to go on.

    Raises:
        ValueError: for names that mean the same weights where the weights are others, for own weights under a name that
            means packaged ones, and for names that differ in the seed alone where the networks are others.
    """
    known = [(model['name'], model['checkpoint'] is not None, model['weights_sha256']) for model in models]
    _refuse_mixture(known, advice)
    for one, two in itertools.combinations(models, 2):
        if training_of(one['name'])[0] == training_of(two['name'])[0] and _network(one) != _network(two):
            raise ValueError(
                f'expected trainings of one network, got {_told(one)} beside {_told(two)}: name one of them so that '
                f'more than the seed differs{advice}'
            )


def _network(model: Mapping[str, Any]) -> tuple[str, int]:
    return model['architecture'], model['parameters']


def _told(model: Mapping[str, Any]) -> str:
    architecture, parameters = _network(model)
    return f'{model["name"]!r} of {architecture} with {parameters:,} parameters'


def _refuse_mixture(models: Sequence[tuple[str, bool, str | None]], advice: str = '') -> None:
    """See ``check_trainings``.

    Args:
        models: Of each the name, whether the weights are the user's own, and their hash, None before they are read.
        advice: How to go on.
    """
    known = [(*training_of(model[0]), *model) for model in models]
    for one, two in itertools.permutations(known, 2):
        (kind, seed, name, own, weights), (other_kind, other_seed, other, other_own, other_weights) = one, two
        differ = own if weights is None else weights != other_weights
        is_default = own and not seed and not other_own
        if kind == other_kind and differ and (seed == other_seed or is_default):
            raise ValueError(
                f"expected a name of its own for weights of yours, as in Source('mine', module) or by --name, got "
                f'{name!r} beside {other!r}: they would count as a training of the same network{advice}'
            )
