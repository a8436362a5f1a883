"""``timm-zerosnet demo``: the command of ``timm_zerosnet.demo``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable

from .._files import need

EXAMPLES = 'timm-zerosnet demo --out digits --epochs 5'


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser, see ``commands.robustness.register``."""
    text = 'Fine-tune a pretrained zerosnet20 on handwritten digits and measure it on clean and on noisy images.'
    demo = command('demo', _run_demo, text, EXAMPLES)
    demo.add_argument('--out', default='timm-zerosnet-demo', help='folder for the plot and the table')
    demo.add_argument(
        '--seed', type=int, default=0, help='seed of the split, the order of the images, the new layers and the noise'
    )
    demo.add_argument('--epochs', type=int, default=3, help='number of epochs of each of the two trainings')


def _run_demo(args: argparse.Namespace) -> None:
    need('robustness')
    from ..demo import run

    run(Path(args.out), seed=args.seed, epochs=args.epochs)
