"""What the plugin adds to ``import timm``, and how long a network with its weights takes; writes results/startup.csv.

    python benchmarks/startup.py
    python benchmarks/startup.py --repeats 50 --model zerosnet20 resnet18

Each figure comes from fresh processes: with the plugin found by torch, and with torch's extension autoloading off, in
turn. Networks are built once in each process, after ``import timm``; timm's own are built without weights.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
from pathlib import Path

import timm

import timm_zerosnet  # noqa: F401

RESULTS = Path(__file__).parent / 'results' / 'startup.csv'
MODELS = ('zerosnet20', 'zerosnet110', 'preresnet20', 'resnet18')
COLUMNS = ('what', 'ms', 'quartiles', 'ratio')
IMPORT = 'import time; start = time.perf_counter(); import timm; print(time.perf_counter() - start)'
CREATE = (
    'import sys, time, timm; start = time.perf_counter(); timm.create_model(sys.argv[1], pretrained=sys.argv[2] == "1")'
    '; print(time.perf_counter() - start)'
)


def seconds(code: str, *words: str, **environment: str) -> float:
    """What a fresh Python prints."""
    command = [sys.executable, '-c', code, *words]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def plugin_share() -> float:
    """The plugin's part of ``import timm`` as -X importtime counts it, in seconds."""
    command = [sys.executable, '-X', 'importtime', '-c', 'import timm']
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    parts = [line.removeprefix('import time:').split('|') for line in lines if line.startswith('import time:')]
    return sum(int(own) for own, _, name in parts[1:] if name.strip().startswith('timm_zerosnet')) / 1e6


def row(what: str, found: list[float], base: list[float] | None = None) -> dict[str, str]:
    """Median and quartiles in milliseconds, and the median of the ratios of pairs."""
    low, middle, high = (1000 * part for part in statistics.quantiles(found, n=4))
    ratio = statistics.median(a / b for a, b in zip(found, base, strict=True)) if base else None
    return {
        'what': what,
        'ms': f'{middle:.1f}',
        'quartiles': f'{low:.1f} to {high:.1f}',
        'ratio': '' if ratio is None else f'{ratio:.3f}',
    }


def measure(models: list[str], repeats: int) -> list[dict[str, str]]:
    """All rows."""
    without, plugged, shares = [], [], []
    seconds(IMPORT)  # reads the files once
    for _ in range(repeats):
        without.append(seconds(IMPORT, TORCH_DEVICE_BACKEND_AUTOLOAD='0'))
        plugged.append(seconds(IMPORT))
        shares.append(plugin_share())
    rows = [
        row('import timm', without),
        row('import timm, plugin installed', plugged, without),
        row('modules of the plugin in it', shares, plugged),
    ]
    for model in models:
        pretrained = bool(timm.list_pretrained(f'{model}.*')) and timm.is_model(model) and model not in TIMMS
        found = [seconds(CREATE, model, str(int(pretrained))) for _ in range(repeats)]
        rows.append(row(f'create_model({model!r}{", pretrained=True" if pretrained else ""})', found))
    return rows


TIMMS = {name for name in timm.list_models() if not timm.models.model_entrypoint(name).__module__.startswith('timm_z')}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--model', nargs='+', default=MODELS)
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--out', type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = measure(args.model, args.repeats)
    with args.out.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    for each in rows:
        print(' | '.join(each.values()))


if __name__ == '__main__':
    main()
