"""What the documents show runs as written: Python blocks without network, the guide's commands in small."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
STAND_IN = Path(__file__).with_name('stand_in')
DOCUMENTS = [ROOT / 'README.md', ROOT / 'MODEL_CARD.md', *sorted((ROOT / 'docs').glob('*.md'))]
NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError('a connection was attempted')
socket.socket.connect = socket.create_connection = refuse
"""


def blocks(path, language):
    return re.findall(rf'```{language}\n(.*?)```', path.read_text(encoding='utf-8'), flags=re.DOTALL)


EXAMPLES = [
    pytest.param(block, id=f'{path.stem}-{i}') for path in DOCUMENTS for i, block in enumerate(blocks(path, 'python'))
]


def test_there_are_examples():
    assert (
        len(blocks(ROOT / 'README.md', 'python')) >= 4 and len(blocks(ROOT / 'docs' / 'fine-tuning.md', 'python')) >= 3
    )


@pytest.mark.parametrize('block', EXAMPLES)
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


def write_images(folder, classes, mode='RGB'):
    rng = np.random.default_rng(0)
    for split, count in (('train', 20), ('validation', 10)):
        for i in range(max(count, classes)):
            path = folder / split / f'class{i % classes:03d}' / f'{i:03d}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).convert(mode).save(path)


@pytest.mark.timeout(900)
def test_commands_of_the_fine_tuning_guide_run(tmp_path):
    """Case a26 too: there is no GPU here, and none is asked for."""
    scripts = os.environ.get('TIMM_SCRIPTS') or STAND_IN
    for name, classes, mode in (('flowers', 7, 'RGB'), ('pets', 3, 'RGB'), ('grey', 7, 'L'), ('cifar', 100, 'RGB')):
        write_images(tmp_path / name, classes, mode)
    small = ['--epochs', '1', '--batch-size', '10', '--warmup-epochs', '0', '--workers', '1']
    lines = [line for block in blocks(ROOT / 'docs' / 'fine-tuning.md', 'console') for line in block.splitlines()]
    assert len(lines) >= 7
    for line in lines:
        # a download is not possible here
        line = line.replace('--dataset torch/cifar100 --dataset-download --data-dir data', '--data-dir cifar')
        command, action, *arguments = shlex.split(line)
        assert command == 'timm-zerosnet'
        if action == 'train' and '--continue' not in arguments:
            arguments += small
        done = subprocess.run(
            [sys.executable, '-m', 'timm_zerosnet.cli', action, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'TIMM_SCRIPTS': str(scripts), 'OMP_NUM_THREADS': '1'},
        )
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
    assert {path.name for path in (tmp_path / 'runs').iterdir()} >= {'flowers', 'cifar100', 'pets', 'grey', 'larger'}
    shutil.rmtree(tmp_path / 'runs')


def test_commands_of_the_noise_guide_run(tmp_path):
    sample = np.load(ROOT / 'tests' / 'data' / 'cifar10_test_200.npz')
    np.savez(tmp_path / 'cifar10.npz', x_test=sample['x_test'][:20], y_test=sample['y_test'][:20])
    lines = [line for block in blocks(ROOT / 'docs' / 'robustness.md', 'console') for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        done = subprocess.run(
            [sys.executable, '-m', 'timm_zerosnet.cli', *shlex.split(line)[1:]],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        )
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
    assert '| overall |' in done.stdout
    files = re.findall(
        r'^\| `([^`]+)` \| ', (ROOT / 'docs' / 'robustness.md').read_text(encoding='utf-8'), re.MULTILINE
    )
    made = {path.name for path in (tmp_path / 'noise').iterdir()}
    assert {name.rstrip('/') for name in files if '.' in name or '/' in name} <= made
