"""The pictures of docs/maths.md: how a perturbation grows through the blocks, and ZeroSNet's family over mu.

python benchmarks/stability.py
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from timm_zerosnet import METHODS, MultistepMethod, parse_method
from timm_zerosnet.methods import zerosnet_coefficients

DOCS = Path(__file__).parent.parent / 'docs'
SHOWN = ('euler', 'zerosnet-opt', 'midpoint', 'lm(1.05)', 'all-ones')
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#555555')
STYLE = {'svg.hashsalt': 'timm-zerosnet', 'font.size': 10, 'axes.spines.top': False, 'axes.spines.right': False}


def perturbation(method: MultistepMethod, blocks: int) -> np.ndarray:
    """A perturbation by blocks, without slopes: 1 in the oldest of the states that the method reads."""
    a = np.array(method.a, dtype=float)
    states = np.zeros(len(a))
    states[-1] = 1.0
    sizes = [1.0]
    for _ in range(blocks):
        states = np.append(a @ states, states[:-1])
        sizes.append(states[0])
    return np.array(sizes)


def growth() -> Figure:
    figure = Figure(figsize=(7, 3.4), layout='constrained')
    axes = figure.subplots()
    for name, colour in zip(SHOWN, COLOURS, strict=True):
        sizes = perturbation(parse_method(name), 18)
        axes.plot(sizes, color=colour, marker='o', markersize=3, label=name)
    axes.set(xlabel='block', ylabel='perturbation of the state', ylim=(-0.1, 3), xticks=range(0, 19, 3))
    axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
    return figure


def family() -> Figure:
    figure = Figure(figsize=(7, 3.4), layout='constrained')
    axes = figure.subplots()
    mus = [Fraction(i, 100) for i in range(-200, 401, 2)]
    radii = []
    for mu in mus:
        a, b0 = zerosnet_coefficients(mu)
        radii.append(MultistepMethod(a, (b0,)).parasitic_radius)
    axes.axvspan(-1, 3, color='#009e73', alpha=0.12, label='zero-stable, -1 <= mu < 3')
    axes.plot(np.array(mus, dtype=float), radii, color='#0072b2')
    axes.axhline(1, color='#555555', linewidth=0.8, linestyle=':')
    best = METHODS['zerosnet-opt']
    axes.plot(-5 / 9, best.parasitic_radius, 'o', color='#d55e00', label='zerosnet: lambda = -9/5, radius 1/3')
    axes.plot(1, parse_method('zerosnet(1)').parasitic_radius, 's', color='#cc79a7', label='start of zerosnet_tra')
    axes.plot(-1, 1, '^', color='#555555', label='midpoint: lambda = -1')
    axes.set(xlabel='mu = 1 / lambda', ylabel='parasitic radius', xlim=(-2, 4), ylim=(0, 2))
    axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
    return figure


def main() -> None:
    with rc_context(STYLE):
        for name, figure in (('growth', growth()), ('family', family())):
            figure.savefig(DOCS / f'{name}.svg', metadata={'Date': None})
            print(DOCS / f'{name}.svg')


if __name__ == '__main__':
    main()
