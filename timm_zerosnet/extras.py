"""Packages that only some commands need."""

from __future__ import annotations

import importlib.util

EXTRAS = {'robustness': ('sklearn', 'scipy', 'matplotlib', 'jinja2')}


class MissingExtraError(RuntimeError):
    """Packages are not installed; the message names them and the command that installs them."""


def need(extra: str) -> None:
    """Raise ``MissingExtraError`` unless all packages of the extra are installed; none is imported."""
    missing = [name for name in EXTRAS[extra] if not _installed(name)]
    if missing:
        raise MissingExtraError(f'this needs {", ".join(missing)}: pip install "timm-zerosnet[{extra}]"')


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # blocked: by an import hook, by None in sys.modules
        return False
