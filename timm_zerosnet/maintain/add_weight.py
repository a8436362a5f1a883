"""Adding a trained checkpoint to the packaged weights: read and check it, measure the stored file, record it."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
import yaml
from safetensors.torch import save
from torch import Tensor, nn

from .. import weights
from .._errors import WeightError, one_line, shorten
from .._files import check_folder, locked, make_folder, sha256, writing
from ..checkpoint import RECORD, checkpoint_filter_fn, read_checkpoint, read_yaml, refuse_tied, state_dict_of, unwrap
from ..multistep_resnet import MultistepResNet
from ..registry import stranger
from ..robustness.data import load_labelled
from ..robustness.evaluation import evaluate
from ..training.logs import RunLog, read_log
from ..zerosnet import default_cfgs
from .reproduction import MACHINE_PATHS, reproduction_command

MAX_ACCURACY_GAP = 0.3  # percentage points between the log and the stored file
IF_UNWRITABLE = 'the weights lie there: make room or make it writable, or work in another checkout'
LOCK = '.adding.lock'  # in the folder of the weights; git leaves it alone, and with it the wheel
TEST_IMAGES = 10_000  # the test sets of CIFAR-10 and of CIFAR-100


def add(
    checkpoint: Path,
    *,
    recipe: Path,
    log: Path,
    data: Path,
    tag: str,
    args: Path | None = None,
    average: str | None = None,
    hardware: str | None = None,
    wall_time: str = '',
    scripts: str = '',
    date: str | None = None,
    note: str = '',
    progress: bool = True,
) -> dict[str, Any]:
    """Store a checkpoint as ``weights/MODEL.TAG.safetensors``, with its log and manifest row.

    Everything is prepared and measured in a temporary folder, and the manifest is replaced last. Processes that add
    weights at once wait for each other, and each adds its row. One that is killed between its last two renames leaves a
    file that the row does not know: ``weights verify`` says so, and adding it again mends it.

    Args:
        checkpoint: ``last.pth.tar`` of train.py; an original project's parameter names are renamed.
        recipe: The YAML file that the network was trained with. A packaged recipe must have its name.
        log: The ``summary.csv`` of the run.
        data: The full test set, see ``robustness.data.load_labelled``.
        tag: The weight tag, such as ``cifar10`` or ``cifar10_seed1``.
        args: The ``args.yaml`` of the run; the default is the one beside ``log``. Paths of the machine are not stored.
        average: ``'raw'`` for the weights themselves, ``'ema'`` for their running average; the default, and all that is
            taken, is the one whose accuracy the run logged.
        hardware: What the network was trained on; the default describes this machine.
        wall_time: How long the training took.
        scripts: The version of timm's scripts; the default is what the launcher wrote into the arguments.
        date: The date of adding, YYYY-MM-DD; the default is today.
        note: What a reader of the manifest must know.
        progress: Whether to show a progress bar.

    Returns:
        The manifest row. The versions of torch and timm in it are those installed here.

    Raises:
        WeightError: for files that are missing or malformed, values that are not finite, tied weights, a wrong
            architecture, another epoch than the log's last, or an accuracy more than 0.3 points from the logged one.
            Nothing is left behind.
        DataError: for a test set that cannot be used.
        OutputError: if the folder of the weights cannot be written.
    """
    check_folder(weights.WEIGHTS, IF_UNWRITABLE)
    date = date or datetime.date.today().isoformat()
    try:
        datetime.date.fromisoformat(date)
    except ValueError as error:
        raise WeightError(f'date: expected YYYY-MM-DD, got {date!r} ({error})') from error
    training = _read_training(checkpoint, recipe, log, tag, args, average, note)

    make_folder(weights.WEIGHTS)
    with tempfile.TemporaryDirectory(dir=weights.WEIGHTS, prefix='.adding-') as scratch:
        stored = Path(scratch) / f'{training.name}.safetensors'
        with writing(stored, IF_UNWRITABLE):
            stored.write_bytes(save(training.state_dict, metadata={'format': 'pt'}))
        row = {
            **_measure(training, stored, data, progress),
            'logged_top1': round(training.run.top1, 2),
            'weights': training.average,
            'recipe': recipe.name,
            'epochs': training.run.epoch + 1,
            'seed': training.run.args.get('seed'),
            'hardware': hardware or f'{os.cpu_count()} CPU cores ({platform.machine()})',
            'wall_time': wall_time,
            'versions': {
                'torch': version('torch'),
                'timm': version('timm'),
                'scripts': scripts or (training.run.args.get(RECORD) or {}).get('scripts', ''),
            },
            'date': date,
            'note': note,
            'command': training.command,
        }
        with writing(weights.WEIGHTS, IF_UNWRITABLE):
            _record(training, stored, log, row)
    return row


@dataclass(frozen=True)
class _Training:
    """A training whose weights fit a network and may be stored.

    Args:
        model: The name of the network.
        tag: The tag that its weights get.
        run: The log and the arguments of the training.
        average: ``'raw'`` or ``'ema'``: which weights of the checkpoint these are.
        state_dict: The weights as they are stored.
        command: The command that trains them again.
    """

    model: str
    tag: str
    run: RunLog
    average: str
    state_dict: dict[str, Tensor]
    command: str

    @property
    def name(self) -> str:
        return f'{self.model}.{self.tag}'


def _read_training(
    checkpoint: Path, recipe: Path, log: Path, tag: str, args: Path | None, average: str | None, note: str
) -> _Training:
    """Read a training and refuse what nobody could use or repeat; the arguments are those of ``add``."""
    if not re.fullmatch(r'cifar100?(_[a-z0-9_]+)?', tag):
        raise WeightError(f'tag: expected cifar10 or cifar100, with or without _ and a name behind it, got {tag!r}')
    run = read_log(log, args)
    model, data = run.args['model'].partition('.')[0], tag.split('_')[0]
    name = f'{model}.{tag}'
    if holder := stranger(model):
        raise WeightError(f'the name {model} is taken by a model of {holder}: it is none of this package or timm')
    own = model in default_cfgs
    if not timm.is_model(model) or own and data not in default_cfgs[model].cfgs:
        raise WeightError(
            f"the run trained {model!r}: expected a network of this package for 32-pixel images or one of timm's own"
        )
    epochs = run.args.get('epochs')
    if run.epoch + 1 != epochs and not note:
        raise WeightError(f'{log} ends with epoch {run.epoch} (the first is 0) of {epochs}: a note must say why')
    read_yaml(recipe)
    recorded = (run.args.get(RECORD) or {}).get('recipe')
    if recorded and recorded != recipe.stem:
        raise WeightError(f'--recipe: expected {recorded}, with which the run was started, got {recipe.stem}')
    command = reproduction_command(name, recipe.stem, run.args)
    config = weights.tag_overlay(tag)
    network = timm.create_model(model, pretrained_cfg_overlay=config)
    if run.args.get('num_classes') not in (None, network.num_classes):
        raise WeightError(f'{name} has {network.num_classes} classes, the run {run.args["num_classes"]}')
    _check_preprocessing(run.args, config, own)
    average = _logged(run, average)
    content = read_checkpoint(checkpoint)
    state_dict, epoch = state_dict_of(content, average, checkpoint), content.get('epoch')
    if epoch not in (None, run.epoch):
        raise WeightError(f'{checkpoint}: expected epoch {run.epoch}, the last of {log}, got epoch {epoch}')
    refuse_tied(unwrap(state_dict), checkpoint)
    state_dict = compact(_fitting(state_dict, network, model))
    if bad := [key for key, value in state_dict.items() if not torch.isfinite(value).all()]:
        raise WeightError(f'{len(bad)} entries of the state dict for {name} hold NaN or infinity: {shorten(bad, 3)}')
    return _Training(model, tag, run, average, state_dict, command)


def _logged(run: RunLog, average: str | None) -> str:
    """Which weights the log of a run measured: with an average, train.py logs the average's accuracy alone."""
    logged = 'ema' if run.args.get('model_ema') and not run.args.get('model_ema_force_cpu') else 'raw'
    if average not in (None, logged):
        raise WeightError(f'expected --average {logged}, whose accuracy the run logged, got --average {average}')
    return logged


