"""Going on with a run of train.py that was stopped or killed, with the arguments it was started with."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from .._errors import ScriptError
from .._files import check_folder, writing
from ..checkpoint import RECORD, read_yaml
from .logs import newest_checkpoint, trim_log

FREE = {  # what may be another when a run is continued: where and how it runs, not what it computes
    *('data', 'data_dir', 'dataset_download', 'workers', 'pin_mem', 'device', 'log_interval', 'synchronize_step'),
    *('checkpoint_hist', 'log_wandb', 'wandb_resume_id', 'local_rank', RECORD),
}
WAY = '--output DIR names another place'


@dataclass(frozen=True)
class Continuation:
    """How to go on with a run.

    Args:
        run: Its folder.
        config: The arguments it was started with.
        checkpoint: The whole checkpoint to go on from; None to start from the beginning.
        epochs: How many it has finished.
        total: How many there will be.
    """

    run: Path
    config: dict[str, Any]
    checkpoint: Path | None
    epochs: int
    total: int

    @property
    def arguments(self) -> list[str]:
        """What train.py needs beside the configuration."""
        folder = self.run.resolve()
        resume = ['--resume', str(folder / 'last.pth.tar')] if self.checkpoint else []
        return ['--output', str(folder.parent), '--experiment', folder.name, *resume]

    def prepare(self) -> None:
        """Put the checkpoint where train.py does not write before it has a newer one, and cut the log back to it."""
        last = self.run / 'last.pth.tar'
        if self.checkpoint and self.checkpoint != last:
            partial = self.run / 'last.partial'
            shutil.copyfile(self.checkpoint, partial)
            os.replace(partial, last)
        trim_log(self.run / 'summary.csv', self.epochs)


def find_continuation(
    run: Path, recipe: Path | None, record: dict[str, Any], script: Path, parser: argparse.ArgumentParser
) -> Continuation:
    """Read a run's folder; changes nothing in it.

    Args:
        run: The folder that holds its args.yaml.
        recipe: The recipe that the user named, if any.
        record: What the launcher would record of a run that started now.
        script: The train.py that is to run.
        parser: Its argument parser.

    Raises:
        ScriptError: if it is no run, of another recipe, of another number of processes or of another train.py.
        WeightError: if none of its checkpoints is whole.
    """
    if not (run / 'args.yaml').is_file():
        raise ScriptError(f'{run} is no run: it holds no args.yaml, as train.py writes it')
    found, known = newest_checkpoint(run), vars(parser.parse_known_args([])[0])
    if (run / 'args.yaml').stat().st_size:
        config = read_yaml(run / 'args.yaml')
    elif found and isinstance(found[1].get('args'), argparse.Namespace):  # killed while it was written
        config = {key: value for key, value in vars(found[1]['args']).items() if key in (*known, RECORD)}
    else:
        raise ScriptError(f'{run / "args.yaml"} is empty, and no checkpoint has the arguments: start the run again')
    before = config.get(RECORD) or {}
    if recipe and before.get('recipe', recipe.stem) != recipe.stem:
        raise ScriptError(f'{run} is a run of the recipe {before["recipe"]}, not of {recipe.stem}')
    if before.get('processes', record['processes']) != record['processes']:
        raise ScriptError(f'{run} was started with {before["processes"]} processes, not with {record["processes"]}')
    if unknown := sorted(set(config) - set(known) - {RECORD}):
        raise ScriptError(f'{script} does not know {", ".join(unknown)}: {run} was started with another train.py')
    config = {**config, 'resume': '', 'start_epoch': None}
    if found:
        for key in ('initial_checkpoint', 'pretrained_path'):  # where it began is no longer needed
            if config.get(key) and not Path(config[key]).is_file():
                config.update({key: known[key], 'pretrained': False})
    every = {**known, **config}
    total = every['epochs'] + every['cooldown_epochs'] + (every['warmup_epochs'] if every['warmup_prefix'] else 0)
    return Continuation(run, config, found[0] if found else None, found[1]['epoch'] + 1 if found else 0, total)


def refuse_changes(run: Path, before: argparse.Namespace, after: argparse.Namespace) -> None:
    """Refuse arguments that would change what a run computes.

    Raises:
        ScriptError: naming each of them with both values.
    """
    changed = [
        f'{key} {getattr(before, key)} to {value}'
        for key, value in vars(after).items()
        if key not in FREE and value != getattr(before, key)
    ]
    if changed:
        raise ScriptError(f'going on with {run} would change {", ".join(changed)}: start a new run for that')


@contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Keep others from training in the folder of a run until this process ends, however it does.

    Raises:
        ScriptError: if another process trains there.
        OutputError: if it cannot be written.
    """
    check_folder(run, WAY)
    with writing(run, WAY):
        run.mkdir(parents=True, exist_ok=True)
        lock = open(run / 'running.lock', 'a+', encoding='utf-8')
    with lock as file:
        try:
            if fcntl:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, it does not live on in its children
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):  # a file system without locks
                yield
                return
            file.seek(0)
            raise ScriptError(
                f'process {file.read().strip() or "?"} is training in {run}: wait for its end or stop it'
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
