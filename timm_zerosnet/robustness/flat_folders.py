"""Folders of pictures without class folders, such as ImageNet's validation set, with a file of labels."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Collection, Sequence

import numpy as np

from .._errors import one_line, shorten
from ..class_folders import DataError, natural_order, picture_suffixes
from .labelled import LabelledImages
from .pictures import PictureFiles

IMAGENET = 1000, 50_000
"""Numbers of classes and of validation pictures of ImageNet."""
INDEX = re.compile(r'(-?\d+|n\d+)(\s|$)')
"""A number or a WordNet id, with or without more columns."""
NUMBER = re.compile(r'(-?[0-9]+)(\.0*)?')
"""A whole number, also as a table of floats has it."""


def load_flat_folder(path: Path, labels: Path, limit: int | None = None) -> LabelledImages:
    """The pictures of a folder, in the order of their names, with the labels of a file.

    Args:
        path: A folder that holds the pictures themselves.
        labels: A JSON file, ``{"NAME": LABEL}`` or a list of labels in the order of names; or a text file with a line
            ``NAME LABEL`` for each picture (also with a comma, a heading and more columns, as Kaggle has it), or with a
            ``LABEL`` alone, in the order of names. NAME may lack its suffix, folders before it do not count. LABEL is a
            whole number or the name of a class.
            Where blanks alone divide the columns, more of them may follow numbers and WordNet ids.
        limit: Number of pictures to take, the first ones; default: all.

    Raises:
        DataError: if there are no pictures; if the file cannot be read, lacks some of them, gives one two labels, or
            leaves open which order of names it means; or if its numbers are those of ImageNet's development kit, which
            counts classes in another order.
    """
    if not path.is_dir():
        raise DataError(f'{path} is no folder; expected one of images beside a file of labels')
    inside = sorted(file for file in path.iterdir() if file.is_file())
    files = [file for file in inside if file.suffix.lower() in picture_suffixes()]
    if not files:
        raise DataError(f'{path} holds no images of its own; expected them in it, as the file of labels is for those')
    found, notes = (
        _read(labels),
        _note('skipped files without the suffix of an image', {*inside} - {*files} - _itself(inside, labels)),
    )
    if isinstance(found, list):
        if len(found) != len(files):
            raise DataError(f'{labels}: expected {len(files)} labels, one for each image of {path}, got {len(found)}')
        names = [file.name for file in files]
        if odd := [pair for pair in zip(names, natural_order(names), strict=True) if len(set(pair)) > 1]:
            raise DataError(
                f'{labels} has labels alone, and {path} has two orders of names, in which {" or ".join(odd[0])} comes '
                'first: expected NAME LABEL in each line'
            )
        values = found
    else:
        keys = [file.name if file.name in found else file.stem for file in files]
        if missing := [file.name for file, key in zip(files, keys, strict=True) if key not in found]:
            raise DataError(f'{labels} lacks {len(missing)} of the {len(files)} images of {path}: {shorten(missing)}')
        values = [found[key] for key in keys]
        notes += _note(f'labels in {labels.name} of images that are not there', set(found) - set(keys))
    return replace(_labelled(path, labels, files, values, limit), notes=notes)


def _itself(files: Sequence[Path], labels: Path) -> set[Path]:
    """The file of labels where it lies among the pictures, by whatever path."""
    return {file for file in files if file.name == labels.name and file.samefile(labels)}


def _note(what: str, names: Collection[str | Path]) -> tuple[str, ...]:
    return (f'{what}: {len(names)} ({shorten(sorted(Path(name).name for name in names), 3)})',) if names else ()


def _labelled(
    path: Path, source: Path, files: Sequence[Path], values: Sequence[Any], limit: int | None
) -> LabelledImages:
    if odd := [value for value in values if not _is_label(value)]:
        raise DataError(f'{source}: expected whole numbers or names of classes as labels, got {shorten(odd, 3)}')
    names = [str(value) for value in values]
    pictures = PictureFiles(files[:limit], path)
    if not all(map(NUMBER.fullmatch, names)):
        try:
            classes = natural_order(set(names))
        except DataError as error:
            raise DataError(f'{source}: {error}') from error
        index = {name: i for i, name in enumerate(classes)}
        labels = np.array([index[name] for name in names[:limit]], dtype=np.int64)
        return LabelledImages(pictures, labels, tuple(classes), len(files))
    try:
        numbers = np.array([int(name.partition('.')[0]) for name in names], dtype=np.int64)
    except (OverflowError, ValueError) as error:  # of more digits than numpy or Python takes
        raise DataError(f'{source}: expected numbers of classes as labels, got {shorten(names, 1)}: {error}') from error
    if (int(numbers.max()), len(numbers)) == IMAGENET and numbers.min() == 1:
        raise DataError(
            f"{source} has labels from 1 to 1000, those of ImageNet's development kit, whose order of classes no model "
            'has; expected numbers from 0 to 999 in the order of WordNet ids, or the ids'
        )
    return LabelledImages(pictures, numbers[:limit], None, len(files))


def _is_label(value: Any) -> bool:
    return (
        isinstance(value, (int, str)) and not isinstance(value, bool) or isinstance(value, float) and value.is_integer()
    )


def _read(path: Path) -> dict[str, Any] | list[Any]:
    """The label of each picture by its name, or in the order of names."""
    try:
        text = path.read_text(encoding='utf-8-sig')
        if path.suffix.lower() == '.json':
            found = json.loads(text, object_pairs_hook=_Pairs)
            if not isinstance(found, list):
                raise ValueError('expected an object or a list')
            return _by_name(path, found) if isinstance(found, _Pairs) else found
    except (OSError, ValueError) as error:
        raise DataError(f'{path} is no readable file of labels: {one_line(error)}') from error
    rows = [_columns(line) for line in text.splitlines() if line.strip()]
    if rows and rows[0][0].lower() in ('imageid', 'image', 'filename', 'file', 'name'):
        boxes = rows[0][-1] == 'PredictionString'  # Kaggle's file for ImageNet: the label, then four numbers
        rows = [
            [row[0], *(column.split()[0] if boxes and column else column for column in row[1:])] for row in rows[1:]
        ]
    if not any(separator in text for separator in ',\t') and all(INDEX.match(row[-1]) for row in rows):
        rows = [[*row[:-1], row[-1].split()[0]] for row in rows]  # names of classes may have blanks, these have none
    if not rows:
        raise DataError(f'{path} holds no labels')
    if all(len(row) == 1 for row in rows):
        return [row[0] for row in rows]
    if short := [i for i, row in enumerate(rows) if len(row) < 2]:
        raise DataError(f'{path}: expected NAME LABEL in each line, got {rows[short[0]][0]!r} alone')
    return _by_name(path, [(row[0], row[1]) for row in rows])


class _Pairs(list[tuple[str, Any]]):
    """The entries of a JSON object, also those of equal names."""


def _by_name(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, label in pairs:
        if found.setdefault(Path(name).name, label) != label:
            raise DataError(f'{path} gives {Path(name).name} two labels, {found[Path(name).name]} and {label}')
    return found


def _columns(line: str) -> list[str]:
    """``NAME,LABEL`` as a spreadsheet writes it, or NAME and LABEL with a tab or blanks between them."""
    if ',' in line:
        columns = next(csv.reader([line], skipinitialspace=True))
    else:
        columns = line.strip().split('\t') if '\t' in line else line.split(None, 1)
    return [column.strip() for column in columns if column.strip()]
