"""Which models a run takes: one of each name, and no two that would count as trainings of one network."""

from __future__ import annotations

from typing import Sequence

from .._errors import type_of
from .analysis.grids import architecture_of, training_of
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
        if sources.setdefault(source.name, source) != source:
            raise ValueError(f'expected a name for each model, got {source.name!r} for two different ones')
    own = [name for name, source in sources.items() if source.module is not None or source.checkpoint is not None]
    for name in own:
        kind, seed = training_of(name)
        for other in sources:
            same = other != name and training_of(other) == (kind, seed)
            if same or not seed and other not in own and architecture_of(other) == kind:
                raise ValueError(
                    f"expected a name of its own for weights of yours, as in Source('mine', module), got {name!r} "
                    f'beside {other!r}: they would count as a training of the same network'
                )
    return list(sources.values())
