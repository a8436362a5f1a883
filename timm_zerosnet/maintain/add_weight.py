"""Adding a trained checkpoint to the packaged weights: strip, cast, measure the stored file, record."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Iterator

import timm
import torch
import yaml
from safetensors.torch import save
from torch import Tensor, nn

from .. import weights as pretrained
from .._errors import WeightError, few, one_line
from .._files import check_folder, make_folder, writing
from ..backbones import overlay
from ..checkpoint import RECORD, checkpoint_filter_fn, read_checkpoint, read_yaml, refuse_tied, state_dict_of, unwrap
from ..multistep_resnet import MultistepResNet
from ..registry import stranger
from ..training.logs import read_log
from ..zerosnet import default_cfgs

MAX_ACCURACY_GAP = 0.3  # percentage points between the log and the stored file
WAY = 'the weights lie there: make room or make it writable, or work in another checkout'
TEST_IMAGES = 10_000  # of CIFAR-10 and of CIFAR-100
MACHINE_PATHS = {'data', 'data_dir', 'output', 'resume', 'initial_checkpoint', 'pretrained_path'}
LOCAL_ARGUMENTS = MACHINE_PATHS | {'experiment', 'device', 'dataset', 'workers', 'val_interval'}
# what train.py does where a recipe says nothing, as far as it changes the stored weights
SILENT: dict[str, Any] = {
    'pretrained': False,
    'model_kwargs': {},
    'model_ema': False,
    'model_ema_decay': 0.9998,
    'model_ema_warmup': False,
    'amp': False,
    'clip_grad': None,
    'drop_path': None,
    'num_classes': None,
    'mean': None,
    'std': None,
    'interpolation': '',
}


def compact(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolution and linear weights in float16, all other floats in float32; contiguous copies."""

    def cast(value: Tensor) -> Tensor:
        if value.is_floating_point():
            value = value.to(torch.float16 if value.ndim >= 2 else torch.float32)
        return value.clone(memory_format=torch.contiguous_format)  # of its own: views of one buffer cannot be saved

    return {name: cast(value) for name, value in state_dict.items()}


def reproduction_command(name: str, recipe_name: str, args: dict[str, Any]) -> str:
    """The command that trains this row anywhere: a packaged recipe and what the run's arguments change in it.

    Raises:
        WeightError: if there is no such recipe, or train.py has no option for a change.
    """
    recipe = pretrained.RECIPES / f'{recipe_name}.yaml'
    if not recipe.is_file():
        packaged = ', '.join(sorted(path.stem for path in pretrained.RECIPES.glob('*.yaml')))
        raise WeightError(f'recipe {recipe_name} is not packaged, nobody could repeat the run; accepted: {packaged}')
    model, data = name.split('.', 1)[0], name.split('.', 1)[1].split('_')[0]
    own = model in default_cfgs
    words = ['timm-zerosnet', 'train', recipe_name, '--model', f'{model}.{data}' if own else model]
    words += ['--dataset', f'torch/{data}', '--dataset-download', '--data-dir', 'data']
    said = LOCAL_ARGUMENTS | ({'num_classes'} if own else set())  # by the model's tag
    for key, value in {**SILENT, **read_yaml(recipe)}.items():
        if key in args and args[key] != value and key not in said:
            words += _option(key, args[key], recipe_name)
    return shlex.join(words)


