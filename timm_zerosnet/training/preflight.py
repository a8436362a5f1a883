"""Refuses what timm's scripts would get wrong without a word, or end on in a traceback that does not name the argument.

What they refuse by themselves within seconds, in a line that says what is wrong, is left to them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Sequence

import timm
import torch
from PIL import Image, ImageMode
from timm.models import load_state_dict
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from torch import nn

from .._errors import ScriptError, WeightError, one_line, shorten
from ..checkpoint import check_architecture, check_readable, checkpoint_filter_fn, sizes, unwrap
from ..memory import SizeError, check_size
from ..model_names import create, model_config, reachable_name
from ..pretrained_arguments import check_layer_names
from ..recorded import check_recorded
from ..registry import is_own
from ..weights import check_source
from .data_checks import check_data, models_of, outputs, picture_channels
from .ranges import check_values

NETWORK = {
    'drop_rate': 'drop',
    'drop_path_rate': 'drop_path',
    'drop_block_rate': 'drop_block',
    'global_pool': 'gp',
    'bn_momentum': 'bn_momentum',
    'bn_eps': 'bn_eps',
    'scriptable': 'torchscript',
}
"""The arguments that timm's scripts make a network with, by the keyword that ``timm.create_model`` has for each."""


def check_training(args: argparse.Namespace, checkpoints: tuple[str, ...]) -> list[str] | None:
    """Refuse arguments of train.py that cannot work.

    Args:
        args: The arguments of train.py.
        checkpoints: The names of those arguments that hold paths of checkpoints.

    Returns:
        The classes of the data set in the order of the outputs, None where they are not known.

    Raises:
        ScriptError: for an argument; says what was expected.
        WeightError: for a checkpoint that cannot be read or does not fit.
    """
    check_values(args)
    check_images(args)
    validated = {'val-split': args.val_split} if args.val_split else {}
    classes = check_data(args, {'train-split': args.train_split, **validated})
    if args.pretrained and not args.pretrained_path:
        check_pretrained(args, new_head=True)
    if model := check_network(args):
        _check_schedule(args, model)
    for option in checkpoints:
        check_checkpoint(args, option)
    if args.pretrained_path and not args.pretrained:
        raise ScriptError('train.py ignores --pretrained-path without --pretrained: give both')
    return classes


def check_positional(args: argparse.Namespace) -> None:
    """Refuse data that are named twice: timm's scripts would ignore one of the names without a word.

    Raises:
        ScriptError: with both names.
    """
    if args.data and args.data_dir:
        raise ScriptError(f'{args.data!r} and --data-dir {args.data_dir} both name the data: give one of them')


def check_pretrained(args: argparse.Namespace, new_head: bool) -> None:
    """Refuse packaged weights that do not exist, and a measurement with a random classifier.

    Args:
        args: The arguments of train.py or validate.py.
        new_head: Whether the network may get a new classifier.

    Raises:
        ScriptError: with both numbers of classes.
        WeightError: with the names of the weights that exist.
    """
    if any(key in args.model_kwargs for key in ('pretrained_cfg', 'pretrained_cfg_overlay')):
        return  # they name weights of the user's own
    name, config = args.model.split('.')[0], model_config(args.model)
    if is_own(name):
        check_source(name, timm.get_pretrained_cfg(args.model))
    reachable_name(args.model)
    trained = config.get('num_classes')
    if not new_head and trained and args.num_classes not in (None, trained):
        raise ScriptError(
            f'expected {trained} classes, as the weights of {args.model} have, got --num-classes {args.num_classes}: '
            'the classifier would be random. --checkpoint FILE measures a network that was trained on other classes'
        )