def _check_preprocessing(args: dict[str, Any], config: dict[str, Any], own: bool) -> None:
    if not own and (args.get('pretrained') or args.get('initial_checkpoint')):
        raise WeightError("the run began with weights: expected a network of timm's own that was trained from scratch")
    if 'pretrained_cfg_overlay' in (args.get('model_kwargs') or {}):
        raise WeightError('the run has model_kwargs with pretrained_cfg_overlay, a command that nobody could repeat')
    of_network: Any = timm.get_pretrained_cfg(args['model'])
    for key in ('mean', 'std', 'interpolation'):
        given = args.get(key)
        found, wanted = (
            list(value) if isinstance(value, (list, tuple)) else value
            for value in (given or getattr(of_network, key), config[key])
        )
        if found != wanted:
            text = ' '.join(map(str, wanted)) if isinstance(wanted, list) else wanted
            raise WeightError(f'the run: expected --{key} {text}, got {given or "that of its network"}')


def _fitting(state_dict: dict[str, Any], network: nn.Module, model: str) -> dict[str, Tensor]:
    if isinstance(network, MultistepResNet):
        return checkpoint_filter_fn(state_dict, network)
    try:
        network.load_state_dict(unwrap(state_dict))
    except RuntimeError as error:
        raise WeightError(f'the state dict does not fit {model}: {one_line(error)}') from error
    return network.state_dict()


