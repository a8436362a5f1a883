"""Worker processes end with the process that started them, however that ends."""

import os
import signal
import subprocess
import sys
import time

import pytest
from places import ROOT

from timm_zerosnet.robustness.machine import in_processes, usable_cores

SCRIPT = """
import multiprocessing, time
import numpy as np
from timm_zerosnet.robustness.machine import in_processes

class Large:
    def __getitem__(self, index):
        return np.zeros(3_000_000, dtype=np.uint8)

batches = iter(in_processes(Large(), range(40), workers=2))
next(batches)
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
time.sleep(600)
"""


def runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f'/proc/{pid}/stat') as file:  # one that nobody waited for is no more either
        return file.read().rpartition(')')[2].split()[0] != 'Z'


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='the state of processes is read from /proc')
@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed():
    """What they had made waited in a pipe that nobody read any more, and so did they, for ever."""
    with subprocess.Popen([sys.executable, '-c', SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        workers = list(map(int, process.stdout.readline().split()))
        time.sleep(1)  # until their pipes are full
        process.kill()
        process.wait()
    assert len(workers) >= 1
    deadline = time.monotonic() + 60
    try:
        while any(map(runs, workers)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not [pid for pid in workers if runs(pid)]
    finally:
        for pid in filter(runs, workers):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    'content, expected', [('max 100000', None), ('150000 100000', 2), ('20000 100000', 1), ('', None), ('x y', None)]
)
def test_cores_within_the_quota_of_a_container(content, expected, tmp_path):
    cores = len(os.sched_getaffinity(0))
    (tmp_path / 'cpu.max').write_text(f'{content}\n')
    assert usable_cores(tmp_path) == min(cores, expected or cores)


@pytest.mark.parametrize('workers', [0, 2])
def test_items_come_in_their_order_and_indices_are_taken_as_needed(workers):
    taken = []
    found = in_processes('abcdefgh', (taken.append(i) or i for i in range(8)), workers)
    iterator = iter(found)
    assert next(iterator) == 'a' and len(taken) < 8
    assert [*iterator] == list('bcdefgh')