def check_growth(args: argparse.Namespace, of_recipe: Sequence[int] | None) -> None:
    """Refuse training sizes that grow to another size than the one that is validated.

    Args:
        args: The arguments of train.py.
        of_recipe: Input size of the recipe, if it has one: its own sizes may end elsewhere.

    Raises:
        ScriptError: with training sizes in the same ratio to the input size as those given.
    """
    sizes, size = getattr(args, 'train_img_sizes', None), args.input_size
    if not sizes or not size or of_recipe is None or list(size) == list(of_recipe) or max(sizes) == max(size[1:]):
        return
    grown = ' '.join(str(max(4, round(side * max(size[1:]) / max(sizes) / 4) * 4)) for side in sizes)
    raise ScriptError(
        f'expected --train-img-sizes that end at the input size {max(size[1:])}, got {" ".join(map(str, sizes))}: it '
        f'would be validated at a size that it never saw; --train-img-sizes {grown} keeps the proportions'
    )


def check_images(args: argparse.Namespace) -> None:
    """Refuse channels that the pictures will not have, and a size without effect or that does not fit into memory.

    timm passes over ``--img-size`` where there is an input size, such as a recipe's. Its loaders give 3 channels where
    the input size has 3, otherwise 1, or those of ``--input-img-mode``.

    Args:
        args: The arguments of train.py or validate.py.

    Raises:
        ScriptError: with both sizes, both numbers of channels, both numbers of bytes, or a layer that timm does not
            have.
    """
    channels, size, side = _channels(args), args.input_size, getattr(args, 'img_size', None)
    if side and size and [side, side] != list(size[1:]):
        raise ScriptError(
            f'expected one size, got --img-size {side} and an input size of {" ".join(map(str, size))}, which timm '
            f'would take: --input-size {size[0]} {side} {side} in place of --img-size'
        )
    config = model_config(args.model)
    if is_own(args.model.split('.')[0]):
        try:
            check_layer_names(args.model_kwargs)
        except ValueError as error:
            raise ScriptError(f'--model-kwargs {error}') from error
    tested = None if getattr(args, 'use_train_size', True) else config.get('test_input_size')
    size = size or (side and (channels, side, side)) or tested or config.get('input_size') or (channels, 224, 224)
    mode = getattr(args, 'input_img_mode', None)
    loaded = len(ImageMode.getmode(mode).bands) if mode in Image.MODES else 3 if size[0] == 3 else 1
    of_set, sides = picture_channels(args.dataset), ' '.join(map(str, size[1:]))
    given = of_set or loaded
    if given != channels or of_set not in (None, size[0]):
        raise ScriptError(
            f'expected as many input channels as the pictures will have, {given}, got '
            f'{size[0] if given == channels else channels}: --input-size 1 '
            f'{sides} is for grey pictures and --input-size 3 {sides} for colour, without --in-chans'
        )
    largest = max(getattr(args, 'train_img_sizes', None) or [0])
    try:
        check_size(lambda: _empty_model(args), (channels, max(size[1], largest), max(size[2], largest)), args.model)
    except SizeError as error:
        raise ScriptError(str(error)) from error


def check_network(args: argparse.Namespace) -> nn.Module | None:
    """The network of a script, without memory for its values; None where it cannot be had so.

    Raises:
        ScriptError: if it does not take its arguments.
    """
    alike = {key: key for key in ('num_classes', 'in_chans', 'pretrained')}
    for keyword, option in {**NETWORK, **alike, 'checkpoint_path': 'initial_checkpoint'}.items():
        if keyword in args.model_kwargs and hasattr(args, option):
            raise ScriptError(
                f'expected {_flag(option)} in place of --model-kwargs {keyword}, which is given there, too'
            )
    try:
        return _empty_model(args)
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        if 'meta' in str(error):  # it works on values, and the script may well make it
            return None
        values = {option: getattr(args, option, None) for option in NETWORK.values()}
        given = [_flag(option) + f' {value}' * (value is not True) for option, value in values.items() if value]
        if args.model_kwargs:
            given.append(f'--model-kwargs {" ".join(f"{key}={value}" for key, value in args.model_kwargs.items())}')
        raise ScriptError(
            f'model {args.model}{" with " * bool(given)}{" ".join(given)} cannot be made: {type(error).__name__}: '
            f'{one_line(error)}'
        ) from error
    except Exception:  # it works on values, and the script may well make it
        return None


