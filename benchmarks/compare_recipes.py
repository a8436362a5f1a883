"""How recipes compare at equal epochs on images held out from the training set.

    python benchmarks/compare_recipes.py
    python benchmarks/compare_recipes.py --add RUN --name muon --hours 0.4

Both write the table and the figure of docs/recipes.md. The second line first stores a run of ``timm-zerosnet train``:
its log in ``results/recipes_epochs.csv``, its changes of the recipe ``short`` in ``results/recipes.csv``.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from records import processor_name, read_csv, replace_table, save_plot, write_csv

from timm_zerosnet._errors import WeightError
from timm_zerosnet._markdown import markdown_table
from timm_zerosnet.maintain.add_weight import reproduction_command
from timm_zerosnet.training.logs import read_log

RUNS = Path(__file__).parent / 'results' / 'recipes.csv'
EPOCHS = RUNS.with_name('recipes_epochs.csv')
DOCUMENT = Path(__file__).resolve().parent.parent / 'docs' / 'recipes.md'
FIGURE = DOCUMENT.with_suffix('.svg')
COLOURS = ('#555555', '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
STYLE: Any = {'svg.hashsalt': 'timm-zerosnet', 'font.size': 10}


def options(run: dict[str, Any]) -> str:
    """What the arguments of a run change in the recipe ``short``, as options of train.py without ``--epochs``."""
    told_elsewhere = ('epochs', 'amp', 'amp_dtype')
    compared = {key: value for key, value in run.items() if key not in told_elsewhere}
    command = reproduction_command(f'{run["model"]}.cifar10', 'short', compared)
    return command.partition('--data-dir data')[2].strip()


def add(run: Path, name: str, hours: float) -> None:
    """Store a run, in place of one of the same name and number of epochs."""
    log = read_log(run / 'summary.csv')
    with (run / 'summary.csv').open(newline='', encoding='utf-8') as file:
        curve = {int(row['epoch']): row for row in csv.DictReader(file) if row['epoch'] != 'epoch'}
    row = {
        'name': name,
        'epochs': log.epoch + 1,
        'options': options(log.args),
        'precision': log.args['amp_dtype'] if log.args.get('amp') else 'float32',
        'processor': processor_name(),
        'hours': f'{hours:.2f}',
        'train_loss': f'{float(curve[log.epoch]["train_loss"]):.4f}',
        'top1': f'{log.top1:.2f}',
    }
    key = name, str(row['epochs'])
    write_csv(RUNS, [*_others(RUNS, key), row])
    epochs = [
        {'name': name, 'epochs': row['epochs'], 'epoch': epoch, 'top1': f'{float(found["eval_top1"]):.2f}'}
        for epoch, found in sorted(curve.items())
    ]
    write_csv(EPOCHS, [*_others(EPOCHS, key), *epochs])


def _others(path: Path, key: tuple[str, str]) -> list[dict[str, str]]:
    return [row for row in read_csv(path) if (row['name'], row['epochs']) != key] if path.is_file() else []


def table(rows: list[dict[str, str]]) -> str:
    """The runs, the shortest first and of these the best."""
    rows = sorted(rows, key=lambda row: (int(row['epochs']), -float(row['top1'])))
    columns = ('precision', 'hours', 'train_loss', 'top1')
    cells = [
        [
            row['epochs'],
            row['name'],
            f'`{row["options"]}`' if row['options'] else 'nothing',
            *(row[key] for key in columns),
        ]
        for row in rows
    ]
    header = ('epochs', 'recipe', 'what it changes in `short`', 'precision', 'hours', 'training loss', 'top-1, %')
    return markdown_table(header, cells, 'rlllrrr')


def document(text: str) -> str:
    """The text of docs/recipes.md with its table made anew."""
    return replace_table(text, 'recipes', table(read_csv(RUNS)))


def figure(rows: list[dict[str, str]]) -> Figure:
    """Held-out accuracy after each epoch, a panel for each length of training."""
    lengths = sorted({int(row['epochs']) for row in rows})
    drawn = Figure(figsize=(4.5 * len(lengths), 3.4), layout='constrained')
    names = list(dict.fromkeys(row['name'] for row in rows))
    for axes, length in zip(drawn.subplots(1, len(lengths), sharey=True, squeeze=False)[0], lengths, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            curve = [row for row in rows if row['name'] == name and int(row['epochs']) == length]
            if curve:
                x, y = ([float(row[key]) for row in curve] for key in ('epoch', 'top1'))
                axes.plot([epoch + 1 for epoch in x], y, color=colour, marker='o', markersize=3, label=name)
        axes.set(xlabel=f'epoch of {length}', ylabel='held-out top-1, %', ylim=(50, 94))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    lines = {line.get_label(): line for axes in drawn.axes for line in axes.lines}
    drawn.legend(handles=list(lines.values()), frameon=False, loc='outside upper left', ncols=3)
    return drawn


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--add', type=Path, metavar='RUN', help='folder of a run, with args.yaml and summary.csv')
    parser.add_argument('--name', help='what the recipe of the run is called in the table')
    parser.add_argument('--hours', type=float, help='that the run took')
    args = parser.parse_args()
    given = [args.add, args.name, args.hours]
    if None in given and any(value is not None for value in given):
        parser.error('expected --add, --name and --hours together, or none of them')
    if args.add:
        try:
            add(args.add, args.name, args.hours)
        except WeightError as error:
            parser.error(str(error))
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding='utf-8')), encoding='utf-8')
    with rc_context(STYLE):
        save_plot(figure(read_csv(EPOCHS)), FIGURE)
    print(DOCUMENT, FIGURE, sep='\n')


if __name__ == '__main__':
    main()
