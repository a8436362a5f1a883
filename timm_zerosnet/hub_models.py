"""Configurations of models that lie outside timm: ``hf-hub:ORG/NAME[@REVISION]`` and ``local-dir:FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import constants, get_session, get_token, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
from timm.models import load_model_config_from_hf

from .pretrained import one_line
from .timm_scripts import ScriptError

LOCAL, HUB = ('local-dir:',), ('hf-hub:', 'hf_hub:')
SECONDS = 10


def outside_config(name: str) -> dict[str, Any]:
    """timm's configuration of a model with the prefix of its source.

    Raises:
        ScriptError: saying why there is none, or that its architecture is not one of timm's, and how to go on.
    """
    place = name.partition(':')[2]
    try:
        config, architecture = _from_hub(place) if name.startswith(HUB) else _from_folder(place)
    except ScriptError as error:
        raise ScriptError(f'--model {name}: {error}') from error.__cause__
    if not timm.is_model(str(architecture)):
        raise ScriptError(f'--model {name}: its config.json names {architecture!r}, which is no model that timm knows')
    return config


def _from_folder(folder: str) -> tuple[dict[str, Any], str]:
    path = Path(folder, 'config.json')
    accepted = 'accepted is a folder with config.json and weights, as timm saves them or `hf download` fetches them'
    if not folder or not path.is_file():
        raise ScriptError(f'{path} does not exist; {accepted}')
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
        return {**config.get('pretrained_cfg', {}), **config}, config['architecture']
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ScriptError(f'{path} cannot be read ({type(error).__name__}: {one_line(error)}); {accepted}') from error


def _from_hub(place: str) -> tuple[dict[str, Any], str]:
    repo, _, revision = place.partition('@')
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ScriptError(f'accepted is hf-hub:ORG/NAME ({one_line(error)})') from error
    _ask(repo, revision or None)
    try:
        return load_model_config_from_hf(place)[:2]
    except Exception as error:  # huggingface_hub, its HTTP client and json each raise their own
        raise ScriptError(_reason(error, repo)) from error


def _ask(repo: str, revision: str | None) -> None:
    """Ask once whether the Hub is there: huggingface_hub asks for half a minute and for each file again."""
    try:
        answer = get_session().head(hf_hub_url(repo, 'config.json', revision=revision), timeout=SECONDS)
        if answer.status_code >= 500:
            raise ConnectionError(f'it answers {answer.status_code}')
    except Exception as error:  # the HTTP client's own, and OfflineModeIsEnabled
        said = f'the Hub ({constants.ENDPOINT}) cannot be reached ({type(error).__name__}: {one_line(error)})'
        if not isinstance(try_to_load_from_cache(repo, 'config.json', revision=revision), str):
            raise ScriptError(
                f'{said} and the cache does not hold {repo}: look at the network, a proxy, HF_ENDPOINT and '
                f'HF_HUB_OFFLINE, or run `hf download {repo} --local-dir DIR` elsewhere, bring DIR here and give '
                '--model local-dir:DIR'
            ) from error
        print(f'{said}: going on with what the cache holds of {repo}', file=sys.stderr)
        constants.HF_HUB_OFFLINE = True


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
