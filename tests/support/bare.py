"""Python with torch and timm imported and without this package, which a test imports from the folder it names.

One interpreter per worker imports timm and forks; it is for tests of what the package does when it is imported, and of
copies of it. All but torch and timm is as in a new interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import processes
import pytest

SERVER = """
import json, multiprocessing, sys
sys.path.insert(0, sys.argv[1])
import processes
import timm.models, torch
for line in sys.stdin:
    child = multiprocessing.get_context('fork').Process(target=processes.begin, args=json.loads(line))
    child.start()
    print(child.pid, flush=True)
    child.join()
    print(child.exitcode, flush=True)
"""
Bare = Callable[..., 'subprocess.CompletedProcess[str]']


@pytest.fixture(scope='session')
def bare(guarded: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    """What runs ``python WORDS`` with the package in the folder ``path``, if any, and returns what it printed."""
    if not processes.FORKS:
        pytest.skip('no fork here')
    empty = tmp_path_factory.mktemp('empty')
    kept = {key: value for key, value in os.environ.items() if not key.startswith('PYTHON')}
    line = [sys.executable, '-c', SERVER, str(Path(__file__).parent)]
    settings = {**kept, 'TIMM_ZEROSNET_AUTOLOAD': '0', 'OMP_NUM_THREADS': '1'}
    server = subprocess.Popen(line, cwd=empty, env=settings, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin and server.stdout
    write, read = server.stdin, server.stdout

    def run(
        *words: Any, path: Path | None = None, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**kept, processes.MARK: processes.test_mark, **(env or {})}
        search = [str(path)] if path else []
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, 'out'), Path(folder, 'err')
            given = [[*map(str, words)], str(out), str(err), str(cwd or empty), environment, None, search]
            print(json.dumps(given), file=write, flush=True)
            processes.forked.add(int(read.readline()))
            code = int(read.readline())
            return subprocess.CompletedProcess(
                words, code, out.read_text(encoding='utf-8'), err.read_text(encoding='utf-8')
            )

    yield run
    with server:
        server.kill()
