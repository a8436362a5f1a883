"""Measure the noise robustness of networks on full test sets with three noise seeds.

Two questions have parts of their own: which of ``NETWORKS`` is more robust, trained by one recipe and several times;
and how robust the default weights of ZeroSNet are at each depth.

    python benchmarks/robustness.py --data-dir DIR [--download]
    python benchmarks/robustness.py --data-dir DIR --baseline   only the packaged baselines' tables

Each run has a folder of its own in ``--runs``; an interrupted one continues where it stopped. The results are

* ``results/robustness.csv``: a row for each model,
* ``results/robustness-pairs.csv``: a row for each pair of the first network with another,
* ``results/robustness-trainings.csv``: a row for each such pair of which both were trained several times, also for
  accuracy on clean images,
* ``results/robustness/PART``: ``table.md`` and ``cells.csv`` of each run.

``timm-zerosnet weights tables`` makes the tables of docs/results.md from these files;
``benchmarks/figures.py noise`` draws the figure of README.md and docs/results.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records import read_csv, write_csv

from timm_zerosnet.maintain import tables
from timm_zerosnet.robustness import SUITES
from timm_zerosnet.robustness.analysis.baselines import write_baseline
from timm_zerosnet.robustness.analysis.comparison import Comparison, Trainings, compare_trainings
from timm_zerosnet.robustness.analysis.grids import architecture_of
from timm_zerosnet.robustness.analysis.run_analysis import analyse, compare_run
from timm_zerosnet.robustness.analysis.summary import ModelSummary
from timm_zerosnet.robustness.data import LabelledImages, load_data
from timm_zerosnet.robustness.report.comparison_markdown import count_significant
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import Store, read_cells
from timm_zerosnet.weights import manifest

RESULTS = Path(__file__).parent / 'results'
KEPT = ('table.md', 'cells.csv')  # report.html is too large for git
SEEDS = range(3)
NETWORKS = ('zerosnet20', 'zerosnet20_tra', 'preresnet20', 'lmresnet20', 'resnet10t')
RECIPE = 'short.yaml'  # networks are compared by trainings of equal recipe
BASELINE = 'preresnet20.cifar10'


@dataclass(frozen=True)
class Part:
    """A data set with a suite or with the noise of one.

    Parts of one data set and suite share a run and its cells, and so do those that measure the default weights of
    ZeroSNet at each depth instead of ``NETWORKS``.
    """

    name: str
    data: str
    suite: str
    noise_only: bool = False
    depths: bool = False

    @property
    def folder(self) -> str:
        return f'{self.data}-{self.suite}{tables.DEPTHS if self.depths else ""}'

    @property
    def corruptions(self) -> list[str]:
        """All rows, also both of those for frost; or the noise of the suite."""
        return [name for name in SUITES[self.suite] if not self.noise_only or name.endswith('_noise')]


PARTS = (
    Part('cifar10-zerosnet', 'cifar10', 'zerosnet'),
    Part('cifar10-noise', 'cifar10', 'cifar-c', noise_only=True),
    Part('cifar10-cifar-c', 'cifar10', 'cifar-c'),
    Part('cifar100-zerosnet', 'cifar100', 'zerosnet'),
    Part('cifar100-noise', 'cifar100', 'cifar-c', noise_only=True),
    Part('cifar10-zerosnet-depths', 'cifar10', 'zerosnet', depths=True),
    Part('cifar10-noise-depths', 'cifar10', 'cifar-c', noise_only=True, depths=True),
    Part('cifar100-zerosnet-depths', 'cifar100', 'zerosnet', depths=True),
    Part('cifar100-noise-depths', 'cifar100', 'cifar-c', noise_only=True, depths=True),
)


def models_of(data: str) -> list[str]:
    """Names of the weights of ``NETWORKS`` for a data set, trained by ``RECIPE``, in the order of ``NETWORKS``."""
    fit = [
        name
        for name, row in manifest().items()
        if (row['data'], row['recipe']) == (data, RECIPE) and name.partition('.')[0] in NETWORKS
    ]
    return sorted(fit, key=lambda name: NETWORKS.index(name.partition('.')[0]))


def depths_of(data: str) -> list[str]:
    """Names of ZeroSNet's default weights for a data set, in the order of their depths."""
    found = {int(match[1]): name for name in manifest() if (match := re.fullmatch(rf'zerosnet(\d+)\.{data}', name))}
    return [found[depth] for depth in sorted(found)]


def trainings_row(place: dict[str, Any], found: Trainings | None) -> list[dict[str, Any]]:
    """The row of two architectures in a list; an empty list if one of them was trained only once.

    Args:
        place: The first columns: part, data and images.
        found: The comparison of the two.
    """
    if found is None or found.p is None:
        return []
    row = dict(place)
    for side, name, accuracies, sd in zip('ab', found.architectures, found.accuracies, found.sds, strict=True):
        values = list(accuracies.values())
        row |= {side: name, f'trainings_{side}': len(values), f'mean_{side}': sum(values) / len(values)}
        row |= {f'sd_{side}': sd}
    return [row | {'difference': found.difference, 'low': found.low, 'high': found.high, 'p': found.p}]