def _check_schedule(args: argparse.Namespace, model: nn.Module) -> None:
    """Refuse an optimizer or a schedule that timm does not have, or values that they do not take."""
    rate = args.lr_base if args.lr is None else args.lr
    try:
        optimizer = create_optimizer_v2(model, **{**optimizer_kwargs(cfg=args), 'lr': rate}, **args.opt_kwargs)
    except (TypeError, ValueError, IndexError) as error:
        raise ScriptError(f'--opt {args.opt}: {one_line(error)}') from error
    except Exception:  # it wants values or a device, and the script may well have them
        return
    try:
        schedule, _ = create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=1000)
    except Exception as error:  # it takes nothing of the optimizer but its rates
        raise ScriptError(f'--sched {args.sched}: {one_line(error) or type(error).__name__}') from error
    if schedule is None and args.sched not in ('', 'none'):
        raise ScriptError(f"--sched {args.sched}: expected a schedule of timm's, such as cosine, or none")


def check_checkpoint(args: argparse.Namespace, option: str) -> None:
    """Refuse a checkpoint that cannot be read or does not fit the network.

    Args:
        args: The arguments of train.py or validate.py.
        option: The name of the argument that holds its path, such as ``initial_checkpoint``.

    Raises:
        ScriptError: with the arguments that give the network a new classifier, or the command that converts the file.
        WeightError: if the file cannot be read, or is of another network of this package or of another training of it.
    """
    path, flag = getattr(args, option, None), _flag(option)
    if not path or (option == 'checkpoint' and Path(path).is_dir()):  # validate.py takes a folder of them
        return
    if Path(path).suffix.lower() in ('.npz', '.npy'):  # of JAX, which a network of timm's reads by itself
        return
    check_readable(path)
    check_architecture(Path(path), args.model)
    if option == 'pretrained_path':
        return
    state_dict, expected, name = load_state_dict(path), outputs(args), args.model.split('.')[0]
    classifiers = ('head.fc', 'fc') if is_own(name) else (model_config(args.model).get('classifier'),)
    classes = sizes(unwrap(state_dict), classifiers).get('num_classes')
    with_new_head = f'--pretrained --pretrained-path {path} in place of {flag}'
    if classes is not None and expected is not None and expected != classes:
        advice = f'{with_new_head} gives the network a new classifier'
        if option != 'initial_checkpoint':
            advice = ' or, for other data, '.join([*models_of(args, classes), f'--num-classes {classes}'])
        raise ScriptError(f'{flag} {path} has {classes} classes, the network {expected}: {advice}')
    if not is_own(name):
        return
    model = check_network(args)
    if model is None:
        return
    check_recorded(Path(path), args.model, args.model_kwargs)
    try:
        checkpoint_filter_fn(state_dict, model)
    except WeightError as error:
        raise WeightError(f'{flag} {path}: {error}') from error
    if odd := sorted(state_dict.keys() - model.state_dict().keys()):  # the script loads it without our filter
        convert = f'timm-zerosnet convert {path} OUT.safetensors --model {name}'
        advice = f'{convert}{" with these --model-kwargs" * bool(args.model_kwargs)} writes what {flag} takes'
        if option == 'resume':
            advice = f'{with_new_head} starts from its weights'
        raise ScriptError(f"{flag} {path} has names that timm's script does not know ({shorten(odd, 1)}): {advice}")


def _flag(option: str) -> str:
    return '--' + option.replace('_', '-')


def _channels(args: argparse.Namespace) -> int:
    """Number of input channels, as timm's scripts derive it."""
    return args.in_chans if args.in_chans is not None else args.input_size[0] if args.input_size else 3


def _empty_model(args: argparse.Namespace) -> nn.Module:
    """The network without memory for its values."""
    given = {keyword: getattr(args, option) for keyword, option in NETWORK.items() if hasattr(args, option)}
    with torch.device('meta'):
        return create(
            args.model, False, num_classes=outputs(args), in_chans=_channels(args), **given, **args.model_kwargs
        )
