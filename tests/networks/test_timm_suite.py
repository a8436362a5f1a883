"""timm's own tests/test_models.py, from the sdist of the installed timm, on our names."""

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from places import TESTS

REQUIRED = os.environ.get('TIMM_ZEROSNET_REQUIRE_TIMM_TESTS') == '1'


@pytest.fixture(scope='module')
def timm_tests(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('timm')
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--no-binary', 'timm']
    done = subprocess.run(
        [*command, f'timm=={version("timm")}', '-d', str(folder)], capture_output=True, text=True, timeout=240
    )
    archives = list(folder.glob('*.tar.gz'))
    if not archives:
        reason = f"timm's sdist could not be downloaded: {done.stderr.strip()[-300:]}"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    with tarfile.open(archives[0]) as archive:
        root = archives[0].name.removesuffix('.tar.gz')
        kept = [member for member in archive.getmembers() if member.name.startswith(f'{root}/tests')]
        checked: dict[str, Any] = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}  # not in Python 3.11.2
        archive.extractall(folder, kept, **checked)
    return folder / root / 'tests'


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(1200)
def test_timm_models_suite(timm_tests):
    here = TESTS / 'support'
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(here.parent), str(here)])}
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'timm_suite_plugin', '-p', 'no:cacheprovider', 'test_models.py'],
        cwd=timm_tests,
        env=environment,
        capture_output=True,
        text=True,
    )
    summary = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ''
    print(f"timm {version('timm')}'s test_models.py: {summary}")
    assert done.returncode == 0, f'{done.stdout[-6000:]}\n{done.stderr[-2000:]}'
    assert ' passed' in summary
