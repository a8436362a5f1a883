"""Adding a trained checkpoint to the packaged weights: strip, cast, measure the stored file, record."""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import pickle
import platform
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from . import pretrained
from .checkpoint import checkpoint_filter_fn
from .pretrained import WeightError

MAX_ACCURACY_GAP = 0.3  # percentage points between the log and the stored file
LOCAL_ARGUMENTS = {'data', 'data_dir', 'output', 'experiment', 'resume', 'device', 'dataset', 'workers', 'val_interval'}


@dataclass(frozen=True)
class RunLog:
    """The last epoch of a ``summary.csv`` and the arguments of its run."""

    epoch: int
    top1: float
    best_top1: float
    args: dict[str, Any]


def read_log(log: Path, args: Path | None = None) -> RunLog:
    """Read train.py's ``summary.csv`` and the ``args.yaml`` beside it.

    Raises:
        WeightError: if either is missing or does not hold what train.py writes.
    """
    args = args or log.parent / 'args.yaml'
    for path in (log, args):
        if not path.is_file():
            raise WeightError(f'{path} does not exist; expected are summary.csv and args.yaml as train.py writes them')
    with open(log, newline='', encoding='utf-8') as file:
        # a continued run writes the header again
        rows = [row for row in csv.DictReader(file) if (row.get('epoch') or '').isdigit()]
    parsed = yaml.safe_load(args.read_text(encoding='utf-8'))
    if not rows or 'eval_top1' not in rows[-1]:
        raise WeightError(f'{log} has no row with epoch and eval_top1')
    if not isinstance(parsed, dict) or 'model' not in parsed:
        raise WeightError(f'{args} names no model')
    return RunLog(
        int(rows[-1]['epoch']), float(rows[-1]['eval_top1']), max(float(r['eval_top1']) for r in rows), parsed
    )


def read_checkpoint(path: Path, average: str) -> dict[str, Any]:
    """The state dict of a checkpoint of train.py, without unpickling code.

    Args:
        path: A ``.pth.tar``.
        average: ``'raw'`` for the trained weights, ``'ema'`` for their running average.

    Raises:
        WeightError: if it cannot be read or holds no such weights.
    """
    key = {'raw': 'state_dict', 'ema': 'state_dict_ema'}[average]
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise WeightError(
            f'{path} (sha256 {pretrained.sha256(path) if path.is_file() else "none"}) is not a readable '
            f'checkpoint: {str(error).splitlines()[0]}'
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(key), dict):
        found = ', '.join(map(str, checkpoint)) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise WeightError(f'{path} holds no {key}; it holds {found}')
    return checkpoint


