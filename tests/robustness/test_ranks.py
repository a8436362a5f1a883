"""Several processes measure one run: as if it had been one, also when some of them are killed."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
import torch
from places import CIFAR10_SAMPLE
from processes import FORKS, fork
from small_runs import DATA, FEW, plain

from timm_zerosnet import cli
from timm_zerosnet.robustness import measuring, sharing
from timm_zerosnet.robustness import run as run_module
from timm_zerosnet.robustness.data import load_labelled
from timm_zerosnet.robustness.models import describe_model
from timm_zerosnet.robustness.plan import PlannedCell, sha256_of
from timm_zerosnet.robustness.preprocessing import view
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.sharing import Board, Rank, ignored_rank, unfolded
from timm_zerosnet.robustness.store import Store, locked_folder

SAMPLE = load_labelled(CIFAR10_SAMPLE)
MODELS = ['zerosnet20', 'preresnet20']
CONDITIONS = 1 + 3 + 2 * 3
needs_forks = pytest.mark.skipif(not FORKS, reason='no forkserver here')


def torchrun(number, count):
    """The variables of a process on a machine of its own."""
    return {'RANK': str(number), 'WORLD_SIZE': str(count), 'MASTER_ADDR': 'localhost'}


@pytest.mark.parametrize(
    'environment, expected',
    [
        ({}, Rank()),
        ({**torchrun(3, 16), 'LOCAL_RANK': '1', 'LOCAL_WORLD_SIZE': '2'}, Rank(3, 16, 1, 2)),
        (torchrun(0, 1), Rank()),
        (torchrun(3, 2), Rank()),
        ({'RANK': '1'}, Rank()),
        ({'RANK': '1', 'WORLD_SIZE': '1'}, Rank()),
        ({'RANK': '1', 'WORLD_SIZE': '2'}, Rank()),  # without MASTER_ADDR
        (
            {
                'SLURM_PROCID': '5',
                'SLURM_STEP_NUM_TASKS': '8',
                'SLURM_LOCALID': '1',
                'SLURM_STEP_TASKS_PER_NODE': '4(x2)',
                'SLURM_NTASKS': '8',
            },
            Rank(5, 8, 1, 4),
        ),
        ({'SLURM_NTASKS': '8', 'SLURM_JOB_ID': '7'}, Rank()),  # a shell of salloc
        ({'SLURM_PROCID': '0', 'SLURM_NTASKS': '8', 'SLURM_LOCALID': '0'}, Rank()),  # the script of sbatch
    ],
)
def test_which_process_it_is(environment, expected):
    assert Rank.current(environment) == expected


@pytest.mark.parametrize(
    'environment, message',
    [
        ({'RANK': '1'}, 'RANK=1 without WORLD_SIZE and MASTER_ADDR in the environment: expected those of torchrun'),
        ({'RANK': '1', 'WORLD_SIZE': '2'}, 'RANK=1 and WORLD_SIZE=2 without MASTER_ADDR in the environment: '),
        (torchrun(3, 2), 'RANK=3 and WORLD_SIZE=2 and MASTER_ADDR=localhost in the environment: '),
        (torchrun(0, 1), None),
        (torchrun(1, 2), None),
        ({'WORLD_SIZE': '8', 'SLURM_PROCID': '5', 'SLURM_STEP_NUM_TASKS': '8'}, None),
        ({}, None),
    ],
)
def test_a_rank_that_is_left_over_is_said(environment, message):
    found = ignored_rank(environment)
    assert found is None if message is None else found.startswith(message)


def test_a_rank_that_is_left_over_silences_nothing(tmp_path, capsys, monkeypatch):
    np.savez(tmp_path / 'images.npz', x_test=SAMPLE.images[:10], y_test=SAMPLE.labels[:10])
    monkeypatch.setenv('RANK', '1')
    line = ['robustness', '--model', 'zerosnet20', '--data', str(tmp_path / 'images.npz'), '--corruption', 'const']
    assert cli.main([*line, '--levels', '0.1', '--device', 'cpu', '--out', str(tmp_path / 'out')]) == 0
    said = capsys.readouterr()
    assert said.out.startswith('2 cells measured') and said.err.count('this one measures everything by itself') == 1


def test_a_process_other_than_the_first_says_who_writes(tmp_path, capsys, monkeypatch):
    np.savez(tmp_path / 'images.npz', x_test=SAMPLE.images[:10], y_test=SAMPLE.labels[:10])
    for name, value in {'RANK': '1', 'WORLD_SIZE': '2', 'MASTER_ADDR': 'host'}.items():
        monkeypatch.setenv(name, value)
    line = ['robustness', '--model', 'zerosnet20', '--data', str(tmp_path / 'images.npz'), '--corruption', 'const']
    assert cli.main([*line, '--levels', '0.1', '--device', 'cpu', '--out', str(tmp_path / 'out')]) == 0
    assert capsys.readouterr().err == 'timm-zerosnet: process 1 of 0 to 1; 0 writes the results\n'


@pytest.mark.parametrize('name', [None, 'cuda'])
def test_each_process_has_a_gpu_of_its_own(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch, 'empty', lambda *args, device: torch.zeros(1))
    found = [run_module._device(name, Rank(i, 3, i, 3)) for i in range(3)]
    assert found == ['cuda:0', 'cuda:1', 'cuda:0']
    assert run_module._device(name, Rank()) == 'cuda' and run_module._device('cuda:1', Rank(0, 3, 0, 3)) == 'cuda:1'


def test_a_slow_process_measures_nothing_twice(tmp_path):
    """What the first one has taken up from others is no file any more, and done all the same."""
    with closing(Store(tmp_path, write=True)) as store:
        first, slow = Board(tmp_path, Rank(0, 2), store), Board(tmp_path, Rank(1, 2), None)
        run([plain('a')], DATA, tmp_path / 'whole', **FEW)
        with closing(Store(tmp_path / 'whole')) as whole:
            cell = whole.plan().cells[0]
            slow.done(refresh=True)
            first.put(cell, whole.get(cell.key))
        assert cell.key not in slow.done() and cell.key in slow.done(refresh=True)
        (source,) = [plain('a')]
        model = describe_model(source, source.open())
        entry = measuring.Entry(source, model, torch.zeros(40), [cell])
        assert not list(measuring._claims([entry], Board(tmp_path, Rank(1, 2), None)))


def words(folder, out):
    line = ['robustness', '--model', *MODELS, '--data', folder / 'images.npz', '--out', out, '--device', 'cpu']
    more = ['--corruption', 'const', 'randn', '--levels', '0.05', '0.1', '0.2', '--seeds', '2', '--batch-size', '20']
    return [*map(str, line), *more]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    np.savez(folder / 'images.npz', x_test=SAMPLE.images[:40], y_test=SAMPLE.labels[:40])
    return folder


@pytest.fixture(scope='module')
def whole(folder):
    assert cli.main(words(folder, folder / 'whole')) == 0
    return files(folder / 'whole')


def files(out):
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob('*')
        if path.is_file() and path.name not in ('timings.csv', 'run.lock') and 'cells.sqlite' not in path.name
    }


def start(folder, out, count, numbers=None):
    """Processes as torchrun starts them."""
    started = []
    for number in range(count) if numbers is None else numbers:
        local = {'LOCAL_RANK': str(number), 'LOCAL_WORLD_SIZE': str(count)}
        env = {**os.environ, **torchrun(number, count), **local}
        started.append(fork(['-m', 'timm_zerosnet', *words(folder, out)], folder / f'log-{number}', env=env))
    return started


def in_store(out):
    if not (out / 'cells.sqlite').is_file():
        return 0
    with closing(sqlite3.connect(out / 'cells.sqlite')) as base:
        try:
            return base.execute('SELECT count(*) FROM cells').fetchone()[0]
        except sqlite3.OperationalError:
            return 0


def left_as_files(out):
    return len(list((out / 'cells').glob('[!.]*.npz'))) if (out / 'cells').is_dir() else 0


def wait_until(condition, processes):
    end = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < end and all(process.is_alive() for process in processes)
        time.sleep(0.01)


@needs_forks
@pytest.mark.slow
@pytest.mark.parametrize('count', [2, 3])
def test_files_are_those_of_one_process(count, folder, whole, tmp_path):
    out = tmp_path / 'out'
    processes = start(folder, out, count)
    for process in processes:
        process.join(300)
    logs = [(folder / f'log-{number}').read_text() for number in range(count)]
    assert [process.exitcode for process in processes] == [0] * count, logs
    assert 'report.html' in logs[0], logs
    assert logs[1:] == [
        f'timm-zerosnet: process {n} of 0 to {count - 1}; 0 writes the results\n' for n in range(1, count)
    ]
    assert files(out) == whole
    with closing(Store(out)) as store:
        assert len(store.finished()) == 2 * CONDITIONS


@needs_forks
@pytest.mark.slow
@pytest.mark.parametrize('killed', [0, 1])
def test_killed_process(killed, folder, whole, tmp_path):
    """As torchrun has it, the others end too; the same command then goes on, with any number of processes."""
    out = tmp_path / 'out'
    processes = start(folder, out, 2)
    wait_until(lambda: in_store(out) + left_as_files(out) > 3, processes)
    processes[killed].kill()
    processes[killed].join()
    processes[1 - killed].terminate()
    processes[1 - killed].join()
    kept = in_store(out) + left_as_files(out)
    assert 3 < kept < 2 * CONDITIONS
    assert cli.main(words(folder, out)) == 0
    assert files(out) == whole and not (out / 'cells').exists()


@needs_forks
@pytest.mark.slow
def test_others_take_over(folder, whole, tmp_path):
    """As under SLURM, where a killed process does not end the others."""
    out = tmp_path / 'out'
    first, second = start(folder, out, 2)
    wait_until(lambda: left_as_files(out) + in_store(out) > 2, [first, second])
    second.kill()
    second.join()
    first.join(300)
    assert first.exitcode == 0
    shutil.rmtree(out / 'cells', ignore_errors=True)  # what the other one was writing when it was killed
    assert files(out) == whole


@needs_forks
@pytest.mark.slow
def test_first_process_alone_of_a_run_that_lacks_the_others(folder, whole, tmp_path):
    (first,) = start(folder, tmp_path / 'out', 8, [0])
    first.join(300)
    assert first.exitcode == 0 and files(tmp_path / 'out') == whole


@pytest.mark.slow
def test_torchrun(folder, whole, tmp_path):
    out = tmp_path / 'out'
    line = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', '-m', 'timm_zerosnet']
    subprocess.run([*line, *words(folder, out)], check=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert files(out) == whole


@pytest.fixture
def boards(tmp_path):
    """The boards of two processes, the first with the store."""
    with closing(Store(tmp_path, write=True)) as store:
        yield Board(tmp_path, Rank(0, 2), store), Board(tmp_path, Rank(1, 2), None)


def test_a_claim_is_of_one(boards):
    assert boards[0].claim('x') and not boards[1].claim('x') and boards[1].claim('y')
    boards[0].release('x')
    assert boards[1].claim('x') and not boards[0].claim('x')
    boards[1].release_all()
    assert boards[0].claim('x') and boards[0].claim('y')


@pytest.mark.parametrize(
    'host, process, age, free',
    [
        ('here', 'alive', 0, False),
        ('here', 'dead', 0, True),
        ('elsewhere', 'dead', 0, False),
        ('elsewhere', 'dead', sharing.ABANDONED - 60, False),
        ('elsewhere', 'dead', sharing.ABANDONED + 60, True),
        ('here', 'alive', sharing.ABANDONED + 60, True),
    ],
)
def test_when_a_claim_is_free_again(host, process, age, free, boards, tmp_path):
    dead = subprocess.Popen(['true'])
    dead.wait()
    owner = {
        'host': socket.gethostname() if host == 'here' else 'elsewhere',
        'process': os.getpid() if process == 'alive' else dead.pid,
    }
    path = tmp_path / 'cells' / 'x.claim'
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age,) * 2)
    assert boards[1].claim('x') is free


def test_work_keeps_a_claim(boards, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, 'HEARTBEAT', -1)
    assert boards[0].claim('x')
    path = tmp_path / 'cells' / 'x.claim'
    old = time.time() - sharing.ABANDONED - 60
    os.utime(path, (old, old))
    boards[0].touch()
    assert path.stat().st_mtime > old + sharing.ABANDONED and not boards[1].claim('x')


def test_failures_are_tried_once_a_run_by_all(tmp_path):
    """A cell that failed elsewhere is done for this run, and tried again by the next one."""
    broken = [plain('a'), plain('b', lambda logits, x: logits[None])]
    marks = []

    def watched(self, board, *args):
        keep(self, board, *args)
        marks.append(len(list((tmp_path / 'cells').glob('*.failed'))))

    keep = measuring._Answers.keep
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(measuring._Answers, 'keep', watched)
        for name, value in torchrun(0, 2).items():
            patched.setenv(name, value)
        outcome = run(broken, DATA, tmp_path, **FEW)
    assert len(outcome.failed) == 7 and max(marks) == 7, 'while the run goes on others see what failed'
    assert not list((tmp_path / 'cells').iterdir())
    late = Board(tmp_path, Rank(1, 2), None)
    assert len(late.done(refresh=True)) == 14, 'whoever comes when the run has ended tries nothing again'
    with locked_folder(tmp_path):
        assert len(Board(tmp_path, Rank(1, 2), None).done(refresh=True)) == 7, 'the next run tries them again'
    assert run([plain('a'), plain('b')], DATA, tmp_path, **FEW).measured == 7


def test_a_cell_that_comes_last_from_elsewhere_is_in_the_results(tmp_path, monkeypatch):
    """Another process has claimed one condition, and is ready when all others are."""
    run([plain('a')], DATA, tmp_path / 'whole', **FEW)
    with closing(Store(tmp_path / 'whole')) as whole:
        cell = whole.plan().cells[3]
        stored = whole.get(cell.key)
    other = Board(tmp_path, Rank(1, 2), None)
    claim = other.claim
    monkeypatch.setattr(Board, 'claim', lambda self, name: name != taken and claim(name))
    (source,) = sources = [plain('a')]
    taken = sha256_of([view(described(source)), cell.condition, ['a']])
    for name, value in torchrun(0, 2).items():
        monkeypatch.setenv(name, value)
    # the run waits when all that it can measure is measured
    monkeypatch.setattr(measuring.time, 'sleep', lambda seconds: other.put(cell, stored))
    outcome = run(sources, DATA, tmp_path, **FEW)
    assert outcome.measured == 7
    assert (tmp_path / 'cells.csv').read_bytes() == (tmp_path / 'whole' / 'cells.csv').read_bytes()


def described(source):
    return describe_model(source, source.open()).preprocessing


def test_what_was_left_as_files_is_taken_up(tmp_path):
    """By whoever starts next, one process or several."""
    run([plain('a')], DATA, tmp_path / 'whole', **FEW)
    with closing(Store(tmp_path / 'whole')) as whole, closing(Store(tmp_path, write=True)):
        other = Board(tmp_path, Rank(1, 2), None)
        for cell in whole.plan().cells:
            other.put(cell, whole.get(cell.key))
    for name in (f'.{"a" * 40}-ab_1c2d3.partial', f'{"b" * 64}.claim', '.clock-1'):
        (tmp_path / 'cells' / name).touch()
    outcome = run([plain('a')], DATA, tmp_path, **FEW)
    assert (outcome.measured, outcome.kept) == (0, 7) and not (tmp_path / 'cells').exists()
    assert (tmp_path / 'cells.csv').read_bytes() == (tmp_path / 'whole' / 'cells.csv').read_bytes()


def test_a_failure_elsewhere_does_not_replace_a_result(boards, tmp_path):
    run([plain('a')], DATA, tmp_path / 'whole', **FEW)
    with closing(Store(tmp_path / 'whole')) as whole:
        cell: PlannedCell = whole.plan().cells[0]
        stored = whole.get(cell.key)
    boards[0].put(cell, stored)
    boards[1].put(cell, sharing.Stored(None, 'out of memory', 1.0, 'cuda:1'))
    assert boards[0].fold() == 1
    with closing(Store(tmp_path)) as store:
        assert store.get(cell.key).error is None


@pytest.mark.parametrize('count', [1, 2])
def test_files_of_others_in_the_folder_of_cells_stay(count, tmp_path, monkeypatch):
    """Such as the data set itself: ``--data proj/cells --out proj``."""
    others = ['image.png', 'kept/image.png', 'x_test.npz', 'run.failed', 'x.claim', '.hidden', '.x.partial']
    for name in others:
        (tmp_path / 'cells' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'cells' / name).write_text('mine')
    (tmp_path / 'cells' / f'{"c" * 64}.failed').touch()
    if count > 1:
        for name, value in torchrun(0, count).items():
            monkeypatch.setenv(name, value)
    assert run([plain('a')], DATA, tmp_path, **FEW).measured == 7
    left = {path for path in (tmp_path / 'cells').rglob('*') if path.is_file()}
    assert left == {tmp_path / 'cells' / name for name in others}
    assert {path.read_text() for path in left} == {'mine'} and unfolded(tmp_path) == []
