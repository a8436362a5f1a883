"""Runs that were killed continue where they were, and nothing else is taken for a run."""

import shutil
import time

import pytest
import torch
import yaml
from amounts import slow
from places import STAND_IN
from processes import fork
from small_trainings import (
    LABELS,
    TORCHRUN,
    command,
    continue_run,
    kill,
    options,
    read_checkpoint,
    rows,
    run,
    start,
    wait_for,
)

from timm_zerosnet import train
from timm_zerosnet.training.resume import scheduled_epochs
from timm_zerosnet.training.scripts import find_script, script_parser


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize('processes', [1, 2])
def test_killed_run_continues_as_if_it_had_not_been_killed(processes, scripts, training_images, tmp_path):
    """The learning rate of the first epoch after a resume was that of epoch 0."""
    launcher = TORCHRUN if processes > 1 else []
    line = [f'timm_zerosnet.{part}' if part == 'train' else part for part in command(scripts)]
    run(*line, *options(training_images, tmp_path, 'whole', epochs=4), launcher=launcher)
    process = start(*line, *options(training_images, tmp_path, 'cut', epochs=4), launcher=launcher)
    wait_for(process, tmp_path / 'cut', 2)
    kill(process)
    assert len(rows(tmp_path / 'cut')) < 4
    line = ['timm_zerosnet.train', '--continue', tmp_path / 'cut', '--timm-scripts', scripts]
    output = run(*line, launcher=launcher)
    whole, cut = rows(tmp_path / 'whole'), rows(tmp_path / 'cut')
    assert output.count('of 4 epochs: continuing') == 1
    assert [row['epoch'] for row in cut] == [row['epoch'] for row in whole] == list('0123')
    assert [float(row['lr']) for row in cut] == pytest.approx([float(row['lr']) for row in whole], rel=1e-12)
    checkpoints = [read_checkpoint(tmp_path / name / 'last.pth.tar') for name in ('whole', 'cut')]
    assert checkpoints[0]['epoch'] == checkpoints[1]['epoch'] == 3
    record = yaml.safe_load((tmp_path / 'cut' / 'args.yaml').read_text())['timm_zerosnet']
    assert record['recipe'] == 'short' and record['processes'] == processes
    if processes > 1:
        return
    before = (tmp_path / 'cut' / 'last.pth.tar').read_bytes()
    assert run(*line).count('4 of 4 epochs: nothing is left to do') == 1
    assert (tmp_path / 'cut' / 'last.pth.tar').read_bytes() == before


def torn_newer(folder):
    (folder / 'tmp.pth.tar').write_bytes((folder / 'last.pth.tar').read_bytes()[:5000])


def only_under_its_first_name(folder):
    (folder / 'last.pth.tar').rename(folder / 'tmp.pth.tar')


def header_twice(folder):
    log = folder / 'summary.csv'
    header, first, second = log.read_text().splitlines()
    log.write_text('\n'.join([header, first, header, first, second, '']))


def moved(folder):
    args = yaml.safe_load((folder / 'args.yaml').read_text())
    (folder / 'args.yaml').write_text(yaml.safe_dump({**args, 'output': '/nowhere', 'experiment': 'else'}))


def emptied(folder):
    (folder / 'args.yaml').write_text('')


def recovery(folder):
    checkpoint = read_checkpoint(folder / 'last.pth.tar')
    for name in ('recovery-7-3', 'recovery_tmp'):
        torch.save({**checkpoint, 'epoch': 7}, folder / f'{name}.pth.tar')


def torn_recovery(folder):
    (folder / 'recovery_tmp.pth.tar').write_bytes((folder / 'last.pth.tar').read_bytes()[:5000])


