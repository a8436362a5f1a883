"""Measure images per second of any timm models side by side: each repetition runs every model and mode once, in turn.

    python benchmarks/throughput.py --models zerosnet20 preresnet20 zerosnet20:naive --channels-last --csv speed.csv
    python benchmarks/throughput.py --models zerosnet20 resnet18 --modes train infer infer-compiled --img-size 64

Figures are medians with quartiles over ``--repeat`` repetitions after a warm-up. ``ratio`` is the rate divided by that
of the baseline in the same mode, or of ``--against MODEL MODE``. ``gflops_share`` and ``traffic_share`` are fractions
of the machine's best rates in a large convolution and in a large copy, measured in the same run. Traffic counts what
eager kernels read and write; a compiled network moves less, so its share can exceed 1. Columns that timm's benchmark.py
has, too, keep their names.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable

import torch
from networks import build, image_size
from options import add_options, check_options, positive, use_channels_last
from records import device_name, save_plot, write_csv
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

MODES = tuple(
    kind + precision + how
    for precision in ('', '-bf16')
    for kind, ways in (('infer', ('', '-fused', '-compiled', '-fused-compiled')), ('train', ('', '-compiled')))
    for how in ways
)


class Traffic(TorchDispatchMode):
    """Counts the bytes of the tensors that eager kernels take and return."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if not function.is_view and 'empty' not in function.overloadpacket.__name__:
            tensors = [*torch.utils._pytree.tree_leaves(args), *torch.utils._pytree.tree_leaves(out)]
            self.bytes += sum(t.nbytes for t in tensors if isinstance(t, Tensor))
        return out


def contender(name: str, mode: str, args: argparse.Namespace, batch: int, size: int) -> tuple[Callable[[], Any], dict]:
    """Build a network; returns a function that runs one step in a mode, and the columns that describe the network."""
    kind, *how = mode.split('-')
    network = build(name, args.reference)
    parameters = sum(p.numel() for p in network.parameters())
    network = network.to(args.device)
    images = torch.rand(batch, 3, size, size, device=args.device)
    if use_channels_last(name, args):
        network, images = network.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    if 'bf16' in how:
        network = Autocast(network, torch.device(args.device).type)
    if 'fused' in how:
        network = reparameterize_model(network.eval())
    cost = _cost(network, images, kind, batch)
    if kind == 'infer':
        step = _infer(network, images, args, 'compiled' in how)
    else:
        run: Any = torch.compile(network, fullgraph=True, mode=args.compile_mode) if 'compiled' in how else network
        step = train_step(run, images)
    return step, {'param_count': round(parameters / 1e6, 2), 'gmacs': cost[0] / 2e9 / batch, 'traffic': cost[1]}


class Autocast(nn.Module):
    """A network under bfloat16 autocast; its logits are float32."""

    def __init__(self, network: nn.Module, device_type: str) -> None:
        super().__init__()
        self.network, self.device_type = network, device_type

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device_type, torch.bfloat16):
            return self.network(x).float()


def _cost(network: nn.Module, images: Tensor, kind: str, batch: int) -> tuple[float, float]:
    """Floating-point operations and bytes of a whole step, extrapolated from two and four images."""
    network.train(kind == 'train')
    moved = []
    for count in (2, 4):
        small = torch.cat([images[:1]] * count)
        step = train_step(network, small) if kind == 'train' else torch.no_grad()(lambda small=small: network(small))
        step()
        with FlopCounterMode(display=False) as flops:
            step()
        with Traffic() as traffic:
            step()
        moved.append(traffic.bytes)
    # weights and the optimizer's step move as much in any batch
    return flops.get_total_flops() * batch / 4, moved[0] + (moved[1] - moved[0]) * (batch - 2) / 2


def _dtype(mode: str) -> torch.dtype:
    return torch.bfloat16 if 'bf16' in mode.split('-') else torch.float32


def eager_step(network: nn.Module, images: Tensor) -> Callable[[], Any]:
    network.eval()

    def step() -> None:
        with torch.inference_mode():
            network(images)

    return step


def _infer(network: nn.Module, images: Tensor, args: argparse.Namespace, compiled: bool) -> Callable[[], Any]:
    if not compiled:
        return eager_step(network, images)
    network.eval().requires_grad_(False)
    fast = torch.compile(network, fullgraph=True, mode=args.compile_mode)
    with torch._inductor.config.patch(freezing=True), torch.no_grad():
        fast(images)

    def step() -> None:
        with torch.no_grad():
            fast(images)

    return step


def train_step(network: nn.Module, images: Tensor) -> Callable[[], Any]:
    network.train()
    targets = torch.arange(len(images), device=images.device) % 10
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), targets).backward()
        optimizer.step()

    return step


