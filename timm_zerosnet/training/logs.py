"""The files of a run of timm's train.py: arguments, log, checkpoints."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import WeightError, one_line
from .._files import replacing
from ..checkpoint import read_checkpoint, read_yaml


@dataclass(frozen=True)
class RunLog:
    """The last epoch of a ``summary.csv`` and the arguments of its run."""

    epoch: int
    top1: float
    args: dict[str, Any]


def read_log(log: Path, args: Path | None = None) -> RunLog:
    """Read what a run of train.py has logged.

    Args:
        log: The ``summary.csv`` of the run.
        args: The ``args.yaml`` of the run; by default the one in the folder of ``log``.

    Raises:
        WeightError: if either file is missing or does not hold what train.py writes.
    """
    args = args or log.parent / 'args.yaml'
    for path in (log, args):
        if not path.is_file():
            raise WeightError(f'{path} does not exist; expected summary.csv and args.yaml, as train.py writes them')
    try:
        with open(log, newline='', encoding='utf-8') as file:
            # some scripts write the header again when they continue a run
            rows = [row for row in csv.DictReader(file) if row.get('epoch') != 'epoch']
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WeightError(f'{log} is not a readable CSV file: {one_line(error)}') from error
    if not rows:
        raise WeightError(f'{log} has no row; expected rows with epoch and eval_top1')
    last = {key: rows[-1].get(key) for key in ('epoch', 'eval_top1')}
    try:
        epoch, top1 = int(str(last['epoch'])), float(str(last['eval_top1']))
        if epoch < 0 or not 0 <= top1 <= 100:
            raise ValueError
    except ValueError:
        given = ', '.join(f'{key} {value!r}' for key, value in last.items())
        raise WeightError(f'expected an epoch and a percentage in the last row of {log}, got {given}') from None
    parsed = read_yaml(args)
    if not isinstance(parsed.get('model'), str):
        raise WeightError(f'expected the name of a model in {args}, got model {parsed.get("model")!r}')
    return RunLog(epoch, top1, parsed)


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The complete checkpoint of the latest finished epoch in a run's folder, and its content; None if there is none.

    train.py writes ``tmp.pth.tar`` and renames it, so that a run killed in between may have no ``last.pth.tar``, or a
    truncated ``tmp.pth.tar`` beside it; that alone is no checkpoint yet.

    Args:
        folder: The folder of the run.

    Raises:
        WeightError: if there are checkpoints, but none of them is complete.
    """
    complete, torn = [], {}
    for path in sorted(folder.glob('*.pth.tar')):
        if path.name.startswith('recovery'):  # of an unfinished epoch
            continue
        try:
            checkpoint = read_checkpoint(path)
            complete.append((checkpoint['epoch'], path.name == 'last.pth.tar', path, checkpoint))
        except (WeightError, KeyError) as error:
            torn[path.name] = str(error)
    if torn.keys() - {'tmp.pth.tar'} and not complete:
        raise WeightError(f'{folder} has no complete checkpoint: {"; ".join(torn.values())}')
    if not complete:
        return None
    _, _, path, checkpoint = max(complete, key=lambda entry: entry[:2])
    return path, checkpoint


def trim_log(log: Path, epochs: int) -> None:
    """Keep the rows of the first ``epochs`` epochs of a ``summary.csv``, under one header."""
    if not log.is_file():
        return
    rows = list(csv.reader(io.StringIO(log.read_text(encoding='utf-8'))))
    if not rows:
        return
    kept = {row[0]: row for row in rows[1:] if row and row[0].isdigit() and int(row[0]) < epochs}
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([rows[0], *kept.values()])
    if text.getvalue() != log.read_text(encoding='utf-8'):
        with replacing(log) as partial:
            partial.write_text(text.getvalue(), encoding='utf-8')
