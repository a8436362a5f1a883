"""Refuses data sets that timm's scripts would get wrong without a word: other classes, or a split that is no split."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from timm.data import create_dataset

from .._errors import ScriptError, shorten
from ..checkpoint import class_names
from ..cifar import DATA_SETS
from ..class_folders import SPLITS, splits_inside
from ..model_names import model_config
from ..zerosnet import default_cfgs
from .scripts import process_count

TORCH_SETS = ('cifar10', 'cifar100', 'mnist', 'kmnist', 'fashion_mnist', 'qmnist')  # of two parts


def check_data(args: argparse.Namespace, splits: tuple[str, ...]) -> list[str] | None:
    """Refuse a data set that is missing, lacks class folders or splits, or has other classes than the network.

    Args:
        args: The arguments of train.py or validate.py.
        splits: The splits that will be read, the one to train on first.

    Returns:
        The classes in the order of the outputs, None where they are not known.

    Raises:
        ScriptError: with what was found and the argument to change.
        RuntimeError: timm's own, if there are no images.
    """
    named = dict(zip(('split',) if len(splits) == 1 else ('train-split', 'val-split'), splits, strict=True))
    root = args.data_dir or args.data
    kind, _, name = args.dataset.lower().rpartition('/')
    if not root and kind in ('', 'torch'):
        raise ScriptError('no data: give --data-dir DIR, or --data-dir DIR --dataset torch/cifar10 --dataset-download')
    if kind == 'torch':
        if not args.dataset_download and not Path(root).is_dir():
            raise ScriptError(f'--data-dir {root} does not exist: --dataset-download fetches {args.dataset} into it')
        if name in TORCH_SETS:
            _check_parts(args, named)
        if name not in DATA_SETS:
            return None
        _check_class_count(args, DATA_SETS[name]['num_classes'], args.dataset)
        return list(DATA_SETS[name]['label_names'])
    if kind or name not in ('', 'folder', 'image_folder'):
        return None
    if not Path(root).exists():
        seen_from = '' if Path(root).is_absolute() else f' in {os.getcwd()}'
        raise ScriptError(f'--data-dir {root} does not exist{seen_from}')
    found: dict[str, list[str]] = {}
    for option, split in named.items():
        reader = create_dataset(args.dataset, root=root, split=split).reader
        classes, folder = list(getattr(reader, 'class_to_idx', ())), str(getattr(reader, 'root', root))
        if Path(folder) == Path(root) and Path(root).is_dir() and (inside := splits_inside(Path(root))):
            raise ScriptError(f'{root} has no folder for --{option} {split}; it has {", ".join(inside)}')
        if args.class_map:
            found[folder] = []
            continue
        if not classes:
            return None
        if '' in classes:
            raise ScriptError(f'expected one folder of images for each class in {folder}, got images outside of them')
        _check_class_count(args, len(classes), folder)
        if len(splits) == 1:
            _compare_class_names(args, classes, folder)
        elif not found:
            _check_batch(args, len(reader), folder)
        found[folder] = classes
    (first, names), *others = found.items()
    if len(found) < len(splits) or any(_holds(first, folder) or _holds(folder, first) for folder, _ in others):
        raise ScriptError(f'{root} has no folders {" and ".join(splits)}: it would train and test on the same images')
    if args.class_map:
        return _mapped_classes(args, root, splits[0])
    for folder, classes in others:
        if classes != names:
            odd = shorten(sorted(set(classes) ^ set(names)))
            raise ScriptError(f'{first} and {folder} have different classes: only one of them has {odd}')
    return names


def _holds(folder: str, other: str) -> bool:
    return Path(folder) in Path(other).parents


def _check_parts(args: argparse.Namespace, named: dict[str, str]) -> None:
    """Refuse splits of a torchvision set that mean something else than they say.

    timm takes the training images for ``train`` and ``training``, and the test images for any other word.
    """
    for option, split in named.items():
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


def _mapped_classes(args: argparse.Namespace, root: str, split: str) -> list[str] | None:
    """The class of each output by a class map; None where the map leaves an output out or names one twice."""
    try:
        reader = create_dataset(args.dataset, root=root, split=split, class_map=args.class_map).reader
    except Exception:  # of many kinds; the script will meet it again and say so
        return None
    names = {index: str(name) for name, index in getattr(reader, 'class_to_idx', {}).items()}
    complete = len(names) == len(reader.class_to_idx) and sorted(names) == list(range(len(names)))
    return [names[i] for i in range(len(names))] if complete else None


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
