"""The exit code of a command, and which errors are one line: those that this package or timm raises on purpose."""

import errno
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from places import ROOT

import timm_zerosnet
from timm_zerosnet import __version__, cli
from timm_zerosnet._errors import WeightError
from timm_zerosnet._exit_codes import exit_code
from timm_zerosnet.checkpoint import read_checkpoint


def raises(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    'work, code, said',
    [
        (lambda: None, 0, ''),
        (lambda: 1, 1, ''),
        (lambda: timm_zerosnet.parse_method('eular'), 2, "it: unknown method 'eular'"),
        (lambda: read_checkpoint(Path('none.pth')), 2, 'it: none.pth'),
        (lambda: timm.create_model('zerosnet21'), 2, 'it: Unknown model (zerosnet21)'),
        (raises(OSError(errno.ENOSPC, 'No space left on device', 'x')), 2, 'it: cannot write x: No space left on dev'),
        (raises(torch.OutOfMemoryError('CUDA out of memory')), 2, 'it: CUDA out of memory'),
        (raises(BrokenPipeError()), 141, ''),
        (raises(KeyboardInterrupt()), 130, 'interrupted'),
    ],
)
def test_code_and_line(work, code, said, capsys):
    assert exit_code('it', work) == code
    error = capsys.readouterr().err
    assert error.startswith(said) and error.count('\n') == bool(said)


@pytest.mark.parametrize(
    'work, kind',
    [
        (lambda: max([]), ValueError),
        (lambda: np.zeros(3).reshape(2), ValueError),
        (lambda: torch.zeros(3).view(2), RuntimeError),
        (lambda: torch.nn.Linear(3, 2)(torch.zeros(4)), RuntimeError),
        (lambda: {}['x'], KeyError),
        (raises(ValueError('not of this package')), ValueError),
        (raises(TypeError('x')), TypeError),
    ],
)
def test_a_bug_is_raised(work, kind):
    with pytest.raises(kind):
        exit_code('it', work)


def test_a_bug_within_the_package_is_raised(monkeypatch):
    """A line of the package raises the error, but not by a raise statement: the rows of a table differ in length."""
    monkeypatch.setattr('timm_zerosnet.commands.list_._cells', lambda row: ['zerosnet20'])
    with pytest.raises(ValueError, match='argument 2 is shorter'):
        cli.main(['list', 'zerosnet20'])


def test_a_refusal_in_a_with_statement_is_one_line(tmp_path, capsys):
    """A context manager that lets an error pass is no origin of it."""

    def work():
        with torch.no_grad(), pytest.MonkeyPatch.context():
            timm_zerosnet.weights_overlay('none.none')

    with pytest.raises(WeightError):
        work()
    assert exit_code('it', work) == 2 and capsys.readouterr().err.startswith('it: ')


@pytest.mark.slow
def test_the_package_runs_as_a_module(bare):
    done = bare('-m', 'timm_zerosnet', '--version', path=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, f'timm-zerosnet {__version__}\n', '')
