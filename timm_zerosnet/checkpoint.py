"""State dicts from elsewhere: names of the original projects become ours, and a wrong file is refused."""

from __future__ import annotations

import argparse
import re
import warnings
from pathlib import Path
from typing import Any, Iterable

import torch
import yaml
from timm.models import list_models
from torch import Tensor, nn

from ._errors import WeightError, few, one_line
from .cifar import DATA_SETS
from .registry import is_own
from .weights import sha256

RECORD = 'timm_zerosnet'  # what our launcher writes into a run's args.yaml, beside train.py's own arguments

ORIGINAL_URLS = "the ZeroSNet authors' CIFAR and ImageNet networks and LM-ResNet's MResNet.py"

_WRAPPERS = ('state_dict', 'model', 'model_state_dict', 'net')
_AVERAGES = ('state_dict_ema', 'model_ema')  # timm's names
_PREFIXES = ('module.', '_orig_mod.')

_TERMS = {'': '0', '_x': '0', '_l': '1', '_ll': '2'}

_STEM = 'stem.conv.weight'
_CLASSIFIER = {'head.fc.weight', 'head.fc.bias'}


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """A state dict as ``model`` takes it; idempotent.

    Takes our own names and those of the original projects, with or without ``module.``. The entries that the originals
    carry without using them are dropped, ``coe`` (lambda) becomes mu.

    Args:
        state_dict: As ``torch.load`` gives it, also inside ``{'state_dict': ...}``.
        model: A whole ``MultistepResNet``, whose backbone the entries must fit; classifier and input channels may
            differ, timm adapts them.

    Raises:
        WeightError: if names or shapes of the backbone differ, or a value is not finite.
    """
    state_dict = unwrap(state_dict)
    own = model.state_dict()
    if 'conv1.weight' in state_dict and 'fc.weight' in state_dict:
        state_dict = _convert_original(state_dict, own, [len(stage.blocks) for stage in model.stages])
    _refuse_mismatch(state_dict, own, model)
    entries = dict(state_dict)
    stem = entries[_STEM]
    if stem.shape != own[_STEM].shape:  # timm adapts it, and would round the result to the type of the file
        entries[_STEM] = stem.float()
    return entries


def check_architecture(path: Path, name: str) -> None:
    """Refuse a checkpoint that says itself to be of another network of this package: the weights alone need not tell.

    Raises:
        WeightError: naming both.
    """
    told = architecture(path) if is_own(name.partition('.')[0]) else None
    if told is not None and told != name.partition('.')[0]:
        raise WeightError(f'it is of {told}, not of {name}')


def architecture(path: Path) -> str | None:
    """The network of this package that a checkpoint of train.py says to be of; None if it says nothing of the kind."""
    told = None if path.suffix == '.safetensors' else read_checkpoint(path).get('arch')
    name = told.partition('.')[0] if isinstance(told, str) else ''
    return name if is_own(name) else None


def averages(path: Path) -> list[str]:
    """Entries of a checkpoint that hold an average of the weights (EMA), beside the weights themselves."""
    return [] if path.suffix == '.safetensors' else [key for key in _AVERAGES if key in read_checkpoint(path)]


def unwrap(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The entries of a checkpoint without what is around them and without prefixes that all have, in any order."""
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
        state_dict: Of ``unwrap``.
        classifier: Names that its classifier may have; default: ours and that of the original projects.
        first: The same for its first convolution.
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
        state_dict: Of ``unwrap``.
        path: Of the checkpoint, for the message.

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


def _convert_original(state_dict: dict[str, Tensor], own: dict[str, Tensor], depths: list[int]) -> dict[str, Tensor]:
    starts = [sum(depths[:s]) for s in range(len(depths))]

    def block(index: int) -> str:
        stage = max(s for s, start in enumerate(starts) if start <= index)
        return f'stages.{stage}.blocks.{index - starts[stage]}.'

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
    # a network that learns its coefficients carries some without using them; one that does not learn them has none
    return '.step.' not in name or name.rpartition('.')[2] in learned


def _rename(key: str, block) -> tuple[str | None, bool]:
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


def _refuse_mismatch(state_dict: dict[str, Any], own: dict[str, Tensor], model: nn.Module) -> None:
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
            f'{len(keys)} {what} ({few(keys, 3)})'
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
            f'given, {"; ".join(parts)}. Accepted are checkpoints of {label} and of {ORIGINAL_URLS}.'
        )
    if own.keys() & _CLASSIFIER and model.num_classes == config.get('num_classes'):  # otherwise timm makes a new head
        _refuse_classifier(state_dict, own, label)
    bad = [
        key
        for key, value in state_dict.items()
        if value.is_floating_point() and not value.is_meta and not torch.isfinite(value).all()
    ]
    if bad:
        raise WeightError(f'{len(bad)} entries of the state dict for {label} hold NaN or infinity: {few(bad, 3)}')


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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of train.py, read without unpickling code.

    Raises:
        WeightError: if it is missing, damaged or something else.
    """
    if not path.is_file():
        raise WeightError(f'{path} does not exist; expected is a last.pth.tar of train.py')
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch's, about what is refused here
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch, pickle and zipfile each raise their own
        raise WeightError(
            f'{path} (sha256 {sha256(path)}) is not a readable checkpoint: {type(error).__name__}: {one_line(error)}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise WeightError(f'{path} holds a {type(checkpoint).__name__}; expected is a checkpoint of train.py')
    return checkpoint


def state_dict_of(checkpoint: dict[str, Any], average: str, path: Path) -> dict[str, Any]:
    """The trained weights (``'raw'``) of a checkpoint or their running average (``'ema'``).

    Raises:
        WeightError: if it holds no such weights; names what it holds.
    """
    key = {'raw': 'state_dict', 'ema': 'state_dict_ema'}[average]
    if not isinstance(checkpoint.get(key), dict):
        raise WeightError(f'{path} holds no {key}; it holds {few(checkpoint)}')
    if strange := [name for name in checkpoint[key] if not isinstance(name, str)]:
        raise WeightError(f'{path} has names in {key} that are no text: {few(strange)}')
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
        raise WeightError(f'{path} holds a {type(parsed).__name__}; expected are lines of the form name: value')
    return parsed


def class_names(path: Path) -> tuple[str, ...] | None:
    """The classes that a run of our launcher trained on, in the order of the outputs; None where nothing says them.

    A checkpoint has them, of a file that was made of one the ``args.yaml`` beside it.
    """
    try:
        args = None if path.suffix == '.safetensors' else read_checkpoint(path).get('args')
        if args is None:
            args = read_yaml(path.parent / 'args.yaml')
    except (WeightError, OSError):  # whoever needs the file says what is wrong with it
        return None
    record = (args if isinstance(args, dict) else getattr(args, '__dict__', {})).get(RECORD)
    names = record.get('class_names') if isinstance(record, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else None
