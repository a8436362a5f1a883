"""The train launcher, with a stand-in for timm's train.py, and the real one where TIMM_SCRIPTS names a checkout."""

import functools
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from places import STAND_IN
from processes import fork, python
from small_trainings import LABELS, command, epochs, kill, only_row, options, rows, run, start, wait_for, write_images

from timm_zerosnet import cli, train, validate
from timm_zerosnet.checkpoint import class_names
from timm_zerosnet.training.resume import only_writer

CHECKOUT = os.environ.get('TIMM_SCRIPTS')


@pytest.fixture(
    params=[
        'stand-in',
        pytest.param('timm', marks=pytest.mark.skipif(not CHECKOUT, reason='TIMM_SCRIPTS names no checkout')),
    ]
)
def scripts(request):
    return STAND_IN if request.param == 'stand-in' else Path(CHECKOUT)


@pytest.fixture(autouse=True)
def unpatched(monkeypatch):
    from timm.data import transforms_factory

    monkeypatch.setattr(transforms_factory, 'transforms_imagenet_train', transforms_factory.transforms_imagenet_train)
    monkeypatch.delenv('TIMM_SCRIPTS', raising=False)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('images'))


def run_forked(*arguments):
    done = python('-m', *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


TORCHRUN = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']


@pytest.mark.timeout(900)
@pytest.mark.parametrize('processes', [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_run_goes_on_as_if_nothing_had_been(processes, scripts, images, tmp_path):
    """After a resume the learning rate would be the first epoch's again."""
    launcher = TORCHRUN if processes > 1 else []
    line = [f'timm_zerosnet.{part}' if part == 'train' else part for part in command(scripts)]
    finish = functools.partial(run, launcher=launcher) if launcher else run_forked
    finish(*line, *options(images, tmp_path, 'whole'))
    process = start(*line, *options(images, tmp_path, 'cut'), launcher=launcher)
    wait_for(process, tmp_path / 'cut', 3)
    kill(process)
    assert len(rows(tmp_path / 'cut')) < 6
    go_on = ['timm_zerosnet.train', '--continue', tmp_path / 'cut', '--timm-scripts', scripts]
    output = finish(*go_on)
    whole, cut = rows(tmp_path / 'whole'), rows(tmp_path / 'cut')
    assert output.count('of 6 epochs: going on') == 1
    assert [row['epoch'] for row in cut] == [row['epoch'] for row in whole] == list('012345')
    assert [float(row['lr']) for row in cut] == pytest.approx([float(row['lr']) for row in whole], rel=1e-12)
    checkpoints = [read(tmp_path / name / 'last.pth.tar') for name in ('whole', 'cut')]
    assert checkpoints[0]['epoch'] == checkpoints[1]['epoch'] == 5
    record = yaml.safe_load((tmp_path / 'cut' / 'args.yaml').read_text())['timm_zerosnet']
    assert record['recipe'] == 'short' and record['processes'] == processes
    before = (tmp_path / 'cut' / 'last.pth.tar').read_bytes()
    assert finish(*go_on).count('6 of 6 epochs: nothing is left') == 1
    assert (tmp_path / 'cut' / 'last.pth.tar').read_bytes() == before


def read(path):
    import argparse

    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, weights_only=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_train_on_the_cpu(scripts, images, tmp_path):
    """The accuracy in the log would not be that of the saved file, whose batch norms differ by process."""
    line = [f'timm_zerosnet.{part}' if part == 'train' else part for part in command(scripts)]
    run(*line, *options(images, tmp_path, 'two', epochs=2), launcher=TORCHRUN)
    state = read(tmp_path / 'two' / 'last.pth.tar')['state_dict']
    assert [row['epoch'] for row in rows(tmp_path / 'two')] == ['0', '1']
    assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())
    record = yaml.safe_load((tmp_path / 'two' / 'args.yaml').read_text())
    assert record['timm_zerosnet']['processes'] == 2 and record['dist_bn'] == 'reduce'
    if scripts == STAND_IN:
        return
    results = tmp_path / 'results.csv'
    what = ['--data-dir', images, '--checkpoint', tmp_path / 'two' / 'last.pth.tar', '--workers', 1]
    run('timm_zerosnet.validate', '--timm-scripts', scripts, '--model', 'zerosnet20', *what, '--results-file', results)
    measured, logged = only_row(results), rows(tmp_path / 'two')[-1]
    assert float(measured['top1']) == pytest.approx(float(logged['eval_top1']), abs=1e-3)


@pytest.fixture(scope='module')
def finished(images, tmp_path_factory):
    """A run of two epochs."""
    out = tmp_path_factory.mktemp('out')
    run_forked('timm_zerosnet.train', *command(STAND_IN)[1:], *options(images, out, 'run', epochs=2))
    return out / 'run'


@pytest.fixture
def half(finished, tmp_path):
    """A copy of that run, as if it had been killed after the first of two epochs."""
    folder = tmp_path / 'half'
    shutil.copytree(finished, folder)
    checkpoint = read(folder / 'last.pth.tar')
    checkpoint['epoch'] = 0
    for path in folder.glob('*.pth.tar'):
        path.unlink()
    torch.save(checkpoint, folder / 'last.pth.tar')
    return folder


def go_on(folder, *arguments):
    return train.main([*map(str, ['--continue', folder, '--timm-scripts', STAND_IN, *arguments])])


@pytest.fixture
def training(scripts, images, tmp_path):
    """A process that trains, and the folder of its run, which has its first epoch behind it."""
    line = ['timm_zerosnet.train', *command(scripts)[1:], *options(images, tmp_path, 'run', epochs=300)]
    process = fork(['-m', *line], tmp_path / 'log')
    deadline = time.monotonic() + 240
    while epochs(tmp_path / 'run') < 1:
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    return process, tmp_path / 'run'


def test_two_do_not_train_in_one_folder(training, capsys):
    process, folder = training
    assert go_on(folder) == 2
    assert f'process {process.pid} is training in {folder}: wait for its end or stop it' in capsys.readouterr().err
    process.kill()
    process.join()
    with only_writer(folder):
        pass


def test_interruption_is_not_taken_for_the_end(training, tmp_path):
    process, folder = training
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    said = (tmp_path / 'log').read_text()
    assert process.exitcode == 130 and '--continue RUN goes on' in said and 'Traceback' not in said
    assert epochs(folder) < 300


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
    checkpoint = read(folder / 'last.pth.tar')
    for name in ('recovery-7-3', 'recovery_tmp'):
        torch.save({**checkpoint, 'epoch': 7}, folder / f'{name}.pth.tar')


def torn_recovery(folder):
    (folder / 'recovery_tmp.pth.tar').write_bytes((folder / 'last.pth.tar').read_bytes()[:5000])


@pytest.mark.parametrize(
    'accident',
    [torn_newer, only_under_its_first_name, header_twice, moved, emptied, recovery, torn_recovery],
    ids=lambda f: f.__name__,
)
def test_whenever_it_was_killed(accident, half, capsys):
    accident(half)
    assert go_on(half) == 0, capsys.readouterr().err
    assert 'has finished 1 of 2 epochs: going on' in capsys.readouterr().out
    assert [row['epoch'] for row in rows(half)] == ['0', '1'] and read(half / 'last.pth.tar')['epoch'] == 1
    assert 'summary.csv' in {path.name for path in half.iterdir()} and not (half / 'summary.partial').exists()


def test_killed_before_its_first_checkpoint(half, capsys):
    (half / 'last.pth.tar').unlink()
    assert go_on(half) == 0
    assert 'has finished 0 of 2 epochs: going on' in capsys.readouterr().out
    assert [row['epoch'] for row in rows(half)] == ['0', '1']


def test_what_does_not_change_the_training_may_be_another(half, images, tmp_path):
    shutil.copytree(images, tmp_path / 'elsewhere')
    assert go_on(half, '--data-dir', tmp_path / 'elsewhere', '--workers', '2', '--log-interval', '1') == 0


def test_checkpoint_is_safe_from_a_second_kill(half):
    """train.py writes tmp.pth.tar anew: what is gone on from must not be the only copy."""
    only_under_its_first_name(half)
    before = read(half / 'tmp.pth.tar')['epoch']
    process = fork(['-m', 'timm_zerosnet.train', '--continue', half, '--timm-scripts', STAND_IN], half.parent / 'log')
    while not (half / 'last.pth.tar').is_file():
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert read(half / 'last.pth.tar')['epoch'] >= before


def test_where_it_began_is_no_longer_needed(half):
    path = half / 'args.yaml'
    args = {**yaml.safe_load(path.read_text()), 'pretrained': True, 'pretrained_path': 'gone/last.pth.tar'}
    path.write_text(yaml.safe_dump(args))
    assert go_on(half) == 0


def test_other_classes_are_another_run(half, images, tmp_path, capsys):
    other = tmp_path / 'other'
    shutil.copytree(images, other)
    for split in ('train', 'validation'):
        (other / split / 'airplane').rename(other / split / 'zebra')
    assert go_on(half, '--data-dir', other) == 2
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
        (all_torn, [], 'has no whole checkpoint: '),
        (without_arguments, [], 'is empty, and no checkpoint has the arguments'),
        (of_two_processes, [], 'was started with 2 processes, not with 1'),
        (lambda folder: (folder / 'args.yaml').unlink(), [], 'is no run: it holds no args.yaml'),
    ],
)
def test_refuses_to_go_on(prepare, arguments, message, half, capsys):
    if prepare:
        prepare(half)
    before = {path.name: path.read_bytes() for path in half.iterdir() if path.name != 'running.lock'}
    assert go_on(half, *arguments) == 2
    assert message in capsys.readouterr().err
    assert before == {name: (half / name).read_bytes() for name in before}
    assert {path.name for path in half.iterdir()} - {'running.lock'} == set(before)


