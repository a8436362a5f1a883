"""``python -m timm_zerosnet.train RECIPE --model NAME [train.py arguments]``: timm's train.py with a recipe."""

from __future__ import annotations

import sys

from .timm_scripts import ScriptError, find_recipe, run_script, take_scripts_option

USAGE = """usage: timm-zerosnet train RECIPE --model NAME [--timm-scripts DIR] [arguments of timm's train.py]

Runs timm's unmodified train.py with a recipe: a YAML file or the name of a packaged one (paper, short).
The scripts come from --timm-scripts or the environment variable TIMM_SCRIPTS.

example: timm-zerosnet train short --model zerosnet20 --data-dir cifar10 --output runs --experiment zerosnet20"""


def main(arguments: list[str] | None = None) -> int:
    """Run the launcher; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ('-h', '--help'):
        print(USAGE)
        return 0 if arguments else 2
    try:
        if arguments[0].startswith('-'):
            raise ScriptError(f'the first argument is the recipe, not {arguments[0]}; see --help')
        recipe = find_recipe(arguments[0])
        folder, rest = take_scripts_option(arguments[1:])
        run_script('train.py', ['--config', str(recipe), *rest], folder)
    except ScriptError as error:
        print(f'timm-zerosnet train: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
