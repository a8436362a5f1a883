"""Packaged weights on the Hugging Face Hub: one repository for each, one commit for each change."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator

import timm
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError
from timm.models import save_for_hf

from .. import __version__, weights
from .._errors import nearest, one_line
from .._files import cannot_write, make_folder, writing
from ..model_names import WEIGHT_FILE, WEIGHT_SUM, model_config
from .cards import model_card


class PublishError(RuntimeError):
    """A weight cannot be published; the message says why and how to go on."""


@dataclass(frozen=True)
class Published:
    """A repository on the Hub and what was done to it: ``'created'``, ``'updated'`` or ``'unchanged'``."""

    url: str
    state: str

    def __str__(self) -> str:
        return f'{self.url}: {self.state}'


def select(names: Iterable[str] = ()) -> list[str]:
    """The packaged weights that are to be published, each of them intact.

    Args:
        names: ``model.tag`` of each weight; the default are all of this package's networks.

    Raises:
        PublishError: for a name that has no packaged weight (gives the nearest), or is a network of timm's own.
        WeightError: if a packaged file is not what the manifest says.
    """
    packaged = weights.manifest()
    chosen = list(dict.fromkeys(names)) or weights.own_weights()
    for name in chosen:
        if name not in packaged:
            near = nearest(name, packaged, 3, 0.3) or packaged
            raise PublishError(f'there is no packaged weight {name!r}; nearest: {", ".join(near)}')
        weights.check_taken(name)
        if weights.is_backbone(name):
            raise PublishError(f"expected a network of this package, got {name}, which is one of timm's own")
        weights.verify(name)
    return chosen


def repo_of(namespace: str, name: str) -> str:
    """``NAMESPACE/NAME``.

    Raises:
        PublishError: if the namespace cannot be the name of a user or an organization.
    """
    try:
        for repo_id in (namespace, f'{namespace}/{name}'):
            validate_repo_id(repo_id)
    except HFValidationError:
        raise PublishError(
            'namespace: expected the name of a user or an organization of the Hub, made of letters, digits, single - '
            f'and _, got {namespace!r}'
        ) from None
    return repo_id


def write_folder(name: str, repo_id: str, folder: Path) -> None:
    """Write what the repository of a packaged weight holds: ``model.safetensors``, ``config.json``, ``README.md``.

    Each file is finished elsewhere before it replaces one that is there.

    Args:
        name: ``model.tag`` of the weight.
        repo_id: The repository ``ORG/NAME``, which the card names.
        folder: The folder to write, made if need be.

    Raises:
        WeightError: if the packaged file is not what the manifest says.
        OutputError: if the folder cannot be written.
    """
    weights.verify(name)
    model = timm.create_model(name, pretrained=True)
    make_folder(folder)
    with writing(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix='.publishing-') as scratch:
        finished = Path(scratch, 'finished')
        labels = {'label_names': model_config(name)['label_names']}
        try:
            save_for_hf(model, str(finished), model_config=labels, safe_serialization=True)
        except SafetensorError as error:  # a full disk, which is no OSError there
            raise cannot_write(folder, one_line(error), 'make room there, or name another place') from error
        # timm's own copy of the weights has other types and another sha256
        (finished / WEIGHT_FILE).unlink()
        shutil.copyfile(weights.WEIGHTS / f'{name}.safetensors', finished / WEIGHT_FILE)
        config = json.loads((finished / 'config.json').read_text(encoding='utf-8'))
        # the architecture's name says it all, and transformers passes num_classes beside them
        config.pop('model_args', None)
        config[WEIGHT_SUM] = weights.manifest()[name]['sha256']
        (finished / 'config.json').write_text(json.dumps(config, indent=2) + '\n', encoding='utf-8')
        (finished / 'README.md').write_text(str(model_card(name, repo_id)), encoding='utf-8')
        for path in finished.iterdir():
            os.replace(path, folder / path.name)


def publish(
    names: Iterable[str], namespace: str, *, private: bool = False, api: HfApi | None = None
) -> Iterator[Published]:
    """Bring the repositories ``NAMESPACE/MODEL.TAG`` of packaged weights up to date, one after the other.

    A repository is created if it is missing. What differs from the files there goes into one commit; where nothing
    differs there is none. So whatever interrupts this, doing it again completes it.

    Args:
        names: The weights to publish, see ``select``.
        namespace: A user or an organization of the Hub.
        private: Make new repositories private; those that exist stay as they are.
        api: The Hub; the default is that of ``HF_ENDPOINT`` with the token of ``HF_TOKEN`` or of ``hf auth login``.

    Yields:
        What was done to each repository.

    Raises:
        PublishError: for an unknown weight, a wrong namespace, a missing or refused token, one without the right to
            write there, and whatever else the Hub or the way to it fails with. The token is in none of the messages.
        WeightError: if a packaged file is not what the manifest says.
    """
    repos = {name: repo_of(namespace, name) for name in select(names)}
    api = api or HfApi(library_name='timm-zerosnet', library_version=__version__)
    with _explained(api, namespace, 'the token could not be checked'):
        _check_token(api)
        api.whoami()
    for name, repo_id in repos.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, name)
            write_folder(name, repo_id, folder)
            with _explained(api, namespace, f'{repo_id} is not complete'):
                state = _upload(api, repo_id, folder, private)
        yield Published(f'{api.endpoint}/{repo_id}', state)


def _upload(api: HfApi, repo_id: str, folder: Path, private: bool) -> str:
    """Upload what differs; returns what was done to the repository."""
    try:
        before = api.model_info(repo_id).sha
    except RepositoryNotFoundError:
        before = None
        # None: an organization may have private as its default
        api.create_repo(repo_id, private=private or None, exist_ok=True)
    message = f'Publish {folder.name} with timm-zerosnet {__version__}'
    commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    if before is None:
        return 'created'
    return 'unchanged' if commit.oid == before else 'updated'


def _token(api: HfApi) -> str | None:
    return api.token if isinstance(api.token, str) else get_token()


def _check_token(api: HfApi) -> None:
    """Refuse a token that the HTTP client would refuse with a message that shows it."""
    token = _token(api)
    if not token:
        raise PublishError('there is no Hub token')
    if not re.fullmatch('[!-~]+', token):
        raise PublishError('the Hub token is damaged: it holds blanks or characters that no token has')


@contextmanager
def _explained(api: HfApi, namespace: str, state: str) -> Iterator[None]:
    """Turn whatever the Hub, its client or the connection fails with into a PublishError.

    Args:
        api: The Hub.
        namespace: Whose repositories are written.
        state: What a failure of the body means, in words.
    """
    new_token = (
        f'Make one that may write to {namespace} at {api.endpoint}/settings/tokens and store it by `hf auth login`, or '
        f'set HF_TOKEN{", which is set and comes first" if os.environ.get("HF_TOKEN") else ""}.'
    )
    again = 'Then run the same command again: it does what is left.'
    try:
        yield
    except PublishError as error:
        raise PublishError(f'{error}. {new_token}') from None
    except OfflineModeIsEnabled:
        raise PublishError(f'{state}: HF_HUB_OFFLINE is set. Unset it; --dry-run needs no network.') from None
    except Exception as error:  # huggingface_hub, its HTTP client and its upload each raise their own
        cause: BaseException = error
        while not isinstance(cause, HfHubHTTPError) and cause.__cause__:
            cause = cause.__cause__
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
        reason = f'{type(cause).__name__}: {one_line(cause)}'.replace(_token(api) or '\0', '***')
        if status == 401:
            message = f'the Hub refused the token: it is wrong, expired or revoked. {new_token} {again}'
        elif status == 403:
            message = f'{state}: the token lacks the right to write to {namespace} ({reason}). {new_token} {again}'
        else:
            message = (
                f'{state}: {api.endpoint} could not be reached or did not do it ({reason}). No file there is half '
                f'written. Look at the network, a proxy, HF_ENDPOINT. {again}'
            )
        raise PublishError(message) from error
