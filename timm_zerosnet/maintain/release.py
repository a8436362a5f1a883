"""Where the project can be obtained. A release changes the two constants; no other file holds an address.

``CONTRIBUTING.md``, "A release", says when.
"""

from __future__ import annotations

REPOSITORY: str | None = None
"""The address of the public repository, ``'https://github.com/ORG/timm-zerosnet'``, or None before there is one."""

ON_PYPI = False
"""Whether ``pip install timm-zerosnet`` works."""


def install_command() -> str:
    """Return the command that installs the package today; without a public address it runs in a checkout."""
    if ON_PYPI:
        return 'pip install timm-zerosnet'
    return f'pip install git+{REPOSITORY}' if REPOSITORY else 'pip install -e .'


def install_place() -> str:
    """Return where ``install_command`` is run, as the end of a sentence."""
    return 'anywhere' if ON_PYPI or REPOSITORY else 'in a checkout of timm-zerosnet'
