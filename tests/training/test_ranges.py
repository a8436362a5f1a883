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
        ('--log-interval 0', '--log-interval to be at least 1, got 0'),
        ('--seed 4294967296', '--seed to be from 0 to 4294967295, got 4294967296'),
        (f'--seed {10**320}', '--seed to be from 0 to 4294967295, got 1000'),
        ('--clip-grad 0', '--clip-grad to be above 0, got 0.0'),
        ('--lr 0', '--lr to be above 0, got 0.0'),
        ('--bn-momentum 5', '--bn-momentum to be from 0 to 1, got 5.0'),
        ('--drop-path 1.5', '--drop-path to be from 0 to 1, got 1.5'),
        ('--hflip 1.5', '--hflip to be from 0 to 1, got 1.5'),
        ('--crop-pct 0', '--crop-pct to be above 0, got 0.0'),
        ('--std 0.2 0.2 0', '--std to be above 0, got 0.2 0.2 0.0'),
        ('--mean nan nan nan', '--mean to be finite, got nan nan nan'),
        ('--mixup-mode pixel', '--mixup-mode to be batch, pair or elem, got pixel'),
        ('--lr-base-scale log', '--lr-base-scale to be linear or sqrt, got log'),
        ('--input-img-mode XX', '--input-img-mode to be 1, '),
        ('--eval-metric accuracy', '--eval-metric to be top1, top5 or loss, got accuracy'),
        (
            '--train-interpolation cubic',
            '--train-interpolation to be nearest, box, bilinear, hamming, bicubic, lanczos or',
        ),
        (
            '--interpolation random',
            '--interpolation to be nearest, box, bilinear, hamming, bicubic or lanczos, got random',
        ),
        ('--gp=', "--gp to be a kind of pooling, such as avg, or left out, got ''"),
    ],
)
def test_values_that_cannot_be(words, message, training_images, tmp_path, capsys):
    line = ['--data-dir', training_images, *words.split(), '--output', tmp_path / 'out', '--experiment', 'x']
    assert f'expected {message}' in refused(capsys, *line)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('words', ['--workers -1', '--std 0', '--crop-pct 0', '--interpolation cubic'])
def test_validate_refuses_them_too(words, training_images, capsys):
    line = ['--timm-scripts', STAND_IN, '--data-dir', training_images, '--model', 'zerosnet20', *words.split()]
    assert validate.main([*map(str, line)]) == 2
    assert f'expected {words.split()[0]} to be ' in capsys.readouterr().err


@pytest.mark.parametrize('folder', [str(STAND_IN), CHECKOUT])
@pytest.mark.parametrize('words', ['', '--workers 0 --crop-pct 1.2 --std 0.1 --interpolation lanczos --batch-size 1'])
@pytest.mark.parametrize(
    'name, own',
    [('validate.py', ''), ('train.py', '--hflip 0 --recount 0 --min-lr 0 --scale 0 1 --clip-grad 1 --mixup -1')],
)
def test_defaults_and_ends_of_ranges_pass(folder, words, name, own):
    if folder is None:
        pytest.skip('TIMM_SCRIPTS names no checkout of timm')
    parser = script_parser(find_script(name, folder))
    check_values(parser.parse_args(['--model', 'zerosnet20', *words.split(), *(own.split() if words else [])]))
