"""``timm-zerosnet convert``: an original project's checkpoint as one of ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Callable

import torch
from safetensors.torch import load_file, save
from timm.models import load_state_dict
from torch import Tensor, nn

from .._errors import WeightError, shorten
from .._files import check_output, replacing, sha256
from ..checkpoint import (
    ORIGINALS,
    architecture,
    averages,
    check_readable,
    checkpoint_filter_fn,
    made_with,
    refuse_tied,
    sizes,
    training_arguments,
    unwrap,
)
from ..pretrained_arguments import refuse_other_training
from ..recorded import checkpoint_arguments, say_recorded
from ..robustness.models import Source
from ..zerosnet import DEPTHS, default_cfgs, network_arguments
from .info import own_model
from .options import ModelKwargs

EXAMPLES = """
timm-zerosnet convert ZeroSNet20_Opt.pth.tar zerosnet20.safetensors
timm-zerosnet convert theirs.pth.tar lmresnet20.safetensors --model lmresnet20
"""


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command, see ``commands.robustness.register``."""
    text = "Write an original project's checkpoint as a state dict that a network of ours loads strictly."
    parser = command('convert', _convert, text, EXAMPLES)
    parser.add_argument('original', type=Path, metavar='ORIGINAL', help=f'checkpoint of {ORIGINALS}, or our own')
    parser.add_argument('out', type=Path, metavar='OUT.safetensors', help='file to write')
    parser.add_argument(
        '--model', metavar='NAME', help='network that it is for; default: the one it names, else the one it fits'
    )
    parser.add_argument(
        '--model-kwargs', nargs='+', action=ModelKwargs, default={}, metavar='KEY=VALUE', help='such as method=ab3'
    )
    parser.add_argument(
        '--average', choices=('raw', 'ema'), help='which weights of a checkpoint that has both; default: raw'
    )


def _refuse_other_function(path: Path, name: str, given: dict[str, Any]) -> None:
    """Refuse a network other than the one that a checkpoint names, unless it does the same with the weights."""
    other = architecture(path)
    if other in (None, name):
        return
    trained = {**network_arguments(other), **(made_with(training_arguments(path, other)) or {})}
    try:
        refuse_other_training(path, given, network_arguments(name), trained)
    except WeightError as error:
        raise WeightError(f'{error}; it was of {other}: --model {other} takes it as it was trained') from error


def _convert(args: argparse.Namespace) -> None:
    check_output(args.out, ('.safetensors',))
    if args.out.exists() and args.original.exists() and args.out.samefile(args.original):
        raise ValueError(f'OUT: expected another file than ORIGINAL, got {args.out} for both')
    name = None if args.model is None else own_model(args.model)[0]
    check_readable(args.original)
    original = _weights(args.original, args.average)
    refuse_tied(original, args.original)
    name = name or architecture(args.original) or _fitting(original, args.original)
    _refuse_other_function(args.original, name, args.model_kwargs)
    arguments = checkpoint_arguments(args.original, name, args.model_kwargs)
    say_recorded(args.original, args.model_kwargs, arguments)
    try:
        net, entries = converted(original, name, arguments)
    except WeightError as error:
        raise WeightError(f'{args.original}: {error}') from error
    with replacing(args.out) as partial:
        partial.write_bytes(save(entries, metadata={'format': 'pt'}))
        net.load_state_dict(load_file(partial), strict=True)
    parameters = sum(p.numel() for p in net.parameters())
    print(f'{args.out}: {name}, {net.num_classes} classes, {net.in_chans} channels, {parameters:,} parameters')
    print(f'sha256 {sha256(args.out)}')


def _weights(path: Path, average: str | None) -> dict[str, Any]:
    held = averages(path)
    if average == 'ema' and not held:
        raise WeightError(f'{path} holds no average of its weights: expected --average raw, got --average ema')
    if held and average is None:
        print(f'timm-zerosnet: {path} also holds an average of the weights: --average ema takes that', file=sys.stderr)
    return unwrap(load_state_dict(str(path), use_ema=average == 'ema'))


def converted(
    original: dict[str, Any], name: str, arguments: dict[str, Any] | None = None
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network with as many classes and channels as the checkpoint has, and its state dict.

    Args:
        original: The state dict of the checkpoint, as ``checkpoint.unwrap`` returns it.
        name: The registered name of the network.
        arguments: More arguments for ``timm.create_model``.

    Raises:
        WeightError: if the checkpoint is of another network.
        ModelError: for arguments that it does not take.
    """
    source = Source(name, arguments={**sizes(original), **(arguments or {})})
    source.check()
    net = source.open(pretrained=False)
    entries = checkpoint_filter_fn(original, net)
    own = net.state_dict()
    missing = own.keys() - entries.keys()
    if any(not key.endswith('num_batches_tracked') for key in missing):
        raise WeightError(f'it lacks {", ".join(sorted(missing))}')
    if strange := [key for key in own if key in entries and entries[key].shape != own[key].shape]:
        raise WeightError(
            f'{strange[0]}: expected shape {tuple(own[strange[0]].shape)}, got {tuple(entries[strange[0]].shape)}'
        )
    return net, {key: entries.get(key, own[key]).clone(memory_format=torch.contiguous_format) for key in own}


def _fitting(original: dict[str, Any], path: Path) -> str:
    """The name of the one network of this package that a checkpoint fits."""
    blocks = sum(key.endswith('.conv1.weight') for key in original)
    block = 'bottleneck' if any(key.endswith('.conv3.weight') for key in original) else 'basic'
    depths = [depth for depth, row in DEPTHS.items() if sum(row['layers']) == blocks and row['block'] == block]
    fitting: list[str] = []
    refused: list[str] = []
    for depth in depths:
        for name in (f'zerosnet{depth}', f'zerosnet{depth}_tra', f'preresnet{depth}', f'lmresnet{depth}'):
            if name in default_cfgs:
                try:
                    converted(original, name)
                    fitting.append(name)
                except WeightError as error:
                    refused.append(f'{name}: {error}')
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise WeightError(f'{path} fits {" and ".join(fitting)}: say which by --model')
    found = f'{path} holds {len(original)} entries, {blocks} {block} blocks: it fits no network of this package'
    nearest = f'nearest is {min(refused, key=len)}' if refused else f'it has {shorten(original)}'
    raise WeightError(f'{found}; {nearest}; expected a checkpoint of {ORIGINALS}')
