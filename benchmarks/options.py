"""Arguments that the benchmarks share, and their checks before anything is measured."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch
from networks import build

from timm_zerosnet._files import OutputError, check_output


def positive(text: str) -> int:
    """Convert an argument to an integer >= 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected an integer >= 1, got {text!r}')
    return int(text)


def add_options(parser: argparse.ArgumentParser, repeat: int) -> None:
    """Add the arguments of ``throughput.py`` and ``memory.py``; ``repeat`` is the default number of repetitions."""
    parser.add_argument(
        '--models',
        nargs='+',
        required=True,
        metavar='NAME',
        help='names of timm; NAME:naive and authors:DEPTH, see networks.py',
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--channels-last', action='store_true', help='memory layout of all but authors:DEPTH')
    parser.add_argument('--reference', type=Path, metavar='DIR', help="checkout of the authors' implementation")
    parser.add_argument('--repeat', type=positive, default=repeat)
    parser.add_argument('--csv', type=Path)
    parser.add_argument('--plot', type=Path)


def check_device(parser: argparse.ArgumentParser, device: str) -> None:
    """Exit with one line for a device that cannot be used; make that of ``cuda:N`` current."""
    if device.partition(':')[0] not in ('cpu', 'cuda'):
        parser.error(f'--device: expected cpu or cuda, got {device}')
    try:
        torch.empty(0, device=device)
        if torch.device(device).index is not None:
            torch.cuda.set_device(device)
    except (RuntimeError, ValueError, AssertionError) as error:  # torch without CUDA asserts
        parser.error(f'--device: expected one that PyTorch can use here, got {device}: {str(error).splitlines()[0]}')


def check_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with one line for a model, device or file that cannot be used."""
    check_device(parser, args.device)
    for name in args.models:
        try:
            with torch.device('meta'), warnings.catch_warnings():
                warnings.simplefilter('ignore')
                build(name, args.reference)
        except (RuntimeError, ValueError, OSError) as error:
            parser.error(f'--models: {str(error).splitlines()[0]}')
    try:
        if args.csv:
            check_output(args.csv, ('.csv',))
        if args.plot:
            check_output(args.plot, ('.svg', '.png', '.pdf'))
    except OutputError as error:
        parser.error(str(error))


def use_channels_last(name: str, args: argparse.Namespace) -> bool:
    """Whether a network is measured in channels_last; the authors' networks keep their own layout."""
    return args.channels_last and not name.startswith('authors:')
