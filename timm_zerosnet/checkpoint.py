"""Checkpoints: reading their files, and making the state dicts in them ours or refusing them.

A file may come from timm's train.py, from the original projects, whose names become ours, or from anywhere else.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from pathlib import Path
from typing import Any, Callable, Iterable

import torch
import yaml
from timm.models import is_model, list_models
from torch import Tensor, nn

from ._errors import WeightError, one_line, shorten, type_of
from .cifar import DATA_SETS
from .registry import is_own

RECORD = 'timm_zerosnet'
"""The key under which the launcher adds what it knows of a run to train.py's own arguments, in args.yaml."""
ORIGINALS = "the ZeroSNet authors' networks for CIFAR and ImageNet or LM-ResNet's MResNet.py"
_EXPECTED = 'Expected a safetensors file or a PyTorch checkpoint that holds nothing but tensors and plain values'

_WRAPPERS = ('state_dict', 'model', 'model_state_dict', 'net')
_AVERAGES = ('state_dict_ema', 'model_ema')  # timm's names
_PREFIXES = ('module.', '_orig_mod.')

_TERMS = {'': '0', '_x': '0', '_l': '1', '_ll': '2'}

_STEM = 'stem.conv.weight'
_CLASSIFIER = {'head.fc.weight', 'head.fc.bias'}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a safetensors file or a PyTorch checkpoint, read as timm does it, without unpickling code.

    Raises:
        WeightError: if the file is missing, damaged, or holds code or no dictionary.
    """
    path = Path(path)
    if not path.is_file():
        what = 'is a folder: name a file in it' if path.is_dir() else 'does not exist or is no file'
        raise WeightError(f'{path} {what}. {_EXPECTED}')
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file  # without it timm still has the networks

            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch's, about what is refused here
            content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch, pickle, zipfile and safetensors each raise their own
        raise _unreadable(path, _why_unreadable(path, error)) from error
    if not isinstance(content, dict):
        raise _unreadable(path, f'it holds no state dict but {type_of(content)}')
    return content


def check_readable(path: str | Path) -> None:
    """Refuse a file in which timm finds no state dict.

    Raises:
        WeightError: naming the file and the reason.
    """
    content = read_checkpoint(path)
    held = [key for key in _AVERAGES if content.get(key) is not None] + [key for key in _WRAPPERS[:2] if key in content]
    found = content[held[0]] if held else content
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise _unreadable(Path(path), f'it holds no state dict{f" in {held[0]}" if held else ""}')


def _unreadable(path: Path, reason: str) -> WeightError:
    return WeightError(f'{path} ({path.stat().st_size} bytes) cannot be read as a checkpoint: {reason}. {_EXPECTED}')


def _why_unreadable(path: Path, error: Exception) -> str:
    if path.suffix != '.safetensors' and not _is_pickled(path):
        return 'it is no PyTorch checkpoint'
    if isinstance(error, pickle.UnpicklingError):  # torch's message advises to run whatever code the file holds
        code = re.search(r'GLOBAL (\S+)', str(error))
        return f'it holds {code[1]}, whose code would run' if code else 'it is damaged, or holds code that would run'
    return f'{type(error).__name__}: {one_line(error)}'


def _is_pickled(path: Path) -> bool:
    """Whether a file begins as what ``torch.save`` writes, today's zip archive or the older pickle."""
    with path.open('rb') as file:
        return file.read(2).startswith((b'PK', b'\x80'))


def state_dict_of(checkpoint: dict[str, Any], average: str, path: Path) -> dict[str, Any]:
    """The trained weights of a checkpoint or their running average.

    Args:
        checkpoint: The content of a checkpoint of train.py.
        average: ``'raw'`` for the weights themselves, ``'ema'`` for their running average.
        path: The file of the checkpoint, which messages name.

    Raises:
        WeightError: if it holds no such weights; names what it holds.
    """
    key = {'raw': 'state_dict', 'ema': 'state_dict_ema'}[average]
    if not isinstance(checkpoint.get(key), dict):
        raise WeightError(f'{path}: expected an entry {key}, got {shorten(checkpoint)}')
    if strange := [name for name in checkpoint[key] if not isinstance(name, str)]:
        raise WeightError(f'{path}: expected names of parameters in {key}, got {shorten(strange)}')
    return checkpoint[key]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        WeightError: if it cannot be read or holds something else.
    """
    try:
        parsed = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WeightError(f'{path} is not a readable YAML file: {one_line(error)}') from error
    if not isinstance(parsed, dict):
        raise WeightError(f'{path}: expected lines of the form name: value, got {type_of(parsed)}')
    return parsed


def class_names(path: Path) -> tuple[str, ...] | None:
    """The classes that a run of our launcher trained on, in the order of the outputs; None where nothing names them.

    A checkpoint names them itself. For a safetensors file that was made from one, the ``args.yaml`` beside it does.
    """
    record = _training_arguments(path).get(RECORD)
    names = record.get('class_names') if isinstance(record, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else None


def made_with(args: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments that train.py made a network with; None where nothing says them.

    Classes and channels, which the weights show, are not among them, nor what named the weights that it began with.

    Args:
        args: All arguments of train.py, see ``training_arguments``.
    """
    arguments, record = args.get('model_kwargs'), args.get(RECORD)
    if not isinstance(arguments, dict):
        return None
    of_config = record.get('model_args') if isinstance(record, dict) else None
    arguments = {'global_pool': args.get('gp'), **(of_config or {}), **arguments}
    return {key: arguments[key] for key in arguments if arguments[key] is not None and not key.startswith('pretrained')}


