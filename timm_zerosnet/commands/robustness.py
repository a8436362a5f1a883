"""``timm-zerosnet robustness`` and ``timm-zerosnet corrupt``."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any, Callable

from .._errors import counted, shorten
from .._files import check_folder
from ..class_folders import SPLITS
from ..recorded import INTERPOLATIONS, say_recorded
from ..robustness.analysis.run_analysis import compare_run, plain_values
from ..robustness.corrupt import LAYOUTS, corrupt
from ..robustness.data import TORCHVISION, LabelledImages, load_data
from ..robustness.labelled import describe_subset
from ..robustness.merge import merge
from ..robustness.models import Source, read_class_map
from ..robustness.official import OfficialSet
from ..robustness.pixels import check_cache
from ..robustness.precision import AMP_DTYPES
from ..robustness.report.comparison_markdown import comparison_markdown
from ..robustness.run import Outcome, run
from ..robustness.sharing import Rank
from ..robustness.suites import OFFICIAL, SUITES
from ..robustness.timm_data import prefix_of
from .options import ModelKwargs

DATA_FORMS = (
    'folder with one folder of images for each class, npz file with x_test and y_test, npy file of images beside one '
    f"of labels, {', '.join(TORCHVISION)}, tar file of class folders, or another name of timm's create_dataset: "
    'torch/..., hfds/..., hfids/..., wds/..., tfds/...'
)


ROBUSTNESS_EXAMPLES = """
timm-zerosnet robustness --model zerosnet20 preresnet20 --data torch/cifar10 --data-dir data --download --out noise
timm-zerosnet robustness --model zerosnet20 --data photos --corruption randn --levels 0.05 --seeds 3 --out photo-noise
torchrun --nproc-per-node 8 -m timm_zerosnet robustness --model resnet50 vit_base_patch16_224 --data imagenet/val
  --suite imagenet-c --out imagenet-noise
timm-zerosnet robustness merge noise-of-one noise-of-another --out noise
"""
MERGE_EXAMPLES = """
timm-zerosnet robustness merge noise-of-one noise-of-another --out noise
"""
COMPARE_EXAMPLES = """
timm-zerosnet compare noise zerosnet20 preresnet20
timm-zerosnet compare before mine mine --with after
"""
CORRUPT_EXAMPLES = """
timm-zerosnet corrupt photos --suite cifar-c --out corrupted
timm-zerosnet corrupt torch/cifar10 --data-dir data --layout cifar-c --out CIFAR-10-C
"""


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands.

    Args:
        command: ``command(name, run, text, examples)`` gives a new sub-parser.
    """
    text = 'Measure models on images, clean and under noise.'
    _robustness_options(command('robustness', _robustness, text, ROBUSTNESS_EXAMPLES))
    text = 'Join runs that were made apart: of other models, or at other corruptions.'
    _merge_options(command('robustness merge', _merge, text, MERGE_EXAMPLES))
    _compare_options(command('compare', _compare, 'Compare two models of a run image by image.', COMPARE_EXAMPLES))
    _corrupt_options(command('corrupt', _corrupt, 'Write perturbed images as files.', CORRUPT_EXAMPLES))


