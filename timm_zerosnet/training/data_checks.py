"""Refuses data sets that timm's scripts would get wrong without a word: other classes, or a split that is no split."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Mapping

from timm.data import create_dataset

from .._errors import ScriptError, shorten
from ..checkpoint import class_names
from ..cifar import DATA_SETS
from ..class_folders import SPLITS, splits_inside
from ..model_names import model_config
from ..zerosnet import default_cfgs
from .scripts import process_count

ITERATED = ('hfds', 'hfids', 'tfds', 'wds')
"""Kinds of data sets whose splits and classes only reading them tells; all but these and torchvision's are folders."""
GREY = ('mnist', 'kmnist', 'fashion_mnist', 'qmnist')
TORCH_SETS = ('cifar10', 'cifar100', *GREY)  # of two parts
TORCH_FOLDERS = ('folder', 'image_folder')


def check_data(args: argparse.Namespace, splits: Mapping[str, str]) -> list[str] | None:
    """Refuse a data set that is missing, lacks class folders or splits, or has other classes than the network.

    Args:
        args: The arguments of train.py or validate.py.
        splits: The splits that will be read, by the option that names each; the one to train on first.

    Returns:
        The classes in the order of the outputs, None where they are not known.

    Raises:
        ScriptError: with what was found and the argument to change.
        RuntimeError: timm's own, if there are no images.
    """
    root = args.data_dir or args.data
    kind, name = _kind(args.dataset)
    if not root and kind not in ITERATED:
        raise ScriptError('no data: give --data-dir DIR, or --data-dir DIR --dataset torch/cifar10 --dataset-download')
    if kind == 'torch' and name not in TORCH_FOLDERS:
        if not args.dataset_download and not Path(root).is_dir():
            raise ScriptError(f'--data-dir {root} does not exist: --dataset-download fetches {args.dataset} into it')
        if name in TORCH_SETS:
            _check_parts(args, splits)
        if name not in DATA_SETS:
            return None
        _check_class_count(args, DATA_SETS[name]['num_classes'], args.dataset)
        return list(DATA_SETS[name]['label_names'])
    if kind in ITERATED:
        return None
    if not Path(root).exists():
        seen_from = '' if Path(root).is_absolute() else f' in {os.getcwd()}'
        raise ScriptError(f'--data-dir {root} does not exist{seen_from}')
    return _check_folders(args, root, splits)


def picture_channels(dataset: str) -> int | None:
    """Number of channels of the pictures of a torchvision set, which timm takes as they are; None of any other set."""
    kind, name = _kind(dataset)
    return None if kind != 'torch' or name not in TORCH_SETS else 1 if name in GREY else 3


def _kind(dataset: str) -> tuple[str, str]:
    """How timm reads a data set, and its name; a name without a kind is that of a folder, whatever it is."""
    kind, slash, name = dataset.lower().partition('/')
    return (kind, name) if slash else ('', kind)


def _check_folders(args: argparse.Namespace, root: str, splits: Mapping[str, str]) -> list[str] | None:
    trains = 'split' not in splits
    class_map: Any = '' if _kind(args.dataset)[0] == 'torch' else args.class_map
    found: dict[str, list[str]] = {}
    for option, split in splits.items():
        try:
            data: Any = create_dataset(args.dataset, root=root, split=split, class_map=class_map)
        except Exception:  # of many kinds
            if not class_map:
                raise
            return None  # the script will meet it again and say so
        reader = getattr(data, 'reader', data)
        numbers, folder = dict(getattr(reader, 'class_to_idx', {})), str(getattr(reader, 'root', root))
        classes = list(map(str, numbers))
        if Path(folder) == Path(root) and Path(root).is_dir() and (inside := splits_inside(Path(root))):
            raise ScriptError(f'{root} has no folder for --{option} {split}; it has {", ".join(inside)}')
        if not classes:
            return None
        if class_map:
            _check_mapped(args, max(numbers.values()) + 1, trains)
        elif '' in classes:
            raise ScriptError(f'expected one folder of images for each class in {folder}, got images outside of them')
        else:
            _check_class_count(args, len(classes), folder)
        if not trains and not class_map:
            _compare_class_names(args, classes, folder)
        elif trains and not found:
            _check_batch(args, len(data), folder)
        found[folder] = _by_output(numbers) if class_map else classes
    (first, names), *others = found.items()
    if len(found) < len(splits) or any(_holds(first, folder) or _holds(folder, first) for folder, _ in others):
        raise ScriptError(
            f'{root} has no folders {" and ".join(splits.values())}: it would train and test on the same images'
        )
    for folder, classes in others:
        if classes != names:
            odd = shorten(sorted(set(classes) ^ set(names)))
            raise ScriptError(f'{first} and {folder} have different classes: only one of them has {odd}')
    return names or None


