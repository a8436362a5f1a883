"""Packaged weights: where they are, and that they are what the manifest says."""

from __future__ import annotations

import hashlib
import json
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

from ._errors import WeightError, one_line
from .registry import own, stranger

PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    """A data folder: in the wheel ``_name`` inside the package, in a checkout ``name`` beside it."""
    packaged = PACKAGE / f'_{name}'
    in_checkout = not packaged.is_dir() and (PACKAGE.parent / 'pyproject.toml').is_file()
    return PACKAGE.parent / name if in_checkout else packaged


WEIGHTS = _folder('weights')
RECIPES = _folder('recipes')
TEXT, COUNT, PERCENT = ((str,), 'text'), ((int,), 'an integer'), ((int, float), 'a number')
FIELDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(('sha256', 'data', 'weights', 'recipe', 'hardware', 'wall_time', 'date', 'note', 'command'), TEXT),
    **dict.fromkeys(('bytes', 'parameters', 'test_images', 'epochs'), COUNT),
    **dict.fromkeys(('top1', 'top5', 'logged_top1'), PERCENT),
    'seed': ((int, type(None)), 'an integer or null'),
    'versions': ((dict,), 'an object'),
}
ADVICE = 'Reinstall timm-zerosnet, or restore the file from its repository.'


@lru_cache
def manifest() -> dict[str, dict[str, Any]]:
    """The rows of ``weights/manifest.json`` by ``model.tag``.

    Raises:
        WeightError: if it is missing, empty or damaged.
    """
    rows = read_manifest()
    if not rows:
        path = WEIGHTS / 'manifest.json'
        state = 'names no weights' if path.is_file() else 'does not exist'
        raise WeightError(f'the installation is damaged: {path} {state}. {ADVICE}')
    return rows


def read_manifest() -> dict[str, dict[str, Any]]:
    """The rows as they are now in the file, none if there is none: a folder that is about to get its first weight.

    Raises:
        WeightError: if it is damaged.
    """
    path = WEIGHTS / 'manifest.json'
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding='utf-8'))
        _check_rows(rows)
        return rows
    except (OSError, ValueError) as error:
        raise WeightError(f'the installation is damaged: {path} is damaged ({error}). {ADVICE}') from error


def _check_rows(rows: Any) -> None:
    if not isinstance(rows, dict):
        raise ValueError(f'it holds a {type(rows).__name__}; accepted is an object with one entry for each weight')
    for name, row in rows.items():
        if not isinstance(row, dict):
            raise ValueError(f'{name} is {row!r}; accepted is an object')
        for key, (kinds, accepted) in FIELDS.items():
            if key not in row or not isinstance(row[key], kinds) or isinstance(row[key], bool):
                given = repr(row[key]) if key in row else 'missing'
                raise ValueError(f'{key} of {name} is {given}; accepted is {accepted}')


def damage() -> str | None:
    """What is wrong with the manifest; None if nothing is."""
    try:
        manifest()
    except WeightError as error:
        return str(error)
    return None


def _rows() -> dict[str, dict[str, Any]]:
    """The manifest, empty if it is damaged: that must not keep timm from the networks."""
    return {} if damage() else manifest()


def weight_file(name: str) -> str | None:
    """Path of the packaged file of ``model.tag``, None if there is none."""
    return str(WEIGHTS / f'{name}.safetensors') if name in _rows() else None


def backbones() -> list[str]:
    """``model.tag`` of the packaged weights that are of models of timm's own."""
    return [name for name in _available() if _model(name) not in own]


def own_weights() -> list[str]:
    """``model.tag`` of the packaged weights of networks of this package."""
    return [name for name in _available() if _model(name) in own]


def taken() -> dict[str, str]:
    """The packaged weights whose model's name another package has in timm, with the module of its model."""
    holders = {name: stranger(_model(name)) for name in _rows()}
    return {name: holder for name, holder in holders.items() if holder}


def check_taken(name: str) -> None:
    """Refuse packaged weights whose model's name another package has in timm: they do not fit its network.

    Args:
        name: ``model.tag``; others pass.

    Raises:
        WeightError: naming the other package's module.
    """
    if holder := taken().get(name):
        raise WeightError(
            f'the name {_model(name)} is taken by a model of {holder}, which the weights {name} do not fit: import '
            f'timm_zerosnet before {holder.partition(".")[0]}, or leave that out'
        )


