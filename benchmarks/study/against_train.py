"""The study's trainer and ``timm-zerosnet train`` with one recipe: images/s of each, and whether they agree.

Both train one network at one image size for the same passes over the same images; the seeds are 0, 1, ... The study's
trainings run side by side on one thread each, those of timm's script one after the other on all cores. Their random
numbers differ, so that two seeds of each show how much a training differs from the next one of its kind.

python benchmarks/study/against_train.py --npz DIR/cifar10.npz --data-dir DIR --set zerosnet-opt --size 16 --epochs 5
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

if __name__ == '__main__':
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from options import positive

from study.data import load
from study.sets import SETS
from study.table import Job
from study.training import RECIPE, Recipe, Sizes, train
from timm_zerosnet._errors import ScriptError
from timm_zerosnet._files import OutputError
from timm_zerosnet.training.scripts import find_script

RATE = re.compile(r'\(\s*[\d.]+s,\s*([\d.]+)/s\)')  # timm's mean over the epoch so far


def options_of(recipe: Recipe, epochs: int) -> dict:
    """``recipe`` at its last image size in the words of timm's train.py."""
    size = recipe.sizes[-1][0]
    return {
        'dataset': '',
        'input_size': [3, size, size],
        'device': 'cpu',
        'channels_last': True,
        'epochs': epochs,
        'batch_size': recipe.batch_size,
        'opt': 'sgd',  # Nesterov's
        'momentum': recipe.momentum,
        'weight_decay': recipe.weight_decay,
        # timm decays from the start of the warm-up on, so that this gives the study's line after it
        'lr': recipe.lr / (1 - recipe.warmup),
        'sched': 'poly',
        'decay_rate': 1.0,
        'sched_on_updates': True,
        'warmup_epochs': round(recipe.warmup * epochs),
        'warmup_lr': 0.0,
        'min_lr': 0.0,
        'train_crop_mode': 'pad4',
        'train_interpolation': 'bilinear',
        'interpolation': 'bilinear',
        'hflip': 0.5,
        'color_jitter': 0.0,
        'smoothing': 0.0,
        'reprob': 0.0,
        'crop_pct': 1.0,
        'workers': 1,
        'validation_batch_size': 500,
        'val_interval': epochs,
        'checkpoint_hist': 1,
        'log_interval': 20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--npz', type=Path, required=True, help='for the study')
    parser.add_argument('--data-dir', type=Path, required=True, help='the same images as train/ and validation/')
    parser.add_argument('--set', default='zerosnet-opt', choices=[name for name, row in SETS.items() if not row.own])
    parser.add_argument('--depth', type=positive, default=20)
    parser.add_argument('--size', type=positive, default=RECIPE.sizes[-1][0], help='px')
    parser.add_argument('--epochs', type=positive, default=5)
    parser.add_argument('--seeds', type=positive, default=2, help='trainings of each')
    parser.add_argument('--only', choices=['study', 'train'])
    parser.add_argument('--one', type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warmup = max(1, round(RECIPE.warmup * args.epochs)) / args.epochs  # train.py's is a whole number of epochs
    recipe = replace(RECIPE, sizes=((args.size, 1.0),), noises=(), warmup=warmup)
    if args.one is not None:
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            images = load(args.npz)
            job = Job(args.set, args.depth, args.npz.stem, 0, args.epochs * len(images.y_train), args.one)
            print(json.dumps(train(job, Sizes(images), Path(folder) / 'run.pt', recipe)), flush=True)
        return
    for option, path in (('npz', args.npz), ('data-dir', args.data_dir / 'train')):
        if not path.exists():
            parser.error(f'--{option}: expected {path}, which does not exist')
    if args.only != 'study':
        try:
            find_script('train.py')  # before the other trainings, which take minutes
        except (OutputError, ScriptError) as error:
            parser.error(str(error))
    if args.only != 'train':
        _study(args)
    if args.only != 'study':
        _train(args, recipe)


def _study(args: argparse.Namespace) -> None:
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    calls = [[sys.executable, __file__, *sys.argv[1:], '--one', str(seed)] for seed in range(args.seeds)]
    started = [subprocess.Popen(call, stdout=subprocess.PIPE, text=True, env=environment) for call in calls]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit('a training of the study failed')
    rows = [json.loads(text) for text in said]
    for seed, row in enumerate(rows):
        print(
            f'study, seed {seed}: {float(row["test_accuracy"]):.2f} %, {row["images_per_second"]} images/s', flush=True
        )
    print(f'study: {sum(float(row["images_per_second"]) for row in rows):.1f} images/s together', flush=True)


def _train(args: argparse.Namespace, recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'recipe.yaml'
        # JSON is YAML
        path.write_text(json.dumps(options_of(recipe, args.epochs)), encoding='utf-8')
        for seed in range(args.seeds):
            name = f'seed{seed}'
            words = ['--model', f'multistep_resnet{args.depth}', '--model-kwargs', f'method={args.set}']
            words += ['--data-dir', str(args.data_dir), '--seed', str(seed), '--output', folder, '--experiment', name]
            begin = time.perf_counter()
            ran = subprocess.run(
                [sys.executable, '-m', 'timm_zerosnet.train', str(path), *words], capture_output=True, text=True
            )
            seconds = time.perf_counter() - begin
            if ran.returncode:
                sys.exit(ran.stderr.splitlines()[-1])
            with (Path(folder) / name / 'summary.csv').open(newline='', encoding='utf-8') as file:
                accuracy = float(list(csv.DictReader(file))[-1]['eval_top1'])
            rates = RATE.findall(ran.stderr + ran.stdout)
            print(
                f'timm-zerosnet train, seed {seed}: {accuracy:.2f} %, {rates[-1] if rates else "?"} images/s, '
                f'{seconds:.0f} s in all',
                flush=True,
            )


if __name__ == '__main__':
    main()
