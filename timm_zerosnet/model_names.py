"""Configurations of models that lie outside timm: ``hf-hub:ORG/NAME[@REVISION]`` and ``local-dir:FOLDER``."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import timm
from huggingface_hub import constants, get_session, get_token, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from ._errors import ScriptError, WeightError, few, nearest, one_line
from .backbones import is_backbone, refuse_empty_tag, weights_overlay
from .registry import is_own
from .weights import check_taken, damage, no_tags, sha256, weight_tags
from .zerosnet import default_cfgs

LOCAL, HUB = ('local-dir:',), ('hf-hub:', 'hf_hub:')
SECONDS = 10
EXPECTED = 'expected a folder with config.json and weights, as timm saves them or `hf download` fetches them'
WEIGHT_FILE = 'model.safetensors'
WEIGHT_SUM = 'weight_file_sha256'
"""The key of config.json that holds the sha256 of the weight file; beside timm's keys, which bear no other."""


def outside_config(name: str) -> dict[str, Any]:
    """timm's configuration of a model with the prefix of its source.

    Raises:
        ScriptError: saying why there is none, or that its architecture is not one of timm's, and how to go on.
    """
    try:
        config = _read(_find(name).config)
    except ScriptError as error:
        raise ScriptError(f'--model {name}: {error}') from error.__cause__
    if not timm.is_model(str(config['architecture'])):
        raise ScriptError(
            f'--model {name}: its config.json names {config["architecture"]!r}, which is no model that timm knows'
        )
    return config


def outside_name(name: str, pretrained: bool = True) -> str:
    """The name by which timm finds a model: of one whose Hub does not answer, that of its folder in the cache.

    Args:
        name: Any; those without the prefix of a source stay as they are.
        pretrained: Compare the weights with the sha256 that the config names, if it names one.

    Raises:
        ScriptError: saying why there is no configuration.
        WeightError: if the weights differ from their config.
    """
    if not name.startswith(LOCAL + HUB):
        return name
    found = _find(name)
    expected = _read(found.config).get(WEIGHT_SUM)
    if pretrained and expected:
        _verify(name, found, expected)
    return f'local-dir:{found.config.parent}' if found.cached else name


@contextmanager
def cached_if_unreachable(name: str) -> Iterator[None]:
    """Have timm take a model from the cache, without a try, while the Hub does not answer: it would wait for each file.

    Args:
        name: Any.
    """
    before = constants.HF_HUB_OFFLINE
    if name.startswith(HUB) and _find(name).cached:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@dataclass(frozen=True)
class _Found:
    """Where the config of a model lies.

    Args:
        config: In a folder of the user or in the cache.
        repo: Of the Hub, ``ORG/NAME``; None of a folder.
        revision: Of the repo, None for the newest.
        cached: The Hub does not answer, so that the cache is all there is.
    """

    config: Path
    repo: str | None = None
    revision: str | None = None
    cached: bool = False


def _find(name: str) -> _Found:
    place = name.partition(':')[2]
    if not name.startswith(HUB):
        if not place or not Path(place, 'config.json').is_file():
            raise ScriptError(f'{Path(place, "config.json")} does not exist; {EXPECTED}')
        return _Found(Path(place, 'config.json'))
    repo, _, revision = place.partition('@')
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ScriptError(f'accepted is hf-hub:ORG/NAME ({one_line(error)})') from error
    if cached := _ask(repo, revision or None):
        return _Found(cached, repo, revision or None, cached=True)
    try:
        return _Found(Path(hf_hub_download(repo, 'config.json', revision=revision or None)), repo, revision or None)
    except Exception as error:  # huggingface_hub and its HTTP client each raise their own
        raise ScriptError(_reason(error, repo)) from error


def _read(path: Path) -> dict[str, Any]:
    """A configuration as timm takes it: what lies beside ``pretrained_cfg`` comes first."""
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
        found = {**config.get('pretrained_cfg', {}), **config, 'architecture': config['architecture']}
        return {'label_names': found.get('labels'), **found}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ScriptError(f'{path} cannot be read ({type(error).__name__}: {one_line(error)}); {EXPECTED}') from error


