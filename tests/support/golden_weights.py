"""The original implementations' networks, rebuilt from a formula: see README.md in tests/golden."""

import json
import zlib

import numpy as np
import torch
from places import TESTS

GOLDEN = TESTS / 'golden'
MODELS = {
    'cifar-ZeroSNet20_Opt': 'zerosnet20',
    'cifar-ZeroSNet20_Tra-scalar_-1.5': 'zerosnet20_tra',
    'cifar-ZeroSNet164_Opt': 'zerosnet164',
    'imagenet-zerosnet18_in-coe_given': 'zerosnet18',
    'imagenet-pre_act_resnet18_in': 'preresnet18',
    'lm-20-scalar_1.0': 'lmresnet20',
    'pre-20': 'preresnet20',
}


def wave(name: str, shape) -> np.ndarray:
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over='ignore'):
        z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z += np.uint64(zlib.crc32(name.encode()))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    uniform = (z >> np.uint64(11)).astype(np.float64) / 2**53
    return ((2 * uniform - 1) * np.sqrt(3)).reshape(shape)


def value(name: str, shape, scalar: float) -> np.ndarray:
    leaf = name.rsplit('.', 1)[-1]
    if leaf in ('coe', 'k') or name.startswith('ks.'):
        return scalar + 0.1 * wave(name, shape)
    if leaf == 'running_var':
        return 1 + 0.25 * wave(name, shape)
    if leaf == 'running_mean':
        return 0.1 * wave(name, shape)
    if leaf == 'num_batches_tracked':
        return np.zeros(shape)
    if len(shape) >= 2:
        return wave(name, shape) * np.sqrt(0.5 / np.prod(shape[1:]))
    return (1 if leaf == 'weight' else 0) + 0.1 * wave(name, shape)


def load(case: str):
    """The original state dict (float32), the input and the logits (float64) of a golden case."""
    data = json.loads((GOLDEN / f'{case}.json').read_text())
    state_dict = {}
    for name, shape in data['entries']:
        tensor = torch.from_numpy(value(name, shape, data['scalar']))
        state_dict[name] = tensor.long() if name.endswith('num_batches_tracked') else tensor.float()
    x = torch.from_numpy(wave('input', data['input_shape']))
    return state_dict, x, torch.tensor(data['logits'], dtype=torch.float64).reshape(len(x), -1)
