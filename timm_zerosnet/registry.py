"""Registration that overwrites nobody's models and leaves nothing half done."""

from __future__ import annotations

import warnings
from typing import Callable

import timm.models

_pending: dict[str, Callable] = {}
own: set[str] = set()
"""The names of the networks of this package, registered or not."""


def register_model(entrypoint: Callable) -> Callable:
    """Queue a model entry point for ``register_all``."""
    _pending[entrypoint.__name__] = entrypoint
    own.add(entrypoint.__name__)
    return entrypoint


def register_all() -> None:
    """Give every queued entry point to timm, once all of them are queued.

    A name that timm or another package has is left to it, with one warning for all such names.
    """
    free, taken = [], []
    for name, entrypoint in _pending.items():
        if not timm.models.is_model(name):
            free.append(entrypoint)
        elif holder := stranger(name):
            taken.append(f'{name} (of {holder})')
    _pending.clear()
    if taken:  # before any is registered: where warnings are errors, the import of the package ends here
        warnings.warn(
            f'timm_zerosnet: these model names exist already and stay as they are: {", ".join(taken)}', stacklevel=3
        )
    for entrypoint in free:
        timm.models.register_model(entrypoint)


def stranger(model: str) -> str | None:
    """The module that holds a model's name in timm, where that is neither of this package nor, of other names, of timm.

    Args:
        model: Without tag.
    """
    if not timm.models.is_model(model):
        return None
    module = timm.models.model_entrypoint(model).__module__
    return None if module.startswith(f'{__package__}.' if model in own else 'timm.') else module


def is_own(model: str) -> bool:
    """Whether timm has a network of this package by that name, without tag."""
    return model in own and timm.models.is_model(model) and not stranger(model)
