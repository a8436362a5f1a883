"""No process that a test starts outlives it, however the test or pytest itself ends; the marks need Linux's ``/proc``.

What a test starts by ``subprocess`` has a mark in its environment, which its own children inherit, in whatever session
they are; what it forks leads a session. What has the mark or is in the session when the test ends is killed; a guard
does the same once pytest is gone.
"""

import itertools
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import processes
import pytest
from processes import MARK, PROC, forked, kill_all, kill_marked, of_sessions

NUMBERS = itertools.count()
GUARD = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from processes import kill_marked
while os.getppid() == int(sys.argv[2]):
    time.sleep(0.2)
kill_marked(sys.argv[2] + ':')
"""


@pytest.fixture(scope='session', autouse=True)
def guarded():
    """The guard, and the mark of what is started in other ways or for several tests."""
    clean = {key: value for key, value in os.environ.items() if key != MARK}
    line = [sys.executable, '-S', '-c', GUARD, str(Path(__file__).parent), str(os.getpid())]
    guard = subprocess.Popen(line, env=clean, start_new_session=True) if PROC.is_dir() else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, f'{os.getpid()}:session')
        yield
    if guard:
        guard.kill()
        guard.wait()
    kill_marked(f'{os.getpid()}:')


@pytest.fixture(autouse=True)
def ends_its_children(guarded):
    """Kill what the test has started and left."""
    mark, started, original = f'{os.getpid()}:{next(NUMBERS)};', [], subprocess.Popen.__init__

    def init(self, *args, env=None, **kwargs):
        original(self, *args, env={**(os.environ if env is None else env), MARK: mark}, **kwargs)
        started.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, '__init__', init)
        patch.setattr(processes, 'test_mark', mark)
        yield
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    if forked:
        kill_all(lambda: of_sessions(forked))
    if started or forked:
        kill_marked(mark)
    forked.clear()
    for process in started:
        if process.poll() is None:
            process.kill()
            with process:  # closes its pipes
                process.wait()