def compact(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolution and linear weights in float16, all other floats in float32; contiguous copies."""

    def cast(value: Tensor) -> Tensor:
        if value.is_floating_point():
            value = value.to(torch.float16 if value.ndim >= 2 else torch.float32)
        return value.clone(memory_format=torch.contiguous_format)  # views of one buffer could not be saved

    return {name: cast(value) for name, value in state_dict.items()}


def _measure(training: _Training, stored: Path, data: Path, progress: bool) -> dict[str, Any]:
    """The part of the row that tells of the stored file: its sha256, its size and its accuracy."""
    overlay = weights.tag_overlay(training.tag, stored)
    network = timm.create_model(training.model, pretrained=True, pretrained_cfg_overlay=overlay)
    test = load_labelled(data, overlay['label_names'], progress)
    for line in test.notes:
        print(f'timm-zerosnet: {line}', file=sys.stderr)
    if len(test.labels) != TEST_IMAGES:
        raise WeightError(f'{data}: expected the whole test set of {TEST_IMAGES} images, got {len(test.labels)}')
    images: Any = test.images  # of a file or folder, which are no streams
    result = evaluate(network, images, test.labels, progress=progress)
    if abs(result.top1 - training.run.top1) > MAX_ACCURACY_GAP:
        raise WeightError(
            f'{training.name}: the stored file has {result.top1:.2f} % on {data}, the log of its last epoch '
            f'{training.run.top1:.2f} %; expected a difference of at most {MAX_ACCURACY_GAP} points'
        )
    return {
        'sha256': sha256(stored),
        'bytes': stored.stat().st_size,
        'parameters': sum(parameter.numel() for parameter in network.parameters()),
        'data': training.tag.split('_')[0],
        'test_images': len(test.labels),
        'top1': round(result.top1, 2),
        'top5': round(result.top5, 2),
    }


def place(name: str) -> tuple[int, list[str]]:
    """Sort key of a weight ``MODEL.TAG``: networks in the order of registration, timm's own last; then tags."""
    model, tag = name.split('.', 1)
    registered = list(default_cfgs)
    return registered.index(model) if model in registered else len(registered), tag.split('_')


def _record(training: _Training, stored: Path, log: Path, row: dict[str, Any]) -> None:
    """Move the stored file into the folder of the weights, with its log and its row of the manifest."""
    logs = stored.with_suffix('.logs')
    logs.mkdir()
    shutil.copyfile(log, logs / 'summary.csv')
    public = {key: value for key, value in training.run.args.items() if key not in MACHINE_PATHS}
    (logs / 'args.yaml').write_text(yaml.safe_dump(public), encoding='utf-8')
    with locked(weights.WEIGHTS / LOCK, wait=True):
        # read again: another process may have added a row meanwhile
        rows = {**weights.read_manifest(), training.name: row}
        rows = {name: rows[name] for name in sorted(rows, key=place)}
        manifest = stored.with_name('manifest.json')
        manifest.write_text(json.dumps(rows, indent=2) + '\n', encoding='utf-8')
        target = weights.WEIGHTS / 'logs' / training.name
        target.mkdir(parents=True, exist_ok=True)
        for file in logs.iterdir():
            os.replace(file, target / file.name)
        os.replace(stored, weights.WEIGHTS / stored.name)
        os.replace(manifest, weights.WEIGHTS / manifest.name)
        weights.manifest.cache_clear()
