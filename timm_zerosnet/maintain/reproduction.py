"""The command that repeats a training: a packaged recipe, and everything in which the run differs from it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import timm

from .. import weights
from .._errors import WeightError
from ..checkpoint import RECORD, read_yaml
from ..zerosnet import default_cfgs

MACHINE_PATHS = {'data', 'data_dir', 'output', 'resume', 'initial_checkpoint', 'pretrained_path'}
LOCAL_ARGUMENTS = MACHINE_PATHS | {  # they say where and how a run works and what it writes, not what it computes
    *('model', 'pretrained', 'dataset', 'dataset_download', 'experiment', 'start_epoch', 'device', 'device_modules'),
    *('local_rank', 'workers', 'pin_mem', 'synchronize_step', 'log_interval', 'recovery_interval', 'checkpoint_hist'),
    *('save_images', 'log_wandb', 'wandb_project', 'wandb_tags', 'wandb_resume_id'),
    *('val_interval', 'val_num_samples', 'validation_batch_size', 'eval_metric', 'tta'),
}
TRAIN_DEFAULTS = Path(__file__).with_name('train_defaults.yaml')


def reproduction_command(name: str, recipe_name: str, args: dict[str, Any]) -> str:
    """The command that trains a weight anywhere.

    Args:
        name: ``MODEL.TAG`` of the weight.
        recipe_name: The name of the recipe.
        args: The arguments of the run.

    Raises:
        WeightError: if there is no such recipe, if the run began with weights that nobody else has, or if train.py has
            no option for a change.
    """
    recipe = weights.RECIPES / f'{recipe_name}.yaml'
    if not recipe.is_file():
        packaged = ', '.join(sorted(path.stem for path in weights.RECIPES.glob('*.yaml')))
        raise WeightError(
            f'recipe: expected a packaged one ({packaged}), so that others can repeat the run, got {recipe_name}'
        )
    processes = (args.get(RECORD) or {}).get('processes', 1)
    torchrun = f'torchrun --nproc-per-node {processes} -m timm_zerosnet.train'
    words = shlex.split('timm-zerosnet train' if processes == 1 else torchrun)
    words += [recipe_name, '--model', *_network(name, args)]
    words += ['--dataset', f'torch/{_data(name)}', '--dataset-download', '--data-dir', 'data']
    of_tag = {'num_classes'} if name.split('.')[0] in default_cfgs and not args.get('pretrained') else set()
    for key, value in changes(read_yaml(recipe), args).items():
        if key not in of_tag:
            words += _option(key, value, recipe_name)
    return shlex.join(words)


def changes(recipe: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a run that change what it computes, where they are neither the recipe's nor the defaults.

    Args:
        recipe: The arguments of the recipe.
        args: The arguments of the run.
    """
    defaults = read_yaml(TRAIN_DEFAULTS)
    unknown = dict.fromkeys(key for key, value in args.items() if value and key not in defaults)  # of a newer train.py
    usual = {**defaults, **unknown, **recipe}
    differ = (key for key, value in usual.items() if key in args and args[key] != value)
    return {key: args[key] for key in differ if key not in LOCAL_ARGUMENTS | {RECORD}}


def _data(name: str) -> str:
    return name.split('.', 1)[1].split('_')[0]


def _network(name: str, args: dict[str, Any]) -> list[str]:
    """The value of ``--model``, and ``--pretrained`` for a run that began with packaged weights.

    A tag of a network of this package says how many classes it has, and how images are normalised.
    """
    model, files = name.split('.')[0], [args.get(key) for key in ('initial_checkpoint', 'pretrained_path')]
    if kept := next(filter(None, [*files, (args.get(RECORD) or {}).get('began_with')]), None):
        raise WeightError(
            f'the run began with {kept}, which nobody else has: expected a run from scratch or from packaged weights, '
            'which --pretrained alone takes'
        )
    if args.get('class_map'):
        raise WeightError(f'the run had --class-map {args["class_map"]}, a file that nobody else has: expected none')
    if not args.get('pretrained'):
        return [f'{model}.{_data(name)}' if model in default_cfgs else model]
    start = args.get('model', model)
    if '.' not in start and (config := timm.get_pretrained_cfg(start)):
        start = f'{start}.{config.tag}'
    if start == name:
        raise WeightError(f'the run began with {start}, whose place it would take: give its weights another tag')
    return [start, '--pretrained']


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
    return [option, *map(str, value if isinstance(value, (list, tuple)) else [value])]