def _option(key: str, value: Any, recipe_name: str) -> list[str]:
    option = f'--{key.replace("_", "-")}'
    if value is True:
        return [option]
    if value is None or value is False or value in ({}, []):
        raise WeightError(
            f'the run had {key}: {value}, recipe {recipe_name} has something else, and train.py has no option '
            'that takes it back: package the recipe that the run used'
        )
    if isinstance(value, dict):
        return [option, *(f'{name}={entry}' for name, entry in value.items())]
    return [option, *map(str, value if isinstance(value, list) else [value])]


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

    Everything is prepared and measured in a temporary folder; the manifest is replaced last. Of several at once each
    adds its row. One that is killed between its last two renames leaves a file that the row does not know: ``weights
    verify`` says so, and adding it again mends it.

    Args:
        checkpoint: ``last.pth.tar`` of train.py; an original project's parameter names are renamed.
        recipe: The YAML file that it was trained with; of that name one must be packaged.
        log: The run's ``summary.csv``.
        data: The full test set, see ``robustness.data.load_labelled``.
        tag: Weight tag, such as ``cifar10`` or ``cifar10_seed1``.
        args: The run's ``args.yaml``; default beside ``log``. Paths of the machine are left out of what is stored.
        average: ``'raw'`` or ``'ema'``.
        hardware, wall_time, scripts, date, note: As the manifest records them; ``scripts`` is what the launcher wrote
            into the arguments, the date that of adding, YYYY-MM-DD, and the versions are those installed here.
        progress: Show a progress bar.

    Returns:
        The manifest row.

    Raises:
        WeightError: for files that are missing or malformed, values that are not finite, tied weights, a wrong
            architecture, another epoch than the log's last, or an accuracy more than 0.3 points from the logged one.
            Nothing is left behind.
        DataError: for a test set that cannot be used.
        OutputError: if the folder of the weights cannot be written.
    """
    from ..robustness.data import load_labelled
    from ..robustness.evaluation import evaluate

    if not re.fullmatch(r'cifar100?(_[a-z0-9_]+)?', tag):
        raise WeightError(f'tag {tag!r}: accepted are cifar10 and cifar100, also followed by _ and what tells it apart')
    check_folder(pretrained.WEIGHTS, WAY)
    date = date or datetime.date.today().isoformat()
    try:
        datetime.date.fromisoformat(date)
    except ValueError as error:
        raise WeightError(f'date {date!r}: accepted is YYYY-MM-DD ({error})') from error
    run = read_log(log, args)
    model_name, data_name = run.args['model'].split('.', 1)[0], tag.split('_')[0]
    name = f'{model_name}.{tag}'
    if holder := stranger(model_name):
        raise WeightError(f'the name {model_name} is taken by a model of {holder}: it is none of this package or timm')
    own = getattr(default_cfgs.get(model_name), 'cfgs', None)
    if not timm.is_model(model_name) or own is not None and data_name not in own:
        raise WeightError(
            f"the run trained {model_name!r}: accepted are networks of this package for 32-pixel images and timm's own"
        )
    if run.epoch + 1 != run.args.get('epochs') and not note:
        raise WeightError(
            f'{log} ends with epoch {run.epoch} (the first is 0) of {run.args.get("epochs")}: a note must say why'
        )
    read_yaml(recipe)
    recorded = run.args.get(RECORD) or {}
    command = reproduction_command(name, recipe.stem, run.args)
    config = overlay(tag)
    model = timm.create_model(model_name, pretrained_cfg_overlay=config)
    if run.args.get('num_classes') not in (None, model.num_classes):
        raise WeightError(f'{name} has {model.num_classes} classes, the run {run.args["num_classes"]}')
    _check_preprocessing(run.args, config, own is not None)
    content = read_checkpoint(checkpoint)
    state_dict, epoch = state_dict_of(content, average, checkpoint), content.get('epoch')
    if epoch not in (None, run.epoch):
        raise WeightError(f'{checkpoint} is of epoch {epoch}; accepted is the last of {log}, {run.epoch}')
    refuse_tied(unwrap(state_dict), checkpoint)
    state_dict = compact(_fitting(state_dict, model))
    if bad := [key for key, value in state_dict.items() if not torch.isfinite(value).all()]:
        raise WeightError(f'{len(bad)} entries of the state dict for {name} hold NaN or infinity: {few(bad, 3)}')

    make_folder(pretrained.WEIGHTS)
    with tempfile.TemporaryDirectory(dir=pretrained.WEIGHTS, prefix='.adding-') as scratch:
        stored = Path(scratch) / f'{name}.safetensors'
        with writing(stored, WAY):
            stored.write_bytes(save(state_dict, metadata={'format': 'pt'}))
        model = timm.create_model(model_name, pretrained=True, pretrained_cfg_overlay=overlay(tag, stored))
        test = load_labelled(data, model.pretrained_cfg['label_names'], progress)
        for line in test.notes:
            print(f'timm-zerosnet: {line}', file=sys.stderr)
        if len(test.labels) != TEST_IMAGES:
            raise WeightError(
                f'{data} has {len(test.labels)} images: accepted are the {TEST_IMAGES} of the whole test set'
            )
        result = evaluate(model, test.images, test.labels, progress=progress)
        if abs(result.top1 - run.top1) > MAX_ACCURACY_GAP:
            raise WeightError(
                f'{name}: the stored file has {result.top1:.2f} % on {data}, the log of its last epoch '
                f'{run.top1:.2f} %; accepted is a difference of at most {MAX_ACCURACY_GAP} points'
            )
        row = {
            'sha256': pretrained.sha256(stored),
            'bytes': stored.stat().st_size,
            'parameters': sum(p.numel() for p in model.parameters()),
            'data': data_name,
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
            'versions': {
                'torch': version('torch'),
                'timm': version('timm'),
                'scripts': scripts or recorded.get('scripts', ''),
            },
            'date': date,
            'note': note,
            'command': command,
        }
        public = {key: value for key, value in run.args.items() if key not in MACHINE_PATHS}
        with writing(pretrained.WEIGHTS, WAY):
            logs = Path(scratch) / name
            logs.mkdir()
            shutil.copyfile(log, logs / 'summary.csv')
            (logs / 'args.yaml').write_text(yaml.safe_dump(public), encoding='utf-8')
            _install(stored, logs, name, row)
    return row


def _check_preprocessing(args: dict[str, Any], config: dict[str, Any], own: bool) -> None:
    if not own and (args.get('pretrained') or args.get('initial_checkpoint')):
        raise WeightError("the run began with weights: accepted of timm's own networks are those trained from scratch")
    if 'pretrained_cfg_overlay' in (args.get('model_kwargs') or {}):
        raise WeightError('the run has model_kwargs with pretrained_cfg_overlay, a command that nobody could repeat')
    for key in ('mean', 'std', 'interpolation'):  # a network of timm's has its own where the run says nothing
        given, wanted = args.get(key), config[key]
        given, wanted = (list(value) if isinstance(value, (list, tuple)) else value for value in (given, wanted))
        if given != wanted and (given or not own):
            text = ' '.join(map(str, wanted)) if isinstance(wanted, list) else wanted
            raise WeightError(f'the run has {key} {given or "of its network"}: accepted is --{key} {text}')


def _fitting(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    if isinstance(model, MultistepResNet):
        return checkpoint_filter_fn(state_dict, model)
    try:
        model.load_state_dict(unwrap(state_dict))
    except RuntimeError as error:
        label = model.pretrained_cfg['architecture']
        raise WeightError(f'the state dict does not fit {label}: {one_line(error)}') from error
    return model.state_dict()


def _install(stored: Path, logs: Path, name: str, row: dict[str, Any]) -> None:
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(stored, 0o666 & ~umask)  # safetensors writes 0600
    with _alone(pretrained.WEIGHTS):
        # not what was read before: another process may have added a row meanwhile
        rows = {**pretrained.read_manifest(), name: row}
        manifest = stored.parent / 'manifest.json'
        manifest.write_text(json.dumps(rows, indent=2) + '\n', encoding='utf-8')
        target = pretrained.WEIGHTS / 'logs' / name
        target.mkdir(parents=True, exist_ok=True)
        for file in logs.iterdir():
            os.replace(file, target / file.name)
        os.replace(stored, pretrained.WEIGHTS / stored.name)
        os.replace(manifest, pretrained.WEIGHTS / manifest.name)
        pretrained.manifest.cache_clear()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in here with the folder; on Windows it does not wait."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
