"""Every Python block of README.md runs as written, without network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(encoding='utf-8'), flags=re.DOTALL)
NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError('a connection was attempted')
socket.socket.connect = socket.create_connection = refuse
"""


def test_there_are_examples():
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize('block', BLOCKS, ids=range(len(BLOCKS)))
def test_example_runs(block, tmp_path):
    environment = {'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path / 'none')}
    done = subprocess.run(
        [sys.executable, '-c', NO_NETWORK + block],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
