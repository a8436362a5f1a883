"""The figures of the documents that are drawn from formulas, from results or from the manifest.

    python benchmarks/figures.py [growth] [family] [noise] [depths]

``docs/growth.svg`` shows how a perturbation grows through the blocks, ``docs/family.svg`` the parasitic radius of
ZeroSNet's family over mu, ``docs/noise.svg`` the accuracy of each training under noise, and ``docs/depths.svg`` the
accuracy of each depth by the recipe ``long``. Without a name, all of them are drawn.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from records import read_csv

from timm_zerosnet import METHODS, MultistepMethod, parse_method
from timm_zerosnet.maintain.models_table import REPORTED_RESNETS
from timm_zerosnet.maintain.tables import DEPTHS, NOISES, ROBUSTNESS
from timm_zerosnet.methods import zerosnet_coefficients
from timm_zerosnet.robustness.analysis.grids import architecture_of
from timm_zerosnet.weights import manifest

DOCS = Path(__file__).resolve().parent.parent / 'docs'
SHOWN = ('euler', 'zerosnet-opt', 'midpoint', 'lm(1.05)', 'all-ones')
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#555555')
STYLE: Any = {'svg.hashsalt': 'timm-zerosnet', 'font.size': 10, 'axes.spines.top': False, 'axes.spines.right': False}


def perturbation(method: MultistepMethod, blocks: int) -> np.ndarray:
    """(blocks + 1,) size of a perturbation after each block, without slopes; it is 1 in the oldest state at first."""
    a = np.array(method.a, dtype=float)
    states = np.zeros(len(a))
    states[-1] = 1.0
    sizes = [1.0]
    for _ in range(blocks):
        states = np.append(a @ states, states[:-1])
        sizes.append(states[0])
    return np.array(sizes)


def growth() -> Figure:
    """Draw how a perturbation of size 1 grows through 18 blocks of each method."""
    figure = Figure(figsize=(7, 3.4), layout='constrained')
    axes = figure.subplots()
    for name, colour in zip(SHOWN, COLOURS, strict=True):
        sizes = perturbation(parse_method(name), 18)
        axes.plot(sizes, color=colour, marker='o', markersize=3, label=name)
    axes.set(xlabel='block', ylabel='perturbation of the state', ylim=(-0.1, 3), xticks=range(0, 19, 3))
    axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
    return figure


def radius(method: MultistepMethod) -> float:
    """The parasitic radius of a consistent method, which always has one."""
    assert method.parasitic_radius is not None
    return method.parasitic_radius


def family() -> Figure:
    """Draw the parasitic radius of ZeroSNet's family over mu, with the methods that have a name."""
    figure = Figure(figsize=(7, 3.4), layout='constrained')
    axes = figure.subplots()
    mus = [Fraction(i, 100) for i in range(-200, 401, 2)]
    radii = [radius(MultistepMethod(a, (b0,))) for a, b0 in map(zerosnet_coefficients, mus)]
    axes.axvspan(-1, 3, color='#009e73', alpha=0.12, label='zero-stable, -1 <= mu < 3')
    axes.plot(np.array(mus, dtype=float), radii, color='#0072b2')
    axes.axhline(1, color='#555555', linewidth=0.8, linestyle=':')
    axes.plot(
        -5 / 9, radius(METHODS['zerosnet-opt']), 'o', color='#d55e00', label='zerosnet: lambda = -9/5, radius 1/3'
    )
    axes.plot(1, radius(parse_method('zerosnet(1)')), 's', color='#cc79a7', label='start of zerosnet_tra')
    axes.plot(-1, 1, '^', color='#555555', label='midpoint: lambda = -1')
    axes.set(xlabel='mu = 1 / lambda', ylabel='parasitic radius', xlim=(-2, 4), ylim=(0, 2))
    axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
    return figure


