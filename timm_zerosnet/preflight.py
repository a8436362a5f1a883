"""What timm's scripts would stumble over after minutes, or silently get wrong, said before they start."""

from __future__ import annotations

import argparse
import difflib
import hashlib
import math
import os
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image, ImageMode
from timm.data import create_dataset
from timm.models import load_state_dict

from .backbones import is_backbone, weights_overlay
from .checkpoint import checkpoint_filter_fn
from .cifar import DATA_SETS
from .crop import MODE
from .hub_models import HUB, LOCAL, outside_config
from .memory import SizeError, check_size
from .pretrained import WeightError, check_readable, check_source, few, one_line, weight_tags
from .timm_scripts import ScriptError
from .zerosnet import default_cfgs

SPLITS = ('train', 'val', 'valid', 'validation', 'test')
CROP_MODES = (MODE, 'rrc', 'rkrc', 'rkrr')


def check(args: argparse.Namespace, checkpoints: tuple[str, ...]) -> str | None:
    """Refuse arguments of train.py that cannot work.

    Args:
        args: Of train.py.
        checkpoints: Names of the arguments that hold paths of checkpoints.

    Returns:
        A digest of the classes of the data set, None where they are not known.

    Raises:
        ScriptError: naming what was given and what is accepted.
        WeightError: for a checkpoint that cannot be read or does not fit.
    """
    for option in ('epochs', 'batch_size'):
        if getattr(args, option) < 1:
            flag = option.replace('_', '-')
            raise ScriptError(f'--{flag} {getattr(args, option)}: accepted is at least 1')
    for option, value in vars(args).items():
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise ScriptError(f'--{option.replace("_", "-")} {value}: accepted are finite numbers')
    if args.train_crop_mode and args.train_crop_mode not in CROP_MODES:
        raise ScriptError(f'--train-crop-mode {args.train_crop_mode}: accepted are {", ".join(CROP_MODES)}')
    if args.in_chans in (1, 3) and args.input_size and args.in_chans != args.input_size[0]:
        size = ' '.join(map(str, (args.in_chans, *args.input_size[1:])))
        raise ScriptError(
            f'--in-chans {args.in_chans} beside an input size of {args.input_size}: --input-size {size} changes both'
        )
    check_images(args)
    classes = check_data(args, (args.train_split, args.val_split))
    if args.pretrained and not args.pretrained_path:
        check_pretrained(args, new_head=True)
    for option in checkpoints:
        check_checkpoint(args, option)
    if args.pretrained_path and not args.pretrained:
        raise ScriptError('--pretrained-path alone is ignored by train.py: give --pretrained with it')
    return classes


def check_pretrained(args: argparse.Namespace, new_head: bool) -> None:
    """Refuse pretrained weights of this package that do not exist, and a random classifier in a measurement.

    Args:
        args: Of train.py or validate.py.
        new_head: Whether the classifier may be a new one.

    Raises:
        ScriptError: naming both numbers of classes.
        WeightError: naming the weights that exist.
    """
    if any(key in args.model_kwargs for key in ('pretrained_cfg', 'pretrained_cfg_overlay')):
        return  # these name weights of the user's
    name, config = args.model.split('.')[0], model_config(args.model)
    if name in default_cfgs:
        check_source(name, timm.get_pretrained_cfg(args.model))
    trained = config.get('num_classes')
    if not new_head and trained and args.num_classes not in (None, trained):
        raise ScriptError(
            f'--num-classes {args.num_classes}: the weights of {args.model} have {trained} classes, so that this '
            'classifier would be a random one. Accepted: those, or --checkpoint FILE of a network that was trained'
        )


def check_images(args: argparse.Namespace) -> None:
    """Refuse channels that the pictures will not have, and a size that does not fit into memory.

    timm's loaders give 3 channels where the input size has 3, otherwise 1, or those of ``--input-img-mode``.

    Args:
        args: Of train.py or validate.py.

    Raises:
        ScriptError: naming both numbers of channels, or both of bytes.
    """
    own, size, side = args.in_chans, args.input_size, getattr(args, 'img_size', None)
    channels = own if own is not None else size[0] if size else 3
    config = model_config(args.model)
    known = None if getattr(args, 'use_train_size', True) else config.get('test_input_size')
    size = size or (side and (channels, side, side)) or known or config.get('input_size') or (channels, 224, 224)
    mode = getattr(args, 'input_img_mode', None)
    given = len(ImageMode.getmode(mode).bands) if mode in Image.MODES else 3 if size[0] == 3 else 1
    if given != channels:
        sides = ' '.join(map(str, size[1:]))
        raise ScriptError(
            f'expected as many input channels as the pictures will have, {given}, got {channels}: --input-size 1 '
            f'{sides} is for grey pictures and --input-size 3 {sides} for colour, without --in-chans'
        )
    largest = max(getattr(args, 'train_img_sizes', None) or [0])

    def made() -> Any:
        with torch.device('meta'):
            return timm.create_model(args.model, num_classes=outputs(args), in_chans=channels, **args.model_kwargs)

    try:
        check_size(made, (channels, max(size[1], largest), max(size[2], largest)), args.model)
    except SizeError as error:
        raise ScriptError(str(error)) from error