def _robustness_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--model',
        '--models',
        nargs='+',
        required=True,
        metavar='NAME',
        help="timm's names, also hf-hub:... and local-dir:...",
    )
    parser.add_argument('--data', required=True, help=DATA_FORMS)
    parser.add_argument('--out', required=True, help='folder of the run; the same command in it goes on after a stop')
    _plan_options(parser, 'zerosnet', *SUITES, f'{OFFICIAL} (files of CIFAR-10-C or ImageNet-C as they are)')
    parser.add_argument('--seeds', type=int, default=1, metavar='N', help='measure random noise with seeds 0 to N-1')
    parser.add_argument(
        '--baseline', metavar='NAME', help='what mCE is relative to: one of the models, or one with packaged errors'
    )
    _data_options(parser)
    parser.add_argument(
        '--class-map', type=Path, metavar='FILE', help='JSON {"class": output}, or line k names class k'
    )

    model = parser.add_argument_group('model')
    model.add_argument('--checkpoint', type=Path, metavar='FILE', help='own weights of the one model that is named')
    model.add_argument('--name', metavar='NAME', help='what the one model is called in the results; default: its name')
    model.add_argument('--in-chans', type=int, metavar='N', help='input channels, 1 for grey images')
    model.add_argument(
        '--num-classes', type=int, metavar='N', help="number of outputs; default: the model's or checkpoint's"
    )
    model.add_argument(
        '--model-kwargs', nargs='*', action=ModelKwargs, default={}, metavar='KEY=VALUE', help='such as method=ab3'
    )

    own = parser.add_argument_group("preprocessing, in place of the models' own")
    own.add_argument('--img-size', type=int, metavar='N', help='pixels')
    own.add_argument('--mean', type=float, nargs='+', help='of the normalisation, pixels in [0, 1]')
    own.add_argument('--std', type=float, nargs='+', help='of the normalisation')
    own.add_argument('--crop-pct', type=float, help='share of the resized image that is kept')
    own.add_argument('--interpolation', choices=INTERPOLATIONS, help='of the resizing')

    speed = parser.add_argument_group('machine')
    speed.add_argument('--device', help='such as cpu or cuda:1; default: a GPU if there is one')
    speed.add_argument('--amp', action='store_true', help='automatic mixed precision')
    speed.add_argument('--amp-dtype', choices=AMP_DTYPES, help="its type, which turns it on; default: the device's own")
    speed.add_argument(
        '--channels-last',
        action=argparse.BooleanOptionalAction,
        help="memory format of the pixels; default: channels last for models with timm's config",
    )
    speed.add_argument(
        '--torchcompile',
        nargs='?',
        const='inductor',
        metavar='BACKEND',
        help='compile models, by default with inductor',
    )
    speed.add_argument('--tf32', action='store_true', help='let NVIDIA GPUs use TF32')
    speed.add_argument(
        '--batch-size', type=int, metavar='N', help='images at a time; default: 50 on a CPU, 250 elsewhere'
    )
    speed.add_argument(
        '--models-at-once',
        type=int,
        metavar='N',
        help='models of the same preprocessing that are held together; default: as many as fit',
    )
    speed.add_argument(
        '--workers', type=int, metavar='N', help='that decode and add noise; default: the cores that the model leaves'
    )
    speed.add_argument('--dry-run', action='store_true', help='say what there is to do, and do nothing')


def _merge_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folders', nargs='+', metavar='DIR', help='the --out of a run')
    parser.add_argument('--out', required=True, metavar='DIR', help='a new folder')


def _compare_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', metavar='DIR', help='the --out of a run')
    parser.add_argument('a', metavar='A', help='a model of it')
    parser.add_argument('b', metavar='B', help='another')
    parser.add_argument('--with', dest='other', metavar='DIR', help='take B from this run; images are paired by pixels')
    parser.add_argument('--json', action='store_true', help='for programs')


def _corrupt_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('data', help=DATA_FORMS)
    parser.add_argument('--out', required=True, help='folder for the images')
    _plan_options(parser, 'cifar-c', *SUITES)
    parser.add_argument('--seed', type=int, default=0, help='of random noise')
    parser.add_argument('--layout', default='folder', help=f'{", ".join(LAYOUTS)} (as CIFAR-10-C is distributed)')
    parser.add_argument(
        '--img-size', '--size', type=int, metavar='N', help="resize to N x N pixels; default: the images' own"
    )
    parser.add_argument('--interpolation', choices=INTERPOLATIONS, default='bilinear', help='as in a config of timm')
    parser.add_argument('--crop-pct', type=float, default=1.0, help='as in a config of timm')
    _data_options(parser)


