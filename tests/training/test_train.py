"""Trainings, by a stand-in for timm's train.py, and by the real one where TIMM_SCRIPTS names a checkout."""

import os
import signal
import sys
import time

import pytest
import torch
import yaml
from places import STAND_IN
from processes import fork
from small_trainings import (
    CHECKOUT,
    TORCHRUN,
    command,
    continue_run,
    epochs,
    only_row,
    options,
    read_checkpoint,
    refused,
    rows,
    run,
    write_images,
)

from timm_zerosnet import train
from timm_zerosnet.checkpoint import class_names
from timm_zerosnet.training.resume import only_writer


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_train_on_the_cpu(scripts, training_images, tmp_path):
    """The accuracy in the log would not be that of the saved file, whose batch norms differ by process."""
    line = [f'timm_zerosnet.{part}' if part == 'train' else part for part in command(scripts)]
    run(*line, *options(training_images, tmp_path, 'two', epochs=2), launcher=TORCHRUN)
    state = read_checkpoint(tmp_path / 'two' / 'last.pth.tar')['state_dict']
    assert [row['epoch'] for row in rows(tmp_path / 'two')] == ['0', '1']
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())
    record = yaml.safe_load((tmp_path / 'two' / 'args.yaml').read_text())
    assert record['timm_zerosnet']['processes'] == 2 and record['dist_bn'] == 'reduce'
    if scripts == STAND_IN:
        return
    results = tmp_path / 'results.csv'
    what = ['--data-dir', training_images, '--checkpoint', tmp_path / 'two' / 'last.pth.tar', '--workers', 1]
    run('timm_zerosnet.validate', '--timm-scripts', scripts, '--model', 'zerosnet20', *what, '--results-file', results)
    measured, logged = only_row(results), rows(tmp_path / 'two')[-1]
    assert float(measured['top1']) == pytest.approx(float(logged['eval_top1']), abs=1e-3)


@pytest.fixture
def training(scripts, training_images, tmp_path):
    """A process that trains, and the folder of its run, which has its first epoch behind it."""
    line = ['timm_zerosnet.train', *command(scripts)[1:], *options(training_images, tmp_path, 'run', epochs=300)]
    process = fork(['-m', *line], tmp_path / 'log')
    deadline = time.monotonic() + 240
    while epochs(tmp_path / 'run') < 1:
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    return process, tmp_path / 'run'


@pytest.mark.slow
def test_two_do_not_train_in_one_folder(training, capsys):
    process, folder = training
    assert continue_run(folder) == 2
    assert f'process {process.pid} is training in {folder}: wait for its end or stop it' in capsys.readouterr().err
    process.kill()
    process.join()
    with only_writer(folder):
        pass


@pytest.mark.slow
def test_interruption_is_not_taken_for_the_end(training, tmp_path):
    process, folder = training
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    said = (tmp_path / 'log').read_text()
    assert process.exitcode == 130 and 'Traceback' not in said
    assert f'--continue {folder} resumes it after its last complete epoch' in said
    assert epochs(folder) < 300


@pytest.mark.parametrize('environment', [{}, {'RANK': '1'}, {'RANK': '1', 'WORLD_SIZE': '1'}], ids=str)
def test_a_run_is_not_overwritten(environment, finished, training_images, capsys, monkeypatch):
    """A rank that another command left in the shell makes nobody a second process."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for more in ([], ['--resume', finished / 'last.pth.tar']):
        message = refused(capsys, *options(training_images, finished.parent, finished.name), *more)
    assert f'--continue {finished} resumes it, another --experiment keeps it' in message


def test_output_that_cannot_be_written(training_images, finished, capsys):
    out = finished / 'last.pth.tar' / 'out'
    message = refused(capsys, '--data-dir', training_images, '--output', out, '--experiment', 'x')
    assert f'cannot write {out / "x"}: {out.parent} is a file; --output DIR names another place' in message


def test_a_run_records_the_file_that_it_began_with(finished, training_images, tmp_path):
    own = ['--pretrained', '--pretrained-path', finished / 'last.pth.tar']
    line = [*command(STAND_IN)[1:], *options(training_images, tmp_path, 'tuned', epochs=1), *own]
    assert train.main([*map(str, line)]) == 0
    for folder, began_with in ((tmp_path / 'tuned', 'last.pth.tar'), (finished, '')):
        assert yaml.safe_load((folder / 'args.yaml').read_text())['timm_zerosnet']['began_with'] == began_with


@pytest.mark.skipif(sys.platform != 'linux', reason='names of files are text here')
def test_a_class_whose_name_is_no_utf8(tmp_path):
    write_images(tmp_path / 'images', classes=2, names=['ship', os.fsdecode(b'caf\xe9')])
    line = [*command(STAND_IN)[1:], *options(tmp_path / 'images', tmp_path, 'run', epochs=1), '--num-classes', 2]
    assert train.main([*map(str, line)]) == 0
    assert class_names(tmp_path / 'run' / 'last.pth.tar') == (os.fsdecode(b'caf\xe9'), 'ship')


def test_the_smallest_of_several_batches_must_be_full(training_images, tmp_path, capsys):
    sizes = ['--train-img-sizes', 16, 32, '--train-batch-sizes', 50, 20]
    line = [*command(STAND_IN)[1:], *options(training_images, tmp_path, 'run', epochs=1), '--batch-size', 64, *sizes]
    assert train.main([*map(str, line)]) == 0
    assert 'too few for a batch of' in refused(capsys, *map(str, line[5:-1]), '50')


@pytest.mark.slow
@pytest.mark.skipif(not CHECKOUT, reason='TIMM_SCRIPTS names no checkout')
@pytest.mark.timeout(900)
def test_own_checkpoint_gets_a_new_head_and_two_classes_do(finished, tmp_path):
    """Fine-tuning stops at the shape of the head, and at fewer than five classes."""
    for classes in (7, 2):
        data = write_images(tmp_path / str(classes), classes=classes)
        own = ['--pretrained', '--pretrained-path', finished / 'last.pth.tar', '--num-classes', classes]
        line = ['timm_zerosnet.train', *command(CHECKOUT)[1:], *own]
        run(*line, *options(data, tmp_path / 'out', classes, epochs=1))
        results = tmp_path / f'{classes}.csv'
        checkpoint = ['--checkpoint', tmp_path / 'out' / str(classes) / 'last.pth.tar', '--num-classes', classes]
        what = ['--timm-scripts', CHECKOUT, '--model', 'zerosnet20', *checkpoint, '--data-dir', data, '--workers', 1]
        run('timm_zerosnet.validate', *what, '--results-file', results)
        measured, logged = only_row(results), rows(tmp_path / 'out' / str(classes))[-1]
        assert float(measured['top1']) == pytest.approx(float(logged['eval_top1']), abs=1e-3)
        assert classes > 2 or float(measured['top5']) == 100
