"""Registration that overwrites nobody's models and leaves nothing half done."""

from __future__ import annotations

import warnings
from typing import Callable

import timm.models

_pending: list[Callable] = []


def register_model(entrypoint: Callable) -> Callable:
    """Queue a model entry point for ``register_all``."""
    _pending.append(entrypoint)
    return entrypoint


def register_all() -> None:
    """Give every queued entry point to timm, once the whole package has been imported.

    A name that timm or another package has is left to it, with one warning for all such names.
    """
    free, taken = [], []
    for entrypoint in _pending:
        name = entrypoint.__name__
        if not timm.models.is_model(name):
            free.append(entrypoint)
        elif timm.models.model_entrypoint(name).__module__ != entrypoint.__module__:
            taken.append(f'{name} (of {timm.models.model_entrypoint(name).__module__})')
    _pending.clear()
    if taken:  # before any is registered: where warnings are errors, the import of the package ends here
        warnings.warn(
            f'timm_zerosnet: these model names exist already and stay as they are: {", ".join(taken)}', stacklevel=3
        )
    for entrypoint in free:
        timm.models.register_model(entrypoint)
