"""Labelled images of a folder, npz or npy files, torchvision's CIFAR or the official CIFAR-10-C, and their classes."""

from __future__ import annotations

import collections
import dataclasses
import functools
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from .._errors import nearest, one_line, shorten
from ..class_folders import DataError, find_pictures, refuse_ties
from .flat_folders import load_flat_folder
from .labelled import LabelledImages, Losses
from .pictures import ImageError, PictureFiles, Pictures
from .timm_data import load_tar, load_timm, prefix_of

TORCHVISION = {'torch/cifar10': 'CIFAR10', 'torch/cifar100': 'CIFAR100'}

SAME_SPLITS = (('train', 'training'), ('val', 'valid', 'validation', 'eval', 'evaluation'))
"""Names that timm takes for one another."""

Item = TypeVar('Item')
Result = TypeVar('Result')


def load_data(
    name: str | Path,
    root: str | Path | None = None,
    download: bool = False,
    limit: int | None = None,
    workers: int = 0,
    progress: bool = False,
    split: str | None = None,
    input_key: str | None = None,
    target_key: str | None = None,
    labels: str | Path | None = None,
) -> LabelledImages:
    """Read a test set, with labels in its own order of classes.

    The pictures of folders, tar files and ``hfds/...`` are not decoded here: their number does not matter, and those
    that cannot be read are found by ``pixels.prepare``, or when they are asked for. Those of timm's iterable readers
    (``hfids/...``, ``wds/...``, ``tfds/...``) are read by ``pixels.prepare`` alone, which knows their labels then.

    Args:
        name: What ``load_labelled`` takes; a tar file of class folders; or a name of ``timm.data.create_dataset``:
            ``torch/...``, ``hfds/...``, ``hfids/...``, ``wds/...`` or ``tfds/...``.
        root: Folder of torchvision's data sets, of webdataset's shards, or where others keep what they fetch.
        download: Fetch the data set if it is not there, where the library of its kind does not do so anyway.
        limit: Number of images to read, the first ones; default: all.
        workers: Number of threads that decode images where they are decoded here.
        progress: Show a progress bar.
        split: The split to read, a folder inside an image folder; default: the one to measure on, see
            ``load_labelled``, and ``validation`` for timm's names.
        input_key, target_key: What timm's readers call the image and its label, where it is not their default.
        labels: A file that labels the pictures of a folder without class folders, such as ImageNet's ``val``; see
            ``flat_folders.load_flat_folder``.

    Raises:
        DataError: see ``load_labelled``; if a data set is not there or a package that reads it is not installed; for
            arguments that the kind of data set does not take.
    """
    if limit is not None and limit < 1:
        raise DataError(f'limit: expected an integer >= 1, got {limit}')
    name, keys = str(name), {'input_key': input_key, 'target_key': target_key}
    kind = prefix_of(name)
    given = [key for key, value in (*keys.items(), ('labels', labels)) if value is not None]
    taken = ['labels'] if not kind else [] if kind == 'torch' else list(keys)
    if wrong := [key for key in given if key not in taken]:
        raise DataError(f'{name}: expected {" or ".join(taken) or "no keys"} beside it, got {", ".join(wrong)}')
    if name in TORCHVISION:
        return _load_torchvision(name, root, download, limit, split)
    if kind:
        return load_timm(name, root, split, download, limit, keys)
    path = Path(name)
    if split is not None:
        if not path.is_dir() or _holds_npy(path):
            raise DataError(f'{name}: expected no split beside it, as a file has one set of images, got {split!r}')
        path = _split_folder(path, split)
    if labels is not None:
        data = load_flat_folder(path, Path(labels), limit)
    elif path.suffix.lower() == '.tar':
        data = load_tar(path, limit)
    elif path.is_dir() and not _holds_npy(path):
        data = _load_class_folders(path, None, limit)
    else:
        data = load_labelled(path, progress=progress, limit=limit, workers=workers)
    return data if split is None else dataclasses.replace(data, split=split)