class Limits:
    """The machine's best rates: GFLOP/s of a large convolution in each precision, GB/s of a large copy."""

    def __init__(self, device: str, dtypes: set[torch.dtype]) -> None:
        self.device = device
        self.calls: dict[Any, Callable[[], Any]] = {}
        for dtype in dtypes:
            # its output is small enough for malloc to keep the pages
            x = torch.rand(16, 128, 56, 56, device=device).to(dtype, memory_format=torch.channels_last)
            conv = nn.Conv2d(128, 128, 3, padding=1, device=device, dtype=dtype)
            self.calls[dtype] = partial(conv.to(memory_format=torch.channels_last), x)
        source = torch.rand(2**26, device=device)
        self.calls['copy'] = partial(torch.empty_like(source).copy_, source)
        self.best = dict.fromkeys(self.calls, float('inf'))
        for _ in range(4):
            self.measure()

    @torch.inference_mode()
    def measure(self) -> None:
        for key, call in self.calls.items():
            self.best[key] = min(self.best[key], _timed(call, self.device))

    def gflops(self, dtype: torch.dtype) -> float:
        return 2 * 16 * 128 * 128 * 9 * 56 * 56 / self.best[dtype] / 1e9

    @property
    def bandwidth(self) -> float:
        return 2 * 2**26 * 4 / self.best['copy'] / 1e9


def _timed(step: Callable[[], Any], device: str) -> float:
    began = time.perf_counter()
    step()
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _several(step: Callable[[], Any], count: int) -> Callable[[], Any]:
    return lambda: [step() for _ in range(count)]


