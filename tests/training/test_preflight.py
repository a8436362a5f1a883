"""What the launcher refuses before timm's scripts start."""

import argparse
import shutil

import pytest
import timm
import torch
from PIL import Image
from places import STAND_IN
from small_trainings import command, options, refused, write_images

from timm_zerosnet import train, validate
from timm_zerosnet.training import preflight


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], 'no data: give --data-dir DIR, or'),
        (['--data-dir', 'DIR/none'], 'none does not exist'),
        (['--data-dir', 'DIR/train/airplane'], 'expected one folder of images for each class in '),
        (['--data-dir', 'DIR/train'], 'it would train and test on the same images'),
        (
            ['--data-dir', 'DIR', '--num-classes', '7'],
            'train has 10 classes, the network 7 outputs: give --num-classes 10',
        ),
        (
            ['--data-dir', 'DIR', '--model', 'zerosnet20.cifar100'],
            'give --num-classes 10 or --model zerosnet20.cifar10',
        ),
        (
            ['--data-dir', 'DIR', '--model', 'resnet18'],
            'the network 1000 outputs: give --num-classes 10 or other data',
        ),
        (['--data-dir', 'DIR', '--model', 'zerosnet21'], "knows no model 'zerosnet21'; the nearest are zerosnet"),
        (['--data-dir', 'DIR', '--model', 'zerosnet20.mnist'], 'Invalid pretrained tag (mnist)'),
        (['--dataset', 'torch/cifar10', '--data-dir', 'DIR/none'], '--dataset-download fetches torch/cifar10'),
        (
            ['--dataset', 'torch/cifar100', '--data-dir', 'DIR'],
            'has 100 classes, the network 10 outputs: give --num-classes 100 or --model zerosnet20.cifar100',
        ),
        (
            ['--data-dir', 'DIR', '--in-chans', '1'],
            'pictures will have, 3, got 1: --input-size 1 32 32 is for grey',
        ),
        (
            ['--data-dir', 'DIR', '--img-size', '48'],
            'would take: --input-size 3 48 48 in place of --img-size',
        ),
        (
            ['--data-dir', 'DIR', '--input-size', '3', '48', '48', '--train-img-sizes', '16', '32'],
            'got 16 32: it would be validated at a size that it never saw; --train-img-sizes 24 48 keeps',
        ),
        (
            ['--data-dir', 'DIR', '--pretrained-path', 'FILE'],
            'ignores --pretrained-path without --pretrained: give both',
        ),
        (['--data-dir', 'DIR', '--initial-checkpoint', 'DIR/none'], 'none does not exist or is no file'),
        (['--data-dir', 'DIR', '--initial-checkpoint', 'TORN'], 'cannot be read as a checkpoint'),
        (['--data-dir', 'DIR', '--pretrained', '--pretrained-path', 'TORN'], 'cannot be read as a checkpoint'),
        (['--data-dir', 'DIR', '--epochs', '0'], 'expected --epochs to be at least 1, got 0'),
        (['--data-dir', 'DIR', '--batch-size', '-5'], 'expected --batch-size to be at least 1, got -5'),
        (
            ['--data-dir', 'DIR', '--model', 'zerosnet164', '--pretrained'],
            'there are no weights for zerosnet164.cifar10',
        ),
        (['--data-dir', 'DIR', '--lr', 'nan'], 'expected --lr to be finite, got nan'),
        (['--data-dir', 'DIR', '--weight-decay', 'inf'], 'expected --weight-decay to be finite, got inf'),
        (['--data-dir', 'DIR', '--momentum', '-1'], '--opt sgd: Invalid momentum value: -1.0'),
        (['--data-dir', 'DIR', '--opt', 'sdg'], '--opt sdg: Optimizer sdg not found'),
        (['--data-dir', 'DIR', '--opt-kwargs', 'nestrov=1'], "unexpected keyword argument 'nestrov'"),
        (['--data-dir', 'DIR', '--sched', 'cosin'], '--sched cosin'),
        (
            ['--data-dir', 'DIR', '--model-kwargs', 'metod=ab3'],
            'zerosnet20 with --model-kwargs metod=ab3 cannot be made: TypeError: MultistepResNet.__init__() got an',
        ),
        (
            ['--data-dir', 'DIR', '--model', 'resnet18', '--num-classes', '10', '--model-kwargs', 'act_layer=rely'],
            "model resnet18 with --model-kwargs act_layer=rely cannot be made: KeyError: 'rely'",
        ),
        (['paper', '--data-dir', 'DIR'], "'paper' and --data-dir "),
        (
            ['--data-dir', 'DIR', '--batch-size', '64'],
            'train has 40 images, too few for a batch of 64: give --batch-size 40',
        ),
        (['--data-dir', 'DIR', '--initial-checkpoint', 'DIR'], 'is a folder: name a file in it'),
        (['--data-dir', 'DIR', '--model', 'zerosnet32', '--resume', 'FILE'], 'of zerosnet32, got one of zerosnet20'),
        (['--dataset', 'torch/cifar10'], 'no data: give --data-dir DIR, or'),
        (
            ['--data-dir', 'DIR', '--model', 'local-dir:LOCAL'],
            '10 classes, the network 4 outputs: give --num-classes',
        ),
        (['--data-dir', 'DIR', '--model', 'local-dir:DIR'], 'config.json does not exist: expected a folder with'),
        (['--data-dir', 'DIR', '--resume', 'TORN'], 'cannot be read as a checkpoint'),
    ],
)
def test_refused_before_it_starts(arguments, message, training_images, finished, tmp_path, capsys):
    (tmp_path / 'torn.pth.tar').write_bytes((finished / 'last.pth.tar').read_bytes()[:9999])
    (tmp_path / 'local').mkdir()
    (tmp_path / 'local' / 'config.json').write_text('{"architecture": "zerosnet20", "num_classes": 4}')
    places = {
        'LOCAL': tmp_path / 'local',
        'DIR': training_images,
        'FILE': finished / 'last.pth.tar',
        'TORN': tmp_path / 'torn.pth.tar',
    }
    for name, place in places.items():
        arguments = [argument.replace(name, str(place)) for argument in arguments]
    assert message in refused(capsys, *arguments, '--output', tmp_path / 'out', '--experiment', 'x')
    assert not (tmp_path / 'out').exists()