def _by_output(numbers: Mapping[Any, int]) -> list[str]:
    """The class of each output by a class map; none where the map leaves an output out or names one twice."""
    names = {index: str(name) for name, index in numbers.items()}
    complete = len(names) == len(numbers) and sorted(names) == list(range(len(names)))
    return [names[i] for i in range(len(names))] if complete else []


def _check_mapped(args: argparse.Namespace, count: int, trains: bool) -> None:
    """Refuse a class map of more classes than outputs, or, in a training, of another number where none was given."""
    expected = outputs(args)
    if expected is not None and (count > expected or trains and args.num_classes is None):
        _check_class_count(args, count, args.class_map)


def _holds(folder: str, other: str) -> bool:
    return Path(folder) in Path(other).parents


def _check_parts(args: argparse.Namespace, splits: Mapping[str, str]) -> None:
    """Refuse splits of a torchvision set that mean something else than they say.

    timm takes the training images for ``train`` and ``training``, and the test images for any other word.
    """
    for option, split in splits.items():
        expected = {'split': SPLITS, 'train-split': SPLITS[:2], 'val-split': SPLITS[2:]}[option]
        if split not in expected:
            raise ScriptError(f'expected one of {", ".join(expected)} for --{option} of {args.dataset}, got {split}')


def outputs(args: argparse.Namespace) -> int | None:
    """Number of outputs that the network will have; None where nothing says it."""
    return model_config(args.model).get('num_classes') if args.num_classes is None else args.num_classes


def models_of(args: argparse.Namespace, count: int) -> list[str]:
    """The arguments that name the network for the CIFAR of so many classes, unless it is that already."""
    if model_config(args.model).get('num_classes') == count:
        return []
    name, also = args.model.split('.')[0], '' if args.num_classes is None else f' --num-classes {count}'
    tags = [tag for tag in getattr(default_cfgs.get(name), 'tags', ()) if tag in DATA_SETS]
    return [f'--model {name}.{tag}{also}' for tag in tags if DATA_SETS[tag]['num_classes'] == count]


def _check_class_count(args: argparse.Namespace, count: int, where: str) -> None:
    expected = outputs(args)
    of_some_outputs = bool(getattr(args, 'valid_labels', ''))  # of validate.py
    if expected in (None, count) or of_some_outputs:
        return
    ways = [f'--num-classes {count}', *models_of(args, count)]
    if hasattr(args, 'checkpoint'):  # of validate.py, which gives no network a new classifier
        ways = [*ways[1:], *(ways[:1] if args.checkpoint else [])]
    raise ScriptError(
        f'{where} has {count} classes, the network {expected} outputs: give {" or ".join([*ways, "other data"])}'
    )


def _compare_class_names(args: argparse.Namespace, classes: list[str], folder: str) -> None:
    """Warn of folders that are not named like the classes of the network, and refuse those of a run in another order.

    Raises:
        ScriptError: if folders would count as other classes than those that a run was trained on.
    """
    trained = class_names(Path(args.checkpoint)) if args.checkpoint and Path(args.checkpoint).is_file() else None
    whose = args.checkpoint if trained else args.model
    names = list(trained or (not args.checkpoint and model_config(args.model).get('label_names')) or classes)
    if classes == names:
        return
    moved = [name for i, name in enumerate(classes) if name in names and names.index(name) != i]
    if trained and moved:
        raise ScriptError(
            f'{folder} has the classes {shorten(classes)}, {whose} was trained on {shorten(names)} in this order, '
            f'so that {shorten(moved)} would count as other classes: --class-map FILE maps them, line k names the '
            'class of output k'
        )
    odd = sorted(set(classes) ^ set(names))
    difference = f'only one of them has {shorten(odd)}' if odd else f'the model begins with {shorten(names)}'
    print(
        f'{folder} has other classes than {whose}: {difference}; its folders are taken in the order of their '
        f'names ({shorten(classes)}), --class-map FILE gives another',
        file=sys.stderr,
    )


def _check_batch(args: argparse.Namespace, count: int, folder: str) -> None:
    share = count // process_count()
    sizes = getattr(args, 'train_batch_sizes', None) if getattr(args, 'train_img_sizes', None) else None
    if share < min(sizes or [args.batch_size]):  # train.py drops a batch that is not full
        few_images = f'{folder} has {count} images, too few for a batch of {args.batch_size}'
        raise ScriptError(f'{few_images}: give --batch-size {share}')
