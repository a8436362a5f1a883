"""The packaged weights: where they lie, that they are what the manifest says, and how timm loads them.

They are weights of this package's networks, and of a few of timm's own that were trained by the same recipes to compare
them with.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from ._errors import WeightError, type_of
from ._files import sha256
from .checkpoint import check_architecture, check_readable
from .cifar import cifar_config
from .registry import own, stranger

PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    """A data folder: in the wheel ``_name`` inside the package, in a checkout ``name`` beside it."""
    packaged = PACKAGE / f'_{name}'
    in_checkout = not packaged.is_dir() and (PACKAGE.parent / 'pyproject.toml').is_file()
    return PACKAGE.parent / name if in_checkout else packaged


WEIGHTS = _folder('weights')
RECIPES = _folder('recipes')
_TEXT, _INTEGER, _NUMBER = ((str,), 'text'), ((int,), 'an integer'), ((int, float), 'a number')
FIELDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(('sha256', 'data', 'weights', 'recipe', 'hardware', 'wall_time', 'date', 'note', 'command'), _TEXT),
    **dict.fromkeys(('bytes', 'parameters', 'test_images', 'epochs'), _INTEGER),
    **dict.fromkeys(('top1', 'top5', 'logged_top1'), _NUMBER),
    'seed': ((int, type(None)), 'an integer or null'),
    'versions': ((dict,), 'an object'),
}
"""The fields of a manifest row, each with its types in Python and their name in words."""
OUTSIDE = ('hf-hub', 'local-dir')
"""What timm's configurations call the Hub and a folder as sources of weights."""
REPAIR = 'Reinstall timm-zerosnet, or restore the file from its repository.'
NOT_TIMMS = {  # what timm's configs say of timm's own weights, which ours are not
    **dict.fromkeys(('hf_hub_id', 'hf_hub_filename', 'origin_url', 'paper_ids', 'paper_name', 'notes')),
    **dict.fromkeys(('test_input_size', 'test_crop_pct')),
    **{'url': '', 'crop_mode': 'center', 'license': 'apache-2.0'},
}


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
        raise WeightError(f'the installation is damaged: {path} {state}. {REPAIR}')
    return rows


def read_manifest() -> dict[str, dict[str, Any]]:
    """The rows that the file holds now; none if there is no file, as in a folder that is about to get its first weight.

    Raises:
        WeightError: if it is damaged.
    """
    path = WEIGHTS / 'manifest.json'
    if not path.is_file():
        return {}
    try:
        return _checked_rows(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError) as error:
        raise WeightError(f'the installation is damaged: {path} is damaged ({error}). {REPAIR}') from error


