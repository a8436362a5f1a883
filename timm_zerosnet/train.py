"""``python -m timm_zerosnet.train RECIPE --model NAME [train.py arguments]``: timm's train.py with a recipe."""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from timm.utils import is_distributed_env, world_info_from_env

from . import __version__
from ._errors import ScriptError
from ._files import cannot_write, check_folder, is_full
from .checkpoint import RECORD
from .model_names import is_outside, model_config, script_arguments
from .training import preflight
from .training.logs import trim_log
from .training.recipes import find_recipe, read_recipe
from .training.resume import ANOTHER_PLACE, Continuation, find_continuation, only_writer, refuse_changes
from .training.scripts import (
    find_script,
    launch,
    parse,
    process_count,
    run_script,
    script_parser,
    script_version,
    take_option,
    take_scripts_option,
    with_device,
)
from .weights import is_backbone, weights_overlay

BEGINNINGS = ('initial_checkpoint', 'pretrained_path', 'resume')
"""The arguments that name files of weights to begin with."""

USAGE = """usage: timm-zerosnet train RECIPE --model NAME [--timm-scripts DIR] [arguments of timm's train.py]
       timm-zerosnet train --continue RUN [--timm-scripts DIR] [arguments that leave the training as it is]

Runs timm's unmodified train.py with a recipe: a YAML file or the name of a packaged one (long, paper, short, zoo).
Unless --timm-scripts or the environment variable TIMM_SCRIPTS names a folder, the script of the installed timm's
release is downloaded once.

--continue resumes a run that was stopped or killed after its last complete epoch, with the arguments it was started
with. RUN is the folder of the run, which holds args.yaml. If the data have moved, give --data-dir. The best checkpoint
is searched anew from there on; the recipes are made for the last one.

several GPUs: torchrun --nproc-per-node N -m timm_zerosnet.train RECIPE --model NAME ...

example: timm-zerosnet train short --model zerosnet20 --data-dir cifar10 --output runs --experiment zerosnet20"""


def _run(arguments: list[str]) -> None:
    folder, arguments = take_scripts_option(arguments)
    run, arguments = take_option(arguments, '--continue', 'the folder of a run')
    named = arguments[:1] if arguments and not arguments[0].startswith('-') else []
    arguments = arguments[len(named) :]
    if not named and run is None:
        given = f', got {arguments[0]}' if arguments else ''
        raise ScriptError(f'expected a recipe as the first argument, such as short{given}; see --help')
    recipe = find_recipe(named[0]) if named else None
    script = find_script('train.py', folder)
    parser = script_parser(script)
    record = {
        'version': __version__,
        'recipe': recipe.stem if recipe else '',
        'scripts': script_version(script),
        'processes': process_count(),
    }
    if run is None:
        assert recipe is not None
        _start(read_recipe(recipe, script, parser), record, script, parser, arguments)
    else:
        # it is locked before it is read: another process may be writing its checkpoint
        with only_writer(Path(run)) if _is_primary() and Path(run, 'args.yaml').is_file() else nullcontext():
            _continue(find_continuation(Path(run), recipe, record, script, parser), script, parser, arguments)