def _split_folder(path: Path, split: str) -> Path:
    """The folder of a split inside a data set, also by what else timm calls it: ``val`` for ``validation``."""
    same = next((names for names in SAME_SPLITS if split in names), ())
    if found := [path / name for name in (split, *same) if (path / name).is_dir()]:
        return found[0]
    inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    raise DataError(f'{path}: expected a folder {split} in it, got {shorten(inside) or "no folders"}')


def _load_torchvision(
    name: str, root: str | Path | None, download: bool, limit: int | None, split: str | None
) -> LabelledImages:
    if root is None:
        raise DataError(f'{name} needs --data-dir, the folder that holds it or that it is downloaded to')
    import torchvision

    train = split in ('train', 'training')
    if not train and split not in (None, 'test', 'validation', 'val', 'eval', 'valid', 'evaluation'):
        raise DataError(f'{name}: expected split train, or test by one of its names, got {split!r}')
    try:
        found = getattr(torchvision.datasets, TORCHVISION[name])(str(root), train=train, download=download)
    except (RuntimeError, OSError) as error:
        advice = '' if download else '; --download fetches it'
        raise DataError(f'{name} cannot be read from {root}: {one_line(error)}{advice}') from error
    labels = np.array(found.targets, dtype=np.int64)
    chosen = 'train' if train else ''
    return LabelledImages(np.asarray(found.data)[:limit], labels[:limit], tuple(found.classes), len(labels), chosen)


def load_labelled(
    path: str | Path,
    class_names: Sequence[str] | None = None,
    progress: bool = False,
    limit: int | None = None,
    workers: int = 0,
) -> LabelledImages:
    """Read a test set.

    Args:
        path: An npz file with ``x_test`` (uint8, N x H x W x 3) and ``y_test``; an npy file of such images with one of
            labels beside it, or the folder of the two, as CIFAR-10.1 has them; or an image folder: one folder for each
            class, possibly inside ``validation``, ``val``, ``test`` or what else timm calls them.
        class_names: The model's class names. Folders that carry them are mapped by name, others in timm's natural
            order: ``2`` before ``10``. Folders without images are no classes.
        progress: Show a progress bar.
        limit: Number of images to read, the first ones; default: all.
        workers: Number of threads that decode images.

    Raises:
        DataError: if there are no images, the folder is flat, files cannot be read (all are named), or the classes do
            not map to the names; see also ``class_folders.find_pictures``.
    """
    path = Path(path)
    if path.suffix == '.npz':
        return _load_npz(path, limit)
    if path.suffix == '.npy' or _holds_npy(path):
        return _load_npy_pair(path, limit)
    if not path.is_dir():
        raise DataError(f'{path} is neither an npz file nor a folder')
    data = _load_class_folders(path, class_names, limit)
    return _decoded(data, data.images, progress, workers) if isinstance(data.images, Pictures) else data


def _load_class_folders(path: Path, class_names: Sequence[str] | None, limit: int | None) -> LabelledImages:
    found = find_pictures(path)
    labels, notes = list(range(len(found.classes))), list(found.notes)
    if class_names is not None:
        labels = map_by_name(found.classes, class_names, found.root)
        if not set(found.classes) <= set(class_names):
            notes.append(order_note(found.classes, [class_names[label] for label in labels]))
    wanted = found.files[:limit]
    return LabelledImages(
        PictureFiles([file for file, _ in wanted], found.root),
        np.array([labels[label] for _, label in wanted], dtype=np.int64),
        found.classes if class_names is None else None,
        len(found.files),
        found.split,
        tuple(notes),
    )


