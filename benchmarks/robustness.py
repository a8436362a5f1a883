"""Noise robustness of ``NETWORKS`` on full test sets, three noise seeds; writes results/robustness.

    python benchmarks/robustness.py --data-dir DIR [--download]

Each run has a folder of its own in ``--runs``; started again, it does what is left. ``results/robustness`` has the
reports, ``results/robustness.csv`` one row for each model, ``results/robustness-pairs.csv`` one for each pair of
``zerosnet20`` with another network, ``results/robustness-trainings.csv`` one for each such pair if both were
trained several times, clean accuracy included. ``timm-zerosnet weights tables`` makes the model card's table of the
pairs and the README's of the trainings, ``benchmarks/trainings.py`` its picture.
"""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records import read_csv, write_csv

from timm_zerosnet.maintain import tables
from timm_zerosnet.robustness import SUITES
from timm_zerosnet.robustness.analysis.baselines import write_baseline
from timm_zerosnet.robustness.analysis.comparison import Trainings, compare_trainings
from timm_zerosnet.robustness.analysis.grids import architecture
from timm_zerosnet.robustness.analysis.run import analyse, compare_run
from timm_zerosnet.robustness.data import load_data
from timm_zerosnet.robustness.report.markdown import decided
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import Store, read_cells
from timm_zerosnet.weights import manifest

RESULTS = Path(__file__).parent / 'results'
KEPT = ('report.html', 'table.md', 'cells.csv')
SEEDS = range(3)
NETWORKS = ('zerosnet20', 'zerosnet20_tra', 'preresnet20', 'lmresnet20', 'resnet10t')
BASELINE = 'preresnet20.cifar10'


@dataclass(frozen=True)
class Part:
    """One set of files; parts with one data set and suite share a store, so that no cell is measured twice."""

    name: str
    data: str
    suite: str
    noise_only: bool = False

    @property
    def corruptions(self) -> list[str]:
        return [name for name, row in SUITES[self.suite].items() if row.seeded or not self.noise_only]


PARTS = (
    Part('cifar10-zerosnet', 'cifar10', 'zerosnet'),
    Part('cifar10-noise', 'cifar10', 'cifar-c', noise_only=True),
    Part('cifar10-cifar-c', 'cifar10', 'cifar-c'),
    Part('cifar100-zerosnet', 'cifar100', 'zerosnet'),
    Part('cifar100-noise', 'cifar100', 'cifar-c', noise_only=True),
)


def models_of(data: str) -> list[str]:
    """The packaged weights of these networks that were trained on the data set, trainings of one side by side."""
    fit = [name for name, row in manifest().items() if row['data'] == data and name.partition('.')[0] in NETWORKS]
    return sorted(fit, key=lambda name: NETWORKS.index(name.partition('.')[0]))


def trainings_row(place: dict[str, Any], found: Trainings | None) -> list[dict[str, Any]]:
    """The row of two architectures, none where one of them was trained once."""
    if found is None or found.p is None:
        return []
    row = dict(place)
    for side, name, accuracies, sd in zip('ab', found.architectures, found.accuracies, found.sds, strict=True):
        values = list(accuracies.values())
        row |= {side: name, f'trainings_{side}': len(values), f'mean_{side}': sum(values) / len(values)}
        row |= {f'sd_{side}': sd}
    return [row | {'difference': found.difference, 'low': found.low, 'high': found.high, 'p': found.p}]


def clean_trainings(data: str) -> list[dict[str, Any]]:
    """The same of the figures in the manifest: clean top-1."""
    groups: dict[str, dict[str, float]] = {}
    for name in models_of(data):
        groups.setdefault(architecture(name), {})[name] = manifest()[name]['top1']
    ours = architecture(f'zerosnet20.{data}')
    rows = []
    for other in [name for name in groups if ours in groups and name != ours]:
        images = manifest()[next(iter(groups[other]))]['test_images']
        place = {'part': f'{data}-clean', 'data': data, 'images': images}
        rows += trainings_row(place, compare_trainings((ours, other), (groups[ours], groups[other])))
    return rows


