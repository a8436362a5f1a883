"""What timm's scripts would stumble over after minutes, or silently get wrong, said before they start."""

from __future__ import annotations

import argparse
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

from .._errors import ScriptError, WeightError, few, one_line
from ..checkpoint import check_readable, checkpoint_filter_fn, class_names, sizes, unwrap
from ..cifar import DATA_SETS
from ..class_folders import splits_inside
from ..memory import SizeError, check_size
from ..model_names import model_config, reachable_name
from ..pretrained_arguments import check_layer_names
from ..registry import is_own
from ..weights import check_source
from ..zerosnet import default_cfgs
from .crop import MODE

CROP_MODES = (MODE, 'rrc', 'rkrc', 'rkrr')


def check(args: argparse.Namespace, checkpoints: tuple[str, ...]) -> list[str] | None:
    """Refuse arguments of train.py that cannot work.

    Args:
        args: Of train.py.
        checkpoints: Names of the arguments that hold paths of checkpoints.

    Returns:
        The classes of the data set in the order of the outputs, None where they are not known.

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
    if is_own(name):
        check_source(name, timm.get_pretrained_cfg(args.model))
    reachable_name(args.model)
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
        ScriptError: naming both numbers of channels, both of bytes, or a layer that timm does not have.
    """
    own, size, side = args.in_chans, args.input_size, getattr(args, 'img_size', None)
    channels = own if own is not None else size[0] if size else 3
    config = model_config(args.model)
    if is_own(args.model.split('.')[0]):
        try:
            check_layer_names(args.model_kwargs)
        except ValueError as error:
            raise ScriptError(f'--model-kwargs {error}') from error
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


def outputs(args: argparse.Namespace) -> int | None:
    """Number of outputs that the network will have; None where nothing says it."""
    return model_config(args.model).get('num_classes') if args.num_classes is None else args.num_classes


def check_data(args: argparse.Namespace, splits: tuple[str, ...]) -> list[str] | None:
    """Refuse a data set that is missing, flat, without the splits, or has other classes than the network.

    Args:
        args: Of train.py or validate.py.
        splits: The splits that will be read, the one to train on first.

    Returns:
        The classes in the order of the outputs, None where they are not known.

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
        if name not in DATA_SETS:
            return None
        _check_count(args, DATA_SETS[name]['num_classes'], args.dataset, expected)
        return list(DATA_SETS[name]['label_names'])
    if kind or name not in ('', 'folder', 'image_folder'):
        return None
    if not Path(root).exists():
        seen_from = '' if Path(root).is_absolute() else f' in {os.getcwd()}'
        raise ScriptError(f'--data-dir {root} does not exist{seen_from}')
    if args.class_map:
        if not any(path.is_file() for path in (Path(args.class_map), Path(root, args.class_map))):
            raise ScriptError(f'--class-map {args.class_map} does not exist, here or in {root}')
        return _mapped(args, root, splits[0])
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
        if len(splits) == 1 and Path(folder) == Path(root) and (inside := splits_inside(Path(root))):
            raise ScriptError(f'{root} has no folder for --split {split}; it has {", ".join(inside)}')
        if not found and len(splits) > 1:
            _check_batch(args, len(reader), folder)
        if len(splits) == 1:
            _compare_names(args, classes, folder)
        found[folder] = classes
    if len(found) < len(splits):
        raise ScriptError(f'{root} has no folders {" and ".join(splits)}: it would train and test on the same images')
    (first, names), *others = found.items()
    for folder, classes in others:
        if classes != names:
            strange = sorted(set(classes) ^ set(names))
            raise ScriptError(f'{first} and {folder} have different classes: only one of them has {few(strange)}')
    return names


def _mapped(args: argparse.Namespace, root: str, split: str) -> list[str] | None:
    """The class of each output by a class map; None where it leaves one out or names one twice."""
    try:
        reader = create_dataset(args.dataset, root=root, split=split, class_map=args.class_map).reader
    except Exception:  # of many kinds, and the script will say the same
        return None
    names = {index: str(name) for name, index in getattr(reader, 'class_to_idx', {}).items()}
    whole = len(names) == len(reader.class_to_idx) and sorted(names) == list(range(len(names)))
    return [names[i] for i in range(len(names))] if whole else None


def _check_count(args: argparse.Namespace, count: int, where: str, expected: int | None) -> None:
    if expected is not None and count != expected:
        by_tag, by_count = _of_classes(args, count), [f'--num-classes {count}']
        if hasattr(args, 'checkpoint'):  # of validate.py, which gives no network a new head
            ways = [*by_tag, *(by_count if args.checkpoint else [])]
        else:
            ways = [*by_count, *by_tag]
        accepted = ' or '.join([*ways, 'other data'])
        raise ScriptError(f'{where} has {count} classes, the network {expected} outputs: accepted is {accepted}')


def _of_classes(args: argparse.Namespace, count: int) -> list[str]:
    """Arguments that name the network for the CIFAR of so many classes, unless it is that already."""
    if model_config(args.model).get('num_classes') == count:
        return []
    name, also = args.model.split('.')[0], '' if args.num_classes is None else f' --num-classes {count}'
    tags = [tag for tag in getattr(default_cfgs.get(name), 'tags', ()) if tag in DATA_SETS]
    return [f'--model {name}.{tag}{also}' for tag in tags if DATA_SETS[tag]['num_classes'] == count]


def _compare_names(args: argparse.Namespace, classes: list[str], folder: str) -> None:
    """Say that the folders have other names than the classes of the network; of a run refuse another order, too."""
    trained = class_names(Path(args.checkpoint)) if args.checkpoint and Path(args.checkpoint).is_file() else None
    whose = args.checkpoint if trained else args.model
    names = list(trained or (not args.checkpoint and model_config(args.model).get('label_names')) or classes)
    if classes == names:
        return
    moved = [name for i, name in enumerate(classes) if name in names and names.index(name) != i]
    if trained and moved:
        raise ScriptError(
            f'{folder} has the classes {few(classes)}, {whose} was trained on {few(names)} in this order, so that '
            f'{few(moved)} would count as other classes: --class-map FILE maps them, line k names the class of output k'
        )
    strange = sorted(set(classes) ^ set(names))
    difference = f'only one of them has {few(strange)}' if strange else f'the model begins with {few(names)}'
    print(
        f'{folder} has other classes than {whose}: {difference}; its folders are taken in the order of their '
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
    own = is_own(args.model.split('.')[0])
    names = ('head.fc', 'fc') if own else (model_config(args.model).get('classifier'),)
    classes = sizes(unwrap(state_dict), names).get('num_classes')
    if classes is not None and expected is not None and expected != classes:
        advice = (
            f'--pretrained --pretrained-path {path} in place of {flag} gives it a new head'
            if option == 'initial_checkpoint'
            else ' or, for other data, '.join([*_of_classes(args, classes), f'--num-classes {classes}'])
        )
        raise ScriptError(f'{flag} {path} has {classes} classes, the network {expected}: {advice}')
    if own:
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
        if strange := sorted(state_dict.keys() - model.state_dict().keys()):  # the script does without our filter
            convert = f'timm-zerosnet convert {path} OUT.safetensors --model {args.model.split(".")[0]}'
            advice = (
                f'--pretrained --pretrained-path {path} in place of {flag} starts from its weights'
                if option == 'resume'
                else f'{convert}{" with these --model-kwargs" * bool(args.model_kwargs)} writes what {flag} takes'
            )
            raise ScriptError(f"{flag} {path} has names that timm's script does not know ({few(strange, 1)}): {advice}")
