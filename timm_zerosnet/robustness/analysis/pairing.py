"""Which images of two runs are the same, and whether both runs give them the same labels."""

from __future__ import annotations

import collections
from typing import Any, Sequence

from ..._errors import few

Label = int | str  # a class name, or a bare number


def pair_images(one: dict[str, Any], two: dict[str, Any], runs: Sequence[str]) -> tuple[list[Any], list[Any], str]:
    """Ids that are equal for the same image with the same label, for each of two runs.

    Equal images are told apart by their labels, wherever they stand.

    Args:
        one, two: ``ids`` and ``labels`` of each image of a run (labels None where it was made before they were stored),
            ``class_mapping`` of the model that is compared, ``data_sha256`` of images and labels.
        runs: What to call the two in messages.

    Returns:
        The ids of each, and a note where labels could not be checked.

    Raises:
        ValueError: if common images have other labels.
    """
    ids = one['ids'], two['ids']
    if one['data_sha256'] == two['data_sha256']:
        return *ids, ''
    unknown = [run for run, entry in zip(runs, (one, two), strict=True) if entry['labels'] is None]
    if unknown:
        verb = 'stores none, it was' if len(unknown) == 1 else 'store none, they were'
        return *ids, f'the labels could not be checked: {" and ".join(unknown)} {verb} made before runs stored them'
    pictures = [[id.partition('-')[0] for id in own] for own in ids]
    found = []
    for labels in _readings(one, two):
        groups = [_groups(*side) for side in zip(pictures, labels, strict=True)]
        other = {
            picture: _differing(groups[0][picture], groups[1][picture]) for picture in groups[0].keys() & groups[1]
        }
        if not sum(other.values()):
            return _numbered(pictures[0], labels[0]), _numbered(pictures[1], labels[1]), ''
        found.append((groups, other))
    groups, other = found[0]
    first = next(picture for picture in pictures[0] if other.get(picture))
    values = ' and '.join(few(sorted(map(repr, set(side[first])))) for side in groups)
    common = sum(min(len(groups[0][picture]), len(groups[1][picture])) for picture in other)
    raise ValueError(
        f'{sum(other.values())} of {common} common images have other labels in {runs[0]} than in {runs[1]}, the first '
        f'of them {values}: expected runs on the same labels; measure both on the same data'
    )


def _readings(one: dict[str, Any], two: dict[str, Any]) -> list[tuple[Sequence[Label], Sequence[Label]]]:
    """Labels of both, in each way that they can be compared: class names decide where both runs have them."""
    names = [{label for label in entry['labels'] if isinstance(label, str)} for entry in (one, two)]
    if names[0] & names[1]:
        return [(one['labels'], two['labels'])]
    outputs = tuple([entry['class_mapping'][str(label)] for label in entry['labels']] for entry in (one, two))
    bare = [] if names[0] or names[1] else [(one['labels'], two['labels'])]
    return [*bare, (outputs[0], outputs[1])]


def _groups(pictures: Sequence[str], labels: Sequence[Label]) -> dict[str, list[Label]]:
    groups: dict[str, list[Label]] = {}
    for picture, label in zip(pictures, labels, strict=True):
        groups.setdefault(picture, []).append(label)
    return groups


def _differing(one: list[Label], two: list[Label]) -> int:
    """How many of the equal images that both have differ in their label."""
    shared = collections.Counter(one) & collections.Counter(two)
    return min(len(one), len(two)) - shared.total()


def _numbered(pictures: Sequence[str], labels: Sequence[Label]) -> list[tuple[str, Label, int]]:
    seen: collections.Counter[tuple[str, Label]] = collections.Counter()
    ids = []
    for key in zip(pictures, labels, strict=True):
        ids.append((*key, seen[key]))
        seen[key] += 1
    return ids
