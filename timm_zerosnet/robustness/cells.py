"""What a run measures: one cell for each model, perturbation, level and seed."""

from __future__ import annotations

from dataclasses import dataclass, field

from .evaluation import Evaluation

CLEAN = 'clean'


@dataclass(frozen=True)
class Cell:
    """One model on one data set under one perturbation.

    Args:
        model: What the model is called in the run.
        suite: Name of the suite, such as ``zerosnet``.
        corruption: Row of the suite, or ``'clean'``.
        level: Strength or severity; 0 for clean.
        seed: Of the noise; None for clean and for perturbations that are not random.
        result: Per image, in the order of the data set.
        plan: (corruption, level, seed) of every cell that its run measures a model at; None outside of a run.
    """

    model: str
    suite: str
    corruption: str
    level: float
    seed: int | None
    result: Evaluation
    plan: tuple[tuple[str, float, int | None], ...] | None = field(default=None, repr=False, compare=False)