@pytest.mark.parametrize(
    'accident',
    [torn_newer, recovery, *map(slow, (only_under_its_first_name, header_twice, moved, emptied, torn_recovery))],
    ids=lambda f: f.__name__,
)
def test_whenever_it_was_killed(accident, half, capsys):
    accident(half)
    assert continue_run(half) == 0, capsys.readouterr().err
    assert 'has finished 1 of 2 epochs: continuing' in capsys.readouterr().out
    assert [row['epoch'] for row in rows(half)] == ['0', '1'] and read_checkpoint(half / 'last.pth.tar')['epoch'] == 1
    assert 'summary.csv' in {path.name for path in half.iterdir()} and not (half / 'summary.partial').exists()


def test_killed_before_its_first_checkpoint(half, capsys):
    (half / 'last.pth.tar').unlink()
    assert continue_run(half) == 0
    assert 'has finished 0 of 2 epochs: continuing' in capsys.readouterr().out
    assert [row['epoch'] for row in rows(half)] == ['0', '1']


def test_arguments_that_do_not_change_the_training_may_change(half, training_images, tmp_path):
    shutil.copytree(training_images, tmp_path / 'elsewhere')
    assert continue_run(half, '--data-dir', tmp_path / 'elsewhere', '--workers', '2', '--log-interval', '1') == 0


def test_checkpoint_is_safe_from_a_second_kill(half):
    """train.py writes tmp.pth.tar anew: the checkpoint that a run continues from must not be the only copy."""
    only_under_its_first_name(half)
    before = read_checkpoint(half / 'tmp.pth.tar')['epoch']
    line = ('timm_zerosnet.train', '--continue', half, '--timm-scripts', STAND_IN)
    process = fork(['-m', *line], half.parent / 'log')
    while not (half / 'last.pth.tar').is_file():
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert read_checkpoint(half / 'last.pth.tar')['epoch'] >= before


def test_weights_it_began_with_are_no_longer_needed(half):
    path = half / 'args.yaml'
    args = {**yaml.safe_load(path.read_text()), 'pretrained': True, 'pretrained_path': 'gone/last.pth.tar'}
    path.write_text(yaml.safe_dump(args))
    assert continue_run(half) == 0


def test_arguments_that_were_cut_short_come_from_the_checkpoint(half):
    path = half / 'args.yaml'
    text, before = path.read_text(), yaml.safe_load(path.read_text())
    path.write_text(text[: text.index('\nopt: ')])  # as if it had been killed while writing
    assert continue_run(half) == 0
    after = yaml.safe_load(path.read_text())
    places = {'resume', 'start_epoch', 'output', 'experiment'}
    assert {key for key, value in before.items() if after[key] != value} <= places


