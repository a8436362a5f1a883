"""What a model's name means, and the network it names.

Beside the names that timm knows, these are ``MODEL.TAG`` of a packaged weight of timm's own model,
``hf-hub:ORG/NAME[@REVISION]`` and ``local-dir:FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import constants, get_session, get_token, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from torch import nn

from ._errors import UnknownModelError, WeightError, nearest, one_line, shorten
from ._files import sha256
from .pretrained_arguments import check_layer_names
from .registry import is_own
from .weights import check_tag, check_taken, damage, is_backbone, no_tags, weight_tags, weights_overlay
from .zerosnet import default_cfgs

FOLDER, HUB = 'local-dir:', ('hf-hub:', 'hf_hub:')
TIMEOUT = 10  # seconds that the Hub has for its first answer
WEIGHT_FILE = 'model.safetensors'
WEIGHT_SUM = 'weight_file_sha256'
"""The key of config.json that holds the sha256 of the weight file. timm has no such key and leaves it alone."""


def is_outside(name: str) -> bool:
    """Whether a name is that of a model on the Hub or in a folder."""
    return name.startswith((FOLDER, *HUB))


def model_config(name: str) -> dict[str, Any]:
    """timm's configuration of a model.

    Args:
        name: Any name of a model, see the module.

    Raises:
        UnknownModelError: for a name or tag that timm does not know (gives the nearest), or where the Hub or the folder
            has no configuration of a model that timm knows.
        WeightError: for an empty tag, or packaged weights whose model's name another package has.
    """
    if is_outside(name):
        return _outside_config(name)
    check_tag(name)
    check_taken(name)
    if is_backbone(name):
        return {**_registered_config(name.partition('.')[0]), **weights_overlay(name)}
    if not timm.is_model(name):
        near = nearest(name.partition('.')[0], timm.list_models())
        advice = f'the nearest are {", ".join(near)}' if near else 'see timm.list_models()'
        if '/' in name:
            advice = f'hf-hub:{name} is one of the Hub, local-dir:{name} one in a folder'
        if Path(name).is_file():
            advice = f'it is a file: --model NAME --checkpoint {name} takes its weights'
        raise UnknownModelError(f'timm knows no model {name!r}; {advice}')
    return _registered_config(name)


def create(name: str, pretrained: bool = True, **arguments: Any) -> nn.Module:
    """``timm.create_model`` for any name of a model, see the module.

    Raises:
        UnknownModelError: for a model that the Hub or a folder does not give.
        WeightError: for an empty tag, packaged weights whose model's name another package has, and weights that differ
            from the sha256 in the config beside them.
        ValueError: for layers of a network of this package that timm does not have.
    """
    check_tag(name)
    check_taken(name)
    if is_own(name.partition('.')[0]):
        check_layer_names(arguments)
    name = reachable_name(name, pretrained)
    if is_backbone(name):
        name, arguments = name.partition('.')[0], _with_overlay(name, arguments)
    return timm.create_model(name, pretrained, **arguments)


def architecture_name(name: str) -> str:
    """The name by which timm makes the network of a model, which on the Hub and in a folder their config says."""
    return str(model_config(name).get('architecture') or name) if is_outside(name) else name


def script_arguments(arguments: list[str], args: argparse.Namespace) -> list[str]:
    """Arguments with which timm's train.py and validate.py find a model that they do not find by its name.

    Args:
        arguments: Those of the user.
        args: The same, parsed.
    """
    if is_backbone(args.model):
        overlay = _with_overlay(args.model, args.model_kwargs)
        words = (f'{key}={value!r}' for key, value in overlay.items())
        return [*arguments, '--model', args.model.partition('.')[0], '--model-kwargs', *words]
    name = reachable_name(args.model, pretrained=False)
    return arguments if name == args.model else [*arguments, '--model', name]


def reachable_name(name: str, pretrained: bool = True) -> str:
    """The name by which timm finds a model now: where the Hub does not answer, that of its folder in the cache.

    Args:
        name: Any name of a model; those that are not of the Hub stay as they are.
        pretrained: Whether to compare the weights with the sha256 that the config names, if it names one.

    Raises:
        UnknownModelError: saying why there is no configuration.
        WeightError: if the weights differ from their config.
    """
    if not is_outside(name):
        return name
    found = _find(name)
    expected = _read_config(found.config).get(WEIGHT_SUM)
    if pretrained and expected:
        _verify(name, found, expected)
    return f'{FOLDER}{found.config.parent}' if found.only_cached else name


def _registered_config(name: str) -> dict[str, Any]:
    try:
        cfg = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag
        model = name.partition('.')[0]
        of_timm = [other.partition('.')[2] for other in timm.list_models(model, include_tags=True)]
        tags = shorten(default_cfgs[model].tags if is_own(model) else [*weight_tags(model), *of_timm])
        reasons = [one_line(error), f'expected {tags}' if tags else no_tags(model), damage() or '']
        raise UnknownModelError(f'--model {name}: {"; ".join(filter(None, reasons))}') from error
    return cfg.to_dict() if cfg else {}


def _with_overlay(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    given = arguments.get('pretrained_cfg_overlay') or {}
    return {**arguments, 'pretrained_cfg_overlay': {**weights_overlay(name), **given}}


def _outside_config(name: str) -> dict[str, Any]:
    try:
        config = _read_config(_find(name).config)
    except UnknownModelError as error:
        raise UnknownModelError(f'--model {name}: {error}') from error.__cause__
    if not timm.is_model(str(config['architecture'])):
        raise UnknownModelError(
            f'--model {name}: its config.json names {config["architecture"]!r}, which is no model that timm knows'
        )
    return config


def _read_config(path: Path) -> dict[str, Any]:
    """A configuration as timm takes it: what lies beside ``pretrained_cfg`` comes first."""
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
        found = {**config.get('pretrained_cfg', {}), **config, 'architecture': config['architecture']}
        return {'label_names': found.get('labels'), **found}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnknownModelError(
            f'{path} is no configuration of a model ({type(error).__name__}: {one_line(error)})'
        ) from error


@dataclass(frozen=True)
class _Found:
    """Where a model on the Hub or in a folder was found.

    Args:
        config: The file of its configuration, in the folder or in the cache of the Hub.
        repo: Its repository on the Hub, ``ORG/NAME``; None for a folder.
        revision: The revision of the repository, None for the newest.
        only_cached: Whether the Hub does not answer, so that the cache is all there is.
    """

    config: Path
    repo: str | None = None
    revision: str | None = None
    only_cached: bool = False


def _find(name: str) -> _Found:
    place = name.partition(':')[2]
    if not name.startswith(HUB):
        config = Path(place, 'config.json')
        if not place or not config.is_file():
            raise UnknownModelError(
                f'{config} does not exist: expected a folder with config.json and weights, as timm saves them or '
                '`hf download` fetches them'
            )
        return _Found(config)
    repo, _, given = place.partition('@')
    revision = given or None
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UnknownModelError(f'expected hf-hub:ORG/NAME, got {name} ({one_line(error)})') from error
    if cached := _cached_if_unreachable(repo, revision):
        return _Found(cached, repo, revision, only_cached=True)
    try:
        return _Found(Path(hf_hub_download(repo, 'config.json', revision=revision)), repo, revision)
    except Exception as error:  # huggingface_hub and its HTTP client each raise their own
        raise UnknownModelError(_reason(error, repo)) from error


def _cached_if_unreachable(repo: str, revision: str | None) -> Path | None:
    """The config in the cache if the Hub does not answer, otherwise None.

    It is asked once: huggingface_hub would ask for half a minute, and again for each file.
    """
    try:
        answer = get_session().head(hf_hub_url(repo, 'config.json', revision=revision), timeout=TIMEOUT)
        if answer.status_code >= 500:
            raise ConnectionError(f'it answers {answer.status_code}')
        return None
    except Exception as error:  # the HTTP client's own, and OfflineModeIsEnabled
        reason = f'the Hub ({constants.ENDPOINT}) cannot be reached ({type(error).__name__}: {one_line(error)})'
        cached = try_to_load_from_cache(repo, 'config.json', revision=revision)
        if not isinstance(cached, str):
            raise UnknownModelError(
                f'{reason} and the cache does not hold {repo}: look at the network, a proxy, HF_ENDPOINT and '
                f'HF_HUB_OFFLINE, or run `hf download {repo} --local-dir DIR` elsewhere, bring DIR here and give '
                '--model local-dir:DIR'
            ) from error
        print(f'{reason}: going on with what the cache holds of {repo}', file=sys.stderr)
        return Path(cached)


def _reason(error: BaseException, repo: str) -> str:
    """Why the Hub does not give a configuration; huggingface_hub says the rest well itself."""
    while not isinstance(error, HfHubHTTPError) and error.__cause__:
        error = error.__cause__
    login = 'log in by `hf auth login` or set HF_TOKEN'
    if isinstance(error, GatedRepoError) or not isinstance(error, HfHubHTTPError):
        return f'the Hub gives no config.json of {repo}: {type(error).__name__}: {one_line(error)}'
    if isinstance(error, RepositoryNotFoundError):
        return f'the Hub has no {repo}, or it is private: look at the name, or {login}, with a token that may read it'
    if error.response.status_code == 401 and get_token():
        return f'the Hub refused the token: it is wrong, expired or revoked. Remove it by `hf auth logout`, or {login}'
    return f'the Hub gives no config.json of {repo}: {type(error).__name__}: {one_line(error)}'


def _verify(name: str, found: _Found, expected: str) -> None:
    """Compare the weights with the sha256 that their config names."""
    path = found.config.with_name(WEIGHT_FILE)
    if found.repo and not found.only_cached:
        path = Path(hf_hub_download(found.repo, WEIGHT_FILE, revision=found.revision))
    if not path.is_file():
        raise WeightError(f'{name}: {path} does not exist, but config.json names its sha256 {expected}: fetch it again')
    path = path.resolve()  # in the cache it is a link
    if (given := sha256(path)) != expected:
        raise WeightError(
            f'{name}: {path} is damaged or was changed: its config.json expects sha256 {expected}, got {given}; '
            + f'delete this file and {"ask again, which fetches it anew" if found.repo else "fetch it again"}'
        )
