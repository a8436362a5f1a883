"""Pictures in class folders, read as timm reads them: which folders are classes, and in which order they stand."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Sequence

from PIL import Image
from timm.data import is_img_extension
from timm.utils import natural_key

from ._errors import shorten

EVALUATED = ('validation', 'val', 'valid', 'eval', 'evaluation', 'test')  # the first that is there is measured
SPLITS = ('train', 'training', *EVALUATED)


class DataError(ValueError):
    """A data set cannot be used; the message says why."""


@dataclass(frozen=True)
class ClassFolders:
    """The pictures of a folder, not read yet.

    Args:
        root: The folder that holds the class folders.
        split: The name of the split that was chosen among those of a data set; empty if there are no splits.
        classes: The names of the innermost folders that hold pictures, in timm's order.
        files: Each picture once, with the index of its class.
        notes: What was chosen, passed over or taken together, a sentence each.
    """

    root: Path
    split: str
    classes: tuple[str, ...]
    files: list[tuple[Path, int]]
    notes: tuple[str, ...]


@functools.lru_cache(maxsize=1)
def picture_suffixes() -> frozenset[str]:
    """The suffixes of all pictures that Pillow opens.

    A picture that was passed over would be missing from the results without a word.
    """
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in Image.OPEN)


def natural_order(names: Iterable[str]) -> list[str]:
    """Names as timm sorts class folders: numbers by their value, letters whatever their case."""
    return sorted(names, key=lambda name: (_natural(name), name))


def _natural(name: str) -> Any:
    """The key by which timm sorts.

    Raises:
        DataError: for digits other than 0 to 9, which timm cannot sort either.
    """
    try:
        return natural_key(name)
    except ValueError:
        raise DataError(f"{name}: expected a name whose digits are 0 to 9, as timm's order of classes needs") from None


def refuse_ties(names: Sequence[str], where: Any) -> None:
    """Refuse names that timm's order does not tell apart.

    Args:
        names: The names of class folders, in timm's order.
        where: The data set, which the message names.

    Raises:
        DataError: naming two of them.
    """
    for first, second in zip(names, names[1:], strict=False):
        if _natural(first) == _natural(second):
            raise DataError(
                f"{where}: the folders {first} and {second} have the same place in timm's order of classes; expected "
                'names that differ in more than case and leading zeros'
            )


def splits_inside(folder: Path) -> list[str]:
    """Folders that are named like a split of a data set and hold folders.

    A folder that holds none may be that of a class which is called ``train``.
    """
    named = (path for path in folder.iterdir() if path.is_dir() and path.name.lower() in SPLITS)
    return sorted(path.name for path in named if any(entry.is_dir() for entry in path.iterdir()))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in picture_suffixes() and not path.is_dir()


def find_pictures(path: Path) -> ClassFolders:
    """Find the pictures of a data set.

    The innermost folder of a picture names its class, links are followed, and folders without pictures are no classes:
    all as timm does it. What timm does not do: every suffix that Pillow opens counts, and a picture that links reach
    twice counts once.

    Args:
        path: A folder with one folder of pictures for each class, or one that holds such folders for several splits.

    Raises:
        DataError: if there are no class folders or pictures, pictures that lie in no class folder or through links in
            two classes, splits of which none is one to measure on, or folders that may not be read.
    """
    root, split, notes = _chosen_split(path)
    walk = _Walk(root)
    if not any(entry.is_dir() for entry in root.iterdir()):
        raise DataError(f'{root} holds no class folders: expected one folder of images for each class')
    if not any(walk.places):
        raise DataError(
            f'{root} holds no images: expected files with a suffix that Pillow opens, such as .png and .jpg'
        )
    if '' in walk.places:
        loose = sorted(file.name for file in walk.labels if file.parent == root)
        raise DataError(
            f'{root} holds images that lie in no class folder: {shorten(loose)}; expected one folder for each class'
        )
    classes = natural_order(walk.places)
    index = {name: i for i, name in enumerate(classes)}
    # the order of files is that of the first development version, so that the noise of each picture stays the same
    files = [(file, index[label]) for file, label in sorted(walk.labels.items(), key=lambda f: f[0].relative_to(root))]
    notes = [f'{note}: {len(files)} images' if split else note for note in notes]
    return ClassFolders(root, split, tuple(classes), files, (*notes, *walk.notes()))


def _chosen_split(path: Path) -> tuple[Path, str, list[str]]:
    inside = splits_inside(path)
    if not inside:
        return path, '', []
    beside = [entry for entry in path.iterdir() if entry.is_dir() and entry.name.lower() not in SPLITS]
    if classes := natural_order(entry.name for entry in beside if any(map(_is_picture, entry.iterdir()))):
        raise DataError(
            f'{path} holds {", ".join(inside)}, named like splits of a data set and holding folders, beside folders of '
            f'images: {shorten(classes)}; expected splits or classes, not both: name the folder that is meant, such as '
            f'{path / inside[0]}'
        )
    chosen = next((name for wanted in EVALUATED for name in inside if name.lower() == wanted), None)
    if chosen is None:
        raise DataError(
            f'{path} holds {", ".join(inside)}; expected one of {", ".join(EVALUATED)} in it, or the folder of one '
            f'split, such as {path / inside[0]}'
        )
    others = [name for name in inside if name != chosen]
    another = f' ({path / others[0]} names another split)' if others else ''
    return path / chosen, chosen, [f'{path / chosen} is taken{another}']


class _Walk:
    """All files under a folder: pictures with their classes, and what there is to say of the rest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.labels: dict[Path, str] = {}
        self.places: dict[str, set[str]] = {}
        self.loops: list[str] = []
        self.twice: list[str] = []
        self.passed: list[str] = []
        self._first: dict[str, Path] = {}
        above: dict[str, tuple[str, ...]] = {str(root): ()}
        for folder, subfolders, names in os.walk(root, onerror=self._refuse, followlinks=True):
            real = os.path.realpath(folder)
            if real in above[folder]:
                self.loops.append(self._short(folder))
                subfolders.clear()
                continue
            subfolders[:] = natural_order(subfolders)
            above.update({os.path.join(folder, name): (*above[folder], real) for name in subfolders})
            self._take(Path(folder), real, sorted(names))
            if not subfolders and not names:
                self._take_broken(Path(folder))

    def _take(self, folder: Path, real: str, names: list[str]) -> None:
        label = '' if folder == self.root else folder.name
        for name in names:
            file = folder / name
            if file.suffix.lower() not in picture_suffixes():
                self.passed += [self._short(file)] if label else []
                continue
            place = os.path.realpath(file) if file.is_symlink() else os.path.join(real, name)
            first = self._first.setdefault(place, file)
            if first is not file:
                if self.labels[first] != label:
                    raise DataError(
                        f'{first} and {file} are one picture in two classes; expected one class for each picture'
                    )
                self.twice.append(self._short(file))
                continue
            self.labels[file] = label
            self.places.setdefault(label, set()).add(self._short(folder))

    def _take_broken(self, folder: Path) -> None:
        inside = self.root in folder.parent.parents
        if inside and folder.suffix.lower() in picture_suffixes():  # named where pictures that cannot be read are
            self.labels[folder] = folder.parent.name
            self.places.setdefault(folder.parent.name, set()).add(self._short(folder.parent))

    def _short(self, path: str | Path) -> str:
        return Path(path).relative_to(self.root).as_posix()

    def _refuse(self, error: OSError) -> None:
        raise DataError(f'{error.filename} cannot be read: {error.strerror}') from error

    def notes(self) -> list[str]:
        """What a reader of the results must know, one sentence each."""
        full = {part for places in self.places.values() for place in places for part in place.split('/')[:1]}
        empty = [f.name for f in self.root.iterdir() if f.is_dir() and f.name not in full and f.name[0] != '.']
        nested = sorted(place for places in self.places.values() for place in places if '/' in place)
        several = [f'{label} of {", ".join(sorted(where))}' for label, where in self.places.items() if len(where) > 1]
        others = [self._short(file) for file in self.labels if not is_img_extension(file.suffix.lower())]
        hidden = [label for label in self.places if label.startswith('.')]
        found = {
            'folders without images, no classes as in timm': natural_order(empty),
            'folders inside class folders, which name the classes of their images as in timm': nested,
            'classes that are made of several folders, as in timm': several,
            'hidden folders, which are classes as in timm': hidden,
            'links that lead back to a folder above them and are not followed': self.loops,
            'images that a link reaches a second time, counted once where timm counts them again': self.twice,
            "images whose suffix timm's scripts pass over, counted here": others,
            'skipped files without the suffix of an image': self.passed,
        }
        return [f'{what}: {len(names)} ({shorten(names, 3)})' for what, names in found.items() if names]