def _available() -> list[str]:
    return [name for name in _rows() if not stranger(_model(name))]


def _model(name: str) -> str:
    return name.partition('.')[0]


def weight_tags(model: str) -> list[str]:
    """Tags of a model that have packaged weights."""
    return [name.partition('.')[2] for name in _rows() if _model(name) == model]


def no_tags(model: str) -> str:
    """What to tell whoever gives a tag to a model that has none."""
    return f'{model} has no tags and no weights: expected its name alone, {model!r}.'


def sha256(path: str | Path) -> str:
    """Hex digest of a file's content."""
    with open(path, 'rb') as file:
        return (
            hashlib.file_digest(file, 'sha256').hexdigest()
            if hasattr(hashlib, 'file_digest')
            else hashlib.sha256(file.read()).hexdigest()
        )


def verify(name: str) -> None:
    """Check the packaged file of ``model.tag`` against the manifest before anything parses it.

    Raises:
        WeightError: if the file is missing or has another sha256; names both and what to do.
    """
    path, expected = Path(WEIGHTS / f'{name}.safetensors'), manifest()[name]['sha256']
    if not path.is_file():
        raise WeightError(f'{path} does not exist; expected is a file of sha256 {expected}. {ADVICE}')
    found = sha256(path)
    if found != expected:
        raise WeightError(
            f'{path} has sha256 {found} ({path.stat().st_size} bytes), expected is {expected} '
            f'({manifest()[name]["bytes"]} bytes): it is damaged or was changed. {ADVICE}'
        )


def check_source(model: str, cfg: Any) -> None:
    """Refuse ``pretrained=True`` without weights, and a packaged file that is not what the manifest says.

    Args:
        model: Registered name, without tag.
        cfg: Its resolved ``PretrainedCfg``, an overlay included.

    Raises:
        WeightError: naming the tags that have weights, both sha256, or an overlay's file that cannot be read.
    """
    name = f'{model}.{cfg.tag}'
    if cfg.state_dict:
        return
    if not cfg.has_weights:
        if damaged := damage():
            raise WeightError(damaged)
        tags = ', '.join(f'{model}.{tag}' for tag in weight_tags(model)) or 'none'
        raise WeightError(
            f'there are no weights for {name if cfg.tag else model}; of {model} these exist: {tags}; of '
            f'all models: {", ".join(own_weights()) or "none"}. Without pretrained weights the network is random.'
        )
    if cfg.file and cfg.source not in ('hf-hub', 'local-dir'):
        if str(cfg.file) == weight_file(name):
            verify(name)
        else:
            check_readable(cfg.file)


def check_readable(path: str | Path) -> None:
    """Refuse a file that timm cannot read as a checkpoint.

    Raises:
        WeightError: naming the file and the reason.
    """
    from timm.models import load_state_dict

    accepted = 'Accepted are safetensors files and PyTorch checkpoints that hold nothing but tensors and plain values.'
    if not Path(path).is_file():
        raise WeightError(f'{path} does not exist or is no file. {accepted}')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch's, about what is refused here
            load_state_dict(path)
    except Exception as error:  # timm, torch, pickle and safetensors each raise their own
        # timm advises to unpickle whatever is in the file
        said = f'{type(error).__name__}: {one_line(error)}'.split(' No automatic unsafe pickle fallback')[0]
        if isinstance(error, AttributeError):  # of what is no mapping
            said = 'it holds no state dict'
        elif not str(path).endswith('.safetensors') and not _is_pickled(path):
            said = 'it is no PyTorch checkpoint'
        raise WeightError(
            f'{path} ({Path(path).stat().st_size} bytes) cannot be read as a checkpoint: {said.rstrip(".")}. {accepted}'
        ) from error


def _is_pickled(path: str | Path) -> bool:
    """Whether a file begins as what ``torch.save`` writes, today's zip archive or the older pickle."""
    with open(path, 'rb') as file:
        return file.read(2).startswith((b'PK', b'\x80'))