def training_arguments(path: Path, name: str) -> dict[str, Any]:
    """All arguments of train.py that trained a network; empty where nothing says them.

    Args:
        path: A checkpoint, which says them itself, or a file made from one, see ``class_names``.
        name: The network. What is recorded of another one says nothing about it.
    """
    args = _training_arguments(path)
    record = args.get(RECORD)
    trained = [args.get('model'), record.get('architecture') if isinstance(record, dict) else None]
    return args if _untagged(name) in {_untagged(str(model)) for model in trained if model} else {}


def trained_model(path: Path) -> str | None:
    """The model that a checkpoint of train.py, or the args.yaml beside it, says it is of; None if it is not said.

    Other scripts write what is no name of timm's, such as that of a class: that says nothing.

    Raises:
        WeightError: if the file is missing, damaged, or holds code or no dictionary.
    """
    model, arch = _training_arguments(path).get('model'), read_checkpoint(path).get('arch')
    if isinstance(model, str) and model.strip():
        return model
    return arch if isinstance(arch, str) and is_model(arch.partition('.')[0]) else None


def _untagged(name: str) -> str:
    model = name.partition('.')[0]
    return model if is_model(model) else name


def _training_arguments(path: Path) -> dict[str, Any]:
    """The arguments of train.py that a checkpoint holds, otherwise those in the args.yaml beside it, if any."""
    try:
        args = None if path.suffix == '.safetensors' else read_checkpoint(path).get('args')
        if args is None:
            args = read_yaml(path.parent / 'args.yaml')
    except (WeightError, OSError):  # what reads the weights of the file says what is wrong with it
        return {}
    return args if isinstance(args, dict) else getattr(args, '__dict__', {})


def check_architecture(path: Path, name: str) -> None:
    """Refuse a checkpoint that names another network of this package: the weights alone need not tell them apart.

    Raises:
        WeightError: naming the file and both.
    """
    model = name.partition('.')[0]
    found = architecture(path) if is_own(model) else None
    if found not in (None, model):
        raise WeightError(f'{path}: expected a checkpoint of {name}, got one of {found}: name that network instead')


def architecture(path: Path) -> str | None:
    """The network of this package that a checkpoint of train.py says it is of, without tag; None if it says none."""
    found = read_checkpoint(path).get('arch')
    name = found.partition('.')[0] if isinstance(found, str) else ''
    return name if is_own(name) else None


def averages(path: Path) -> list[str]:
    """Names of the entries of a checkpoint that hold an average of its weights (EMA)."""
    content = read_checkpoint(path)
    return [key for key in _AVERAGES if content.get(key) is not None]


