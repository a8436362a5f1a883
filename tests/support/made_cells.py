"""Cells of runs made from numbers, without a model or an image."""

from __future__ import annotations

import numpy as np

from timm_zerosnet.robustness import SUITES, Evaluation
from timm_zerosnet.robustness.plan import CLEAN, Cell

LEVELS = {name: row.levels for name, row in SUITES['zerosnet'].items()}


def evaluation(correct, labels=None, confidence=0.75, classes=10):
    """An evaluation that predicts the label where ``correct`` is true and the next class elsewhere."""
    correct = np.asarray(correct, dtype=bool)
    labels = np.arange(len(correct)) % classes if labels is None else np.asarray(labels)
    predicted = np.where(correct, labels, (labels + 1) % classes)
    return Evaluation(
        correct,
        predicted,
        np.broadcast_to(np.float32(confidence), correct.shape),
        np.where(correct, np.float32(0.3), np.float32(1.4)),
        correct | (classes <= 5),
    )


def cell(model, corruption, level, correct, seed=None, suite='zerosnet', **more):
    return Cell(model, suite, corruption, level, seed, evaluation(correct, **more))


def whole_run(model, images=200, skill=1.0, seeds=(0, 1), seed=0, suite='zerosnet', **more):
    """Every cell of a suite, for images of various difficulty that are right less often at stronger levels."""
    generator = np.random.default_rng(seed)
    easy = generator.beta(6, 1, images)

    def drawn(corruption, level, noise_seed):
        harm = abs(level) * (0.1 if SUITES[suite][corruption].severities else 1) if corruption != CLEAN else 0
        return cell(model, corruption, level, generator.random(images) < skill * easy - harm, noise_seed, suite, **more)

    return [
        drawn(CLEAN, 0, None),
        *(
            drawn(name, level, noise_seed)
            for name, row in SUITES[suite].items()
            for level in row.levels
            for noise_seed in (seeds if row.seeded else [None])
        ),
    ]


def chosen_images(cells, order):
    """The same run on some of its images, or on all in another order."""
    return [
        Cell(
            c.model,
            c.suite,
            c.corruption,
            c.level,
            c.seed,
            Evaluation(**{name: getattr(c.result, name)[order] for name in Evaluation.__dataclass_fields__}),
        )
        for c in cells
    ]


def renamed(cells, model):
    return [Cell(model, c.suite, c.corruption, c.level, c.seed, c.result) for c in cells]
