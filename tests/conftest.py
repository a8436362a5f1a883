"""What several tests need: built distributions, and an environment in which the wheel is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable

import pytest
from children import ends_its_children, guarded  # noqa: F401
from made_trainings import weights_folder  # noqa: F401
from places import ROOT
from small_trainings import finished_run, half_finished_run, images_to_train_on, scripts_folder  # noqa: F401

PACKAGED = (
    'pyproject.toml',
    'README.md',
    'LICENSE',
    'timm_zerosnet_autoload.py',
    'timm_zerosnet',
    'recipes',
    'weights',
)


def execute(command: Iterable[Any], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without the Python and autoload settings of the calling process."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith('PYTHON') and key not in ('TIMM_ZEROSNET_AUTOLOAD', 'TORCH_DEVICE_BACKEND_AUTOLOAD')
    }
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        encoding='utf-8',
        stdin=subprocess.DEVNULL,
    )


def succeed(command: Iterable[Any], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``execute`` that shows the output of a command that fails."""
    done = execute(command, cwd, **environment)
    assert done.returncode == 0, f'{done.args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}'
    return done


@dataclass
class Environment:
    """A virtual environment of its own that borrows the packages of the running interpreter.

    They are named in a .pth file, whose folders come last on ``sys.path`` and whose own .pth files are not read: an
    editable install of this project in the running interpreter is neither found nor counted as an entry point.
    """

    python: Path
    site: Path
    empty: Path

    def run(self, *arguments: Any, path: Iterable[Path] = (), **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the empty folder, with the folders of ``path`` before everything installed."""
        if folders := os.pathsep.join(map(str, path)):
            environment['PYTHONPATH'] = folders
        return succeed([self.python, *arguments], self.empty, PYTHONUTF8='1', **environment)

    def result(self, code: str, *arguments: Any, path: Iterable[Path] = (), **environment: str) -> Any:
        """What ``code`` leaves in the variable ``result``, by way of JSON."""
        done = self.run(*arguments, '-c', f'{code}\nimport json\nprint(json.dumps(result))', path=path, **environment)
        return json.loads(done.stdout.splitlines()[-1])

    def install(self, *arguments: Any) -> None:
        """Install without dependencies; leaves whatever the running interpreter has alone."""
        succeed(
            [
                sys.executable,
                '-m',
                'pip',
                '--python',
                self.python,
                '--disable-pip-version-check',
                'install',
                '--quiet',
                '--no-deps',
                '--no-index',
                '--ignore-installed',
                '--no-build-isolation',
                *arguments,
            ],
            self.empty,
        )


@pytest.fixture(scope='session')
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Environment]:
    def create() -> Environment:
        folder = tmp_path_factory.mktemp('environment')
        builder = venv.EnvBuilder(symlinks=os.name != 'nt')
        builder.create(folder)
        python = Path(builder.ensure_directories(folder).env_exe)
        (folder / 'empty').mkdir()
        where = 'import sysconfig; print(sysconfig.get_path("purelib"))'
        site = Path(succeed([python, '-c', where], folder).stdout.strip())
        borrowed = [entry for entry in sys.path if Path(entry).name in ('site-packages', 'dist-packages')]
        (site / 'borrowed.pth').write_text('\n'.join(borrowed), encoding='utf-8')
        return Environment(python, site, folder / 'empty')

    return create


@dataclass
class Distributions:
    sdist: Path
    wheel_of_sdist: Path
    wheel_of_checkout: Path


@pytest.fixture(scope='session')
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    folder = tmp_path_factory.mktemp('dist')
    build = [sys.executable, '-m', 'build', '--no-isolation', ROOT, '--outdir']
    succeed([*build, folder], folder)
    succeed([*build, folder / 'checkout', '--wheel'], folder)
    (sdist,), (of_sdist,) = folder.glob('*.tar.gz'), folder.glob('*.whl')
    (of_checkout,) = (folder / 'checkout').glob('*.whl')
    return Distributions(sdist, of_sdist, of_checkout)


@pytest.fixture(scope='session')
def installed(distributions: Distributions, new_environment: Callable[[], Environment]) -> Environment:
    """An environment with the wheel that was built from the sdist."""
    environment = new_environment()
    environment.install(distributions.wheel_of_sdist)
    return environment


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is packaged, without the weights themselves."""
    copy = tmp_path / 'checkout'
    copy.mkdir()
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__', '*.safetensors'))
        else:
            shutil.copy(ROOT / name, copy)
    return copy