def check_positional(args: argparse.Namespace) -> None:
    """Refuse data that are named twice: timm's scripts would leave the first word out without saying so.

    Raises:
        ScriptError: naming it.
    """
    if args.data and args.data_dir:
        raise ScriptError(f'{args.data!r} and --data-dir {args.data_dir} both name the data: give one of them')


def model_config(name: str) -> dict[str, Any]:
    """timm's configuration of a model by its name.

    Raises:
        ScriptError: for a name or tag that timm does not know (names the nearest), or a source without config.json.
    """
    if name.startswith(LOCAL + HUB):
        return outside_config(name)
    if is_backbone(name):
        return {**timm.get_pretrained_cfg(name.split('.')[0]).to_dict(), **weights_overlay(name)}
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split('.')[0], timm.list_models(), 3)
        advice = f'the nearest are {", ".join(near)}' if near else 'see timm.list_models()'
        if '/' in name:
            advice = f'hf-hub:{name} is one of the Hub, local-dir:{name} one in a folder'
        raise ScriptError(f'timm knows no model {name!r}; {advice}')
    try:
        cfg = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag
        model = name.split('.')[0]
        timms = [found.partition('.')[2] for found in timm.list_models(model, include_tags=True)]
        tags = few(getattr(default_cfgs.get(model), 'tags', [*weight_tags(model), *timms]))
        raise ScriptError(f'--model {name}: {error}' + (f' Accepted: {tags}.' if tags else '')) from error
    return cfg.to_dict() if cfg else {}


def outputs(args: argparse.Namespace) -> int | None:
    """Number of outputs that the network will have; None where nothing says it."""
    return model_config(args.model).get('num_classes') if args.num_classes is None else args.num_classes


def check_data(args: argparse.Namespace, splits: tuple[str, ...]) -> str | None:
    """Refuse a data set that is missing, flat, without the splits, or has another class count than the network.

    Args:
        args: Of train.py or validate.py.
        splits: The splits that will be read, the one to train on first.

    Returns:
        A digest of the class names, None where they are not known.

    Raises:
        ScriptError: saying what was found and which argument to change.
    """
    root, expected = args.data_dir or args.data, outputs(args)
    kind, _, name = args.dataset.lower().rpartition('/')
    if not root and kind in ('', 'torch'):
        raise ScriptError(
            'no data: --data-dir DIR is missing, or --data-dir DIR --dataset torch/cifar10 --dataset-download'
        )
    if kind == 'torch':
        if not args.dataset_download and not Path(root).is_dir():
            raise ScriptError(f'--data-dir {root} does not exist: --dataset-download fetches {args.dataset} into it')
        if name in DATA_SETS:
            _check_count(args, DATA_SETS[name]['num_classes'], args.dataset, expected)
        return None
    if kind or name not in ('', 'folder', 'image_folder'):
        return None
    if not Path(root).exists():
        seen_from = '' if Path(root).is_absolute() else f' in {os.getcwd()}'
        raise ScriptError(f'--data-dir {root} does not exist{seen_from}')
    if args.class_map:
        if not any(path.is_file() for path in (Path(args.class_map), Path(root, args.class_map))):
            raise ScriptError(f'--class-map {args.class_map} does not exist, here or in {root}')
        return None
    found: dict[str, list[str]] = {}
    for split in splits:
        try:
            reader = create_dataset(args.dataset, root=root, split=split).reader
        except (RuntimeError, OSError) as error:
            raise ScriptError(f'--data-dir {root} has no images for the split {split!r}: {error}') from error
        classes, folder = list(getattr(reader, 'class_to_idx', ())), str(getattr(reader, 'root', root))
        if not classes:
            return None
        if '' in classes:
            raise ScriptError(
                f'{folder} holds images that lie in no class folder; expected is one folder of images for each class'
            )
        _check_count(args, len(classes), folder, expected)
        inside = sorted(name for name in SPLITS if Path(root, name).is_dir())
        if len(splits) == 1 and Path(folder) == Path(root) and inside:
            raise ScriptError(f'{root} has no folder for --split {split}; it has {", ".join(inside)}')
        if not found and len(splits) > 1:
            _check_batch(args, len(reader), folder)
        if len(splits) == 1 and not args.checkpoint:
            _compare_names(args, classes, folder)
        found[folder] = classes
    if len(found) < len(splits):
        raise ScriptError(f'{root} has no folders {" and ".join(splits)}: it would train and test on the same images')
    (first, names), *others = found.items()
    for folder, classes in others:
        if classes != names:
            strange = sorted(set(classes) ^ set(names))
            raise ScriptError(f'{first} and {folder} have different classes: only one of them has {few(strange)}')
    return hashlib.sha256('\n'.join(names).encode()).hexdigest()[:16]


