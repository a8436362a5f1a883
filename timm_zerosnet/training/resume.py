"""Continuing a run of train.py that was stopped or killed, with the arguments it was started with."""

from __future__ import annotations

import argparse
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import torch
from timm.scheduler import create_scheduler_v2, scheduler_kwargs

from .._errors import ScriptError, WeightError
from .._files import LockedError, check_folder, locked, replacing, writing
from ..checkpoint import RECORD, read_yaml
from .logs import newest_checkpoint, trim_log

MAY_CHANGE = {  # in a continued run: they say where and how it runs, not what it computes
    *('data', 'data_dir', 'dataset_download', 'workers', 'pin_mem', 'device', 'log_interval', 'synchronize_step'),
    *('checkpoint_hist', 'log_wandb', 'wandb_resume_id', 'local_rank', RECORD),
}
ANOTHER_PLACE = '--output DIR names another place'


@dataclass(frozen=True)
class Continuation:
    """Where a run stands, and what it takes to continue it.

    Args:
        run: The folder of the run.
        config: The arguments it was started with.
        checkpoint: The complete checkpoint to continue from; None to start from the beginning.
        epochs: Number of epochs that are finished.
        total: Number of epochs that the run will have at its end.
    """

    run: Path
    config: dict[str, Any]
    checkpoint: Path | None
    epochs: int
    total: int

    @property
    def arguments(self) -> list[str]:
        """The arguments that train.py needs in addition to the configuration."""
        folder = self.run.resolve()
        resume = ['--resume', str(folder / 'last.pth.tar')] if self.checkpoint else []
        return ['--output', str(folder.parent), '--experiment', folder.name, *resume]

    def prepare(self) -> None:
        """Make the run ready for train.py.

        The checkpoint goes to ``last.pth.tar``, which train.py does not touch before it has a newer one; rows of the
        log that are newer than the checkpoint are removed.
        """
        last = self.run / 'last.pth.tar'
        if self.checkpoint and self.checkpoint != last:
            with replacing(last) as partial:
                shutil.copyfile(self.checkpoint, partial)
        trim_log(self.run / 'summary.csv', self.epochs)


def find_continuation(
    run: Path, recipe: Path | None, record: dict[str, Any], script: Path, parser: argparse.ArgumentParser
) -> Continuation:
    """Read the folder of a run, without changing anything in it.

    Args:
        run: The folder that holds the run's args.yaml.
        recipe: The recipe that the user named, if any.
        record: What the launcher would record about a run that started now.
        script: The train.py that will run.
        parser: The argument parser of ``script``.

    Raises:
        ScriptError: if it is not a run, or a run of another recipe, number of processes or train.py.
        WeightError: if none of its checkpoints is complete.
    """
    if not (run / 'args.yaml').is_file():
        raise ScriptError(f'expected a run with the args.yaml that train.py writes, got {run}, which has none')
    found, known = newest_checkpoint(run), vars(parser.parse_known_args([])[0])
    config = _arguments(run, found[1] if found else {}, (*known, RECORD))
    before = config.get(RECORD) or {}
    if recipe and before.get('recipe', recipe.stem) != recipe.stem:
        raise ScriptError(f'expected the recipe {before["recipe"]}, with which {run} was started, got {recipe.stem}')
    if before.get('processes', record['processes']) != record['processes']:
        raise ScriptError(
            f'expected {before["processes"]} processes, with which {run} was started, got {record["processes"]}'
        )
    if unknown := sorted(set(config) - set(known) - {RECORD}):
        raise ScriptError(f'{script} does not know {", ".join(unknown)}: {run} was started with another train.py')
    if found:
        config = {**config, 'resume': '', 'start_epoch': None}
        for key in ('initial_checkpoint', 'pretrained_path'):  # the weights it began with are no longer needed
            if config.get(key) and not Path(config[key]).is_file():
                config.update({key: known[key], 'pretrained': False})
    total = scheduled_epochs(argparse.Namespace(**{**known, **config}))
    return Continuation(run, config, found[0] if found else None, found[1]['epoch'] + 1 if found else 0, total)


def _arguments(run: Path, checkpoint: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of a run, from its checkpoint where it was killed while it wrote args.yaml."""
    path, in_checkpoint = run / 'args.yaml', checkpoint.get('args')
    stored = vars(in_checkpoint) if isinstance(in_checkpoint, argparse.Namespace) else {}
    stored = {key: value for key, value in stored.items() if key in known}
    try:
        config = read_yaml(path) if path.stat().st_size else {}
    except WeightError:
        if not stored:
            raise
        config = {}
    if config and not stored.keys() - config.keys():
        return config
    if not stored:
        raise ScriptError(f'{path} is empty, and no checkpoint holds the arguments: start the run again')
    return stored


def scheduled_epochs(args: argparse.Namespace) -> int:
    """Number of epochs that train.py runs, by timm's own rules for cycles, cooldown and warmup."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    steps = 1000 if args.sched_on_updates else 0
    return create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=steps)[1]


def refuse_changes(run: Path, before: argparse.Namespace, after: argparse.Namespace) -> None:
    """Refuse arguments that would change what a run computes.

    Args:
        run: The folder of the run.
        before: The arguments it was started with.
        after: The same, changed by those on the command line.

    Raises:
        ScriptError: for every changed argument, with both values.
    """
    changed = [
        f'{key} {getattr(before, key)} to {value}'
        for key, value in vars(after).items()
        if key not in MAY_CHANGE and value != getattr(before, key)
    ]
    if changed:
        raise ScriptError(f'continuing {run} would change {", ".join(changed)}: start a new run for that')


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Keep other processes from training in the folder of a run, until the body or this process ends.

    Raises:
        ScriptError: if another process trains there.
        OutputError: if it cannot be written.
    """
    check_folder(run, ANOTHER_PLACE)
    with ExitStack() as held:
        with writing(run, ANOTHER_PLACE):
            run.mkdir(parents=True, exist_ok=True)
        try:
            held.enter_context(locked(run / 'running.lock'))
        except LockedError as error:
            raise ScriptError(f'process {error.holder} is training in {run}: wait for its end or stop it') from error
        yield