def _plan_options(parser: argparse.ArgumentParser, suite: str, *suites: str) -> None:
    parser.add_argument('--suite', default=suite, help=', '.join(suites))
    parser.add_argument(
        '--corruption', '--corruptions', nargs='+', metavar='NAME', help='corruptions of the suite; default: all'
    )
    parser.add_argument('--frost-pictures', metavar='DIR', help='pictures of frost for the corruption frost')
    parser.add_argument('--levels', nargs='+', type=float, metavar='LEVEL', help="default: each corruption's own")


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--data-dir', type=Path, metavar='DIR', help='where torchvision has its data sets, webdataset its shards'
    )
    parser.add_argument('--download', action='store_true', help='fetch the data set into --data-dir')
    parser.add_argument('--split', metavar='NAME', help='split of the data set; default: the one to measure on')
    parser.add_argument('--input-key', metavar='KEY', help="what timm's reader calls the image")
    parser.add_argument('--target-key', metavar='KEY', help="what timm's reader calls the label")
    parser.add_argument(
        '--labels', type=Path, metavar='FILE', help='labels of a folder without class folders: NAME LABEL in each line'
    )
    parser.add_argument(
        '--cache', type=Path, metavar='DIR', help='where resized pictures are kept; default: ~/.cache, for large sets'
    )
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images; marked in all results')


def _load(args: argparse.Namespace, name: str, workers: int) -> LabelledImages:
    first = Rank.current().number == 0
    keys = {key: vars(args)[key] for key in ('split', 'input_key', 'target_key', 'labels')}
    images = load_data(name, args.data_dir, args.download, args.limit, workers, first, **keys)
    for note in (*images.notes, describe_subset(images)):
        if note and first:
            print(f'timm-zerosnet: {note}', file=sys.stderr)
    return images


def _sources(args: argparse.Namespace) -> list[Source]:
    if len(args.model) > 1 and (of_one := [key for key in ('checkpoint', 'name') if vars(args)[key] is not None]):
        raise ValueError(f'expected one --model beside --{of_one[0]}, got {len(args.model)}: {", ".join(args.model)}')
    if args.name == '':
        raise ValueError('expected a name by --name, got none')
    if (args.img_size is not None and args.img_size < 1) or (args.crop_pct is not None and not 0 < args.crop_pct <= 1):
        raise ValueError(
            f'expected --img-size >= 1 and 0 < --crop-pct <= 1, got --img-size {args.img_size} and --crop-pct '
            f'{args.crop_pct}'
        )
    arguments = dict(args.model_kwargs)
    arguments.update({key: vars(args)[key] for key in ('in_chans', 'num_classes') if vars(args)[key] is not None})
    preprocessing: dict[str, Any] = {
        'input_size': (args.img_size, args.img_size) if args.img_size else None,
        'crop_pct': args.crop_pct,
        'interpolation': args.interpolation,
    }
    preprocessing = {key: value for key, value in preprocessing.items() if value is not None}
    sources = [
        Source(name, None, args.checkpoint, arguments, args.mean, args.std, preprocessing, args.name or '')
        for name in args.model
    ]
    if Rank.current().number == 0:
        for source in sources:
            unused = ('crop_pct', 'interpolation') if args.suite == OFFICIAL else ()
            trained_on = {key: value for key, value in source.trained_on.items() if key not in unused}
            say_recorded(source.checkpoint, source.arguments, source.made_with, trained_on)
    return sources


def _seeds(args: argparse.Namespace) -> range:
    if args.seeds < 1:
        raise ValueError(f'expected --seeds >= 1, got {args.seeds}')
    return range(args.seeds)


