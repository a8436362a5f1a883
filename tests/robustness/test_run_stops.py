"""However a run ends, the next one keeps what is finished and its files do not tell."""

import errno
import os
import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from places import CIFAR10_SAMPLE
from processes import FORKS, start
from timm.models import save_for_hf

from timm_zerosnet import cli
from timm_zerosnet.robustness.data import load_labelled
from timm_zerosnet.robustness.report.files import write
from timm_zerosnet.robustness.store import StoreError, locked_folder, read_run

SAMPLE = load_labelled(CIFAR10_SAMPLE)
CELLS = 1 + 14 + 2 * 8

pytestmark = pytest.mark.skipif(not FORKS, reason='no forkserver here')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    np.savez(folder / 'images.npz', x_test=SAMPLE.images[:40], y_test=SAMPLE.labels[:40])
    return folder


def command(folder, out, *models):
    words = ['robustness', '--model', 'zerosnet20', *models, '--data', folder / 'images.npz', '--out', out]
    return [*map(str, words), '--corruption', 'const', 'randn', '--seeds', '2', '--device', 'cpu', '--workers', '0']


@pytest.fixture(scope='module')
def whole(folder):
    out = folder / 'whole'
    assert cli.main(command(folder, out)) == 0
    return out


def files(out):
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob('*')
        if path.is_file() and path.name not in ('timings.csv', 'run.lock') and 'cells.sqlite' not in path.name
    }


def stored(out):
    """Key and time of the cells in the store."""
    if not (out / 'cells.sqlite').is_file():
        return {}
    with closing(sqlite3.connect(out / 'cells.sqlite')) as base:
        try:
            return dict(base.execute('SELECT key, seconds FROM cells'))
        except sqlite3.OperationalError:  # before there are tables
            return {}


def wait_for(out, process, count):
    end = time.monotonic() + 200
    while len(stored(out)) < count:
        assert process.is_alive() and time.monotonic() < end, (process.exitcode, len(stored(out)))
        time.sleep(0.005)


def assert_went_on(folder, out, kept, whole):
    """The rest is measured, once, and the files are those of a run that was left alone."""
    assert cli.main(command(folder, out)) == 0
    after = stored(out)
    assert len(after) == CELLS and kept.items() <= after.items()
    assert files(out) == files(whole)


@pytest.mark.slow
def test_kill_at_any_moment(folder, whole, tmp_path, capsys):
    chance, out, count = random.Random(0), tmp_path / 'out', 0
    for share in (0, 0.2, 0.3):
        process = start(command(folder, out), tmp_path / 'log')
        wait_for(out, process, count + int(share * CELLS))
        time.sleep(chance.uniform(0, 0.1))
        if share == 0.2:  # while that one is at work
            os.kill(process.pid, signal.SIGSTOP)
            assert cli.main(command(folder, out)) == 2
            error = capsys.readouterr().err.strip().splitlines()[-1]
            assert str(out) in error and f'in use by another run (process {process.pid})' in error
        process.kill()
        process.join()
        count = len(stored(out))
    assert 0 < count < CELLS
    assert len(read_run(out).missing) == CELLS - count
    assert_went_on(folder, out, stored(out), whole)


@pytest.mark.slow
def test_one_more_model(folder, whole, tmp_path):
    net = timm.create_model('zerosnet20', pretrained=True)
    with torch.no_grad():
        net.get_classifier().weight.mul_(0.5)
    save_for_hf(net, tmp_path / 'other')
    other, out = f'local-dir:{tmp_path / "other"}', tmp_path / 'out'
    shutil.copytree(whole, out)
    kept = stored(out)
    process = start(command(folder, out, other), tmp_path / 'log')
    wait_for(out, process, CELLS + 5)
    process.kill()
    process.join()
    for run in (out, tmp_path / 'alone'):
        assert cli.main(command(folder, run, other)) == 0
    assert len(stored(out)) == 2 * CELLS and kept.items() <= stored(out).items()
    assert files(out) == files(tmp_path / 'alone') != files(whole)
    assert len(read_run(out).cells) == 2 * CELLS


@pytest.mark.slow
def test_interrupt(folder, whole, tmp_path):
    out, log = tmp_path / 'out', tmp_path / 'log'
    process = start(command(folder, out), log)
    wait_for(out, process, 4)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    text = log.read_text()
    assert 'finished cells are kept: run the same command again' in text and 'Traceback' not in text
    assert_went_on(folder, out, stored(out), whole)


@pytest.mark.slow
def test_full_disk(folder, whole, tmp_path):
    out, log = tmp_path / 'out', tmp_path / 'log'
    process = start(command(folder, out), log, file_limit=40_000)
    process.join(200)
    text = log.read_text()
    assert process.exitcode == 2 and 'Traceback' not in text
    assert 'cells.sqlite: ' in text and 'finished cells are kept' in text
    kept = stored(out)
    assert 0 < len(kept) < CELLS
    assert_went_on(folder, out, kept, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    'pragma, message',
    [
        ('max_page_count = 12', 'database or disk is full; make room there'),
        ('query_only = 1', 'attempt to write a readonly database; make it writable'),
    ],
)
def test_a_store_that_cannot_be_written_says_how_to_go_on(
    pragma, message, folder, whole, tmp_path, monkeypatch, capsys
):
    """sqlite's own words alone name neither the cause nor a way out."""
    out, connect = tmp_path / 'out', sqlite3.connect
    assert cli.main([*command(folder, out), '--levels', '0.1']) == 0
    kept = stored(out)

    def limited(*args, **kwargs):
        base = connect(*args, **kwargs)
        base.execute(f'PRAGMA {pragma}')
        return base

    monkeypatch.setattr(sqlite3, 'connect', limited)
    assert cli.main(command(folder, out)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f'cannot write {out / "cells.sqlite"}: {message}; finished cells are kept' in error
    monkeypatch.undo()
    assert kept.items() <= stored(out).items() and len(stored(out)) < CELLS


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'cells.csv'
    write(path, 'old')

    def full(partial, text, **kwargs):
        partial.touch()
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(OSError, match='No space left'):
        write(path, 'new')
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [('cells.csv', b'old')]


def test_a_lock_ends_with_its_run(tmp_path):
    for _ in range(2):
        with (
            locked_folder(tmp_path),
            pytest.raises(StoreError, match=r'in use by another run \(process \d+\)'),
            locked_folder(tmp_path),
        ):
            pass


@pytest.mark.parametrize(
    'content, message', [(b'no database at all' * 100, 'is no store of a run'), (None, 'expected version 1, got 7')]
)
def test_other_files_in_place_of_the_store(content, message, folder, tmp_path, capsys):
    path = tmp_path / 'cells.sqlite'
    if content:
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as base:
            base.execute('PRAGMA user_version = 7')
    before = path.read_bytes()
    assert cli.main(command(folder, tmp_path)) == 2
    assert message in capsys.readouterr().err and path.read_bytes() == before
    with pytest.raises(StoreError, match=message):
        read_run(tmp_path)
    with pytest.raises(StoreError, match='holds no run: cells.sqlite is missing'):
        read_run(tmp_path / 'none')