def test_run_of_another_recipe(half, capsys):
    line = ['--continue', str(half), '--timm-scripts', str(STAND_IN)]
    assert train.main(['paper', *line]) == 2
    assert 'is a run of the recipe short, not of paper' in capsys.readouterr().err
    assert train.main(['short', *line]) == 0


def refused(capsys, *arguments):
    assert train.main([*map(str, command(STAND_IN, '--batch-size', 20, *arguments)[1:])]) == 2
    out, err = capsys.readouterr()
    assert 'Traceback' not in out + err
    return err


def test_a_run_is_not_overwritten(finished, images, capsys):
    for more in ([], ['--resume', finished / 'last.pth.tar']):
        message = refused(capsys, *options(images, finished.parent, finished.name), *more)
    assert f'--continue {finished} goes on with it, another --experiment keeps it' in message


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], 'no data: --data-dir DIR is missing'),
        (['--data-dir', 'DIR/none'], 'none does not exist'),
        (['--data-dir', 'DIR/train/airplane'], 'lie in no class folder; expected is one folder of images for each'),
        (['--data-dir', 'DIR/train'], 'it would train and test on the same images'),
        (
            ['--data-dir', 'DIR', '--num-classes', '7'],
            'train has 10 classes, the network 7 outputs: accepted is --num-classes 10',
        ),
        (
            ['--data-dir', 'DIR', '--model', 'zerosnet20.cifar100'],
            'accepted is --num-classes 10 or --model zerosnet20.cifar10',
        ),
        (
            ['--data-dir', 'DIR', '--model', 'resnet18'],
            'the network 1000 outputs: accepted is --num-classes 10 or other',
        ),
        (['--data-dir', 'DIR', '--model', 'zerosnet21'], "knows no model 'zerosnet21'; the nearest are zerosnet"),
        (['--data-dir', 'DIR', '--model', 'zerosnet20.mnist'], 'Invalid pretrained tag (mnist)'),
        (['--dataset', 'torch/cifar10', '--data-dir', 'DIR/none'], '--dataset-download fetches torch/cifar10'),
        (
            ['--dataset', 'torch/cifar100', '--data-dir', 'DIR'],
            'has 100 classes, the network 10 outputs: accepted is --num-classes 100 or --model zerosnet20.cifar100',
        ),
        (
            ['--data-dir', 'DIR', '--in-chans', '1'],
            '--in-chans 1 beside an input size of [3, 32, 32]: --input-size 1 32 32',
        ),
        (['--data-dir', 'DIR', '--pretrained-path', 'FILE'], 'give --pretrained with it'),
        (['--data-dir', 'DIR', '--initial-checkpoint', 'DIR/none'], 'none does not exist or is no file'),
        (['--data-dir', 'DIR', '--initial-checkpoint', 'TORN'], 'cannot be read as a checkpoint'),
        (['--data-dir', 'DIR', '--pretrained', '--pretrained-path', 'TORN'], 'cannot be read as a checkpoint'),
        (['--data-dir', 'DIR', '--epochs', '0'], '--epochs 0: accepted is at least 1'),
        (['--data-dir', 'DIR', '--batch-size', '-5'], '--batch-size -5: accepted is at least 1'),
        (['--data-dir', 'DIR', '--model', 'zerosnet32', '--pretrained'], 'there are no weights for zerosnet32.cifar10'),
        (['--data-dir', 'DIR', '--lr', 'nan'], '--lr nan: accepted are finite numbers'),
        (['--data-dir', 'DIR', '--weight-decay', 'inf'], '--weight-decay inf: accepted are finite numbers'),
        (['paper', '--data-dir', 'DIR'], "'paper' and --data-dir "),
        (['--data-dir', 'DIR', '--train-crop-mode', 'pad5'], 'pad5: accepted are pad4, rrc, rkrc, rkrr'),
        (
            ['--data-dir', 'DIR', '--batch-size', '64'],
            'train has 40 images, too few for a batch of 64: --batch-size 40',
        ),
        (['--data-dir', 'DIR', '--class-map', 'none.txt'], '--class-map none.txt does not exist'),
        (['--data-dir', 'DIR', '--initial-checkpoint', 'DIR'], 'is a folder; accepted is a file'),
        (['--data-dir', 'DIR', '--model', 'zerosnet32', '--resume', 'FILE'], 'does not fit zerosnet32'),
        (['--dataset', 'torch/cifar10'], 'no data: --data-dir DIR is missing'),
        (
            ['--data-dir', 'DIR', '--model', 'local-dir:LOCAL'],
            '10 classes, the network 4 outputs: accepted is --num-classes',
        ),
        (['--data-dir', 'DIR', '--model', 'local-dir:DIR'], 'config.json does not exist; expected a folder with'),
        (['--data-dir', 'DIR', '--resume', 'TORN'], 'cannot be read as a checkpoint'),
    ],
)
def test_refused_before_it_starts(arguments, message, images, finished, tmp_path, capsys):
    (tmp_path / 'torn.pth.tar').write_bytes((finished / 'last.pth.tar').read_bytes()[:9999])
    (tmp_path / 'local').mkdir()
    (tmp_path / 'local' / 'config.json').write_text('{"architecture": "zerosnet20", "num_classes": 4}')
    places = {
        'LOCAL': tmp_path / 'local',
        'DIR': images,
        'FILE': finished / 'last.pth.tar',
        'TORN': tmp_path / 'torn.pth.tar',
    }
    for name, place in places.items():
        arguments = [argument.replace(name, str(place)) for argument in arguments]
    assert message in refused(capsys, *arguments, '--output', tmp_path / 'out', '--experiment', 'x')
    assert not (tmp_path / 'out').exists()


