"""What timm's scripts would stumble over after minutes, or silently get wrong, said before they start."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

import timm
from timm.data import create_dataset
from timm.models import PretrainedCfg, get_pretrained_cfg, load_state_dict

from .pretrained import check_readable, few
from .timm_scripts import ScriptError
from .zerosnet import DATA_SETS, default_cfgs

SOURCES = ('hf-hub:', 'hf_hub:', 'local-dir:')


def model_config(name: str) -> PretrainedCfg | None:
    """timm's configuration of a model by its name; None where only its source (``hf-hub:``, ``local-dir:``) has one.

    Raises:
        ScriptError: for a name or tag that timm does not know; names the nearest.
    """
    if name.startswith(SOURCES):
        return None
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split('.')[0], timm.list_models(), 3)
        advice = f'the nearest are {", ".join(near)}' if near else 'see timm.list_models()'
        raise ScriptError(f'timm knows no model {name!r}; {advice}')
    try:
        return get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag
        raise ScriptError(f'--model {name}: {error}') from error


def outputs(args: argparse.Namespace) -> int | None:
    """Number of outputs that the network will have; None where only its source knows."""
    cfg = model_config(args.model)
    return cfg.num_classes if cfg and args.num_classes is None else args.num_classes


def check_data(args: argparse.Namespace, splits: tuple[str, ...]) -> None:
    """Refuse a data set that is missing, flat, without the splits, or has another class count than the network.

    Args:
        args: Of train.py or validate.py.
        splits: The splits that will be read.

    Raises:
        ScriptError: saying what was found and which argument to change.
    """
    root, expected = args.data_dir or args.data, outputs(args)
    kind, _, name = args.dataset.lower().rpartition('/')
    if kind == 'torch':
        if not args.dataset_download and not Path(root or '').is_dir():
            raise ScriptError(f'--data-dir {root} does not exist: --dataset-download fetches {args.dataset} into it')
        if name in DATA_SETS:
            _check_count(args, DATA_SETS[name]['num_classes'], args.dataset, expected)
        return
    if kind or name not in ('', 'folder', 'image_folder'):
        return
    if not root:
        raise ScriptError('no data: --data-dir DIR is missing, or --dataset torch/cifar10 --dataset-download')
    if not Path(root).exists():
        raise ScriptError(f'--data-dir {root} does not exist')
    if args.class_map:
        return
    found = {}
    for split in splits:
        try:
            reader = create_dataset(args.dataset, root=root, split=split).reader
        except (RuntimeError, OSError) as error:
            raise ScriptError(f'--data-dir {root} has no images for the split {split!r}: {error}') from error
        classes = list(getattr(reader, 'class_to_idx', ()))
        if not classes:
            return
        found[str(getattr(reader, 'root', split))] = classes
        if '' in classes:
            raise ScriptError(
                f'{getattr(reader, "root", root)} holds images that lie in no class folder; expected is one folder of '
                'images for each class'
            )
        _check_count(args, len(classes), str(getattr(reader, 'root', root)), expected)
    if len(found) < len(splits):
        raise ScriptError(f'{root} has no folders {" and ".join(splits)}: it would train and test on the same images')
    (first, classes), *others = found.items()
    for folder, names in others:
        if names != classes:
            strange = sorted(set(names) ^ set(classes))
            raise ScriptError(f'{first} and {folder} have different classes: only one of them has {few(strange)}')


def _check_count(args: argparse.Namespace, count: int, where: str, expected: int | None) -> None:
    if expected is not None and count != expected:
        name = args.model.split('.')[0]
        tags = [tag for tag in getattr(default_cfgs.get(name), 'tags', ()) if tag in DATA_SETS]
        fitting = [f'--model {name}.{tag}' for tag in tags if DATA_SETS[tag]['num_classes'] == count]
        other = f' (or {fitting[0]})' if fitting else ''
        raise ScriptError(
            f'{where} has {count} classes, the network {expected} outputs: --num-classes {count}{other}, or other data'
        )


def check_channels(args: argparse.Namespace) -> None:
    """Refuse channels that differ from those of the input size, which the loader follows.

    Raises:
        ScriptError: naming the argument that changes both.
    """
    if args.in_chans and args.input_size and args.in_chans != args.input_size[0]:
        size = ' '.join(map(str, (args.in_chans, *args.input_size[1:])))
        raise ScriptError(
            f'--in-chans {args.in_chans} beside an input size of {args.input_size}: --input-size {size} changes both'
        )


def check_checkpoint(args: argparse.Namespace, option: str) -> None:
    """Refuse a checkpoint that cannot be read, or whose head has another class count than the network.

    Args:
        args: Of train.py or validate.py.
        option: Name of the argument that holds its path, such as ``initial_checkpoint``.

    Raises:
        ScriptError: naming the flags that give it a new head.
        WeightError: if the file cannot be read.
    """
    path = getattr(args, option, None)
    if not path or Path(path).is_dir():
        return
    check_readable(path)
    cfg, expected = model_config(args.model), outputs(args)
    weight = load_state_dict(path).get(f'{cfg.classifier}.weight') if cfg else None
    if option == 'pretrained_path' or weight is None or expected in (None, len(weight)):
        return
    flag = '--' + option.replace('_', '-')
    advice = (
        f'--pretrained --pretrained-path {path} in place of {flag} gives it a new head'
        if option == 'initial_checkpoint'
        else f'--num-classes {len(weight)}'
    )
    raise ScriptError(f'{flag} {path} has {len(weight)} classes, the network {expected}: {advice}')