def test_splits_with_different_classes(tmp_path, capsys):
    """Folders in another order or number give a good model nearly zero accuracy."""
    write_images(tmp_path)
    shutil.rmtree(tmp_path / 'validation' / 'cat')
    (tmp_path / 'validation' / 'zebra').mkdir()
    Image.new('RGB', (32, 32)).save(tmp_path / 'validation' / 'zebra' / '0.png')
    assert 'have different classes: only one of them has cat, zebra' in refused(capsys, '--data-dir', tmp_path)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--data-dir', 'TESTED'], 'has no folder for --val-split validation; it has test, train'),
        (['--data-dir', 'DIR', '--train-split', 'trian'], 'has no folder for --train-split trian; it has train, valid'),
        (
            ['--data-dir', 'DIR', '--val-split', 'test', '--class-map', 'MAP'],
            'has no folder for --val-split test; it has',
        ),
        (['--data-dir', 'NESTED', '--train-split', 'mine'], 'it would train and test on the same images'),
        (
            ['--dataset', 'torch/cifar10', '--train-split', 'trian'],
            'expected one of train, training for --train-split of',
        ),
        (
            [
                '--dataset',
                'torch/mnist',
                '--train-split',
                'test',
                '--num-classes',
                '10',
                '--input-size',
                '1',
                '32',
                '32',
            ],
            'for --train-split of torch/mnist',
        ),
        (['--dataset', 'torch/cifar10', '--val-split', 'train'], 'for --val-split of torch/cifar10, got train'),
        (['--dataset', 'ImageFolder', '--data-dir', 'FLAT'], 'it would train and test on the same images'),
        (['--dataset', 'torch/folder', '--data-dir', 'FLAT'], 'it would train and test on the same images'),
        (['--dataset', 'flowers', '--num-classes', '3'], 'train has 10 classes, the network 3 outputs'),
        (['--class-map', 'MAP', '--batch-size', '41'], 'has 40 images, too few for a batch of 41'),
        (['--class-map', 'MAP', '--num-classes', '9'], 'map.txt has 10 classes, the network 9 outputs'),
        (['--class-map', 'TWO', '--data-dir', 'TWINS'], 'two.txt has 2 classes, the network 10 outputs'),
        (['--dataset', 'torch/mnist', '--val-split', ''], 'as the pictures will have, 1, got 3: --input-size 1 32 32'),
        (['--dataset', 'torch/cifar10', '--in-chans', '3', '--input-size', '1', '32', '32'], 'will have, 3, got 1'),
        (['--dataset', 'cifar/cifar10', '--data-dir', ''], 'no data: give --data-dir DIR'),
    ],
    ids=str,
)
def test_split_that_is_none(arguments, message, training_images, tmp_path, capsys):
    """timm takes the whole folder, or the test images: it would test on what it trained on, or the reverse."""
    shutil.copytree(training_images / 'train', tmp_path / 'tested' / 'train')
    shutil.copytree(training_images / 'validation', tmp_path / 'tested' / 'test')
    shutil.copytree(training_images / 'train', tmp_path / 'nested' / 'mine')
    (tmp_path / 'map.txt').write_text('\n'.join(sorted(path.name for path in (training_images / 'train').iterdir())))
    if '--data-dir' not in arguments:
        arguments = [*arguments, '--data-dir', 'DIR']
    shutil.copytree(training_images / 'train', tmp_path / 'flat')
    write_images(tmp_path / 'twins', classes=2)
    (tmp_path / 'two.txt').write_text('\n'.join(sorted(path.name for path in (tmp_path / 'twins' / 'train').iterdir())))
    places = {'DIR': training_images, 'MAP': tmp_path / 'map.txt', 'TWO': tmp_path / 'two.txt'}
    places |= {name.upper(): tmp_path / name for name in ('tested', 'nested', 'flat', 'twins')}
    arguments = [str(places.get(argument, argument)) for argument in arguments]
    assert message in refused(capsys, *arguments, '--output', tmp_path / 'out', '--experiment', 'x')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'words',
    [
        '--sched wsd --decay-epochs 0.1 --epochs 3 --sched-on-updates',
        '--opt lookahead_adamw --layer-decay 0.7 --sched none',
        '--opt adamw --opt-kwargs fused=True --sched step',
    ],
)
def test_optimizers_and_schedules_of_timm_are_taken(words, training_images, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(train, 'run_script', lambda *arguments: started.append(arguments))
    small = options(training_images, tmp_path, 'run', epochs=1)
    line = [*command(STAND_IN, *small)[1:], '--warmup-epochs', '0', *words.split()]
    assert train.main([*map(str, line)]) == 0 and len(started) == 1


@pytest.mark.parametrize(
    'words, message',
    [
        ('--bn-eps 0.001', 'model zerosnet20 with --bn-eps 0.001 cannot be made: TypeError: '),
        ('--gp foo', 'model zerosnet20 with --gp foo cannot be made: AssertionError: Invalid pool type: foo'),
        ('--model-kwargs drop_path_rate=0.2', 'expected --drop-path in place of --model-kwargs drop_path_rate'),
        ('--model-kwargs num_classes=12', 'expected --num-classes in place of --model-kwargs num_classes'),
        ('--model local-dir:LOCAL --bn-eps 0.001', 'LOCAL with --bn-eps 0.001 cannot be made: TypeError'),
        ('--model local-dir:LOCAL --opt nosuch', '--opt nosuch: Optimizer nosuch not found'),
        ('--opt adamw --opt-kwargs nosuch=1', '--opt adamw: '),
        ('--opt adamw --opt-betas 0.9', '--opt adamw: '),
        (
            '--model-kwargs checkpoint_path=x',
            'expected --initial-checkpoint in place of --model-kwargs checkpoint_path',
        ),
        ('--model-kwargs pretrained=1', 'expected --pretrained in place of --model-kwargs pretrained'),
        ('--sched plateau --sched-on-updates', '--sched plateau: Plateau LR only supports step per epoch'),
        ('--sched nosuch', "--sched nosuch: Unknown scheduler 'nosuch'"),
    ],
)
def test_networks_optimizers_and_schedules_that_cannot_be_made(words, message, training_images, tmp_path, capsys):
    (tmp_path / 'config.json').write_text('{"architecture": "zerosnet20", "num_classes": 10}')
    words, message = (text.replace('LOCAL', str(tmp_path)) for text in (words, message))
    assert message in refused(capsys, '--data-dir', training_images, *words.split())


@pytest.mark.parametrize(
    'work', [lambda values: values.numpy(), lambda values: values.item(), lambda values: values.nonzero()]
)
def test_networks_that_work_on_values_are_left_to_the_script(work, training_images, tmp_path, monkeypatch):
    """They cannot be made without memory, for reasons that torch gives as errors of several kinds."""

    def made(**arguments):
        values = torch.ones(1, 1)
        if values.is_meta:
            work(values)
        return timm.create_model('zerosnet20', num_classes=10)

    started = []
    monkeypatch.setattr(preflight, 'create', lambda name, pretrained, **arguments: made(**arguments))
    monkeypatch.setattr(train, 'run_script', lambda *arguments: started.append(arguments))
    line = command(STAND_IN, *options(training_images, tmp_path, 'run', epochs=1))[1:]
    assert train.main([*map(str, line), '--warmup-epochs', '0']) == 0 and len(started) == 1


def test_a_checkpoint_with_another_pooling_is_made_with_it(training_images, tmp_path, monkeypatch, capsys):
    """Its classifier has other inputs, as ``catavgmax`` doubles the features."""
    net = timm.create_model('zerosnet20', num_classes=10, global_pool='catavgmax')
    args = argparse.Namespace(model='zerosnet20', gp='catavgmax', model_kwargs={})
    torch.save({'args': args, 'arch': 'zerosnet20', 'state_dict': net.state_dict()}, tmp_path / 'own.pth')
    started = []
    monkeypatch.setattr(validate, 'run_script', lambda script, arguments: started.append(arguments))
    line = ['--timm-scripts', STAND_IN, '--data-dir', training_images, '--checkpoint', tmp_path / 'own.pth']
    assert validate.main([*map(str, line)]) == 0, capsys.readouterr().err
    assert 'catavgmax' in started[0]
    assert validate.main([*map(str, line), '--gp', 'avg', '--model', 'zerosnet20']) == 2
    assert 'head.fc.weight' in capsys.readouterr().err


def test_training_without_validation(training_images, tmp_path):
    """timm's ``--val-split ''``: then the folder need not have a second one."""
    shutil.copytree(training_images / 'train', tmp_path / 'alone' / 'train')
    for name, folder, split in (('run', 'alone', 'train'), ('flat', 'alone/train', '')):
        words = [*options(tmp_path / folder, tmp_path, name, epochs=1), '--train-split', split, '--val-split', '']
        assert train.main([*map(str, command(STAND_IN, *words)[1:])]) == 0


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


def test_class_called_like_a_split(tmp_path):
    """CIFAR-100 has a class ``train``: its folder is no split."""
    write_images(tmp_path, classes=2, names=['ship', 'train'])
    line = ['--timm-scripts', STAND_IN, '--data-dir', tmp_path / 'validation', '--num-classes', 2]
    torch.save({'fc.weight': torch.zeros(2, 512)}, tmp_path / 'own.pth')
    assert validate.main([*map(str, [*line, '--checkpoint', tmp_path / 'own.pth', '--model', 'resnet18'])]) == 0