def test_output_that_cannot_be_written(images, finished, capsys):
    out = finished / 'last.pth.tar' / 'out'
    message = refused(capsys, '--data-dir', images, '--output', out, '--experiment', 'x')
    assert f'cannot write {out / "x"}: {out.parent} is a file; --output DIR names another place' in message


def test_splits_with_different_classes(tmp_path, capsys):
    """Folders in another order or number give a good model nearly zero accuracy."""
    write_images(tmp_path)
    shutil.rmtree(tmp_path / 'validation' / 'cat')
    (tmp_path / 'validation' / 'zebra').mkdir()
    Image.new('RGB', (32, 32)).save(tmp_path / 'validation' / 'zebra' / '0.png')
    assert 'have different classes: only one of them has cat, zebra' in refused(capsys, '--data-dir', tmp_path)


def test_own_checkpoint_for_another_class_count(finished, tmp_path, capsys):
    """Fine-tuning from an own checkpoint stops at the head: the wrong flag is answered by the right one."""
    write_images(tmp_path, classes=7)
    own = finished / 'last.pth.tar'
    seven = ['--data-dir', tmp_path, '--num-classes', 7]
    message = refused(capsys, *seven, '--initial-checkpoint', own)
    assert (
        f'--initial-checkpoint {own} has 10 classes, the network 7: --pretrained --pretrained-path {own} in' in message
    )