def clean_trainings(data: str) -> list[dict[str, Any]]:
    """Rows as ``trainings_row`` makes them, for the clean top-1 of the manifest."""
    groups: dict[str, dict[str, float]] = {}
    for name in models_of(data):
        groups.setdefault(architecture_of(name), {})[name] = manifest()[name]['top1']
    rows, names = [], list(groups)
    for ours, other in [(names[0], name) for name in names[1:]]:
        images = manifest()[next(iter(groups[other]))]['test_images']
        place = {'part': f'{data}-clean', 'data': data, 'images': images}
        rows += trainings_row(place, compare_trainings((ours, other), (groups[ours], groups[other])))
    return rows


def run_part(part: Part, models: list[str], args: argparse.Namespace) -> tuple[LabelledImages, Path]:
    """Measure models in the run folder of a part; returns the images and the folder."""
    own, folder = args.data_dir / f'{part.data}.npz', args.runs / part.folder
    images = load_data(str(own) if own.is_file() else f'torch/{part.data}', args.data_dir, args.download)
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
        raise SystemExit('\n'.join(outcome.failures))
    return images, folder


def write_table(part: Part, images: LabelledImages, folder: Path) -> Path:
    """Write the packaged error table of the baseline from a run folder; returns its file."""
    with closing(Store(folder)) as store:
        cells = read_cells(store, store.plan(), BASELINE)
    return write_baseline(cells, BASELINE, part.suite, images.images_sha256())


def measure(part: Part, args: argparse.Namespace) -> tuple[list[dict[str, Any]], ...]:
    """Run a part and copy its files; returns its rows for models, pairs and trainings."""
    models = depths_of(part.data) if part.depths else models_of(part.data)
    images, folder = run_part(part, models, args)
    target = RESULTS / 'robustness' / part.name
    target.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copy(folder / name, target / name)
    place = {'part': part.name, 'data': part.data, 'images': len(images.labels)}
    with closing(Store(folder)) as store:
        rows = [{**place, **model_row(found)} for found in analyse(store).summaries.values()]
    if BASELINE in models and not part.noise_only:
        write_table(part, images, folder)
    pairs, trainings = [], []
    if part.depths:
        return rows, pairs, trainings
    ours, *others = [name for name in models if '_seed' not in name]
    for other in others:
        found = compare_run(folder, ours, other)
        pairs.append({**place, **pair_row(found)})
        trainings += trainings_row(place, found.trainings)
    return rows, pairs, trainings


def measure_baseline(part: Part, args: argparse.Namespace) -> None:
    """Measure the baseline alone, in the run folder of the part, and write its packaged table."""
    print(write_table(part, *run_part(part, [BASELINE], args)))


def model_row(found: ModelSummary) -> dict[str, Any]:
    """The columns of a model in robustness.csv."""
    figures = {'clean': found.clean, 'mean_error': found.mean_error, 'area': found.area}
    figures |= {'worst': found.worst_accuracy, 'mce': found.mce, 'relative_mce': found.relative_mce}
    row: dict[str, Any] = {'model': found.model}
    for name, estimate in figures.items():
        row |= {name: estimate.value, f'{name}_low': estimate.low, f'{name}_high': estimate.high}
    row |= {'noise_sd': found.noise_sd, 'clean_ece': found.clean_ece, 'mean_ece': found.mean_ece}
    return row | {'flip_rate': found.mean_flip_rate}


def pair_row(found: Comparison) -> dict[str, Any]:
    """The columns of a pair in robustness-pairs.csv."""
    row, (better, worse) = found.overall, count_significant(found)
    assert row is not None
    return {
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


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the rows of the parts that were measured; floats have six digits."""
    texts = [{key: f'{value:.6g}' if isinstance(value, float) else value for key, value in row.items()} for row in rows]
    if path.is_file():
        texts += [row for row in read_csv(path) if row['part'] not in {row['part'] for row in rows}]
    order = [part + end for end in ('', tables.DEPTHS) for part in tables.PART_TITLES]
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
        help='measure only these parts, or none; replaces their rows and those of clean accuracy',
    )
    parser.add_argument('--runs', type=Path, default=Path('robustness-runs'), help='where the run folders are')
    parser.add_argument('--batch-size', type=int)
    parser.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument('--baseline', action='store_true', help='measure only the packaged baseline, on whole suites')
    args = parser.parse_args()
    if args.baseline:
        for part in PARTS:
            if (
                part.data == 'cifar10'
                and not (part.noise_only or part.depths)
                and (args.part is None or part.name in args.part)
            ):
                measure_baseline(part, args)
        return
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
