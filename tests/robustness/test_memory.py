"""What a run holds in memory does not grow with the number of its images and models."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from timm_zerosnet.robustness.evaluation import Measurement

STATM = Path('/proc/self/statm')
MIB = 2**20


def resident():
    """Bytes of this process that are in memory."""
    return int(STATM.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


@pytest.mark.skipif(not STATM.is_file(), reason='no /proc here')
def test_answers_leave_no_gaps_between_batches():
    """Batches of 224 px come from the heap; a gap after each call would take 30 MiB a model and batch."""
    nets = [nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)).eval() for _ in range(4)]
    config, targets = {'mean': (0.5,) * 3, 'std': (0.25,) * 3}, torch.zeros(300, dtype=torch.int64)
    measurements = [Measurement(net, config, targets, 'cpu') for net in nets]
    before = resident()
    for start in range(0, 300, 50):
        batch = torch.full((50, 3, 224, 224), 0.5)
        batch = (batch + start / 1000).clamp(0, 1)
        for measurement in measurements:
            measurement.add(batch)
    assert resident() - before < 300 * MIB
    assert all(len(measurement.result().loss) == 300 for measurement in measurements)
