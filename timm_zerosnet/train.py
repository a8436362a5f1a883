"""``python -m timm_zerosnet.train RECIPE --model NAME [train.py arguments]``: timm's train.py with a recipe."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from . import __version__
from .preflight import check_channels, check_checkpoint, check_data
from .recipes import find_recipe, read_recipe
from .runs import RECORD, newest_checkpoint, read_yaml, trim_log
from .timm_scripts import (
    ScriptError,
    find_script,
    launch,
    run_script,
    script_parser,
    script_version,
    take_option,
    take_scripts_option,
    with_device,
)

USAGE = """usage: timm-zerosnet train RECIPE --model NAME [--timm-scripts DIR] [arguments of timm's train.py]
       timm-zerosnet train --continue RUN [--timm-scripts DIR] [arguments that leave the training as it is]

Runs timm's unmodified train.py with a recipe: a YAML file or the name of a packaged one (paper, short, zoo).
Without --timm-scripts or the environment variable TIMM_SCRIPTS the script of the installed timm's release is
downloaded once.

--continue goes on with a run that was stopped or killed, from its last whole epoch, with the arguments it was started
with. RUN is its folder, the one that holds args.yaml.

several GPUs: torchrun --nproc-per-node N -m timm_zerosnet.train RECIPE --model NAME ...

example: timm-zerosnet train short --model zerosnet20 --data-dir cifar10 --output runs --experiment zerosnet20"""

FREE = {  # what may be another when a run is continued: where and how it runs, not what it computes
    *('data', 'data_dir', 'dataset_download', 'workers', 'pin_mem', 'device', 'log_interval', 'synchronize_step'),
    *('output', 'experiment', 'resume', 'checkpoint_hist', 'log_wandb', 'wandb_resume_id', 'local_rank', RECORD),
}


def _record(recipe: str, script: Path) -> dict[str, Any]:
    return {
        'version': __version__,
        'recipe': recipe,
        'scripts': script_version(script),
        'processes': int(os.environ.get('WORLD_SIZE', 1)),
    }


def _run(arguments: list[str]) -> None:
    folder, arguments = take_scripts_option(arguments)
    run, arguments = take_option(arguments, '--continue', 'the folder of a run, the one that holds its args.yaml')
    named = arguments[:1] if arguments and not arguments[0].startswith('-') else []
    arguments = arguments[len(named) :]
    if not named and run is None:
        given = f', not {arguments[0]}' if arguments else ''
        raise ScriptError(f'the first argument is the recipe{given}; see --help')
    recipe = find_recipe(named[0]) if named else None
    script = find_script('train.py', folder)
    parser = script_parser(script)
    if run is not None:
        config, more = _go_on(Path(run), recipe, script, parser, arguments)
        if not more:
            return
        arguments = [*arguments, *more]
    else:
        assert recipe is not None
        config = {**read_recipe(recipe, script, parser), RECORD: _record(recipe.stem, script)}
    args = _parse(parser, config, arguments)
    check_channels(args)
    check_data(args, (args.train_split, args.val_split))
    for option in ('initial_checkpoint', 'pretrained_path', *(() if run else ('resume',))):
        check_checkpoint(args, option)
    if getattr(args, 'pretrained_path', None) and not args.pretrained:
        raise ScriptError('--pretrained-path alone is ignored by train.py: give --pretrained with it')
    target = Path(args.output or './output/train', args.experiment) if args.experiment else None
    if run is None and not args.resume and target:
        _refuse_overwriting(target)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / 'config.yaml'
        path.write_text(yaml.safe_dump(config), encoding='utf-8')
        try:
            run_script(script, ['--config', str(path), *with_device(arguments, args)])
        finally:
            if run is not None and target and _is_primary():
                trim_log(target / 'summary.csv', sys.maxsize)  # a script may have written its header again


def _parse(parser: argparse.ArgumentParser, config: dict[str, Any], arguments: list[str]) -> argparse.Namespace:
    parser.prog = 'timm-zerosnet train'
    parser.set_defaults(**config)
    return parser.parse_args(arguments)


def _is_primary() -> bool:
    return os.environ.get('RANK', '0') == '0'


def _refuse_overwriting(target: Path) -> None:
    if _is_primary() and (target / 'summary.csv').is_file():
        raise ScriptError(f'{target} holds a run: --continue {target} goes on with it, another --experiment keeps it')


def _go_on(
    run: Path, recipe: Path | None, script: Path, parser: argparse.ArgumentParser, arguments: list[str]
) -> tuple[dict[str, Any], list[str]]:
    """The configuration of a run, and the arguments that make train.py go on with it; none if it is finished."""
    if not (run / 'args.yaml').is_file():
        raise ScriptError(f'{run} is no run: it holds no args.yaml, as train.py writes it')
    found, known = newest_checkpoint(run), vars(parser.parse_known_args([])[0])
    if (run / 'args.yaml').stat().st_size:
        config = read_yaml(run / 'args.yaml')
    elif found and isinstance(found[1].get('args'), argparse.Namespace):  # killed while it was written
        config = {key: value for key, value in vars(found[1]['args']).items() if key in (*known, RECORD)}
    else:
        raise ScriptError(f'{run / "args.yaml"} is empty, and no checkpoint has the arguments: start the run again')
    record = config.get(RECORD) or {}
    if recipe and record.get('recipe', recipe.stem) != recipe.stem:
        raise ScriptError(f'{run} is a run of the recipe {record["recipe"]}, not of {recipe.stem}')
    now = _record(record.get('recipe', ''), script)
    if record and record['processes'] != now['processes']:
        raise ScriptError(f'{run} was started with {record["processes"]} processes, not with {now["processes"]}')
    if unknown := sorted(set(config) - set(known) - {RECORD}):
        raise ScriptError(f'{script} does not know {", ".join(unknown)}: {run} was started with another train.py')
    before = argparse.Namespace(**{**known, **config})
    after = _parse(parser, config, arguments)
    changed = [
        f'{key} {getattr(before, key)} to {value}'
        for key, value in vars(after).items()
        if key not in FREE and value != getattr(before, key)
    ]
    if changed:
        raise ScriptError(f'going on with {run} would change {", ".join(changed)}: start a new run for that')
    folder = run.resolve()
    more = ['--output', str(folder.parent), '--experiment', folder.name]
    epochs, total = found[1]['epoch'] + 1 if found else 0, before.epochs + before.cooldown_epochs
    total += before.warmup_epochs if before.warmup_prefix else 0
    if _is_primary():
        print(f'{run} has finished {epochs} of {total} epochs: {"going on" if epochs < total else "nothing is left"}')
        trim_log(run / 'summary.csv', epochs)
    if epochs >= total:
        return config, []
    if found:
        return {**config, 'start_epoch': None}, [*more, '--resume', str(found[0].resolve())]
    return {**config, 'resume': ''}, more


def main(arguments: list[str] | None = None) -> int:
    """Run the launcher; returns the exit code."""
    return launch('train', USAGE, arguments, _run)


if __name__ == '__main__':
    sys.exit(main())
