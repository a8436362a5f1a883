"""Measure the peak memory of a step: on a CPU the growth of the resident set, on a GPU torch's peak.

    python benchmarks/memory.py --models zerosnet20 preresnet20 --csv memory.csv
    python benchmarks/memory.py --models zerosnet20 zerosnet110 zerosnet1298 --batch-size 16 --plot memory.svg

Each peak is measured in a process of its own. ``train-checkpointed`` uses timm's gradient checkpointing. ``ratio`` is
relative to the first model in the same mode. ``step_seconds`` comes from further processes, because the settings that
make the peak exact also make steps slow.
"""

from __future__ import annotations

import argparse
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
from options import add_options, check_options, positive, use_channels_last
from records import device_name, save_plot, write_csv
from throughput import eager_step, train_step
from tqdm import tqdm

MODES = ('infer', 'train', 'train-checkpointed')
# large blocks go back to the system at once, so that the peak is what was in use
SETTINGS = {'MALLOC_MMAP_THRESHOLD_': '65536', 'MALLOC_TRIM_THRESHOLD_': '65536'}


def measure_step(name: str, mode: str, what: str, args: argparse.Namespace) -> float:
    """Measure one step in this process, in which nothing else may have run.

    Args:
        name: A name of ``networks.build``.
        mode: One of ``MODES``.
        what: ``'peak'`` or ``'seconds'``.
        args: The arguments of the command.

    Returns:
        The peak in MiB, or the median time of a step in seconds.
    """
    kind = train_step if mode.startswith('train') else eager_step
    on_gpu = args.device != 'cpu'
    # a first step, so that memory of the libraries is not counted
    kind(build('zerosnet20').to(args.device), torch.rand(2, 3, 32, 32, device=args.device))()
    layout = torch.channels_last if use_channels_last(name, args) else torch.contiguous_format
    network: Any = build(name, args.reference).to(args.device).to(memory_format=layout)
    size = args.img_size or image_size(name)
    images = torch.rand(args.batch_size, 3, size, size, device=args.device).to(memory_format=layout)
    if mode.endswith('checkpointed'):
        network.set_grad_checkpointing()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_gpu else _resident()
    step, times = kind(network, images), []
    for _ in range(2 if what == 'peak' else 7):
        began = time.perf_counter()
        step()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    if what == 'seconds':
        return statistics.median(times[2:])
    return ((torch.cuda.max_memory_allocated() if on_gpu else _peak()) - before) / 2**20


def _resident() -> int:
    return int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1]) * os.sysconf('SC_PAGE_SIZE')


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_in_fresh_process(name: str, mode: str, what: str, **environment: str) -> float:
    """Run ``measure_step`` in a process of its own; ``environment`` is added to its variables."""
    command = [sys.executable, __file__, *sys.argv[1:], '--one', name, mode, what]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every model in every mode; returns the rows of the csv file, medians over processes."""
    rows: list[dict[str, Any]] = []
    for name in tqdm(args.models, unit='model'):
        for mode in args.modes:
            peaks = sorted(measure_in_fresh_process(name, mode, 'peak', **SETTINGS) for _ in range(args.repeat))
            seconds = statistics.median(measure_in_fresh_process(name, mode, 'seconds') for _ in range(args.repeat))
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
                    'step_seconds': f'{seconds:.4f}',
                    'repeat': args.repeat,
                    'device': device_name(args.device),
                    'channels_last': use_channels_last(name, args),
                    'torch': torch.__version__,
                }
            )
    return rows


def _depth(name: str) -> str:
    return ''.join(c for c in name if c.isdigit())


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot peak and time against the depth in the models' names, with a line for each mode."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout='constrained')
    panels = figure.subplots(1, 2)
    for axes, column, label in zip(
        panels, ('peak_mib', 'step_seconds'), ('peak memory, MiB', 'seconds of a step'), strict=True
    ):
        for mode in dict.fromkeys(row['mode'] for row in rows):
            own = [row for row in rows if row['mode'] == mode]
            depths = [int(_depth(row['model'])) for row in own]
            axes.plot(depths, [float(row[column]) for row in own], marker='o', label=mode)
        axes.set(xlabel='layers', ylabel=label, title=f'batch {rows[0]["batch_size"]}', ylim=(0, None))
    panels[0].legend(frameon=False)
    save_plot(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeat=3)
    parser.add_argument('--modes', nargs='+', choices=MODES, default=list(MODES))
    parser.add_argument('--batch-size', type=positive, default=128)
    parser.add_argument('--img-size', type=positive, help="default: the model's own")
    parser.add_argument('--one', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    check_options(parser, args)
    if args.plot and not all(map(_depth, args.models)):
        parser.error('--plot needs depths: expected models with a number in their names')
    if args.one:
        name, mode, what = args.one
        print(measure_step(name, mode, what, args))
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