def measure(part: Part, args: argparse.Namespace) -> tuple[list[dict[str, Any]], ...]:
    """Run a part and copy its files; returns its rows of the three tables."""
    own = args.data_dir / f'{part.data}.npz'
    images = load_data(str(own) if own.is_file() else f'torch/{part.data}', args.data_dir, args.download)
    models, folder = models_of(part.data), args.runs / f'{part.data}-{part.suite}'
    outcome = run(
        models,
        images,
        folder,
        suite=part.suite,
        corruptions=part.corruptions,
        seeds=SEEDS,
        baseline=BASELINE if BASELINE in models else None,
        batch_size=args.batch_size,
        workers=args.workers,
        data_name=f'the {tables.DATA_NAMES[part.data]} test set',
        progress=True,
    )
    if outcome.failed:
        raise SystemExit('\n'.join(outcome.failed))
    target = RESULTS / 'robustness' / part.name
    target.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copy(folder / name, target / name)
    store = Store(folder)
    place = {'part': part.name, 'data': part.data, 'images': len(images.labels)}
    rows = []
    for name, found in analyse(store).summaries.items():
        spread = {'noise_sd': found.noise_sd, 'clean_ece': found.clean_ece, 'mean_ece': found.mean_ece}
        figures = {'clean': found.clean, 'mean_error': found.mean_error, 'area': found.area}
        figures |= {'worst': found.worst_accuracy, 'mce': found.mce, 'relative_mce': found.relative_mce}
        intervals = {}
        for figure, estimate in figures.items():
            intervals |= {figure: estimate.value, f'{figure}_low': estimate.low, f'{figure}_high': estimate.high}
        rows.append({**place, 'model': name, **intervals, **spread, 'flip_rate': found.mean_flip_rate})
    if BASELINE in models and not part.noise_only:
        cells = read_cells(store, store.plan(), BASELINE)
        write_baseline(cells, BASELINE, part.suite, images.images_sha256())
    store.close()
    ours = f'zerosnet20.{part.data}'
    pairs, trainings = [], []
    for other in [name for name in models if name != ours and '_seed' not in name]:
        found = compare_run(folder, ours, other)
        row, (better, worse) = found.overall, decided(found)
        assert row is not None
        pairs.append(
            {
                **place,
                'a': found.a,
                'b': found.b,
                'accuracy_a': row.accuracy_a,
                'accuracy_b': row.accuracy_b,
                'difference': row.difference,
                'low': row.low,
                'high': row.high,
                'p_holm': row.p_holm,
                'needed': row.smallest,
                'noise_sd': row.noise_sd,
                'better': better,
                'worse': worse,
                'rows': len(found.rows),
            }
        )
        trainings += trainings_row(place, found.trainings)
    return rows, pairs, trainings


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the rows of the parts that were measured; floats have six digits."""
    texts = [{key: f'{value:.6g}' if isinstance(value, float) else value for key, value in row.items()} for row in rows]
    if path.is_file():
        texts += [row for row in read_csv(path) if row['part'] not in {row['part'] for row in rows}]
    order = list(tables.PARTS)
    texts.sort(key=lambda row: order.index(row['part']))
    write_csv(path, texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-dir', type=Path, required=True, help="folder of torchvision's data sets, or NAME.npz")
    parser.add_argument('--download', action='store_true', help='fetch them')
    parser.add_argument(
        '--part',
        nargs='*',
        choices=[part.name for part in PARTS],
        help='measure these alone, or nothing; the rows of clean accuracy and theirs are replaced',
    )
    parser.add_argument('--runs', type=Path, default=Path('robustness-runs'), help='folder of the stores')
    parser.add_argument('--batch-size', type=int)
    parser.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1))
    args = parser.parse_args()
    trainings = clean_trainings('cifar10') + clean_trainings('cifar100')
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for part in PARTS:
        if args.part is None or part.name in args.part:
            for table, found in zip((rows, pairs, trainings), measure(part, args), strict=True):
                table += found
    for name, table in (('robustness', rows), ('robustness-pairs', pairs), ('robustness-trainings', trainings)):
        if table:
            write(RESULTS / f'{name}.csv', table)


if __name__ == '__main__':
    main()
