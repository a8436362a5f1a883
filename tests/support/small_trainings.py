"""Small trainings: images to train on, finished runs, and processes that are started, waited for and killed."""

import argparse
import contextlib
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from places import ROOT, STAND_IN
from processes import python

from timm_zerosnet import train

CHECKOUT = os.environ.get('TIMM_SCRIPTS')
TORCHRUN = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
LABELS = timm.get_pretrained_cfg('zerosnet20').label_names


def write_images(folder, train=40, validation=20, classes=10, names=LABELS):
    rng = np.random.default_rng(0)
    for split, count in (('train', train), ('validation', validation)):
        for i in range(count):
            path = folder / split / names[i % classes] / f'{i:03d}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return folder


def command(scripts, *arguments):
    return ['train', 'short', '--timm-scripts', scripts, '--model', 'zerosnet20', *arguments]


def options(images, out, name, epochs=6):
    small = ['--batch-size', 20, '--train-img-sizes', 16, 32, '--warmup-epochs', 1, '--validation-batch-size', 10]
    return [*small, '--epochs', epochs, '--data-dir', images, '--output', out, '--experiment', name, '--workers', 1]


def environment(**more):
    return {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', **more}


def start(*arguments, launcher=(), **popen):
    line = [sys.executable, *launcher, '-m', *map(str, arguments)]
    return subprocess.Popen(line, env=environment(), text=True, start_new_session=True, **popen)


def run(*arguments, launcher=()):
    if not launcher:
        done = python('-m', *arguments, env=environment())
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr
    process = start(*arguments, launcher=launcher, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def rows(folder):
    with open(folder / 'summary.csv', newline='') as file:
        return list(csv.DictReader(file))


def only_row(path):
    (row,) = csv.DictReader(path.read_text().splitlines())
    return row


def epochs(folder):
    path = folder / 'summary.csv'
    return path.read_text().count('\n') - 1 if path.is_file() else 0


def wait_for(process, folder, finished):
    deadline = time.monotonic() + 240
    while epochs(folder) < finished:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def kill(process):
    # torchrun gives each process a session of its own, in which it goes on without torchrun
    children = subprocess.run(['pgrep', '-P', str(process.pid)], capture_output=True, text=True).stdout.split()
    os.killpg(process.pid, signal.SIGKILL)
    for child in map(int, children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    process.wait()


def read_checkpoint(path):
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, weights_only=True)


def continue_run(folder, *arguments):
    return train.main([*map(str, ['--continue', folder, '--timm-scripts', STAND_IN, *arguments])])


def refused(capsys, *arguments):
    """What the launcher says when it refuses arguments of train.py."""
    assert train.main([*map(str, command(STAND_IN, '--batch-size', 20, *arguments)[1:])]) == 2
    out, err = capsys.readouterr()
    assert 'Traceback' not in out + err
    return err


@pytest.fixture(
    name='scripts',
    params=[
        'stand-in',
        pytest.param(
            'timm',
            marks=[pytest.mark.slow, pytest.mark.skipif(not CHECKOUT, reason='TIMM_SCRIPTS names no checkout')],
        ),
    ],
)
def scripts_folder(request):
    return STAND_IN if request.param == 'stand-in' else Path(CHECKOUT)


@pytest.fixture(name='training_images', scope='session')
def images_to_train_on(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('images'))


@pytest.fixture(name='finished', scope='session')
def finished_run(training_images, tmp_path_factory):
    """The folder of a run of two epochs."""
    out = tmp_path_factory.mktemp('out')
    run(*['timm_zerosnet.train', *command(STAND_IN)[1:]], *options(training_images, out, 'run', epochs=2))
    return out / 'run'


@pytest.fixture(name='half')
def half_finished_run(finished, tmp_path):
    """A copy of that run, as if it had been killed after the first of its two epochs."""
    folder = tmp_path / 'half'
    shutil.copytree(finished, folder)
    checkpoint = read_checkpoint(folder / 'last.pth.tar')
    checkpoint['epoch'] = 0
    for path in folder.glob('*.pth.tar'):
        path.unlink()
    torch.save(checkpoint, folder / 'last.pth.tar')
    return folder
