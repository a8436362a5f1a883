"""Errors of the package, their wording, and the names that a user may have meant by one that is unknown."""

from __future__ import annotations

import difflib
import re
from typing import Any, Iterable


class WeightError(RuntimeError):
    """A weight or checkpoint file is not what it should be."""


class ScriptError(RuntimeError):
    """A script, a recipe or an argument cannot be used."""


class UnknownModelError(ValueError):
    """No model has this name, or the Hub or a folder does not give the one that has it."""


def shorten(names: Iterable[Any], count: int = 5) -> str:
    """The first names in a row, and how many more there are."""
    listed = [str(name) for name in names]
    return ', '.join(listed[:count]) + (f' and {len(listed) - count} more' if len(listed) > count else '')


def type_of(value: Any) -> str:
    """Such as ``'a list'`` or ``'an int'``."""
    name = type(value).__name__
    return f'{"an" if name[0].lower() in "aeio" or name == "ndarray" else "a"} {name}'


def counted(number: int, noun: str) -> str:
    """Such as ``'1 cell'`` or ``'1,200 cells'``."""
    return f'{number:,} {noun}{"" if number == 1 else "s"}'


def one_line(error: BaseException) -> str:
    """The first 300 characters of an error's message, without line breaks and the full stop at its end."""
    return ' '.join(str(error).split())[:300].rstrip('. ')


def nearest(name: str, known: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """The known names nearest to ``name``, those of the same pieces in another order first.

    Args:
        name: The unknown name, such as ``'zerosnet_tra20'`` for ``'zerosnet20_tra'``.
        known: The names there are, with or without a tag.
        count: The largest number of names to return.
        cutoff: The least similarity, 0 to 1, as in ``difflib.get_close_matches``.
    """
    known, pieces = list(dict.fromkeys(known)), _pieces(name)
    turned = [other for other in known if pieces in (_pieces(other), _pieces(other.partition('.')[0]))]
    return list(dict.fromkeys([*turned, *difflib.get_close_matches(name, known, count, cutoff)]))[:count]


def _pieces(name: str) -> list[str]:
    return sorted(re.findall(r'[a-z]+|\d+', name.lower()))