def unwrap(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state dict inside a checkpoint, without the prefixes that all its names have.

    Args:
        state_dict: A state dict, or a dictionary that holds one under a usual name, at any depth.
    """
    while True:
        inner = next((state_dict[key] for key in _WRAPPERS if isinstance(state_dict.get(key), dict)), None)
        for prefix in _PREFIXES:
            if inner is None and state_dict and all(str(key).startswith(prefix) for key in state_dict):
                inner = {key[len(prefix) :]: value for key, value in state_dict.items()}
        if inner is None:
            return state_dict
        state_dict = inner


def sizes(
    state_dict: dict[str, Any],
    classifier: Iterable[Any] = ('head.fc', 'fc'),
    first: Iterable[Any] = ('stem.conv', 'conv1'),
) -> dict[str, int]:
    """``num_classes`` and ``in_chans`` of a network, as far as its state dict tells them.

    Args:
        state_dict: What ``unwrap`` returns.
        classifier: The names that the classifier may have; the default are ours and that of the original projects.
        first: The names that the first convolution may have.
    """
    found = {}
    for argument, names, axis in (('num_classes', classifier, 0), ('in_chans', first, 1)):
        for value in (state_dict.get(f'{name}.weight') for name in names):
            if isinstance(value, Tensor) and value.ndim > axis:
                found[argument] = value.shape[axis]
    return found


def refuse_tied(state_dict: dict[str, Any], path: Path) -> None:
    """Refuse entries that are one and the same parameter: a file of weights holds a copy for each of them.

    Args:
        state_dict: What ``unwrap`` returns.
        path: The file of the checkpoint, which the message names.

    Raises:
        WeightError: naming them.
    """
    names: dict[Any, list[str]] = {}
    for key, value in state_dict.items():
        if isinstance(value, Tensor) and value.numel() and not value.is_meta:
            names.setdefault((value.data_ptr(), value.shape, value.stride()), []).append(key)
    tied = [keys for keys in names.values() if len(keys) > 1]
    if tied:
        raise WeightError(
            f'{path}: {"; ".join(" and ".join(keys) for keys in tied[:3])}{"; ..." if len(tied) > 3 else ""} are tied, '
            'one tensor for several entries: expected a tensor for each, since the file would lose the tie. To store '
            'copies all the same, save {key: value.clone() for key, value in model.state_dict().items()}'
        )


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module, classifier: bool = True) -> dict[str, Tensor]:
    """A state dict as ``model`` takes it; idempotent.

    Names may be our own or those of the original projects, with or without ``module.``. Entries that the original
    networks carry without using them are dropped, and ``coe`` (lambda) becomes mu.

    Args:
        state_dict: As ``torch.load`` gives it, also inside ``{'state_dict': ...}``.
        model: A whole ``MultistepResNet``, whose backbone the entries must fit; classifier and input channels may
            differ, timm adapts them.
        classifier: Whether a classifier of as many classes as the model's must fit, too.

    Raises:
        WeightError: if names or shapes of the backbone differ, or a value is not finite.
    """
    state_dict = unwrap(state_dict)
    own = model.state_dict()
    if 'conv1.weight' in state_dict and 'fc.weight' in state_dict:
        state_dict = _convert_original(state_dict, own)
    _refuse_mismatch(state_dict, own, model, classifier)
    entries = dict(state_dict)
    stem = entries[_STEM]
    if stem.shape != own[_STEM].shape:  # timm adapts it, and would round the result to the type of the file
        entries[_STEM] = stem.float()
    return entries


def _convert_original(state_dict: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    found = (re.match(r'stages\.(\d+)\.blocks\.(\d+)\.', key) for key in own)
    blocks = sorted({(int(match[1]), int(match[2])) for match in found if match})

    def block(index: int) -> str:
        """The prefix of our names for a block that the originals count from the first of the whole network."""
        stage, number = blocks[index] if index < len(blocks) else (blocks[-1][0], index)  # of a deeper network
        return f'stages.{stage}.blocks.{number}.'

    learned = {key.rpartition('.')[2] for key in own if '.step.' in key}
    converted = {}
    for key, value in state_dict.items():
        name, droppable = _rename(key, block)
        if name is None or (droppable and name not in own and _unused(name, learned)):
            continue
        inverted = name.endswith('.step.mu') and isinstance(value, Tensor)
        converted[name] = (1 / value.double()).to(value.dtype) if inverted else value
    return converted


def _unused(name: str, learned: set[str]) -> bool:
    # original networks that learn their coefficients carry some unused ones; those that learn none carry none
    return '.step.' not in name or name.rpartition('.')[2] in learned


def _rename(key: str, block: Callable[[int], str]) -> tuple[str | None, bool]:
    """Our name of an original entry, and whether the originals may carry it without using it."""
    if match := re.fullmatch(r'ks\.(\d+)', key):
        return f'{block(int(match[1]))}step.k', True
    if match := re.fullmatch(r'downsample(\d)(\d)\.downsample\.([02])\.(.+)', key):
        layer = {'0': 'norm', '2': 'conv'}[match[3]]
        # the second of a stage's two belongs to a history that no step reads
        name = f'stages.{int(match[1]) - 1}.blocks.0.state_proj.0.{layer}.{match[4]}'
        return (name if match[2] == '1' else None), True
    if match := re.fullmatch(r'downsample1\.downsample\.([02])\.(.+)', key):
        return f'stages.0.blocks.0.state_proj.0.{ {"0": "norm", "2": "conv"}[match[1]] }.{match[2]}', True
    if match := re.fullmatch(r'(?:blocks\.(\d+)|layer(\d)\.(\d+))\.(.+)', key):
        prefix = block(int(match[1])) if match[1] else f'stages.{int(match[2]) - 1}.blocks.{match[3]}.'
        rest = match[4]
        if rest in ('coe', 'k'):
            return prefix + 'step.mu', True
        if proj := re.fullmatch(r'(?:downsample|shortcut)(_x|_l|_ll|)\.(?:downsample_\.)?0\.(.+)', rest):
            return f'{prefix}state_proj.{_TERMS[proj[1]]}.{proj[2]}', False
        return prefix + re.sub(r'^bn(\d)', r'norm\1', rest), False
    for old, new in (('conv1.', 'stem.conv.'), ('bn1.', 'stem.norm.'), ('bn.', 'norm.'), ('fc.', 'head.fc.')):
        if key.startswith(old):
            return new + key[len(old) :], old == 'bn1.'
    return key, False


def _refuse_mismatch(state_dict: dict[str, Any], own: dict[str, Tensor], model: nn.Module, classifier: bool) -> None:
    config = getattr(model, 'pretrained_cfg', {})
    counters = {key for key in own if key.endswith('num_batches_tracked')}
    missing = sorted(own.keys() - state_dict.keys() - _CLASSIFIER - counters)
    unexpected = sorted(state_dict.keys() - own.keys() - _CLASSIFIER)
    strange = sorted(key for key in state_dict if not isinstance(state_dict[key], Tensor))
    shapes = [
        f'{key} {tuple(state_dict[key].shape)}, expected {" or ".join(map(str, expected))}'
        for key in own.keys() & state_dict.keys() - _CLASSIFIER - set(strange)
        if tuple(state_dict[key].shape) not in (expected := _accepted_shapes(key, own[key], config))
    ]
    label = config.get('architecture', type(model).__name__)
    if missing or unexpected or strange or shapes:
        parts = [
            f'{len(keys)} {what} ({shorten(keys, 3)})'
            for keys, what in (
                (missing, 'missing'),
                (unexpected, 'not of this network'),
                (strange, 'that are no tensors'),
                (sorted(shapes), 'of another shape'),
            )
            if keys
        ]
        raise WeightError(
            f'the state dict does not fit {label}: of its {len(own)} entries and the {len(state_dict)} '
            f'given, {"; ".join(parts)}. Expected a checkpoint of {label} or of {ORIGINALS}.'
        )
    if classifier and own.keys() & _CLASSIFIER and model.num_classes == config.get('num_classes'):  # or timm makes one
        _refuse_classifier(state_dict, own, label)
    bad = [
        key
        for key, value in state_dict.items()
        if value.is_floating_point() and not value.is_meta and not torch.isfinite(value).all()
    ]
    if bad:
        raise WeightError(f'{len(bad)} entries of the state dict for {label} hold NaN or infinity: {shorten(bad, 3)}')


def _refuse_classifier(state_dict: dict[str, Any], own: dict[str, Tensor], label: str) -> None:
    given, accepted = (
        {key: tuple(entries[key].shape) for key in sorted(_CLASSIFIER & entries.keys())}
        for entries in (state_dict, own)
    )
    if given == accepted:
        return
    classes = {shape[0] for shape in given.values()}
    if given.keys() == accepted.keys() and len(classes) == 1 and classes != {accepted['head.fc.weight'][0]}:
        (count,) = classes
        names = list_models(label, include_tags=True)
        by_tag = ''.join(
            f"for {tag}, '{label}.{tag}' with pretrained_cfg_overlay=dict(file=...) has its mean, std and label_names; "
            for tag, row in DATA_SETS.items()
            if row['num_classes'] == count and f'{label}.{tag}' in names
        )
        raise WeightError(
            f'the checkpoint has {count} classes, the network {accepted["head.fc.weight"][0]}: {by_tag}for '
            f'{"other " if by_tag else "its "}data, say num_classes={count}, mean, std and label_names in the overlay, '
            'pretrained_cfg_overlay=dict(file=..., ...); a num_classes argument beside it gives the network a new head'
        )
    raise WeightError(
        f'the classifier of the checkpoint is {given or "missing"}, that of {label} {accepted}: num_classes=0 takes '
        'the backbone alone, another num_classes gives it a new head'
    )


def _accepted_shapes(key: str, own: Tensor, config: dict[str, Any]) -> list[tuple[int, ...]]:
    """The shape of an entry; of the stem also that for the input channels of the config, which timm adapts."""
    shape, channels = tuple(own.shape), config.get('input_size', (None,))[0]
    if key != _STEM or channels in (None, shape[1]):
        return [shape]
    return [shape, (shape[0], channels, *shape[2:])]
