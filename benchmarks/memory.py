"""Peak memory of a step, each in a process of its own; on a CPU the growth of the resident set, on a GPU torch's peak.

    python benchmarks/memory.py --models zerosnet20 preresnet20 --csv results/memory.csv
    python benchmarks/memory.py --models zerosnet20 zerosnet110 zerosnet1298 --batch-size 16 --plot ../docs/memory.svg

``train-checkpointed`` is with timm's gradient checkpointing. ``ratio`` is over the first model in the same mode.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from networks import build, image_size
from records import processor, write_csv
from throughput import eager_step, train_step
from tqdm import tqdm

MODES = ('infer', 'train', 'train-checkpointed')
# large blocks go back to the system at once, so that the peak is what was in use
SETTINGS = {'MALLOC_MMAP_THRESHOLD_': '65536', 'MALLOC_TRIM_THRESHOLD_': '65536'}


def one(name: str, mode: str, args: argparse.Namespace) -> dict[str, float]:
    """Peak in MiB and seconds of the last of two steps; nothing else may have run in this process."""
    network = build(name, args.reference).to(args.device)
    size = args.img_size or image_size(name)
    images = torch.rand(args.batch_size, 3, size, size, device=args.device)
    if mode.endswith('checkpointed'):
        network.set_grad_checkpointing()
    eager_step(build('zerosnet20'), torch.rand(1, 3, 32, 32))()  # the libraries' own memory is not the network's
    before = _resident() if args.device == 'cpu' else torch.cuda.memory_allocated()
    step = train_step(network, images) if mode.startswith('train') else eager_step(network, images)
    for _ in range(2):
        began = time.perf_counter()
        step()
        if args.device != 'cpu':
            torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    peak = _peak() if args.device == 'cpu' else torch.cuda.max_memory_allocated()
    return {'peak_mib': (peak - before) / 2**20, 'seconds': seconds}


def _resident() -> int:
    return int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1]) * os.sysconf('SC_PAGE_SIZE')


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each model and mode: medians of the peaks, the fastest step."""
    rows: list[dict[str, Any]] = []
    for name in tqdm(args.models, unit='model'):
        for mode in args.modes:
            found = []
            for _ in range(args.repeat):
                command = [sys.executable, __file__, *sys.argv[1:], '--one', name, mode]
                done = subprocess.run(
                    command, env={**os.environ, **SETTINGS}, stdout=subprocess.PIPE, text=True, check=True
                )
                found.append(json.loads(done.stdout))
            peaks = sorted(each['peak_mib'] for each in found)
            middle = statistics.median(peaks)
            base = next((row for row in rows if row['mode'] == mode), None)
            rows.append(
                {
                    'model': name,
                    'mode': mode,
                    'batch_size': args.batch_size,
                    'img_size': args.img_size or image_size(name),
                    'peak_mib': f'{middle:.1f}',
                    'peak_mib_low': f'{peaks[0]:.1f}',
                    'peak_mib_high': f'{peaks[-1]:.1f}',
                    'ratio': f'{middle / float(base["peak_mib"]):.3f}' if base else '1.000',
                    'step_seconds': f'{min(each["seconds"] for each in found):.3f}',
                    'repeat': args.repeat,
                    'device': torch.cuda.get_device_name() if args.device != 'cpu' else processor(),
                    'torch': torch.__version__,
                }
            )
    return rows


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Peak and time against the number in the models' names, one line for each mode."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout='constrained')
    panels = figure.subplots(1, 2)
    for axes, column, label in zip(
        panels, ('peak_mib', 'step_seconds'), ('peak memory, MiB', 'seconds of a step'), strict=True
    ):
        for mode in dict.fromkeys(row['mode'] for row in rows):
            own = [row for row in rows if row['mode'] == mode]
            depths = [int(''.join(c for c in row['model'] if c.isdigit())) for row in own]
            axes.plot(depths, [float(row[column]) for row in own], marker='o', label=mode)
        axes.set(xlabel='layers', ylabel=label, title=f'batch {rows[0]["batch_size"]}', ylim=(0, None))
        axes.spines[['top', 'right']].set_visible(False)
    panels[0].legend(frameon=False)
    figure.savefig(path, metadata={'Date': None} if path.suffix == '.svg' else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', required=True, metavar='NAME', help='also NAME:naive, authors:DEPTH')
    parser.add_argument('--modes', nargs='+', choices=MODES, default=list(MODES))
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--img-size', type=int, help="default: the model's own")
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--reference', type=Path, metavar='DIR', help="checkout of the authors' implementation")
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--csv', type=Path)
    parser.add_argument('--plot', type=Path)
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(*args.one, args)))
        return
    rows = measure(args)
    for row in rows:
        print(f'{row["model"]:20} {row["mode"]:19} {row["peak_mib"]:>9} MiB  {row["ratio"]} x  {row["step_seconds"]} s')
    if args.csv:
        write_csv(args.csv, rows)
    if args.plot:
        plot(rows, args.plot)


if __name__ == '__main__':
    main()