def _start(
    config: dict[str, Any], record: dict[str, Any], script: Path, parser: argparse.ArgumentParser, arguments: list[str]
) -> None:
    args = _parse(parser, config, arguments)
    if 'model' not in config and not any(argument.split('=')[0] == '--model' for argument in arguments):
        raise ScriptError('no model: give --model NAME, such as --model zerosnet20')
    if is_backbone(args.model):
        found = weights_overlay(args.model)
        flags = {key: ' '.join(map(str, found[key])) for key in ('mean', 'std')}
        flags['interpolation'] = found['interpolation']
        preprocessing = ' '.join(f'--{key} {value}' for key, value in flags.items())
        raise ScriptError(
            f"timm's train.py does not know {args.model}: --model {args.model.split('.')[0]} --pretrained "
            f'--pretrained-path {found["file"]} --num-classes N {preprocessing} starts from these weights; '
            f'validate, predict and robustness take its checkpoints by --model {args.model} --checkpoint FILE'
        )
    target = Path(args.output or './output/train', args.experiment)
    if _is_primary():
        check_folder(target, ANOTHER_PLACE)
    preflight.check_positional(args)
    names = preflight.check_training(args, BEGINNINGS)
    preflight.check_growth(args, config.get('input_size'))
    if args.experiment and _is_primary() and (target / 'summary.csv').is_file():
        raise ScriptError(f'{target} holds a run: --continue {target} resumes it, another --experiment keeps it')
    record |= {'classes': _digest(names), 'class_names': names}
    record['began_with'] = Path(args.initial_checkpoint or args.pretrained_path or args.resume or '').name
    if is_outside(args.model):
        config_of_model = model_config(args.model)
        record |= {
            'architecture': config_of_model['architecture'],
            'model_args': config_of_model.get('model_args') or {},
        }
    with only_writer(target) if args.experiment and _is_primary() else nullcontext():
        _launch(script, {**config, RECORD: record}, arguments, args, str(target) if args.experiment else 'RUN')


def _continue(found: Continuation, script: Path, parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    args = _parse(parser, found.config, arguments)
    refuse_changes(found.run, _parse(parser, found.config, []), args)
    done = f'{found.run} has finished {found.epochs} of {found.total} epochs'
    if found.epochs >= found.total:
        if _is_primary():
            print(f'{done}: nothing is left to do')
        return
    names = preflight.check_training(args, () if found.checkpoint else BEGINNINGS)
    if (found.config.get(RECORD) or {}).get('classes') not in (None, _digest(names)):
        raise ScriptError(f'{found.run} was started on other classes than those in {args.data_dir or args.data}')
    record = {**(found.config.get(RECORD) or {}), 'class_names': names}  # runs of development versions do not have it
    config = {**found.config, RECORD: record}
    if not _is_primary():
        _launch(script, config, [*arguments, *found.arguments], args, str(found.run))
        return
    print(f'{done}: continuing')
    if args.device == 'cpu' and torch.cuda.is_available():
        print('on the CPU, on which it was started: --device cuda takes the GPU', file=sys.stderr)
    found.prepare()
    try:
        _launch(script, config, [*arguments, *found.arguments], args, str(found.run))
    finally:
        trim_log(found.run / 'summary.csv', sys.maxsize)  # some scripts write the header again


def _launch(script: Path, config: dict[str, Any], arguments: list[str], args: argparse.Namespace, run: str) -> None:
    again = f'timm-zerosnet train --continue {shlex.quote(run)}'
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / 'config.yaml'
        path.write_text(yaml.safe_dump(config), encoding='utf-8')
        try:
            run_script(script, ['--config', str(path), *with_device(script_arguments(arguments, args), args)])
        except KeyboardInterrupt:
            if _is_primary():
                print(f'{again} resumes it after its last complete epoch', file=sys.stderr)
            raise
        except (OSError, RuntimeError) as error:
            if not is_full(error):
                raise
            reason = 'there is no room left for its files'
            way = f'make room there, then {again} resumes the run'
            raise cannot_write(args.output or './output/train', reason, way) from error


def _digest(names: list[str] | None) -> str | None:
    if names is None:
        return None
    return hashlib.sha256('\n'.join(names).encode(errors='surrogateescape')).hexdigest()[:16]  # as file systems do


def _parse(parser: argparse.ArgumentParser, config: dict[str, Any], arguments: list[str]) -> argparse.Namespace:
    parser.prog = 'timm-zerosnet train'
    parser.set_defaults(**config)
    return parse(parser, arguments)


def _is_primary() -> bool:
    """Whether this process writes, by timm's own rule: a rank counts for nothing unless there are several processes."""
    return not is_distributed_env() or world_info_from_env()[1] == 0


def main(arguments: list[str] | None = None) -> int:
    """Run the launcher; returns the exit code."""
    return launch('train', USAGE, arguments, _run)


if __name__ == '__main__':
    sys.exit(main())
