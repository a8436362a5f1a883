"""Accuracy of the packaged weights on their whole test sets, by timm's validate.py and by ``evaluate``.

    python benchmarks/accuracy.py --data-dir DIR [--download] [--timm-scripts DIR]

Rows of ``results/accuracy.csv`` whose file has not changed are kept. The table of MODEL_CARD.md is made from it by
``timm-zerosnet weights tables``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch
from records import device_name, read_csv, write_csv
from tqdm import tqdm

from timm_zerosnet.robustness import evaluate
from timm_zerosnet.robustness.data import load_data
from timm_zerosnet.training.scripts import find_script, script_version
from timm_zerosnet.weights import manifest

RESULTS = Path(__file__).parent / 'results' / 'accuracy.csv'


def by_script(name: str, data: str, args: argparse.Namespace) -> dict[str, str]:
    """The result of timm's validate.py."""
    folder = args.data_dir / data
    words = ['--data-dir', str(folder if folder.is_dir() else args.data_dir)]
    if not folder.is_dir():
        words += ['--dataset', f'torch/{data}', *['--dataset-download'] * args.download]
    if args.timm_scripts:
        words += ['--timm-scripts', args.timm_scripts]
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch, 'results.csv')
        words += ['--split', 'validation', '--workers', '1', '--device', args.device, '--results-file', str(results)]
        command = [sys.executable, '-m', 'timm_zerosnet.validate', '--model', name, '--pretrained', *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f'{name}: {done.stderr}')
        return read_csv(results)[0]


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """The row of a weight."""
    row = manifest()[name]
    theirs = by_script(name, row['data'], args)
    folder = args.data_dir / row['data'] / 'validation'
    test = load_data(str(folder) if folder.is_dir() else f'torch/{row["data"]}', args.data_dir)
    ours = evaluate(name, test.images, test.labels, device=args.device)
    return {
        'weight': name,
        'sha256': row['sha256'],
        'images': len(test.labels),
        'validate_top1': theirs['top1'],
        'validate_top5': theirs['top5'],
        'evaluate_top1': f'{ours.top1:.2f}',
        'evaluate_top5': f'{ours.top5:.2f}',
        'scripts': script_version(find_script('validate.py', args.timm_scripts)),
        'timm': timm.__version__,
        'torch': torch.__version__,
        'device': device_name(args.device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--data-dir', type=Path, required=True, help="folder of torchvision's data sets, or of cifar10/"
    )
    parser.add_argument('--download', action='store_true', help='fetch them')
    parser.add_argument('--timm-scripts', help="the folder that holds timm's scripts")
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    found = read_csv(RESULTS) if RESULTS.is_file() else []
    known: dict[Any, dict[str, Any]] = {(row['weight'], row['sha256']): row for row in found}
    wanted = [(name, row['sha256']) for name, row in manifest().items()]
    for name, sha256 in tqdm([key for key in wanted if key not in known], unit='weight'):
        known[name, sha256] = measure(name, args)
        write_csv(RESULTS, [known[key] for key in wanted if key in known])


if __name__ == '__main__':
    main()
