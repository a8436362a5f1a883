"""Accuracy of packaged weights in float32 and under bfloat16 autocast, on the same test images.

    python benchmarks/bfloat16.py --data-dir DIR [--limit N] [--models NAME ...]

Rows of ``results/bfloat16.csv`` are kept if their weight file has not changed and they cover at least as many images as
are asked for. The table of docs/performance.md is made from that file. On a processor without bfloat16 instructions,
bfloat16 takes seven times as long as float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import timm
import torch
from options import positive
from records import device_name, read_csv, replace_table, write_csv
from tqdm import tqdm

from timm_zerosnet._markdown import markdown_table
from timm_zerosnet.robustness.data import load_data
from timm_zerosnet.robustness.evaluation import default_batch_size, measure, ready
from timm_zerosnet.robustness.preprocessing import as_floats, data_config, resize
from timm_zerosnet.weights import manifest

RESULTS = Path(__file__).parent / 'results' / 'bfloat16.csv'
DOCUMENT = Path(__file__).resolve().parent.parent / 'docs' / 'performance.md'
MODELS = (
    'zerosnet20.cifar10',
    'preresnet20.cifar10',
    'lmresnet20.cifar10',
    'zerosnet20.cifar100',
    'zerosnet110.cifar10',
)


def compare(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure a weight in both precisions; returns its row of the csv file."""
    row = manifest()[name]
    own = args.data_dir / f'{row["data"]}.npz'
    test = load_data(str(own) if own.is_file() else f'torch/{row["data"]}', args.data_dir, limit=args.limit)
    net = timm.create_model(name, pretrained=True)
    config, targets = data_config(net, None, None), torch.from_numpy(test.labels)
    pixels = resize(test.images, config)
    found = []
    with ready(net, args.device):
        for amp in (False, True):
            batches = tqdm(pixels.split(default_batch_size(args.device)), desc=name, unit='batch', leave=False)
            found.append(measure(net, config, map(as_floats, batches), targets, args.device, amp))
    single, half = found
    return {
        'weight': name,
        'sha256': row['sha256'],
        'images': len(targets),
        'float32_top1': f'{single.top1:.2f}',
        'bfloat16_top1': f'{half.top1:.2f}',
        'same_prediction': f'{100 * (single.predicted == half.predicted).mean():.2f}',
        'timm': timm.__version__,
        'torch': torch.__version__,
        'device': device_name(args.device),
    }


def table() -> str:
    """The Markdown table: a row for each weight."""
    keys = ('float32_top1', 'bfloat16_top1', 'same_prediction')
    header = ('weight', 'test images', 'float32, top-1 %', 'bfloat16, top-1 %', 'same prediction %')
    rows = read_csv(RESULTS)
    return markdown_table(
        header, ([f'`{row["weight"]}`', f'{int(row["images"]):,}', *(row[key] for key in keys)] for row in rows)
    )


def document(text: str) -> str:
    """Return the text of docs/performance.md with its table made from the results."""
    return replace_table(text, 'bfloat16', table())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-dir', type=Path, required=True, help="folder of torchvision's data sets, or NAME.npz")
    parser.add_argument('--limit', type=positive, metavar='N', help='only the first N test images')
    parser.add_argument('--models', nargs='+', default=MODELS, choices=list(manifest()), metavar='NAME')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    torch.set_autocast_dtype(torch.device(args.device).type, torch.bfloat16)
    found = read_csv(RESULTS) if RESULTS.is_file() else []
    known: dict[str, dict[str, Any]] = {
        row['weight']: row for row in found if manifest().get(row['weight'], {}).get('sha256') == row['sha256']
    }
    for name in args.models:
        if int(known.get(name, {}).get('images', 0)) < (args.limit or manifest()[name]['test_images']):
            known[name] = compare(name, args)
            write_csv(RESULTS, [known[key] for key in manifest() if key in known])
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding='utf-8')), encoding='utf-8')
    print(DOCUMENT)


if __name__ == '__main__':
    main()