def test_validate_refuses_a_checkpoint_of_another_class_count(finished, tmp_path, capsys):
    write_images(tmp_path, classes=7)
    line = ['--timm-scripts', STAND_IN, '--data-dir', tmp_path, '--checkpoint', finished / 'last.pth.tar']
    assert validate.main([*map(str, line), '--num-classes', '7']) == 2
    assert 'has 10 classes, the network 7: --num-classes 10' in capsys.readouterr().err
    assert validate.main([*map(str, line)]) == 2
    assert 'validation has 7 classes, the network 10 outputs' in capsys.readouterr().err


@pytest.mark.parametrize(
    'names, arguments, said',
    [
        (LABELS, [], False),
        (['plane', *LABELS[1:]], [], True),
        (['airliner', *LABELS[1:]], ['--checkpoint', 'OWN'], False),
        (['plane', *LABELS[1:]], ['--checkpoint', 'NAMELESS'], False),
    ],
)
def test_validate_says_where_folders_are_not_named_like_the_classes(names, arguments, said, finished, tmp_path, capsys):
    """Folders in another order give a good model nearly zero accuracy without a word."""
    write_images(tmp_path, names=names)
    own = read(finished / 'last.pth.tar')
    torch.save({'state_dict': own['state_dict']}, tmp_path / 'nameless.pth')
    places = {'OWN': finished / 'last.pth.tar', 'NAMELESS': tmp_path / 'nameless.pth'}
    arguments = [str(places.get(argument, argument)) for argument in arguments]
    assert validate.main(['--timm-scripts', str(STAND_IN), '--data-dir', str(tmp_path), *arguments]) == 0
    error = capsys.readouterr().err
    assert ('only one of them has airplane, plane; its folders are taken in the order of their names' in error) == said


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


