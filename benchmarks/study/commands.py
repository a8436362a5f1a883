"""What ``run.py`` does: the runs that were asked for, shared among single-threaded processes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import torch
from filelock import FileLock, Timeout
from options import check_device, positive
from tqdm import tqdm

from study.data import Images, load
from study.sets import DEEP, PILOT, SETS
from study.table import Job, append, done
from study.training import RECIPE, RECIPES, Sizes, train
from timm_zerosnet._files import OutputError, check_output, make_folder
from timm_zerosnet.commands.options import integer

BENCHMARKS = Path(__file__).resolve().parents[1]
RESULTS = BENCHMARKS / 'results'
LENGTH = 125_000  # images; the pilot shows that they are enough
CHOICES = {'all': tuple(SETS), 'pilot': PILOT, 'deep': DEEP}


def main(description: str | None = None) -> int:
    """The command; 2 for options that cannot be, 1 if a process failed."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.register('type', int, integer)
    parser.add_argument('--npz', type=Path, required=True, metavar='FILE', help='x_train, y_train, x_test, y_test')
    parser.add_argument('--sets', nargs='+', default=None, metavar='NAME', help=f'of sets.py, or {", ".join(CHOICES)}')
    parser.add_argument('--seeds', nargs='+', type=int, default=None, help='default: 0 1 2')
    parser.add_argument('--depth', type=positive, default=20, help='6 n + 2, such as 20 and 56')
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        '--images', nargs='+', type=positive, help=f'that a run sees, {RECIPE.batch_size} or more; default: {LENGTH}'
    )
    length.add_argument('--epochs', type=positive, help='the same in passes over the training images')
    parser.add_argument('--recipe', choices=RECIPES, default='standard', help='of training.py; default: %(default)s')
    parser.add_argument(
        '--holdout', type=int, default=None, metavar='N', help='test on N training images, the last ones of each class'
    )
    parser.add_argument(
        '--pilot', action='store_true', help='ten sets, two seeds, two lengths, 5000 held out, a table of its own'
    )
    parser.add_argument('--jobs', type=positive, help='processes of one thread, default: one for each core')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--precision', choices=['float32', 'bfloat16'], default='float32', help='of products; default: %(default)s'
    )
    parser.add_argument(
        '--csv', type=Path, help='to add rows to; default: stability_study.csv or _pilot.csv in benchmarks/results/'
    )
    parser.add_argument('--folder', type=Path, default=Path('runs/study'), help='checkpoints; default: %(default)s')
    parser.add_argument('--list', action='store_true', help='name the runs that are missing and stop')
    parser.add_argument('--worker', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    check_device(parser, args.device)
    args.csv = args.csv or RESULTS / f'stability_{"pilot" if args.pilot else "study"}.csv'
    try:
        if not args.npz.is_file():
            raise ValueError(f'--npz: expected a file, got {args.npz}; docs/study.md says how to make one')
        check_output(args.csv, ('.csv',))
        make_folder(args.folder)
        jobs = _jobs(args)
    except (OutputError, ValueError) as error:
        parser.error(str(error))
    if args.worker:
        try:
            return _work(args, jobs)
        except BrokenPipeError:  # whoever started it has ended; a checkpoint is there
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
    missing = [job for job in jobs if job not in done(args.csv)]
    print(f'{args.csv}: {len(jobs) - len(missing)} of {len(jobs)} runs are there', flush=True)
    if args.list:
        print('\n'.join(job.name for job in missing))
        return 0
    return _share(args, missing) if missing else 0


def _jobs(args: argparse.Namespace) -> list[Job]:
    """The runs in the order they are trained: all sets with one seed, then the next seed, then the next length."""
    names = [name for given in args.sets or ['pilot' if args.pilot else 'all'] for name in CHOICES.get(given, (given,))]
    unknown = [name for name in names if name not in SETS]
    if unknown:
        raise ValueError(
            f'--sets: expected {", ".join(CHOICES)} or names of these: {", ".join(SETS)}; got {unknown[0]}'
        )
    if args.depth < 8 or (args.depth - 2) % 6:
        raise ValueError(f'--depth: expected 6 n + 2, such as 20 and 56, got {args.depth}')
    seeds = args.seeds if args.seeds is not None else [0, 1] if args.pilot else [0, 1, 2]
    if min(seeds) < 0:
        raise ValueError(f'--seeds: expected integers >= 0, got {min(seeds)}')
    holdout = args.holdout if args.holdout is not None else 5000 if args.pilot else 0
    lengths = args.images or ([LENGTH, 4 * LENGTH] if args.pilot else [LENGTH])
    if args.epochs or not args.worker:
        images = load(args.npz, holdout)  # says what is wrong with it before anything is started
        _check_images(args, Job('', args.depth, args.npz.stem, holdout, 0, 0).images_name, images)
        lengths = [args.epochs * len(images.y_train)] if args.epochs else lengths
    if min(lengths) < RECIPE.batch_size:
        raise ValueError(f'--images: expected at least one batch of {RECIPE.batch_size}, got {min(lengths)}')
    return [
        Job(name, args.depth, args.npz.stem, holdout, length, seed, args.recipe, args.precision)
        for length in lengths
        for seed in dict.fromkeys(seeds)
        for name in dict.fromkeys(names)
    ]


def _check_images(args: argparse.Namespace, name: str, images: Images) -> None:
    """Refuse images other than those that the folder has runs of under the same name."""
    path = args.folder / f'{name}.sha256'
    with FileLock(f'{path}.lock'):
        digest = images.sha256()
        if not path.exists() and not args.list:
            path.write_text(f'{digest}\n', encoding='ascii')
        elif path.exists() and path.read_text(encoding='ascii').strip() != digest:
            raise ValueError(
                f'--npz: expected the images that {args.folder} has runs of as {name}, got others of that name: rename '
                f'{args.npz.name}, or name another --folder and --csv'
            )


def _work(args: argparse.Namespace, jobs: list[Job]) -> int:
    """A process: it claims runs that nobody else has until none is left. It ends when nobody reads its progress."""
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    data = Sizes(load(args.npz, jobs[0].holdout))
    found = True
    while found:  # once more, if a process that had claimed a run was killed meanwhile
        found = False
        for job in jobs:
            if job in done(args.csv):
                continue
            try:
                with FileLock(args.folder / f'{job.name}.lock', timeout=0):
                    if job not in done(args.csv):
                        _train(job, data, args)
                        found = True
            except Timeout:
                continue
    return 0


def _train(job: Job, data: Sizes, args: argparse.Namespace) -> None:
    checkpoint = args.folder / f'{job.name}.pt'

    def report(images: int, loss: float) -> None:
        print(json.dumps({'job': job.name, 'images': images, 'loss': loss}), flush=True)

    report(0, 0.0)
    row = train(job, data, checkpoint, device=args.device, report=report)
    append(args.csv, args.folder / f'{args.csv.name}.lock', [row])
    checkpoint.unlink(missing_ok=True)
    text = 'diverged' if row['diverged'] else f'{float(row["test_accuracy"]):.2f} %'
    text += f', loss {float(row["train_loss"]):.3f}, {row["images_per_second"]} images/s'
    print(json.dumps({'job': job.name, 'images': job.images, 'said': f'{job.name}: {text}'}), flush=True)


def _share(args: argparse.Namespace, missing: list[Job]) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    count = min(args.jobs or cores, len(missing))
    path = os.pathsep.join(part for part in (str(BENCHMARKS), os.environ.get('PYTHONPATH')) if part)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path}
    call = [sys.executable, str(BENCHMARKS / 'study' / 'run.py'), *sys.argv[1:], '--worker']
    workers = [subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(count)]
    seen: dict[str, int] = {}
    total = sum(job.images for job in missing)
    every = 0.5 if sys.stderr.isatty() else 30
    with tqdm(total=total, unit='img', unit_scale=True, mininterval=every, maxinterval=60) as bar:
        readers = [threading.Thread(target=_read, args=(worker.stdout, bar, seen), daemon=True) for worker in workers]
        for reader in readers:
            reader.start()
        try:
            for reader in readers:
                reader.join()
            codes = [worker.wait() for worker in workers]
        except KeyboardInterrupt:
            for worker in workers:
                worker.terminate()
            return 130
    return int(any(codes))


def _read(lines: IO[str], bar: tqdm, seen: dict[str, int]) -> None:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        before = seen.get(event['job'], 0)
        seen[event['job']] = max(before, event['images'])
        bar.update(seen[event['job']] - before)
        if 'said' in event:
            bar.write(event['said'], file=sys.stdout)
            sys.stdout.flush()