def compact(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolution and linear weights in float16, all other floats in float32; contiguous."""

    def cast(value: Tensor) -> Tensor:
        if not value.is_floating_point():
            return value.contiguous()
        return value.to(torch.float16 if value.ndim >= 2 else torch.float32).contiguous()

    return {name: cast(value) for name, value in state_dict.items()}


def reproduction_command(name: str, recipe: dict[str, Any], recipe_name: str, args: dict[str, Any]) -> str:
    """The command that trains this row anywhere: the recipe and what the run's arguments change in it."""
    model, tag = name.split('.', 1)
    words = [
        'timm-zerosnet',
        'train',
        recipe_name,
        '--model',
        f'{model}.{tag.split("_")[0]}',
        '--dataset',
        f'torch/{tag.split("_")[0]}',
        '--dataset-download',
        '--data-dir',
        'data',
    ]
    for key, value in recipe.items():
        if key in args and args[key] != value and key not in LOCAL_ARGUMENTS:
            given = args[key] if isinstance(args[key], list) else [args[key]]
            words += [f'--{key.replace("_", "-")}', *map(str, given)]
    return shlex.join(words)


def add(
    checkpoint: Path,
    *,
    recipe: Path,
    log: Path,
    data: Path,
    tag: str,
    args: Path | None = None,
    average: str = 'raw',
    hardware: str | None = None,
    wall_time: str = '',
    scripts: str = '',
    date: str | None = None,
    note: str = '',
    progress: bool = True,
) -> dict[str, Any]:
    """Store a checkpoint as ``weights/MODEL.TAG.safetensors``, with its log and manifest row.

    Everything is prepared and measured in a temporary folder; the manifest is replaced last, so that an interruption
    leaves either the old row or the new one.

    Args:
        checkpoint: ``last.pth.tar`` of train.py; an original project's parameter names are renamed.
        recipe: The YAML file that it was trained with.
        log: The run's ``summary.csv``.
        data: The full test set, see ``robustness.data.load_labelled``.
        tag: Weight tag, such as ``cifar10`` or ``cifar10_seed1``.
        args: The run's ``args.yaml``; default beside ``log``.
        average: ``'raw'`` or ``'ema'``.
        hardware, wall_time, scripts, date, note: As the manifest records them; the date is that of adding, YYYY-MM-DD,
            and the versions are those installed here.
        progress: Show a progress bar.

    Returns:
        The manifest row.

    Raises:
        WeightError: for values that are not finite, a wrong architecture, or an accuracy more than 0.3 points from the
            logged one. Nothing is left behind.
    """
    from .robustness.data import load_labelled
    from .robustness.evaluation import evaluate

    run = read_log(log, args)
    model_name = run.args['model'].split('.', 1)[0]
    name = f'{model_name}.{tag}'
    cfg_name = f'{model_name}.{tag.split("_")[0]}'
    model = timm.create_model(cfg_name)
    if model.num_classes != run.args.get('num_classes'):
        raise WeightError(f'{cfg_name} has {model.num_classes} classes, the run {run.args.get("num_classes")}')
    state_dict = compact(checkpoint_filter_fn(read_checkpoint(checkpoint, average), model))

    pretrained.WEIGHTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=pretrained.WEIGHTS, prefix='.adding-') as scratch:
        stored = Path(scratch) / f'{name}.safetensors'
        save_file(state_dict, stored, metadata={'format': 'pt'})
        model = timm.create_model(cfg_name, pretrained=True, pretrained_cfg_overlay=dict(file=str(stored)))
        test = load_labelled(data, model.pretrained_cfg['label_names'], progress)
        result = evaluate(model, test.images, test.labels, progress=progress)
        if abs(result.top1 - run.top1) > MAX_ACCURACY_GAP:
            raise WeightError(
                f'{name}: the stored file has {result.top1:.2f} % on {data}, the log of its last epoch '
                f'{run.top1:.2f} %; accepted is a difference of at most {MAX_ACCURACY_GAP} points'
            )
        recipe_args = yaml.safe_load(recipe.read_text(encoding='utf-8'))
        row = {
            'sha256': pretrained.sha256(stored),
            'bytes': stored.stat().st_size,
            'parameters': sum(p.numel() for p in model.parameters()),
            'data': tag.split('_')[0],
            'test_images': len(test.labels),
            'top1': round(result.top1, 2),
            'top5': round(result.top5, 2),
            'logged_top1': round(run.top1, 2),
            'weights': average,
            'recipe': recipe.name,
            'epochs': run.epoch + 1,
            'seed': run.args.get('seed'),
            'hardware': hardware or f'{os.cpu_count()} CPU cores ({platform.machine()})',
            'wall_time': wall_time,
            'versions': {'torch': version('torch'), 'timm': version('timm'), 'scripts': scripts},
            'date': date or datetime.date.today().isoformat(),
            'note': note,
            'command': reproduction_command(name, recipe_args, recipe.stem, run.args),
        }
        logs = Path(scratch) / name
        logs.mkdir()
        shutil.copyfile(log, logs / 'summary.csv')
        shutil.copyfile(args or log.parent / 'args.yaml', logs / 'args.yaml')
        _install(stored, logs, name, row)
    return row


def _install(stored: Path, logs: Path, name: str, row: dict[str, Any]) -> None:
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(stored, 0o666 & ~umask)  # safetensors writes 0600
    target = pretrained.WEIGHTS / 'logs' / name
    target.mkdir(parents=True, exist_ok=True)
    for file in logs.iterdir():
        os.replace(file, target / file.name)
    rows = {**pretrained.manifest(), name: row}
    manifest = stored.parent / 'manifest.json'
    manifest.write_text(json.dumps(rows, indent=2) + '\n', encoding='utf-8')
    os.replace(stored, pretrained.WEIGHTS / stored.name)
    os.replace(manifest, pretrained.WEIGHTS / manifest.name)
    pretrained.manifest.cache_clear()