@pytest.fixture
def two_classes(tmp_path, capsys):
    """A run that was trained on the folders rose and tulip, and its data."""
    data = write_images(tmp_path / 'data', classes=2, names=['rose', 'tulip'])
    words = [*options(data, tmp_path, 'flowers', epochs=1), '--num-classes', 2]
    assert train.main([*map(str, command(STAND_IN, *words)[1:])]) == 0
    capsys.readouterr()
    return tmp_path / 'flowers', data


def test_a_run_keeps_the_names_of_its_classes(two_classes, tmp_path):
    folder, _ = two_classes
    assert yaml.safe_load((folder / 'args.yaml').read_text())['timm_zerosnet']['class_names'] == ['rose', 'tulip']
    assert class_names(folder / 'last.pth.tar') == ('rose', 'tulip')
    shutil.copy(folder / 'last.pth.tar', tmp_path / 'moved.pth.tar')
    assert class_names(tmp_path / 'moved.pth.tar') == ('rose', 'tulip')
    weights = read(folder / 'last.pth.tar')['state_dict']
    for place, names in ((folder, ('rose', 'tulip')), (tmp_path, None)):
        torch.save(weights, place / 'weights.pth')
        assert class_names(place / 'weights.pth') == names


def test_continued_run_of_an_earlier_release_gets_the_names(half):
    path = half / 'args.yaml'
    args = yaml.safe_load(path.read_text())
    del args['timm_zerosnet']['class_names']
    path.write_text(yaml.safe_dump(args))
    assert go_on(half) == 0
    assert yaml.safe_load(path.read_text())['timm_zerosnet']['class_names'] == list(LABELS)


