"""What runs always and what with the slow tests alone: cases of a test, examples of hypothesis."""

from typing import Any, Iterable

import pytest

part = 1
"""Which part of the examples hypothesis draws: a fourth without the slow tests, as conftest.py sees to."""


def examples(count: int) -> int:
    """How many examples of ``count`` are drawn."""
    return max(10, count // part)


def slow(*values: Any) -> Any:
    """A case that runs with the slow tests alone."""
    return pytest.param(*values, marks=pytest.mark.slow)


def slow_but(often: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """``cases`` as parameters, of which only ``often`` are not slow; a tuple is the values of one case."""
    often, found = list(often), []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        found.append(pytest.param(*values, marks=() if case in often else pytest.mark.slow))
    return found