def _verify(name: str, found: _Found, expected: Any) -> None:
    """Compare the weights with the sha256 that their config names."""
    path = found.config.with_name(WEIGHT_FILE)
    if found.repo and not found.cached:
        path = Path(hf_hub_download(found.repo, WEIGHT_FILE, revision=found.revision))
    if not path.is_file():
        raise WeightError(f'{name}: {path} does not exist, but config.json names its sha256 {expected}; fetch it again')
    path = path.resolve()  # in the cache it is a link
    if (given := sha256(path)) != expected:
        raise WeightError(
            f'{name}: {path} has sha256 {given}, expected {expected} by its config.json: it is damaged or was changed; '
            + ('delete this file and ask again, which fetches it anew' if found.repo else 'fetch it again')
        )


def _ask(repo: str, revision: str | None) -> Path | None:
    """Ask once whether the Hub is there: huggingface_hub asks for half a minute and for each file again.

    Returns:
        The config in the cache if the Hub does not answer, otherwise None.
    """
    try:
        answer = get_session().head(hf_hub_url(repo, 'config.json', revision=revision), timeout=SECONDS)
        if answer.status_code >= 500:
            raise ConnectionError(f'it answers {answer.status_code}')
        return None
    except Exception as error:  # the HTTP client's own, and OfflineModeIsEnabled
        said = f'the Hub ({constants.ENDPOINT}) cannot be reached ({type(error).__name__}: {one_line(error)})'
        cached = try_to_load_from_cache(repo, 'config.json', revision=revision)
        if not isinstance(cached, str):
            raise ScriptError(
                f'{said} and the cache does not hold {repo}: look at the network, a proxy, HF_ENDPOINT and '
                f'HF_HUB_OFFLINE, or run `hf download {repo} --local-dir DIR` elsewhere, bring DIR here and give '
                '--model local-dir:DIR'
            ) from error
        print(f'{said}: going on with what the cache holds of {repo}', file=sys.stderr)
        return Path(cached)


def _reason(error: BaseException, repo: str) -> str:
    while not isinstance(error, HfHubHTTPError) and error.__cause__:
        error = error.__cause__
    login = 'log in by `hf auth login` or set HF_TOKEN'
    if isinstance(error, GatedRepoError):
        return f'the Hub gives {repo} only to those who accept its terms at {constants.ENDPOINT}/{repo}; then {login}'
    if isinstance(error, RepositoryNotFoundError):
        return f'the Hub has no {repo}, or it is private: look at the name, or {login}, with a token that may read it'
    if isinstance(error, RevisionNotFoundError):
        return f'{repo} has no such revision; without @REVISION it is the newest'
    if isinstance(error, EntryNotFoundError):
        return f'{repo} has no config.json: it is no model for timm'
    if isinstance(error, HfHubHTTPError) and error.response.status_code == 401 and get_token():
        return f'the Hub refused the token: it is wrong, expired or revoked. Remove it by `hf auth logout`, or {login}'
    return f'its config.json cannot be read: {type(error).__name__}: {one_line(error)}'


def model_config(name: str) -> dict[str, Any]:
    """timm's configuration of a model by its name.

    Raises:
        ScriptError: for a name or tag that timm does not know (names the nearest), or a source without config.json.
    """
    if name.startswith(LOCAL + HUB):
        return outside_config(name)
    refuse_empty_tag(name)
    check_taken(name)
    if is_backbone(name):
        return {**timm.get_pretrained_cfg(name.split('.')[0]).to_dict(), **weights_overlay(name)}
    if not timm.is_model(name):
        near = nearest(name.split('.')[0], timm.list_models())
        advice = f'the nearest are {", ".join(near)}' if near else 'see timm.list_models()'
        if '/' in name:
            advice = f'hf-hub:{name} is one of the Hub, local-dir:{name} one in a folder'
        raise ScriptError(f'timm knows no model {name!r}; {advice}')
    try:
        cfg = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag
        model = name.split('.')[0]
        timms = [found.partition('.')[2] for found in timm.list_models(model, include_tags=True)]
        tags = few(default_cfgs[model].tags if is_own(model) else [*weight_tags(model), *timms])
        said = [one_line(error), f'expected {tags}' if tags else no_tags(model), damage() or '']
        raise ScriptError(f'--model {name}: {"; ".join(filter(None, said))}') from error
    return cfg.to_dict() if cfg else {}
