"""The demo and the command line around it, as a user runs them."""

import csv
import subprocess
import sys

import pytest
from PIL import Image

from timm_zerosnet import __version__, cli, demo

COMMAND = [sys.executable, '-m', 'timm_zerosnet.cli']


@pytest.mark.timeout(600)
def test_demo_fine_tunes_measures_and_draws(tmp_path):
    done = subprocess.run([*COMMAND, 'demo', '--out', str(tmp_path / 'out')], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with (tmp_path / 'out/digits.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['noise'] for row in rows] == ['clean', *(f'{name} {level:+g}' for name, level in demo.NOISE)]
    clean = rows[0]
    assert float(clean['fine-tuned']) > 95 and float(clean['fine-tuned']) > float(clean['from scratch']) > 30
    assert f'{float(clean["fine-tuned"]):.2f}' in done.stdout and 'digits.png' in done.stdout
    with Image.open(tmp_path / 'out/digits.png') as image:
        assert image.size[0] > 600
    assert '100%' in done.stderr  # progress
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['digits.csv', 'digits.png']


def test_digits_are_split_by_the_seed_and_real():
    first, again, other = demo.load_digits(0), demo.load_digits(0), demo.load_digits(1)
    assert (first.x_train == again.x_train).all() and (first.y_train != other.y_train).any()
    assert len(first.x_train) + len(first.x_test) == 1797 and first.x_train.shape[1:] == (32, 32, 3)
    assert set(first.y_test) == set(range(10))


@pytest.mark.parametrize('blocked', ['sklearn', 'matplotlib'])
def test_a_missing_extra_is_one_line_that_says_how_to_install_it(tmp_path, blocked):
    code = (
        f'import sys; sys.modules[{blocked!r}] = None\n'
        'from timm_zerosnet.cli import main\n'
        f'sys.exit(main(["demo", "--out", {str(tmp_path / "out")!r}]))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].endswith('pip install "timm-zerosnet[robustness]"')
    assert blocked in done.stderr and 'Traceback' not in done.stderr and not (tmp_path / 'out').exists()


@pytest.mark.parametrize('bad', [['--epochs', '0'], ['--seed', '-1'], ['--out', '/dev/null/x']])
def test_bad_arguments_of_the_demo(bad, capsys):
    assert cli.main(['demo', *bad]) == 2
    assert 'Traceback' not in capsys.readouterr().err


def test_version_and_help(capsys):
    for argument in ('--version', '--help'):
        with pytest.raises(SystemExit) as stop:
            cli.main([argument])
        assert stop.value.code == 0
    out = capsys.readouterr().out
    assert f'timm-zerosnet {__version__}' in out and 'demo' in out and 'train' in out
