"""The commands about methods, models and weights; one module for each."""

from typing import Callable

from . import convert, info, listing, predict, stability

MODULES = (stability, listing, info, predict, convert)


def register(command: Callable) -> None:
    """Add the commands, see ``robustness.commands.register``."""
    for module in MODULES:
        module.register(command)
