"""No process that a test starts outlives the test, or pytest, whatever ends them."""

import os
import signal
import subprocess
import sys
import time

import pytest
from amounts import slow
from places import TESTS
from processes import PROC

HERE = TESTS / 'support'
# a process in a session of its own with a child in yet another one, as torchrun has them
POPEN = """
def begin():
    parent = subprocess.Popen(
        [sys.executable, '-c', PARENT], start_new_session=True, stdout=subprocess.PIPE, env={'PATH': os.environ['PATH']}
    )
    return parent.stdout.readline()
"""
# the same, forked, with a child of the same session, as a DataLoader has it
FORK = """
import processes
processes.PRELOADED.clear()

def begin():
    processes.fork(['-c', 'import os, time\\nif os.fork():\\n' + indent(PARENT, ' ') + 'time.sleep(600)'], 'log')
    while not Path('log').exists() or not Path('log').read_bytes().endswith(b'\\n'):
        time.sleep(0.02)
    return Path('log').read_bytes()
"""
INNER = """
import os, subprocess, sys, time
from pathlib import Path
from textwrap import indent

CHILD = 'import time; time.sleep(600)'
PARENT = f'''
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
'''

def test_first():
    Path('ids.partial').write_bytes(begin())
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

each_way = pytest.mark.parametrize('way', [POPEN, FORK], ids=['popen', 'fork'])
pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason='no /proc here')


def start(folder, way, then):
    (folder / 'test_inner.py').write_text(INNER + way)
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


@each_way
def test_children_of_a_test_that_fails_are_gone_in_the_next(way, tmp_path):
    with start(tmp_path, way, 'fail') as process:
        output, _ = process.communicate(timeout=120)
    assert '1 failed, 1 passed' in output, output


@each_way
@pytest.mark.parametrize('number', [slow(signal.SIGTERM), signal.SIGKILL])
def test_children_end_with_pytest(number, way, tmp_path):
    with start(tmp_path, way, 'wait') as process:
        wait_until((tmp_path / 'ids').is_file)
        ids = (tmp_path / 'ids').read_text().split()
        assert len(ids) == 2 and all(map(is_alive, ids))
        process.send_signal(number)
    wait_until(lambda: not any(map(is_alive, ids)))
