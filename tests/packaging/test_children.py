"""No process that a test starts outlives the test, or pytest, whatever ends them."""

import os
import signal
import subprocess
import sys
import time

import pytest
from places import TESTS
from processes import PROC

HERE = TESTS / 'support'
# a process in a session of its own with a child in yet another one, as torchrun has them
INNER = """
import os, subprocess, sys, time
from pathlib import Path

CHILD = 'import time; time.sleep(600)'
PARENT = f'''
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
'''

def test_first():
    parent = subprocess.Popen(
        [sys.executable, '-c', PARENT], start_new_session=True, stdout=subprocess.PIPE, env={'PATH': os.environ['PATH']}
    )
    line = parent.stdout.readline()
    Path('ids.partial').write_bytes(line)
    os.replace('ids.partial', 'ids')
    if os.environ['THEN'] == 'fail':
        raise AssertionError
    time.sleep(600)

def test_second():
    ids = Path('ids').read_text().split()
    stats = [Path('/proc', name, 'stat') for name in ids]
    alive = [path for path in stats if path.exists() and ') Z ' not in path.read_text()]
    assert len(ids) == 2 and not alive
"""

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason='no /proc here')


def start(folder, then):
    (folder / 'test_inner.py').write_text(INNER)
    return subprocess.Popen(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'children', '-p', 'no:cacheprovider', 'test_inner.py'],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(HERE), 'THEN': then},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(reached):
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(process):
    try:
        return ') Z ' not in (PROC / process / 'stat').read_text()
    except OSError:
        return False


def test_children_of_a_test_that_fails_are_gone_in_the_next(tmp_path):
    with start(tmp_path, 'fail') as process:
        output, _ = process.communicate(timeout=120)
    assert '1 failed, 1 passed' in output, output


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_children_end_with_pytest(number, tmp_path):
    with start(tmp_path, 'wait') as process:
        wait_until((tmp_path / 'ids').is_file)
        ids = (tmp_path / 'ids').read_text().split()
        assert len(ids) == 2 and all(map(is_alive, ids))
        process.send_signal(number)
    wait_until(lambda: not any(map(is_alive, ids)))