def accuracies(part: str) -> dict[str, list[float]]:
    """Top-1 of each training by architecture, in percent, averaged over corruptions and levels.

    Args:
        part: A part of ``results/robustness.csv``, or ``DATA-clean`` for accuracy on clean images.
    """
    found: dict[str, dict[str, float]] = {}
    for row in read_csv(ROBUSTNESS):
        if row['part'].endswith(DEPTHS):
            continue
        values = {f'{row["data"]}-clean': float(row['clean']), row['part']: 100 - float(row['mean_error'])}
        if part in values:
            found.setdefault(architecture_of(row['model']), {})[row['model']] = values[part]
    return {name: list(values.values()) for name, values in found.items()}


def noise() -> Figure:
    """Draw a dot for each training and a line for the mean of several, clean and under each set of noise."""
    figure = Figure(figsize=(9, 3.6), layout='constrained')
    for axes, (noise, title) in zip(figure.subplots(1, len(NOISES)), NOISES.items(), strict=True):
        found = accuracies(f'cifar10-{noise}')
        for x, (values, colour) in enumerate(zip(found.values(), cycle(COLOURS))):
            axes.plot([x] * len(values), values, 'o', color=colour, alpha=0.7)
            if len(values) > 1:
                mean = sum(values) / len(values)
                axes.plot([x - 0.3, x + 0.3], [mean, mean], color=colour)
        names = [name.partition('.')[0] for name in found]
        axes.set_xticks(range(len(names)), names, rotation=60, ha='right', rotation_mode='anchor')
        axes.set(title=title.replace('`', ''), xlim=(-0.6, len(names) - 0.4))
        axes.margins(y=0.15)
    figure.axes[0].set_ylabel('top-1, %')
    return figure


def accuracies_by_depth() -> dict[str, dict[int, float]]:
    """Top-1 of zerosnet's weights on CIFAR-10 by recipe and depth, mean of several, and of the reported ResNets."""
    found: dict[str, dict[int, list[float]]] = {'long': {}, 'short': {}}
    for name, row in manifest().items():
        depth, of_recipe = re.fullmatch(r'zerosnet(\d+)\.cifar10(_\w+)?', name), found.get(Path(row['recipe']).stem)
        if depth and of_recipe is not None:
            of_recipe.setdefault(int(depth[1]), []).append(row['top1'])
    means = {f'zerosnet, {recipe}': {n: sum(v) / len(v) for n, v in rows.items()} for recipe, rows in found.items()}
    return {**means, 'ResNet, as reported': REPORTED_RESNETS['cifar10']}


def depths() -> Figure:
    """Draw top-1 against depth, see ``accuracies_by_depth``."""
    series = accuracies_by_depth()
    shown = sorted(set().union(*series.values()))
    figure = Figure(figsize=(7, 3.4), layout='constrained')
    axes = figure.subplots()
    for (label, values), colour, marker in zip(series.items(), COLOURS[:3], 'os^', strict=True):
        points = sorted(values.items())
        places = [shown.index(depth) for depth, _ in points]
        axes.plot(places, [top1 for _, top1 in points], color=colour, marker=marker, label=label)
    axes.set(xlabel='depth', ylabel='top-1, %')
    axes.set_xticks(range(len(shown)), list(map(str, shown)))
    axes.legend(frameon=False, loc='upper left', bbox_to_anchor=(1, 1))
    return figure


FIGURES = {'growth': growth, 'family': family, 'noise': noise, 'depths': depths}
SOURCES = {'noise': ROBUSTNESS.read_bytes, 'depths': lambda: repr(accuracies_by_depth()).encode()}


def drawn_from(name: str) -> dict[str, str]:
    """The hash of what a figure shows; a test compares it with the file, to find one of older results."""
    return {'Description': hashlib.sha256(SOURCES[name]()).hexdigest()} if name in SOURCES else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help=f'{", ".join(FIGURES)}; default: all')
    args = parser.parse_args()
    if unknown := sorted(set(args.names) - set(FIGURES)):
        parser.error(f'expected names among {", ".join(FIGURES)}, got {unknown[0]}')
    with rc_context(STYLE):
        for name in args.names or FIGURES:
            FIGURES[name]().savefig(DOCS / f'{name}.svg', metadata={'Date': None, **drawn_from(name)})
            print(DOCS / f'{name}.svg')


if __name__ == '__main__':
    main()
