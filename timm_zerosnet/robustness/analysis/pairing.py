"""Finds the images that two runs share, and checks that both runs give them the same labels."""

from __future__ import annotations

import collections
from typing import Any, Sequence

from ..._errors import shorten

Label = int | str  # a class name, or a bare number


def pair_images(one: dict[str, Any], two: dict[str, Any], runs: Sequence[str]) -> tuple[list[Any], list[Any], str]:
    """Make ids for the images of two runs that are equal for the same image with the same label.

    The order of the images does not matter. A picture that a run has several times, with different labels, gives as
    many ids.

    Args:
        one, two: For each run, the ``ids`` and ``labels`` of its images (labels are None in runs made before labels
            were stored), the ``class_mapping`` of the model that is compared, and ``data_sha256``, the hash of images
            and labels.
        runs: Names of the two runs for messages.

    Returns:
        The ids of both runs, and a note if the labels could not be checked, otherwise ``''``.

    Raises:
        ValueError: if images that both runs have differ in their labels.
    """
    ids = one['ids'], two['ids']
    if one['data_sha256'] == two['data_sha256']:
        return *ids, ''
    unknown = [run for run, entry in zip(runs, (one, two), strict=True) if entry['labels'] is None]
    if unknown:
        verb = 'stores none, it was' if len(unknown) == 1 else 'store none, they were'
        return *ids, f'the labels could not be checked: {" and ".join(unknown)} {verb} made before runs stored them'
    pictures = [[id.partition('-')[0] for id in own] for own in ids]
    failed = []
    for labels in _comparable_labels(one, two):
        groups = [_labels_by_picture(*side) for side in zip(pictures, labels, strict=True)]
        differing = {
            picture: _count_differing(groups[0][picture], groups[1][picture])
            for picture in groups[0].keys() & groups[1]
        }
        if not sum(differing.values()):
            return _numbered_ids(pictures[0], labels[0]), _numbered_ids(pictures[1], labels[1]), ''
        failed.append((groups, differing))
    groups, differing = failed[0]
    first = next(picture for picture in pictures[0] if differing.get(picture))
    values = ' and '.join(shorten(sorted(map(repr, set(side[first])))) for side in groups)
    common = sum(min(len(groups[0][picture]), len(groups[1][picture])) for picture in differing)
    raise ValueError(
        f'{sum(differing.values())} of {common} common images have other labels in {runs[0]} than in {runs[1]}, the '
        f'first of them {values}: expected runs on the same labels; measure both on the same data'
    )


def _comparable_labels(one: dict[str, Any], two: dict[str, Any]) -> list[tuple[Sequence[Label], Sequence[Label]]]:
    """The labels of both runs, in each way that they can be compared.

    If both runs have class names, these are compared. Otherwise two runs agree if their bare numbers do, or the outputs
    of the compared models that the labels stand for.
    """
    names = [{label for label in entry['labels'] if isinstance(label, str)} for entry in (one, two)]
    if names[0] & names[1]:
        return [(one['labels'], two['labels'])]
    outputs = tuple([entry['class_mapping'][str(label)] for label in entry['labels']] for entry in (one, two))
    bare = [] if names[0] or names[1] else [(one['labels'], two['labels'])]
    return [*bare, (outputs[0], outputs[1])]


def _labels_by_picture(pictures: Sequence[str], labels: Sequence[Label]) -> dict[str, list[Label]]:
    groups: dict[str, list[Label]] = {}
    for picture, label in zip(pictures, labels, strict=True):
        groups.setdefault(picture, []).append(label)
    return groups


def _count_differing(one: list[Label], two: list[Label]) -> int:
    """The number of equal images that differ in their label, of those that both runs have."""
    shared = collections.Counter(one) & collections.Counter(two)
    return min(len(one), len(two)) - shared.total()


def _numbered_ids(pictures: Sequence[str], labels: Sequence[Label]) -> list[tuple[str, Label, int]]:
    """Picture, label, and how often both came before, for each image."""
    seen: collections.Counter[tuple[str, Label]] = collections.Counter()
    ids = []
    for key in zip(pictures, labels, strict=True):
        ids.append((*key, seen[key]))
        seen[key] += 1
    return ids