def _check_count(args: argparse.Namespace, count: int, where: str, expected: int | None) -> None:
    if expected is not None and count != expected:
        name = args.model.split('.')[0]
        tags = [tag for tag in getattr(default_cfgs.get(name), 'tags', ()) if tag in DATA_SETS]
        fitting = [f'--model {name}.{tag}' for tag in tags if DATA_SETS[tag]['num_classes'] == count]
        new_head = [f'--num-classes {count}'] if getattr(args, 'checkpoint', True) else []
        ways = ' or '.join([*new_head, *fitting, 'other data'])
        raise ScriptError(f'{where} has {count} classes, the network {expected} outputs: accepted is {ways}')


def _compare_names(args: argparse.Namespace, classes: list[str], folder: str) -> None:
    names = list(model_config(args.model).get('label_names') or classes)
    if classes == names:
        return
    strange = sorted(set(classes) ^ set(names))
    difference = f'only one of them has {few(strange)}' if strange else f'the model begins with {few(names)}'
    print(
        f'{folder} has other classes than {args.model}: {difference}; its folders are taken in the order of their '
        f'names ({few(classes)}), --class-map FILE gives another',
        file=sys.stderr,
    )


def _check_batch(args: argparse.Namespace, count: int, where: str) -> None:
    share = count // int(os.environ.get('WORLD_SIZE', 1))
    if share < args.batch_size:  # train.py drops a batch that is not full
        raise ScriptError(f'{where} has {count} images, too few for a batch of {args.batch_size}: --batch-size {share}')


def check_checkpoint(args: argparse.Namespace, option: str) -> None:
    """Refuse a checkpoint that cannot be read, or does not fit the network.

    Args:
        args: Of train.py or validate.py.
        option: Name of the argument that holds its path, such as ``initial_checkpoint``.

    Raises:
        ScriptError: naming the flags that give it a new head.
        WeightError: if the file cannot be read, or is of another network of ours.
    """
    path, flag = getattr(args, option, None), '--' + option.replace('_', '-')
    if not path:
        return
    if Path(path).is_dir():
        if option == 'checkpoint':  # validate.py takes a folder of them
            return
        raise ScriptError(f'{flag} {path} is a folder; accepted is a file')
    check_readable(path)
    if option == 'pretrained_path':
        return
    state_dict, expected = load_state_dict(path), outputs(args)
    weight = state_dict.get(f'{model_config(args.model).get("classifier")}.weight')
    if weight is not None and expected is not None and expected != len(weight):
        advice = (
            f'--pretrained --pretrained-path {path} in place of {flag} gives it a new head'
            if option == 'initial_checkpoint'
            else f'--num-classes {len(weight)}'
        )
        raise ScriptError(f'{flag} {path} has {len(weight)} classes, the network {expected}: {advice}')
    if args.model.split('.')[0] in default_cfgs:
        channels = args.in_chans or (args.input_size[0] if args.input_size else 3)
        try:
            model = timm.create_model(
                args.model, num_classes=expected, in_chans=channels, device='meta', **args.model_kwargs
            )
        except Exception as error:  # timm, torch and the model itself each raise their own
            raise ScriptError(
                f'model {args.model} cannot be made: {type(error).__name__}: {one_line(error)}'
            ) from error
        try:
            checkpoint_filter_fn(state_dict, model)
        except WeightError as error:
            raise WeightError(f'{flag} {path}: {error}') from error
