"""Measure what the plugin adds to ``import timm``, and how long it takes to create a network with its weights.

    python benchmarks/startup.py --csv startup.csv
    python benchmarks/startup.py --repeat 30 --models zerosnet20.cifar100 resnet18

Each figure comes from fresh processes. ``import timm`` runs in turn with torch's extension autoloading on, so that
torch finds the plugin, and off; ``ratio`` compares the two of each pair. A network is created after ``import timm``, as
the first of its process: models of this package with their packaged weights, models of timm without weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import timm
import torch
from records import processor_name, write_csv
from tqdm import trange

from timm_zerosnet._files import OutputError, check_output
from timm_zerosnet.weights import own_weights

MODELS = ('zerosnet20', 'zerosnet110', 'preresnet20', 'resnet18')
IMPORT = 'import time; start = time.perf_counter(); import timm; print(time.perf_counter() - start)'
CREATE = (
    'import sys, time, timm; start = time.perf_counter(); timm.create_model(sys.argv[1], pretrained=sys.argv[2] == "1")'
    '; print(time.perf_counter() - start)'
)


def seconds(code: str, *words: str, **environment: str) -> float:
    """Run code in a fresh Python and return the number that it prints last."""
    command = [sys.executable, '-c', code, *words]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def plugin_share() -> float:
    """Seconds of ``import timm`` spent in the plugin's modules, as counted by ``-X importtime``."""
    command = [sys.executable, '-X', 'importtime', '-c', 'import timm']
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    parts = [line.removeprefix('import time:').split('|') for line in lines if line.startswith('import time:')]
    return sum(int(own) for own, _, name in parts[1:] if name.strip().startswith('timm_zerosnet')) / 1e6


def row(what: str, found: list[float], base: list[float] | None = None) -> dict[str, str]:
    """A row of the csv file: median and quartiles in milliseconds, and the ratios of the pairs.

    Args:
        what: Name of what was timed.
        found: Seconds of each repetition.
        base: Seconds of what ``found`` is compared with, one for each repetition.
    """
    low, middle, high = (1000 * part for part in statistics.quantiles(found, n=4))
    ratios = [a / b for a, b in zip(found, base, strict=True)] if base else []
    return {
        'what': what,
        'ms': f'{middle:.1f}',
        'ms_q1': f'{low:.1f}',
        'ms_q3': f'{high:.1f}',
        'ratio': f'{statistics.median(ratios):.3f}' if ratios else '',
        'ratio_low': f'{min(ratios):.3f}' if ratios else '',
        'ratio_high': f'{max(ratios):.3f}' if ratios else '',
        'repeat': str(len(found)),
        'device': processor_name(),
        'torch': torch.__version__,
        'timm': timm.__version__,
    }


def measure(models: list[str], repeat: int) -> list[dict[str, str]]:
    """Time everything once in each repetition; returns the rows of the csv file."""
    packaged = {*own_weights(), *(name.partition('.')[0] for name in own_weights())}
    calls = {f'create_model({name!r}{", pretrained=True" * (name in packaged)})': name for name in models}
    without, plugged, shares = [], [], []
    created: dict[str, list[float]] = {what: [] for what in calls}
    seconds(IMPORT)  # reads the files once
    for _ in trange(repeat, unit='repetition'):
        without.append(seconds(IMPORT, TORCH_DEVICE_BACKEND_AUTOLOAD='0'))
        plugged.append(seconds(IMPORT))
        shares.append(plugin_share())
        for what, name in calls.items():
            created[what].append(seconds(CREATE, name, str(int(name in packaged))))
    return [
        row('import timm', without),
        row('import timm, plugin installed', plugged, without),
        row('modules of the plugin in it', shares, plugged),
        *(row(what, found) for what, found in created.items()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', default=list(MODELS), metavar='NAME')
    parser.add_argument('--repeat', type=int, default=10)
    parser.add_argument('--csv', type=Path)
    args = parser.parse_args()
    if args.repeat < 2:
        parser.error(f'expected --repeat >= 2, got {args.repeat}')
    if unknown := [name for name in args.models if not timm.is_model(name)]:
        parser.error(f'expected --models of timm or of this package, got {unknown[0]}')
    try:
        if args.csv:
            check_output(args.csv, ('.csv',))
    except OutputError as error:
        parser.error(str(error))
    rows = measure(args.models, args.repeat)
    for each in rows:
        pairs = f'{each["ratio"]} x ({each["ratio_low"]} to {each["ratio_high"]})' if each['ratio'] else ''
        print(f'{each["what"]:50} {each["ms"]:>8} ms ({each["ms_q1"]} to {each["ms_q3"]})  {pairs}'.rstrip())
    if args.csv:
        write_csv(args.csv, rows)


if __name__ == '__main__':
    main()
