"""What cannot be written is said in one wording, ``cannot write PATH: reason; how to go on``, before the work."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from conftest import ROOT
from places import STAND_IN
from processes import FORKS, fork, start
from refusals import forbid_work, write_inputs  # noqa: F401

from timm_zerosnet import _files as output
from timm_zerosnet import cli, weights
from timm_zerosnet.maintain import add_weight

# the server of the processes below has been started before a test can set TIMM_SCRIPTS
SCRIPTS = f'--timm-scripts {shlex.quote(str(STAND_IN))}'
TRAIN = f'train short {SCRIPTS} --model zerosnet20 --data-dir images --batch-size 20'
LINES = [
    'publish zerosnet20.cifar10 --namespace me --dry-run --out PLACE',
    'robustness --model zerosnet20 --data images.npz --out PLACE',
    'corrupt images.npz --out PLACE',
    'demo --out PLACE',
    f'{TRAIN} --output PLACE',
    f'{TRAIN} --output PLACE --experiment one',
    'convert theirs.safetensors PLACE/new.safetensors',
    'stability euler --plot PLACE/new.png',
    f'validate {SCRIPTS} --model zerosnet20 --pretrained --data-dir images --results-file PLACE/new.csv',
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    write_inputs(tmp_path)
    (tmp_path / 'theirs.safetensors').write_bytes(Path(weights.weight_file('zerosnet20.cifar10')).read_bytes())
    (tmp_path / 'file').touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('line', LINES)
def test_file_in_place_of_a_folder(line, place, no_work, monkeypatch, capsys):
    monkeypatch.setattr(timm, 'create_model', None)
    assert cli.main(shlex.split(line.replace('PLACE', 'file/x'))) == 2
    (message,) = capsys.readouterr().err.splitlines()
    found = re.fullmatch(r'timm-zerosnet(?: train| validate)?: cannot write (file/x\S*): (.+); (.+)', message)
    assert found and re.search('is a file|is not a folder', found[2]) and 'name' in found[3]


@pytest.mark.skipif(not FORKS, reason='no forkserver here')
@pytest.mark.parametrize('line', [line for line in LINES if not line.startswith('validate')])
def test_full_disk_before_the_work(line, place):
    """The system lets no file grow beyond 400 bytes."""
    log, out = place / 'log', place / 'out'
    out.mkdir()
    words = (
        line.replace('PLACE', str(out))
        .replace('images', str(place / 'images'))
        .replace('theirs', str(place / 'theirs'))
    )
    process = start(shlex.split(words), log, file_limit=400)
    process.join(120)
    said = log.read_text().strip().splitlines()
    assert process.exitcode == 2 and len(said) == 1, said
    assert re.fullmatch(
        rf'timm-zerosnet(?: train)?: cannot write {out}\S*: File too large; .*(make room there|names another place).*',
        said[0],
    )
    assert not any(path.is_file() and path.stat().st_size for path in out.rglob('*'))


@pytest.mark.skipif(not FORKS, reason='no forkserver here')
def test_disk_that_fills_up_during_a_training(place):
    log = place / 'log'
    words = f'{TRAIN} --epochs 1 --warmup-epochs 0 --output {place}/out --experiment one'.replace(
        'images', str(place / 'images')
    )
    process = start(shlex.split(words), log, file_limit=200_000)
    process.join(120)
    *_, last = log.read_text().strip().splitlines()
    assert process.exitcode == 2 and last == (
        f'timm-zerosnet train: cannot write {place}/out: there is no room left for its files; make room there, then '
        f'timm-zerosnet train --continue {place}/out/one resumes the run'
    )


def test_weights_add_into_an_unwritable_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(weights, 'WEIGHTS', tmp_path / 'file' / 'weights')
    monkeypatch.setattr(add_weight, 'read_log', None)
    words = 'weights add a.pth --recipe short --log none.csv --data ten.npz --wall-time 1h --tag cifar10'
    assert cli.main(words.split()) == 2
    assert capsys.readouterr().err == (
        f'timm-zerosnet: cannot write {tmp_path}/file/weights: {tmp_path}/file is a file; {add_weight.IF_UNWRITABLE}\n'
    )


def test_download_of_a_script_into_an_unwritable_cache(tmp_path, monkeypatch, capsys):
    (tmp_path / 'file').touch()
    monkeypatch.delenv('TIMM_SCRIPTS', raising=False)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'file'))
    assert cli.main(['validate', '--model', 'zerosnet20', '--data-dir', 'images']) == 2
    said = capsys.readouterr().err
    assert f'cannot write {tmp_path}/file/hub/timm_scripts/v' in said and '--timm-scripts DIR' in said


@pytest.mark.skipif(not FORKS, reason='no forkserver here')
@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full here')
def test_output_on_a_full_disk_of_a_fork(tmp_path):
    process = fork(['-m', 'timm_zerosnet.cli', 'list', 'zerosnet20'], Path('/dev/full'), tmp_path / 'log')
    process.join(120)
    assert process.exitcode == 2 and (tmp_path / 'log').read_text().endswith(
        'cannot write the output: No space left on device; make room there, or name another place\n'
    )


@pytest.mark.slow
@pytest.mark.parametrize('line, unbuffered', [('list --help', '1'), ('train --help', '')])
def test_output_on_a_full_disk(line, unbuffered):
    if not Path('/dev/full').exists():
        pytest.skip('no /dev/full here')
    with open('/dev/full', 'w') as full:
        done = subprocess.run(
            [sys.executable, '-m', 'timm_zerosnet.cli', *line.split()],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': unbuffered},
        )
    said = done.stderr.splitlines()[-1]
    wanted = 'cannot write the output: No space left on device; make room there, or name another place'
    assert done.returncode == 2 and re.fullmatch(f'timm-zerosnet(?: train| validate)?: {wanted}', said)


def test_check_makes_nothing(tmp_path):
    output.check_folder(tmp_path / 'a' / 'b')
    output.check_output(tmp_path / 'new.csv', ())
    assert not list(tmp_path.iterdir())
