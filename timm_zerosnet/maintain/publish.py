"""Packaged weights on the Hugging Face Hub: one repo for each, one commit for each change."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator

import timm
from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError
from timm.models import save_for_hf

from .. import __version__
from .. import weights as pretrained
from .._errors import nearest, one_line
from .._files import cannot_write, make_folder, writing
from ..model_names import WEIGHT_SUM
from .cards import model_card


class PublishError(RuntimeError):
    """A weight cannot be published; the message says why and how to go on."""


@dataclass(frozen=True)
class Published:
    """What was done to a repo: whether it is new, and the files that were committed."""

    url: str
    created: bool
    files: tuple[str, ...]

    def __str__(self) -> str:
        if not self.files:
            return f'{self.url}: unchanged'
        count = '1 file' if len(self.files) == 1 else f'{len(self.files)} files'
        return f'{self.url}: {"created" if self.created else "updated"}, {count} ({", ".join(self.files)})'


def select(names: Iterable[str] = ()) -> list[str]:
    """The packaged weights of these names, default all, each of them intact.

    Raises:
        PublishError: for a name that has no packaged weight; gives the nearest.
        WeightError: if a packaged file is not what the manifest says.
    """
    packaged = pretrained.manifest()
    chosen = list(dict.fromkeys(names)) or pretrained.own_weights()
    for name in chosen:
        if name not in packaged:
            near = nearest(name, packaged, 3, 0.3) or packaged
            raise PublishError(f'there is no packaged weight {name!r}; nearest: {", ".join(near) or "none exist"}')
        pretrained.check_taken(name)
        if name in pretrained.backbones():
            raise PublishError(f"{name} is a network of timm's own: accepted are those of this package")
        pretrained.verify(name)
    return chosen


def repo_of(namespace: str, name: str) -> str:
    """``NAMESPACE/NAME``.

    Raises:
        PublishError: if the namespace is no name of a user or organization.
    """
    try:
        for repo_id in (namespace, f'{namespace}/{name}'):
            validate_repo_id(repo_id)
    except HFValidationError:
        raise PublishError(
            f'namespace {namespace!r}: accepted is the name of a user or organization of the Hub, made of letters, '
            'digits, single - and _'
        ) from None
    return repo_id


def write_folder(name: str, repo_id: str, folder: Path) -> None:
    """Write what the repo of a packaged weight holds: ``model.safetensors``, ``config.json`` and ``README.md``.

    Each file is finished elsewhere before it replaces one that is there.

    Raises:
        WeightError: if the packaged file is not what the manifest says.
        OutputError: if the folder cannot be written.
    """
    pretrained.verify(name)
    model = timm.create_model(name, pretrained=True)
    make_folder(folder)
    with writing(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix='.publishing-') as scratch:
        # timm writes weights as well, of another type and with mode 0600: only its config.json is taken
        try:
            save_for_hf(
                model,
                scratch,
                model_config={'label_names': model.pretrained_cfg['label_names']},
                safe_serialization=True,
            )
        except SafetensorError as error:  # a full disk, which is no OSError there
            raise cannot_write(folder, one_line(error), 'make room there, or name another place') from error
        config = json.loads(Path(scratch, 'config.json').read_text(encoding='utf-8'))
        # the architecture's name says it all, and transformers passes num_classes beside them
        config.pop('model_args', None)
        config[WEIGHT_SUM] = pretrained.manifest()[name]['sha256']
        finished = Path(scratch, 'finished')
        finished.mkdir()
        shutil.copyfile(pretrained.WEIGHTS / f'{name}.safetensors', finished / 'model.safetensors')
        (finished / 'config.json').write_text(json.dumps(config, indent=2) + '\n', encoding='utf-8')
        (finished / 'README.md').write_text(str(model_card(name, repo_id)), encoding='utf-8')
        for path in finished.iterdir():
            os.replace(path, folder / path.name)


def publish(
    names: Iterable[str], namespace: str, *, private: bool = False, api: HfApi | None = None
) -> Iterator[Published]:
    """Bring the repos ``NAMESPACE/MODEL.TAG`` of packaged weights up to date, one after the other.

    A repo is created if it is missing. What differs from the files there goes into one commit; where nothing differs
    there is none. So whatever interrupts this, doing it again completes it.

    Args:
        names: See ``select``.
        namespace: A user or organization of the Hub.
        private: Make new repos private; those that exist stay as they are.
        api: The Hub, default that of ``HF_ENDPOINT`` with the token of ``HF_TOKEN`` or of ``hf auth login``.

    Yields:
        What was done, repo by repo.

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
                done = _upload(api, repo_id, sorted(folder.iterdir()), private)
        yield done


def _upload(api: HfApi, repo_id: str, paths: list[Path], private: bool) -> Published:
    created, there = False, {}
    try:
        there = {file.path: file for file in api.get_paths_info(repo_id, [path.name for path in paths])}
    except RepositoryNotFoundError:
        # None: an organization may have private as its default
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        created = True
    changed = [path for path in paths if not _is_same(path, there.get(path.name))]
    if changed:
        api.create_commit(
            repo_id,
            [CommitOperationAdd(path.name, path) for path in changed],
            commit_message=f'Publish {repo_id.split("/")[1]} with timm-zerosnet {__version__}',
        )
    return Published(f'{api.endpoint}/{repo_id}', created, tuple(path.name for path in changed))


def _is_same(path: Path, there: Any) -> bool:
    """Whether the Hub's file has this content: it reports a large file's sha256 and a small one's git blob id."""
    if there is None:
        return False
    if there.lfs is not None:
        return there.lfs.sha256 == pretrained.sha256(path)
    content = path.read_bytes()
    return there.blob_id == hashlib.sha1(b'blob %d\0' % len(content) + content, usedforsecurity=False).hexdigest()


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
    """Turn whatever the Hub, its client or the connection fails with into a PublishError."""
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
        said = f'{type(cause).__name__}: {one_line(cause)}'.replace(_token(api) or '\0', '***')
        if status == 401:
            reason = f'the Hub refused the token: it is wrong, expired or revoked. {new_token} {again}'
        elif status == 403:
            reason = f'{state}: the token lacks the right to write to {namespace} ({said}). {new_token} {again}'
        else:
            reason = (
                f'{state}: {api.endpoint} could not be reached or did not do it ({said}). No file there is half '
                f'written. Look at the network, a proxy, HF_ENDPOINT. {again}'
            )
        raise PublishError(reason) from error
