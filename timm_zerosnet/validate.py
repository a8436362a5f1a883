"""``python -m timm_zerosnet.validate [validate.py arguments]``: timm's validate.py, on the CPU if need be."""

from __future__ import annotations

import sys

from .timm_scripts import ScriptError, run_script, take_scripts_option

USAGE = """usage: timm-zerosnet validate --model NAME [--timm-scripts DIR] [arguments of timm's validate.py]

example: timm-zerosnet validate --model zerosnet20 --pretrained --data-dir cifar10 --split validation"""


def main(arguments: list[str] | None = None) -> int:
    """Run the launcher; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ('-h', '--help'):
        print(USAGE)
        return 0 if arguments else 2
    try:
        folder, rest = take_scripts_option(arguments)
        run_script('validate.py', rest, folder)
    except ScriptError as error:
        print(f'timm-zerosnet validate: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
