"""A stand-in for timm's validate.py, which says how it was called."""

import argparse
import json
import sys

from timm.data import create_transform
from timm.utils import ParseKwargs

parser = argparse.ArgumentParser()
parser.add_argument('data', nargs='?')
for name in ('data-dir', 'dataset', 'class-map', 'checkpoint', 'results-file', 'valid-labels'):
    parser.add_argument(f'--{name}', default='')
parser.add_argument('--split', default='validation')
parser.add_argument('--model', default='zerosnet20')
parser.add_argument('--num-classes', type=int)
parser.add_argument('--in-chans', type=int)
parser.add_argument('--input-size', type=int, nargs=3)
parser.add_argument('--img-size', type=int)
for name in ('mean', 'std'):
    parser.add_argument(f'--{name}', type=float, nargs='+')
parser.add_argument('--interpolation', default='')
parser.add_argument('--gp')
parser.add_argument('--batch-size', type=int, default=256)
parser.add_argument('--crop-pct', type=float)
parser.add_argument('--model-kwargs', nargs='*', default={}, action=ParseKwargs)
parser.add_argument('--workers', type=int, default=4)
parser.add_argument('--device', default='cuda')
for name in ('pretrained', 'dataset-download'):
    parser.add_argument(f'--{name}', action='store_true')


def takes_crop_mode(mode):
    try:
        create_transform(32, is_training=True, train_crop_mode=mode)
    except AssertionError:
        return False
    return True


if __name__ == '__main__':
    parser.parse_args()
    print(json.dumps([sys.argv, __name__, takes_crop_mode('pad4')]))