def _checked_rows(rows: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(rows, dict):
        raise ValueError(f'expected an object with one entry for each weight, got {type_of(rows)}')
    for name, row in rows.items():
        if not isinstance(row, dict):
            raise ValueError(f'{name}: expected an object, got {row!r}')
        for key, (types, words) in FIELDS.items():
            if key not in row or not isinstance(row[key], types) or isinstance(row[key], bool):
                given = repr(row[key]) if key in row else 'nothing'
                raise ValueError(f'{key} of {name}: expected {words}, got {given}')
    return rows


def damage() -> str | None:
    """What is wrong with the manifest, in words; None if nothing is."""
    try:
        manifest()
    except WeightError as error:
        return str(error)
    return None


def _rows() -> dict[str, dict[str, Any]]:
    """The manifest, or nothing if it is damaged: that must not keep timm from the networks."""
    return {} if damage() else manifest()


def weight_file(name: str) -> str | None:
    """Path of the packaged file of ``model.tag``, None if there is none."""
    return str(WEIGHTS / f'{name}.safetensors') if name in _rows() else None


def own_weights() -> list[str]:
    """``model.tag`` of the packaged weights of networks of this package."""
    return [name for name in _usable() if _model(name) in own]


def backbone_weights() -> list[str]:
    """``model.tag`` of the packaged weights of models of timm's own."""
    return [name for name in _usable() if _model(name) not in own]


def is_backbone(name: str) -> bool:
    """Whether ``model.tag`` names packaged weights of a model of timm's own."""
    return name in backbone_weights()


def taken() -> dict[str, str]:
    """The packaged weights whose model's name another package has in timm, with the module of its model."""
    holders = {name: stranger(_model(name)) for name in _rows()}
    return {name: holder for name, holder in holders.items() if holder}


def check_taken(name: str) -> None:
    """Refuse packaged weights whose model's name another package has in timm: they do not fit its network.

    Args:
        name: ``model.tag``; a name without packaged weights passes.

    Raises:
        WeightError: naming the other package's module.
    """
    if holder := taken().get(name):
        raise WeightError(
            f'the name {_model(name)} is taken by a model of {holder}, which the weights {name} do not fit: import '
            f'timm_zerosnet before {holder.partition(".")[0]}, or leave that out'
        )


def _usable() -> list[str]:
    return [name for name in _rows() if not stranger(_model(name))]


def _model(name: str) -> str:
    return name.partition('.')[0]


def weight_tags(model: str) -> list[str]:
    """Tags of a model that have packaged weights."""
    return [name.partition('.')[2] for name in _rows() if _model(name) == model]


def no_tags(model: str) -> str:
    """What to tell a user who gives a tag to a model that has none."""
    return f'{model} has no tags and no weights: expected its name alone, {model!r}.'


def check_tag(name: str) -> None:
    """Refuse a name such as ``zerosnet20.``, of which timm would make the default tag.

    Raises:
        WeightError: with the name that is complete.
    """
    if name.endswith('.') and ':' not in name:  # the end of a folder's or a Hub repo's name may be a dot
        raise WeightError(f'{name!r} has an empty tag: expected {name.rstrip(".")!r} or a tag after the dot')


def tag_overlay(tag: str, file: str | Path | None = None) -> dict[str, Any]:
    """What changes in timm's configuration of a model when it gets weights of ours.

    Args:
        tag: A weight tag, such as ``cifar10`` or ``cifar10_seed1``.
        file: The file that holds the weights.
    """
    return {'tag': tag, 'file': file and str(file), **NOT_TIMMS, **cifar_config(tag)}


def weights_overlay(name: str) -> dict[str, Any]:
    """What ``timm.create_model(MODEL, pretrained=True, pretrained_cfg_overlay=...)`` needs to load a packaged weight.

    Args:
        name: ``MODEL.TAG``, such as ``'resnet10t.cifar10'``. Networks of this package load by that name alone.

    Returns:
        The file, and the configuration of the data it was trained on. With another ``in_chans``, timm rounds the first
        layer, which it adapts, to the float16 of the file; that of this package's own networks becomes float32.

    Raises:
        WeightError: if nothing of that name is packaged (names what is), or the file is damaged.
    """
    check_tag(name)
    if name not in manifest():
        raise WeightError(f'there are no weights {name!r}: expected one of {", ".join(manifest())}')
    check_taken(name)
    verify(name)
    return tag_overlay(name.partition('.')[2], weight_file(name))


def verify(name: str) -> None:
    """Check the packaged file of ``model.tag`` against the manifest before anything parses it.

    Raises:
        WeightError: if the file is missing or has another sha256; names both and what to do.
    """
    path, row = WEIGHTS / f'{name}.safetensors', manifest()[name]
    if not path.is_file():
        raise WeightError(f'{path} does not exist: expected a file of sha256 {row["sha256"]}. {REPAIR}')
    if (found := sha256(path)) != row['sha256']:
        raise WeightError(
            f'{path} is damaged or was changed: expected sha256 {row["sha256"]} ({row["bytes"]} bytes), got {found} '
            f'({path.stat().st_size} bytes). {REPAIR}'
        )


def check_source(model: str, cfg: Any) -> None:
    """Refuse ``pretrained=True`` without weights, and a packaged file that is not what the manifest says.

    Args:
        model: A registered name, without tag.
        cfg: Its resolved ``PretrainedCfg``, an overlay included.

    Raises:
        WeightError: naming the tags that have weights, both sha256, or an overlay's file that cannot be read or is of
            another network.
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
            f'all models: {", ".join(own_weights()) or "none"}. Expected one of these, or a checkpoint of '
            'yours; without pretrained weights the network is random.'
        )
    if file := own_file(model, cfg):
        check_readable(file)
        check_architecture(file, model)
    elif cfg.file and cfg.source not in OUTSIDE:
        verify(name)


def own_file(model: str, cfg: Any) -> Path | None:
    """The file of the caller's own that the weights of a network come from, None if they come from elsewhere.

    Args:
        model: A registered name, without tag.
        cfg: Its resolved ``PretrainedCfg``, an overlay included.
    """
    packaged = str(cfg.file) == weight_file(f'{model}.{cfg.tag}')
    return None if cfg.state_dict or not cfg.file or packaged or cfg.source in OUTSIDE else Path(cfg.file)
