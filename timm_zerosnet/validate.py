"""``python -m timm_zerosnet.validate [validate.py arguments]``: timm's validate.py, on the CPU if need be."""

from __future__ import annotations

import sys

from .timm_scripts import launch

USAGE = """usage: timm-zerosnet validate --model NAME [--timm-scripts DIR] [arguments of timm's validate.py]

example: timm-zerosnet validate --model zerosnet20 --pretrained --data-dir cifar10 --split validation"""


def main(arguments: list[str] | None = None) -> int:
    """Run the launcher; returns the exit code."""
    return launch('validate', USAGE, arguments, list)


if __name__ == '__main__':
    sys.exit(main())
