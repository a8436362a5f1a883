"""``python -m timm_zerosnet.train RECIPE --model NAME [train.py arguments]``: timm's train.py with a recipe."""

from __future__ import annotations

import sys

from .timm_scripts import ScriptError, find_recipe, launch

USAGE = """usage: timm-zerosnet train RECIPE --model NAME [--timm-scripts DIR] [arguments of timm's train.py]

Runs timm's unmodified train.py with a recipe: a YAML file or the name of a packaged one (paper, short).
The scripts come from --timm-scripts or the environment variable TIMM_SCRIPTS.

example: timm-zerosnet train short --model zerosnet20 --data-dir cifar10 --output runs --experiment zerosnet20"""


def _prepare(arguments: list[str]) -> list[str]:
    if not arguments or arguments[0].startswith('-'):
        raise ScriptError(f'the first argument is the recipe, not {" ".join(arguments[:1]) or "nothing"}; see --help')
    return ['--config', str(find_recipe(arguments[0])), *arguments[1:]]


def main(arguments: list[str] | None = None) -> int:
    """Run the launcher; returns the exit code."""
    return launch('train', USAGE, arguments, _prepare)


if __name__ == '__main__':
    sys.exit(main())
