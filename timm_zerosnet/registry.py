"""Registration that overwrites no model of another package and leaves nothing half done."""

from __future__ import annotations

import warnings
from typing import Callable, Iterable

import timm.models

own: set[str] = set()
"""The names of the networks of this package, registered or not."""


def register_models(entry_points: Iterable[Callable]) -> None:
    """Give timm the functions that make the networks of this package.

    A name that timm or another package has is left to it, with one warning for all such names.

    Args:
        entry_points: The functions, each named as its network.
    """
    free, taken = [], []
    for entry_point in entry_points:
        name = entry_point.__name__
        own.add(name)
        if not timm.models.is_model(name):
            free.append(entry_point)
        elif holder := stranger(name):
            taken.append(f'{name} (of {holder})')
    if taken:  # before any is registered: where warnings are errors, the import of the package ends here
        warnings.warn(
            f'timm_zerosnet: these model names exist already and stay as they are: {", ".join(taken)}', stacklevel=3
        )
    for entry_point in free:
        timm.models.register_model(entry_point)


def stranger(model: str) -> str | None:
    """The module of another package that holds a model's name in timm, None if there is no such module.

    A name of our networks is held by a stranger unless this package registered it, any other name unless timm did.

    Args:
        model: The name without a tag.
    """
    if not timm.models.is_model(model):
        return None
    module = timm.models.model_entrypoint(model).__module__
    return None if module.startswith(f'{__package__}.' if model in own else 'timm.') else module


def is_own(model: str) -> bool:
    """Whether timm has a network of this package by that name, which has no tag."""
    return model in own and timm.models.is_model(model) and not stranger(model)
