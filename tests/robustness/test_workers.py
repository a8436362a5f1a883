"""Worker processes that read pictures end with the process that started them, however that ends."""

import os
import signal
import subprocess
import sys
import time

import pytest
from places import ROOT

SCRIPT = """
import multiprocessing, time
from PIL import Image
from timm_zerosnet.robustness.pictures import Pictures
from timm_zerosnet.robustness.reading import read_batches

class Large(Pictures):
    def decode(self, index):
        return Image.new('RGB', (1000, 1000)), []
    def stamp(self, index):
        return 0, 0

own = dict(input_size=(3, None, None))
batches = read_batches(Large([str(i) for i in range(40)], ['large']), [own], 1, workers=2)
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
def test_workers_end_with_a_parent_that_is_killed():
    """Their pictures waited in a pipe that nobody read any more, and so did they, for ever."""
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
