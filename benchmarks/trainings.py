"""The picture of the README's noise benchmark: a dot for each training, a line for their mean (results/robustness.csv).

python benchmarks/trainings.py
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from records import read_csv
from stability import COLOURS, DOCS, STYLE

from timm_zerosnet.maintain.tables import NOISES
from timm_zerosnet.robustness.analysis.grids import architecture
from timm_zerosnet.weights import sha256

SOURCE = Path(__file__).parent / 'results' / 'robustness.csv'


def accuracies(part: str) -> dict[str, list[float]]:
    """Top-1 of each training by architecture, in percent, mean over noise and levels."""
    found: dict[str, dict[str, float]] = {}
    for row in read_csv(SOURCE):
        values = {f'{row["data"]}-clean': float(row['clean']), row['part']: 100 - float(row['mean_error'])}
        if part in values:
            found.setdefault(architecture(row['model']), {})[row['model']] = values[part]
    return {name: list(values.values()) for name, values in found.items()}


def picture() -> Figure:
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


def main() -> None:
    with rc_context(STYLE):
        picture().savefig(DOCS / 'noise.svg', metadata={'Date': None, 'Description': sha256(SOURCE)})
    print(DOCS / 'noise.svg')


if __name__ == '__main__':
    main()
