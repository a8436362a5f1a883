"""Packages that only some commands need."""

from __future__ import annotations

import importlib.util

EXTRAS = {'robustness': ('sklearn', 'scipy', 'matplotlib', 'jinja2')}


class MissingExtraError(RuntimeError):
    """A command needs packages that are not installed; the message says how to get them."""


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # blocked: by an import hook, by None in sys.modules
        return False


def need(extra: str) -> None:
    """Refuse to go on without the packages of an extra.

    Raises:
        MissingExtraError: naming them and how to install them.
    """
    missing = [name for name in EXTRAS[extra] if not _installed(name)]
    if missing:
        raise MissingExtraError(f'this command needs {", ".join(missing)}: pip install "timm-zerosnet[{extra}]"')
