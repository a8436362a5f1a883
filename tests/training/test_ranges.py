"""Values that the launcher refuses because timm's scripts would not, or only in a traceback."""

import pytest
from places import STAND_IN
from small_trainings import CHECKOUT, refused

from timm_zerosnet import validate
from timm_zerosnet.training.ranges import check_values
from timm_zerosnet.training.scripts import find_script, script_parser


@pytest.mark.parametrize(
    'words, message',
    [
        ('--workers -1', '--workers to be at least 0, got -1'),
        ('--min-lr -0.1', '--min-lr to be at least 0, got -0.1'),
        ('--grad-accum-steps 0', '--grad-accum-steps to be at least 1, got 0'),
        ('--hflip 1.5', '--hflip to be from 0 to 1, got 1.5'),
        ('--crop-pct 2', '--crop-pct to be from 0 to 1, got 2.0'),
        ('--std 0.2 0.2 0', '--std to be above 0, got 0.2 0.2 0.0'),
        ('--mean nan nan nan', '--mean to be finite, got nan nan nan'),
        ('--scale 1 0.5', '--scale to be two numbers 0 < LOW <= HIGH, got 1.0 0.5'),
        ('--ratio 1', '--ratio to be two numbers 0 < LOW <= HIGH, got 1.0'),
        ('--eval-metric accuracy', '--eval-metric to be top1, top5 or loss, got accuracy'),
        ('--train-interpolation cubic', '--train-interpolation to be bilinear, bicubic, lanczos, nearest, box or'),
        ('--interpolation random', '--interpolation to be bilinear, bicubic, lanczos, nearest, box or hamming, got ra'),
        ('--gp=', "--gp to be a kind of pooling, such as avg, got ''"),
    ],
)
def test_values_that_cannot_be(words, message, training_images, tmp_path, capsys):
    line = ['--data-dir', training_images, *words.split(), '--output', tmp_path / 'out', '--experiment', 'x']
    assert f'expected {message}' in refused(capsys, *line)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('words', ['--workers -1', '--std 0', '--crop-pct 2', '--interpolation cubic'])
def test_validate_refuses_them_too(words, training_images, capsys):
    line = ['--timm-scripts', STAND_IN, '--data-dir', training_images, '--model', 'zerosnet20', *words.split()]
    assert validate.main([*map(str, line)]) == 2
    assert f'expected {words.split()[0]} to be ' in capsys.readouterr().err


@pytest.mark.parametrize('folder', [str(STAND_IN), CHECKOUT])
@pytest.mark.parametrize('words', ['', '--workers 0 --crop-pct 1 --std 0.1 --interpolation lanczos --batch-size 1'])
@pytest.mark.parametrize(
    'name, own', [('validate.py', ''), ('train.py', '--hflip 0 --mixup 0.8 --min-lr 0 --scale 1 1 --clip-grad 1')]
)
def test_defaults_and_ends_of_ranges_pass(folder, words, name, own):
    if folder is None:
        pytest.skip('TIMM_SCRIPTS names no checkout of timm')
    parser = script_parser(find_script(name, folder))
    check_values(parser.parse_args(['--model', 'zerosnet20', *words.split(), *(own.split() if words else [])]))
