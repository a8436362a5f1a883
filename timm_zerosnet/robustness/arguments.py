"""Checks of numbers and selections that come from Python."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any, Iterable, Iterator

import numpy as np
import torch

from .._errors import one_line


class ArgumentTypeError(TypeError, ValueError):
    """A value of the wrong type, for callers that check values as for those that check types."""


def integer(what: str, value: Any, least: int | None = 0, most: int | None = None) -> int:
    """The value as an int; numpy's and torch's integers are integers, booleans and arrays are not.

    Raises:
        ArgumentTypeError: for what is no integer.
        ValueError: for one out of range.
    """
    bounds = '' if least is None else f' >= {least}' if most is None else f' from {least} to {_power(most)}'
    try:
        if _would_convert(value):
            raise TypeError
        found = operator.index(value)
    except (TypeError, RuntimeError):  # RuntimeError: a tensor without data
        raise ArgumentTypeError(f'{what}: expected an integer{bounds}, got {value!r}') from None
    if (least is not None and found < least) or (most is not None and found > most):
        raise ValueError(f'{what}: expected an integer{bounds}, got {found}')
    return found


def real(what: str, value: Any, expected: str) -> float:
    """The value as a float, which may be NaN or infinite; text, booleans and arrays of numbers are no numbers.

    Raises:
        ArgumentTypeError: for what is no number; says what is expected.
    """
    try:
        if not _would_convert(value):
            return float(value)
    except OverflowError:
        return float('inf')
    except (TypeError, ValueError, RuntimeError):
        pass
    raise ArgumentTypeError(f'{what}: expected {expected}, got {value!r}')


def text(what: str, value: Any) -> str:
    """The value, which is text.

    Raises:
        ArgumentTypeError: for anything else.
    """
    if isinstance(value, str):
        return value
    raise ArgumentTypeError(f'{what}: expected text, got {value!r}')


def boolean(what: str, value: Any) -> bool:
    """The value as a bool, which also numpy may have made.

    Raises:
        ArgumentTypeError: for anything else, such as text, which would count as true.
    """
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise ArgumentTypeError(f'{what}: expected True or False, got {value!r}')


def file_path(what: str, value: Any) -> Path:
    """The value as a path.

    Raises:
        ArgumentTypeError: for what is no path.
    """
    if isinstance(value, (str, os.PathLike)) and '\0' not in str(value):
        return Path(value)
    raise ArgumentTypeError(f'{what}: expected a path, got {value!r}')


def usable_device(value: Any) -> str:
    """The name of a device of torch that answers.

    Raises:
        ValueError: for what is none; says why.
    """
    try:
        device = torch.device(value)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"device {value!r} cannot be used: expected a name that torch.device knows, such as 'cpu' or 'cuda:1'"
        ) from error
    try:
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(f'device {value!r} cannot be used: {one_line(error)}; cpu always can') from error
    return str(device)


def selection(what: str, values: Iterable[Any], expected: str) -> list[Any]:
    """The values as a list, where ``expected`` says what it holds at least.

    Raises:
        ArgumentTypeError: for what is no sequence, also for text.
        ValueError: for nothing.
    """
    if found := sequence(what, values, expected):
        return found
    raise ValueError(f'{what}: expected {expected}, got []')


def sequence(what: str, values: Iterable[Any], expected: str) -> list[Any]:
    """The values as a list, which may be empty.

    Raises:
        ArgumentTypeError: for what is no sequence, also for text.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ArgumentTypeError(f'{what}: expected a sequence of {expected}, got {values!r}')
    try:
        return list(values)
    except TypeError:  # an array without dimensions
        raise ArgumentTypeError(f'{what}: expected a sequence of {expected}, got {values!r}') from None


def listed(values: Any) -> Any:
    """The values of a generator as a list, as they can be gone through once only; anything else as it is."""
    return list(values) if isinstance(values, Iterator) else values


def _would_convert(value: Any) -> bool:
    """Whether Python makes a number of what is none, without a word: text, booleans, arrays of one number."""
    kind = getattr(value, 'dtype', None)
    return (
        isinstance(value, (str, bytes, bytearray, bool))
        or kind is torch.bool
        or (isinstance(kind, np.dtype) and kind.kind not in 'iuf')
        or getattr(value, 'ndim', 0) > 0
    )


def _power(value: int) -> str:
    return f'2**{value.bit_length()} - 1' if value > 2**31 and value & (value + 1) == 0 else str(value)
