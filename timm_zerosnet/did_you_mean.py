"""Names that a user may have meant by one that is unknown."""

from __future__ import annotations

import difflib
import re
from typing import Iterable


def nearest(name: str, known: Iterable[str], count: int = 3, cutoff: float = 0.6) -> list[str]:
    """The known names nearest to ``name``, those of the same pieces in another order first.

    Args:
        name: That is unknown, such as ``'zerosnet_tra20'`` for ``'zerosnet20_tra'``.
        known: The names there are, with or without a tag.
        count: Of names to return, at most.
        cutoff: Least similarity, 0 to 1, as in ``difflib.get_close_matches``.
    """
    known, pieces = list(dict.fromkeys(known)), _pieces(name)
    turned = [other for other in known if pieces in (_pieces(other), _pieces(other.partition('.')[0]))]
    return list(dict.fromkeys([*turned, *difflib.get_close_matches(name, known, count, cutoff)]))[:count]


def _pieces(name: str) -> list[str]:
    return sorted(re.findall(r'[a-z]+|\d+', name.lower()))