def test_a_class_map_orders_the_names(tmp_path, capsys):
    data = write_images(tmp_path / 'data', classes=2, names=['rose', 'tulip'])
    (tmp_path / 'map.txt').write_text('tulip\nrose\n')
    words = [*options(data, tmp_path, 'mapped', epochs=1), '--num-classes', 2, '--class-map', tmp_path / 'map.txt']
    assert train.main([*map(str, command(STAND_IN, *words)[1:])]) == 0
    assert class_names(tmp_path / 'mapped' / 'last.pth.tar') == ('tulip', 'rose')
    line = ['--timm-scripts', STAND_IN, '--data-dir', data, '--num-classes', 2, '--checkpoint']
    line = [*map(str, [*line, tmp_path / 'mapped' / 'last.pth.tar'])]
    assert validate.main(line) == 2
    assert 'so that rose, tulip would count as other classes: --class-map FILE maps them' in capsys.readouterr().err
    assert validate.main([*line, '--class-map', str(tmp_path / 'map.txt')]) == 0


def test_validate_refuses_folders_in_another_order(two_classes, tmp_path, capsys):
    folder, data = two_classes
    line = ['--timm-scripts', STAND_IN, '--num-classes', 2, '--checkpoint', folder / 'last.pth.tar', '--data-dir']
    assert validate.main([*map(str, [*line, data])]) == 0
    other = write_images(tmp_path / 'other', classes=2, names=['aster', 'rose'])
    assert validate.main([*map(str, [*line, other])]) == 2
    error = capsys.readouterr().err
    assert 'has the classes aster, rose, ' in error and 'was trained on rose, tulip in this order' in error


def test_predict_and_robustness_know_the_classes_of_a_run(two_classes, tmp_path, capsys):
    folder, data = two_classes
    words = ['--model', 'zerosnet20', '--checkpoint', folder / 'last.pth.tar']
    picture = next((data / 'validation').rglob('*.png'))
    assert cli.main([*map(str, ['predict', picture, *words])]) == 0
    said = capsys.readouterr()
    assert 'rose' in said.out and 'tulip' in said.out and 'class names are those of' not in said.err
    shutil.rmtree(data / 'validation' / 'rose')
    words += ['--data', data, '--corruption', 'const', '--levels', 0.1, '--out', tmp_path / 'out']
    assert cli.main([*map(str, ['robustness', *words])]) == 0
    (model,) = json.loads((tmp_path / 'out' / 'summary.json').read_text())['models']
    assert model['class_mapping'] == {'tulip': 1} and model['mapped_by'] == 'name'


def test_class_called_like_a_split(tmp_path):
    """CIFAR-100 has a class ``train``: its folder is no split."""
    write_images(tmp_path, classes=2, names=['ship', 'train'])
    line = ['--timm-scripts', STAND_IN, '--data-dir', tmp_path / 'validation', '--num-classes', 2]
    torch.save({'fc.weight': torch.zeros(2, 512)}, tmp_path / 'own.pth')
    assert validate.main([*map(str, [*line, '--checkpoint', tmp_path / 'own.pth', '--model', 'resnet18'])]) == 0