def _robustness(args: argparse.Namespace) -> int:
    foreign = ('split', 'input_key', 'target_key', 'labels', 'frost_pictures', 'crop_pct', 'interpolation')
    given = [name for name in foreign if vars(args)[name] is not None] + ['seeds'] * (args.seeds != 1)
    if args.suite == OFFICIAL and given:
        options = ', '.join(f'--{name.replace("_", "-")}' for name in given)
        raise ValueError(f'suite {OFFICIAL}: expected none of the options for other data, got {options}')
    try:
        outcome = run(
            _sources(args),
            OfficialSet(args.data, args.limit)
            if args.suite == OFFICIAL
            else functools.partial(_load, args, args.data, 2 if args.workers is None else args.workers),
            args.out,
            suite=args.suite,
            corruptions=args.corruption,
            levels=args.levels,
            seeds=_seeds(args),
            device=args.device,
            amp=args.amp,
            amp_dtype=args.amp_dtype,
            channels_last=args.channels_last,
            torchcompile=args.torchcompile,
            tf32=args.tf32,
            batch_size=args.batch_size,
            models_at_once=args.models_at_once,
            workers=args.workers,
            class_map=read_class_map(args.class_map) if args.class_map else None,
            baseline=args.baseline,
            data_name=_data_name(args.data),
            cache=args.cache,
            frost_pictures=args.frost_pictures,
            dry_run=args.dry_run,
            progress=True,
        )
    except KeyboardInterrupt:
        print('finished cells are kept: run the same command again, it does what is left', file=sys.stderr)
        raise
    if args.dry_run:
        print(outcome.plan)
        return 0
    rank = Rank.current()
    if rank.number:
        if 'TORCHELASTIC_RUN_ID' not in os.environ:  # torchrun has a first process for certain
            print(
                f'timm-zerosnet: process {rank.number} of 0 to {rank.count - 1}; 0 writes the results', file=sys.stderr
            )
        return 0
    earlier = f', {outcome.kept:,} from an earlier run' if outcome.kept else ''
    subset = f'; a subset: the {outcome.subset} images' if outcome.subset else ''
    split = f'; of {args.data} the folder {outcome.split}' if outcome.split else ''
    print(f'{counted(outcome.measured, "cell")} measured{earlier}{split}{subset}')
    return _print_files(outcome)


def _print_files(outcome: Outcome) -> int:
    """Name what was written and the cells that failed; returns the exit code."""
    for path in outcome.files[:5]:
        print(path)
    print(f'{outcome.files[-1].parent} ({len(outcome.files) - 5} files)')
    if outcome.failed:
        lines = '\n'.join(outcome.failures)
        print(f'timm-zerosnet: {counted(len(outcome.failed), "cell")} failed:\n{lines}', file=sys.stderr)
        if 'TORCHELASTIC_RUN_ID' in os.environ:
            print('exit code 1 says that cells failed; torchrun calls it a ChildFailedError', file=sys.stderr)
    return 1 if outcome.failed else 0


def _merge(args: argparse.Namespace) -> int:
    merged = merge(args.folders, args.out)
    for note in merged.notes:
        print(f'timm-zerosnet: {note}', file=sys.stderr)
    print(f'{merged.outcome.kept} cells')
    return _print_files(merged.outcome)


def _data_name(data: str) -> str:
    if prefix_of(data):
        return data
    path = Path(os.path.abspath(data))
    return f'{path.parent.name}/{path.name}' if path.name.lower() in SPLITS else path.name


def _compare(args: argparse.Namespace) -> None:
    a, b = args.a, args.b
    found = compare_run(args.folder, a, b, args.other)
    print(json.dumps(plain_values(found), indent=2) if args.json else comparison_markdown(found), end='\n' * args.json)


def _corrupt(args: argparse.Namespace) -> None:
    data, out = Path(args.data), Path(args.out).resolve()
    if data.is_dir() and data.resolve() in (out, *out.parents):
        raise ValueError(f'--out {args.out}: expected a folder outside of {data}, where it would be read as data')
    check_folder(Path(args.out))  # before the images are read
    check_cache(args.cache)
    images = _load(args, args.data, workers=2)
    if images.classes and args.layout != 'folder':
        labels = shorten((f'{i} {name}' for i, name in enumerate(images.classes)), 20)
        print(f'timm-zerosnet: the labels that are written stand for {labels}', file=sys.stderr)
    written = corrupt(
        images,
        args.out,
        suite=args.suite,
        size=args.img_size,
        layout=args.layout,
        corruptions=args.corruption,
        levels=args.levels,
        seed=args.seed,
        interpolation=args.interpolation,
        crop_pct=args.crop_pct,
        cache=args.cache,
        workers=2,
        progress=True,
        frost_pictures=args.frost_pictures,
    )
    for path in written:
        print(path)
