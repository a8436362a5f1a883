"""Checks of numbers and selections that come from Python."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any, Iterable

import numpy as np
import torch


class ArgumentTypeError(TypeError, ValueError):
    """A value of the wrong type, for callers that check values as for those that check types."""


def integer(what: str, value: Any, least: int = 0, most: int | None = None) -> int:
    """The value as an int; numpy's and torch's integers are integers, booleans are not.

    Raises:
        ArgumentTypeError: for what is no integer.
        ValueError: for one out of range.
    """
    bounds = f'>= {least}' if most is None else f'from {least} to {_power(most)}'
    try:
        if _no_number(value):
            raise TypeError
        found = operator.index(value)
    except TypeError:
        raise ArgumentTypeError(f'{what}: expected an integer {bounds}, got {value!r}') from None
    if found < least or (most is not None and found > most):
        raise ValueError(f'{what}: expected an integer {bounds}, got {found}')
    return found


def real(what: str, value: Any, expected: str) -> float:
    """The value as a float, which may be NaN or infinite; text, booleans and arrays of numbers are no numbers.

    Raises:
        ArgumentTypeError: for what is no number; says what is expected.
    """
    try:
        if not _no_number(value):
            return float(value)
    except OverflowError:
        return float('inf')
    except (TypeError, ValueError, RuntimeError):
        pass
    raise ArgumentTypeError(f'{what}: expected {expected}, got {value!r}')


def file_path(what: str, value: Any) -> Path:
    """The value as a path.

    Raises:
        ArgumentTypeError: for what is no path.
    """
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    raise ArgumentTypeError(f'{what}: expected a path, got {value!r}')


def selection(what: str, values: Iterable[Any], expected: str) -> list[Any]:
    """The values as a list, where ``expected`` says what it holds at least.

    Raises:
        ArgumentTypeError: for what is no sequence, also for text.
        ValueError: for nothing.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ArgumentTypeError(f'{what}: expected a sequence of {expected}, got {values!r}')
    found = list(values)
    if not found:
        raise ValueError(f'{what}: expected {expected}, got []')
    return found


def _no_number(value: Any) -> bool:
    """Whether Python would convert the value silently: text, booleans, arrays of one number."""
    return (
        isinstance(value, (str, bytes, bool, np.bool_))
        or getattr(value, 'dtype', None) is torch.bool
        or getattr(value, 'ndim', 0) > 0
    )


def _power(value: int) -> str:
    return f'2**{value.bit_length()} - 1' if value > 2**31 and value & (value + 1) == 0 else str(value)
