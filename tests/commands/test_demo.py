"""The demo and the command line around it, as a user runs them."""

import csv

import pytest
from PIL import Image
from processes import python

from timm_zerosnet import __version__, cli, demo


def table(folder):
    with (folder / 'digits.csv').open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_demo_fine_tunes_measures_and_draws(tmp_path):
    code = (
        'import sys\n'
        'from timm_zerosnet import cli, demo\n'
        'demo.NOISE = demo.NOISE[:1]  # the test below has them all\n'
        f'sys.exit(cli.main(["demo", "--out", {str(tmp_path / "out")!r}, "--epochs", "2"]))'
    )
    done = python('-c', code)
    assert done.returncode == 0, done.stderr
    clean = table(tmp_path / 'out')[0]
    assert float(clean['fine-tuned']) > 90 and float(clean['fine-tuned']) > float(clean['from scratch']) > 30
    assert f'{float(clean["fine-tuned"]):.2f}' in done.stdout


def test_demo_on_a_few_digits(tmp_path, monkeypatch, capsys):
    digits = demo.load_digits(0)
    few = demo.Digits(digits.x_train[:64], digits.y_train[:64], digits.x_test[:20], digits.y_test[:20])
    monkeypatch.setattr(demo, 'load_digits', lambda seed: few)
    assert cli.main(['demo', '--out', str(tmp_path / 'out'), '--epochs', '1']) == 0
    said, rows = capsys.readouterr(), table(tmp_path / 'out')
    assert [row['noise'] for row in rows] == ['clean', *(f'{name} {level:+g}' for name, level in demo.NOISE)]
    assert all(float(row[key]) % 5 == 0 for row in rows for key in ('fine-tuned', 'from scratch'))
    assert f'{float(rows[0]["fine-tuned"]):.2f}' in said.out and 'digits.png' in said.out
    assert '100%' in said.err  # progress
    with Image.open(tmp_path / 'out/digits.png') as image:
        assert image.size[0] > 600
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['digits.csv', 'digits.png']


def test_digits_are_split_by_the_seed_and_real():
    first, again, other = demo.load_digits(0), demo.load_digits(0), demo.load_digits(1)
    assert (first.x_train == again.x_train).all() and (first.y_train != other.y_train).any()
    assert len(first.x_train) + len(first.x_test) == 1797 and first.x_train.shape[1:] == (32, 32, 3)
    assert set(first.y_test) == set(range(10))


@pytest.mark.slow
@pytest.mark.parametrize('blocked', ['sklearn', 'matplotlib'])
def test_a_missing_extra_is_one_line_that_says_how_to_install_it(tmp_path, blocked):
    code = (
        f'import sys; sys.modules[{blocked!r}] = None\n'
        'from timm_zerosnet.cli import main\n'
        f'sys.exit(main(["demo", "--out", {str(tmp_path / "out")!r}]))'
    )
    done = python('-c', code)
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