def test_a_run_that_began_on_the_cpu_says_that_there_is_a_gpu(half, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert continue_run(half) == 0
    assert 'on the CPU, on which it was started: --device cuda takes the GPU' in capsys.readouterr().err


@pytest.mark.parametrize(
    'options, epochs',
    [
        (['--sched', 'cosine', '--cooldown-epochs', '2'], 5 + 2),
        (['--sched', 'cosine', '--lr-cycle-limit', '3'], 3 * 5),
        (['--sched', 'cosine', '--warmup-epochs', '2', '--warmup-prefix'], 2 + 5),
        (['--sched', 'step', '--cooldown-epochs', '2'], 5),
        (['--sched', 'poly', '--sched-on-updates', '--cooldown-epochs', '1'], 5 + 1),
    ],
    ids=str,
)
def test_number_of_epochs_that_are_scheduled(options, epochs):
    parser = script_parser(find_script('train.py', STAND_IN))
    assert scheduled_epochs(parser.parse_args(['--lr', '0.1', '--epochs', '5', *options])) == epochs


def test_other_classes_are_another_run(half, training_images, tmp_path, capsys):
    other = tmp_path / 'other'
    shutil.copytree(training_images, other)
    for split in ('train', 'validation'):
        (other / split / 'airplane').rename(other / split / 'zebra')
    assert continue_run(half, '--data-dir', other) == 2
    assert f'was started on other classes than those in {other}' in capsys.readouterr().err


def all_torn(folder):
    (folder / 'last.pth.tar').write_bytes(b'PK torn')


def without_arguments(folder):
    emptied(folder)
    (folder / 'last.pth.tar').unlink()


def of_two_processes(folder):
    path = folder / 'args.yaml'
    path.write_text(path.read_text().replace('processes: 1', 'processes: 2'))


@pytest.mark.parametrize(
    'prepare, arguments, message',
    [
        (None, ['--epochs', '9'], 'would change epochs 2 to 9: start a new run'),
        (None, ['--lr', '1', '--seed=4'], 'would change lr 0.2 to 1.0, seed 0 to 4'),
        (None, ['--smooth', '0.5'], 'would change smoothing 0.0 to 0.5'),
        (all_torn, [], 'has no complete checkpoint: '),
        (without_arguments, [], 'is empty, and no checkpoint holds the arguments'),
        (of_two_processes, [], 'expected 2 processes, with which '),
        (
            lambda folder: (folder / 'args.yaml').unlink(),
            [],
            'expected a run with the args.yaml that train.py writes, got ',
        ),
    ],
)
def test_refuses_to_continue(prepare, arguments, message, half, capsys):
    if prepare:
        prepare(half)
    before = {path.name: path.read_bytes() for path in half.iterdir() if path.name != 'running.lock'}
    assert continue_run(half, *arguments) == 2
    assert message in capsys.readouterr().err
    assert before == {name: (half / name).read_bytes() for name in before}
    assert {path.name for path in half.iterdir()} - {'running.lock'} == set(before)


def test_killed_in_its_first_epoch_it_still_begins_with_the_weights_it_was_given(half, tmp_path, capsys):
    shutil.copy(half / 'last.pth.tar', tmp_path / 'given.pth.tar')
    images = yaml.safe_load((half / 'args.yaml').read_text())['data_dir']
    words = [*options(images, tmp_path, 'run', epochs=2), '--resume', tmp_path / 'given.pth.tar', '--no-resume-opt']
    assert train.main([*map(str, command(STAND_IN, *words)[1:])]) == 0
    run = tmp_path / 'run'
    args = yaml.safe_load((run / 'args.yaml').read_text())
    assert args['timm_zerosnet']['began_with'] == 'given.pth.tar'
    for path in run.glob('*.pth.tar'):
        path.unlink()
    (run / 'summary.csv').unlink(missing_ok=True)
    assert continue_run(run) == 0
    assert yaml.safe_load((run / 'args.yaml').read_text())['resume'] == str(tmp_path / 'given.pth.tar')


def test_disk_that_was_full_in_the_first_epoch(half):
    """train.py leaves the part of a checkpoint that it could write: the run starts over."""
    for path in half.glob('*.pth.tar'):
        path.unlink()
    (half / 'summary.csv').unlink()
    (half / 'tmp.pth.tar').write_bytes(b'PK torn')
    assert continue_run(half) == 0
    assert (half / 'last.pth.tar').is_file()


def test_tasks_of_slurm_are_processes(half, capsys, monkeypatch):
    for name, value in {'SLURM_NTASKS': '4', 'SLURM_PROCID': '0', 'SLURM_LOCALID': '0'}.items():
        monkeypatch.setenv(name, value)
    assert continue_run(half) == 2
    assert f'expected 1 processes, with which {half} was started, got 4' in capsys.readouterr().err


def test_run_of_another_recipe(half, capsys):
    line = ['--continue', str(half), '--timm-scripts', str(STAND_IN)]
    assert train.main(['paper', *line]) == 2
    assert f'expected the recipe short, with which {half} was started, got paper' in capsys.readouterr().err
    assert train.main(['short', *line]) == 0


def test_continued_run_of_an_earlier_release_gets_the_names(half):
    path = half / 'args.yaml'
    args = yaml.safe_load(path.read_text())
    del args['timm_zerosnet']['class_names']
    path.write_text(yaml.safe_dump(args))
    assert continue_run(half) == 0
    assert yaml.safe_load(path.read_text())['timm_zerosnet']['class_names'] == list(LABELS)
