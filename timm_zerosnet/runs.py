"""What a run of timm's train.py leaves behind: arguments, log, checkpoints."""

from __future__ import annotations

import argparse
import csv
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from .pretrained import WeightError, few, one_line, sha256

RECORD = 'timm_zerosnet'  # what our launcher writes into a run's args.yaml, beside train.py's own arguments


@dataclass(frozen=True)
class RunLog:
    """The last epoch of a ``summary.csv`` and the arguments of its run."""

    epoch: int
    top1: float
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
    try:
        with open(log, newline='', encoding='utf-8') as file:
            # a continued run writes the header again
            rows = [row for row in csv.DictReader(file) if row.get('epoch') != 'epoch']
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WeightError(f'{log} is not a readable CSV file: {one_line(error)}') from error
    if not rows:
        raise WeightError(f'{log} has no row; expected are rows with epoch and eval_top1')
    last = {key: rows[-1].get(key) for key in ('epoch', 'eval_top1')}
    try:
        epoch, top1 = int(last['epoch']), float(last['eval_top1'])
        if epoch < 0 or not 0 <= top1 <= 100:
            raise ValueError
    except (TypeError, ValueError):
        given = ', '.join(f'{key} {value!r}' for key, value in last.items())
        raise WeightError(f'{log}: the last row has {given}; expected are an epoch and a percentage') from None
    parsed = read_yaml(args)
    if not isinstance(parsed.get('model'), str):
        raise WeightError(f'{args} has model {parsed.get("model")!r}; expected is the name of a model')
    return RunLog(epoch, top1, parsed)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        WeightError: if it cannot be read or holds something else.
    """
    try:
        parsed = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WeightError(f'{path} is not a readable YAML file: {one_line(error)}') from error
    if not isinstance(parsed, dict):
        raise WeightError(f'{path} holds a {type(parsed).__name__}; expected are lines of the form name: value')
    return parsed


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of train.py, read without unpickling code.

    Raises:
        WeightError: if it is missing, damaged or something else.
    """
    if not path.is_file():
        raise WeightError(f'{path} does not exist; expected is a last.pth.tar of train.py')
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch's, about what is refused here
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch, pickle and zipfile each raise their own
        raise WeightError(
            f'{path} (sha256 {sha256(path)}) is not a readable checkpoint: {type(error).__name__}: {one_line(error)}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise WeightError(f'{path} holds a {type(checkpoint).__name__}; expected is a checkpoint of train.py')
    return checkpoint


def class_names(path: Path) -> tuple[str, ...] | None:
    """The classes that a run of our launcher trained on, in the order of the outputs; None where nothing says them.

    A checkpoint has them, of a file that was made of one the ``args.yaml`` beside it.
    """
    try:
        args = None if path.suffix == '.safetensors' else read_checkpoint(path).get('args')
        if args is None:
            args = read_yaml(path.parent / 'args.yaml')
    except (WeightError, OSError):  # whoever needs the file says what is wrong with it
        return None
    record = (args if isinstance(args, dict) else getattr(args, '__dict__', {})).get(RECORD)
    names = record.get('class_names') if isinstance(record, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else None


def state_dict_of(checkpoint: dict[str, Any], average: str, path: Path) -> dict[str, Any]:
    """The trained weights (``'raw'``) of a checkpoint or their running average (``'ema'``).

    Raises:
        WeightError: if it holds no such weights; names what it holds.
    """
    key = {'raw': 'state_dict', 'ema': 'state_dict_ema'}[average]
    if not isinstance(checkpoint.get(key), dict):
        raise WeightError(f'{path} holds no {key}; it holds {few(checkpoint)}')
    if strange := [name for name in checkpoint[key] if not isinstance(name, str)]:
        raise WeightError(f'{path} has names in {key} that are no text: {few(strange)}')
    return checkpoint[key]


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The whole checkpoint of the latest finished epoch in a run's folder, and its content; None if there is none.

    train.py writes ``tmp.pth.tar`` and renames it, so that a run killed in between may have no ``last.pth.tar``, or a
    torn ``tmp.pth.tar`` beside it.

    Raises:
        WeightError: if there are checkpoints and none of them is whole.
    """
    whole, torn = [], []
    for path in sorted(folder.glob('*.pth.tar')):
        if path.name.startswith('recovery'):  # of an unfinished epoch
            continue
        try:
            checkpoint = read_checkpoint(path)
            whole.append((checkpoint['epoch'], path.name == 'last.pth.tar', path, checkpoint))
        except (WeightError, KeyError) as error:
            torn.append(str(error))
    if torn and not whole:
        raise WeightError(f'{folder} has no whole checkpoint: {"; ".join(torn)}')
    if not whole:
        return None
    _, _, path, checkpoint = max(whole, key=lambda entry: entry[:2])
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
        partial = log.with_suffix('.partial')
        partial.write_text(text.getvalue(), encoding='utf-8')
        os.replace(partial, log)