def _decoded(data: LabelledImages, pictures: Pictures, progress: bool, workers: int) -> LabelledImages:
    """The data set with all its pictures in memory, as an array where they are of one size."""
    images: list[Image.Image] = []
    losses = Losses()
    bar = tqdm(total=len(pictures), disable=not progress, desc='reading images', unit='img', leave=False)
    with bar, warnings.catch_warnings():
        warnings.simplefilter('ignore')  # here, as threads share one filter: Pillow's, which notes and errors repeat
        found = map_ahead(functools.partial(_try_to_decode, pictures), range(len(pictures)), workers)
        for name, picture in zip(pictures.names, found, strict=True):
            bar.update()
            if isinstance(picture, str):
                losses.broken.append(picture)
            else:
                images.append(picture[0])
                losses.add(name, picture[1])
    losses.refuse_broken(len(pictures))
    same_size = len({image.size for image in images}) == 1
    array = np.stack([np.asarray(image) for image in images]) if same_size else images
    return dataclasses.replace(data, images=array, notes=(*data.notes, *losses.notes()))


def _try_to_decode(pictures: Pictures, index: int) -> tuple[Image.Image, list[str]] | str:
    """The picture with the notes about it, or what is wrong with it."""
    try:
        return pictures.decode(index)
    except ImageError as error:
        return str(error)


def order_note(classes: Sequence[str], meant: Sequence[Any], whose: str = 'the model') -> str:
    """That classes map by their order: which stands for which."""
    pairs = (f'{name} = {what}' for name, what in zip(classes, meant, strict=True))
    return f"the classes are not named as those of {whose} and map by order, folders in timm's: {shorten(pairs, 20)}"


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """``map`` by ``workers`` threads, that many items ahead of the caller; in the caller's thread for 0 workers."""
    if not workers:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: collections.deque = collections.deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def load_official(folder: str | Path, corruption: str, severity: int) -> LabelledImages:
    """Read one corruption and severity of the official CIFAR-10-C or CIFAR-100-C.

    Args:
        folder: Holds ``labels.npy`` (5 N,) and ``<corruption>.npy`` (5 N, H, W, 3), uint8, as they are distributed: the
            N test images at severity 1, then the same at 2, up to 5. Only the part that is asked for is read.
        corruption: A file's name without ``.npy``; also those that suite ``cifar-c`` does not have.
        severity: 1 to 5.

    Raises:
        DataError: if a file is missing (those that are there are named), unreadable or of another type or shape.
        ValueError: for another severity.
    """
    if severity not in range(1, 6):
        raise ValueError(f'severity: expected an integer from 1 to 5, as the official sets have them, got {severity}')
    folder = Path(folder)
    files = sorted(file.stem for file in folder.glob('*.npy'))
    for name in ('labels', corruption):
        if name not in files:
            near = nearest(str(name).lower(), files, 2, 0.4)
            hint = f'did you mean {" or ".join(near)}? ' if near else ''
            raise DataError(f'{folder} lacks {name}.npy; {hint}it holds {", ".join(files) or "no .npy files"}')
    labels, images = (_load_npy(folder / f'{name}.npy') for name in ('labels', corruption))
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or not len(labels) or len(labels) % 5:
        raise DataError(f'{folder / "labels.npy"}: expected (5 N,) integers, got {labels.dtype} {labels.shape}')
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or len(images) != len(labels):
        raise DataError(
            f'{folder / corruption}.npy: expected uint8 ({len(labels)}, H, W, 3), one image for each label, got '
            f'{images.dtype} {images.shape}'
        )
    size = len(labels) // 5
    part = slice(size * (int(severity) - 1), size * int(severity))
    return LabelledImages(np.array(images[part]), np.array(labels[part], dtype=np.int64))


def _holds_npy(path: Path) -> bool:
    """Whether a folder has npy files and no class folders."""
    return path.is_dir() and any(path.glob('*.npy')) and not any(entry.is_dir() for entry in path.iterdir())