def contenders_of(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The (model, mode) pairs to measure; fused modes only for models without a colon."""
    return [(name, mode) for name in args.models for mode in args.modes if not (':' in name and 'fused' in mode)]


def base_of(name: str, mode: str, args: argparse.Namespace) -> tuple[str, str]:
    """The (model, mode) that a model in a mode is compared with."""
    return tuple(args.against) if args.against else (args.baseline or args.models[0], mode)


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure everything; returns a row for each model, mode, batch size and image size."""
    found = []
    limits = Limits(args.device, {_dtype(mode) for mode in args.modes})
    names = contenders_of(args)
    cases = [(batch, size) for batch in args.batch_size for size in args.img_size or [None]]
    bar = tqdm(total=len(cases) * len(names) * args.repeat, unit='run')
    torch._dynamo.config.recompile_limit = len(names) + 8  # all our networks are one class
    for batch, size in cases:
        steps: dict[tuple[str, str], Callable[[], Any]] = {}
        about, counts = {}, {}
        for name, mode in names:
            bar.set_description(f'{name} {mode} ready', refresh=True)
            steps[name, mode], about[name, mode] = contender(name, mode, args, batch, size or image_size(name))
        for key in names:
            for _ in range(args.warmup):
                seconds = _timed(steps[key], args.device)
            counts[key] = max(1, round(args.seconds / seconds))
        times: dict[tuple[str, str], list[float]] = {key: [] for key in names}
        for repetition in range(args.repeat):
            limits.measure()
            first = repetition % len(names)  # over the repetitions, each comes at every position
            for key in names[first:] + names[:first]:
                bar.set_description(' '.join(key), refresh=False)
                times[key].append(_timed(_several(steps[key], counts[key]), args.device) / counts[key])
                bar.update()
        found.append((batch, size, about, times))
        steps.clear()
        torch._dynamo.reset()
        gc.collect()
    bar.close()
    return [
        _row(key, args, batch, size or image_size(key[0]), about[key], times, limits)
        for batch, size, about, times in found
        for key in names
    ]


def _row(
    key: tuple[str, str],
    args: argparse.Namespace,
    batch: int,
    size: int,
    about: dict[str, Any],
    times: dict[tuple[str, str], list[float]],
    limits: Limits,
) -> dict[str, Any]:
    name, mode = key
    against = base_of(name, mode, args)
    gflops, bandwidth = limits.gflops(_dtype(mode)), limits.bandwidth
    middle = statistics.median(times[key])
    quartiles = statistics.quantiles(times[key], n=4) if args.repeat > 1 else [middle] * 3
    ratios = [base / own for base, own in zip(times[against], times[key], strict=True)]
    return {
        'model': name,
        'mode': mode,
        'samples_per_sec': f'{batch / middle:.1f}',
        'step_time': f'{1000 * middle:.2f}',
        'step_time_q1': f'{1000 * quartiles[0]:.2f}',
        'step_time_q3': f'{1000 * quartiles[2]:.2f}',
        'batch_size': batch,
        'img_size': size,
        'param_count': about['param_count'],
        'gmacs': f'{about["gmacs"]:.4f}',
        'against': ' '.join(against),
        'ratio': f'{statistics.median(ratios):.3f}',
        'ratio_low': f'{min(ratios):.3f}',
        'ratio_high': f'{max(ratios):.3f}',
        'gflops_share': f'{about["gmacs"] * 2 * batch / middle / gflops:.3f}',
        'traffic_share': f'{about["traffic"] / middle / 1e9 / bandwidth:.3f}',
        'repeat': args.repeat,
        'device': device_name(args.device),
        'threads': torch.get_num_threads(),
        'channels_last': use_channels_last(name, args),
        'compile_mode': args.compile_mode if 'compiled' in mode else '',
        'torch': torch.__version__,
        'limits': f'{gflops:.0f} GFLOP/s, {bandwidth:.1f} GB/s',
    }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot rates as bars, or times as lines if there are several batch or image sizes."""
    from matplotlib.figure import Figure

    modes, models = list(dict.fromkeys(r['mode'] for r in rows)), list(dict.fromkeys(r['model'] for r in rows))
    figure = Figure(figsize=(1.5 + 1.6 * len(modes), 3.6), layout='constrained')
    if len(rows) > len({(row['model'], row['mode']) for row in rows}):
        _lines(figure.subplots(1, len(modes), squeeze=False)[0], rows, modes, models)
    else:
        _bars(figure.subplots(), rows, modes, models)
    for axes in figure.axes:
        axes.legend(frameon=False)
    save_plot(figure, path)


def _lines(panels: Any, rows: list[dict[str, Any]], modes: list[str], models: list[str]) -> None:
    for axes, mode in zip(panels, modes, strict=True):
        for model in models:
            points = sorted(
                (int(row['batch_size']) * int(row['img_size']) ** 2 / 1e6, float(row['step_time']))
                for row in rows
                if (row['model'], row['mode']) == (model, mode)
            )
            axes.plot(*zip(*points, strict=True), marker='o', label=model)
        axes.set(xlabel='million pixels in a batch', ylabel='milliseconds', title=mode, xlim=(0, None), ylim=(0, None))


def _bars(axes: Any, rows: list[dict[str, Any]], modes: list[str], models: list[str]) -> None:
    """Draw a group of bars for each mode, a bar for each model; whiskers are quartiles."""
    width = 0.8 / len(models)
    for i, model in enumerate(models):
        own = [row for row in rows if row['model'] == model]
        rates = [float(row['samples_per_sec']) for row in own]
        ends = [[1000 * int(row['batch_size']) / float(row[f'step_time_q{q}']) for row in own] for q in (3, 1)]
        errors = [[abs(rate - end) for rate, end in zip(rates, side, strict=True)] for side in ends]
        places = [modes.index(row['mode']) + (i - (len(models) - 1) / 2) * width for row in own]
        axes.bar(places, rates, width, yerr=errors, label=model, error_kw={'linewidth': 0.8})
    axes.set_xticks(range(len(modes)), modes)
    axes.set(ylabel='images per second', title=f'{rows[0]["device"]}, batch {rows[0]["batch_size"]}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeat=7)
    parser.add_argument('--modes', nargs='+', choices=MODES, default=['infer', 'train'])
    parser.add_argument('--batch-size', nargs='+', type=positive, default=[128])
    parser.add_argument('--img-size', nargs='+', type=positive, help="default: the model's own")
    parser.add_argument('--compile-mode', choices=('default', 'reduce-overhead', 'max-autotune'), default='default')
    base = parser.add_mutually_exclusive_group()
    base.add_argument(
        '--baseline', metavar='NAME', help='compare with this model in the same mode; default: the first model'
    )
    base.add_argument('--against', nargs=2, metavar=('NAME', 'MODE'), help='compare all modes with this one')
    parser.add_argument('--warmup', type=positive, default=3, help='steps before the first repetition')
    parser.add_argument('--seconds', type=float, default=1.0, help='approximate length of a repetition')
    args = parser.parse_args()
    if not contenders_of(args):
        parser.error('nothing to measure: fused modes are only for models without a colon')
    for name, mode in contenders_of(args):
        if base_of(name, mode, args) not in contenders_of(args):
            parser.error(f'{name} {mode} has no baseline: {" ".join(base_of(name, mode, args))} is not measured')
    check_options(parser, args)
    rows = measure(args)
    for row in rows:
        print(
            f'{row["model"]:22} {row["mode"]:21} batch {row["batch_size"]:4} {row["samples_per_sec"]:>9} img/s '
            f'{row["step_time"]:>9} ms  {row["ratio"]} x ({row["ratio_low"]} to {row["ratio_high"]}) {row["against"]}  '
            f'{100 * float(row["gflops_share"]):.0f} % of GFLOP/s, {100 * float(row["traffic_share"]):.0f} % of GB/s'
        )
    if args.csv:
        write_csv(args.csv, rows)
    if args.plot:
        plot(rows, args.plot)


if __name__ == '__main__':
    main()