def _load_npy_pair(path: Path, limit: int | None) -> LabelledImages:
    """An npy file of images with one of labels beside it, or the only such pair of a folder."""
    folder = path if path.is_dir() else path.parent
    files = [file for file in sorted(folder.glob('*.npy')) if 'labels' in file.stem]
    images = [path] if path.is_file() else [file for file in sorted(folder.glob('*.npy')) if file not in files]
    wanted = {images[0].stem.replace(word, 'labels') for word in ('data', 'images')} if images else set()
    labels = [file for file in files if file.stem in wanted] or [file for file in files if file.stem == 'labels']
    labels = labels or (files if len(files) == 1 else [])
    if len(images) != 1 or not labels or not path.exists():
        named = f'; {images[0]} names one of several' if len(images) > 1 else ''
        official = '; one severity of CIFAR-10-C: load_official in Python' if len(images) > 1 else ''
        raise DataError(
            f'{path}: expected an npy file of images beside one of labels, such as cifar10.1_v6_data.npy and '
            f'cifar10.1_v6_labels.npy, got {shorten(file.name for file in [*images, *files]) or "no such files"}'
            f'{named}{official}'
        )
    x, y = _load_npy(images[0]), _load_npy(labels[0])
    fits = x.dtype == np.uint8 and x.ndim == 4 and x.shape[-1] in (1, 3) and len(x)
    if not fits or y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        raise DataError(
            f'{images[0]}: expected uint8 images (N, H, W, 3), or 1 for grey ones, and (N,) integers, got {x.dtype} '
            f'{x.shape} and of {labels[0].name} {y.dtype} {y.shape}'
        )
    notes = (f'the labels of {images[0].name} are those of {labels[0].name}',)
    return LabelledImages(np.array(x[:limit]), np.array(y[:limit], dtype=np.int64), None, len(x), notes=notes)


def _load_npy(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode='r')
        if not isinstance(array, np.ndarray):
            raise ValueError('it is an npz file')
        return array
    except Exception as error:  # numpy raises many kinds
        raise DataError(f'{path} is not a readable npy file: {error}') from error


def _load_npz(path: Path, limit: int | None) -> LabelledImages:
    if not path.is_file():
        raise DataError(f'{path} does not exist')
    try:
        with open(path, 'rb') as file:  # numpy leaves a damaged one open
            arrays = np.load(file)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError('it is one array without a name')
            names = arrays.files
            x, y = (arrays[name] if name in names else None for name in ('x_test', 'y_test'))
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        # numpy advises to unpickle whatever is in the file
        reason = 'it holds no plain arrays' if 'pickle' in str(error) else error
        raise DataError(f'{path} is not a readable npz file: {reason}') from error
    if x is None or y is None:
        missing = [name for name, value in (('x_test', x), ('y_test', y)) if value is None]
        raise DataError(f'{path} lacks {" and ".join(missing)}; it holds {", ".join(names) or "nothing"}')
    fits = x.dtype == np.uint8 and x.ndim == 4 and x.shape[-1] in (1, 3)
    if not fits or not np.issubdtype(y.dtype, np.integer) or y.size != len(x):
        raise DataError(
            f'{path}: expected uint8 images x_test (N, H, W, 3), or 1 for grey ones, and N integers y_test, got '
            f'{x.dtype} {x.shape} and {y.dtype} {y.shape}'
        )
    if not len(x):
        raise DataError(f'{path} holds no images')
    return LabelledImages(x[:limit], y.reshape(-1)[:limit].astype(np.int64), None, len(x))


def map_by_name(folders: Sequence[str], names: Sequence[str], path: str | Path) -> list[int]:
    """Class index of each folder: by name if all of them are names, by order if there are as many and none is.

    Raises:
        DataError: otherwise; names both counts and the folders that are no names.
    """
    known = {name: i for i, name in enumerate(names)}
    if all(folder in known for folder in folders):
        return [known[folder] for folder in folders]
    if len(folders) == len(names) and not any(folder in known for folder in folders):
        refuse_ties(folders, path)
        return list(range(len(folders)))
    unknown = [folder for folder in folders if folder not in known]
    raise DataError(
        f'{path} has {len(folders)} class folders, the model {len(names)} classes, and these are not among '
        f'them: {shorten(unknown)}'
    )
