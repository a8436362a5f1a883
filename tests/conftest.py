"""How the tests run, and what several of them need: built distributions, an environment with the wheel installed."""

from __future__ import annotations

import contextlib
import gc
import json
import os

os.environ.setdefault('OMP_NUM_THREADS', '1')  # before torch is imported: each worker has a core

import shutil
import sqlite3
import subprocess
import sys
import venv
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

import amounts
import pytest
from bare import bare  # noqa: F401
from children import ends_its_children, guarded  # noqa: F401
from filelock import FileLock
from places import ROOT, TESTS

PACKAGED = (
    'pyproject.toml',
    'README.md',
    'LICENSE',
    'timm_zerosnet_autoload.py',
    'timm_zerosnet',
    'recipes',
    'weights',
)

WITH_FIXTURES = ('made_trainings', 'small_trainings')
MOST_WORKERS = 4
FIRST = (
    'networks/test_timm_suite.py',
    'packaging/test_autoload_real.py',
    'packaging/test_plugin_recipe.py',
    'maintain/test_hub.py',
    'commands/test_demo.py',
    'training/test_train.py',
    'training/test_resume.py',
    'benchmarks/test_benchmarks.py',
    'networks/test_exports.py',
    'examples/test_examples.py',
    'robustness/test_ranks.py',
    'documents/test_documents.py',
)
"""Files with the longest tests: they begin, so that no worker is left alone with one in the end; others are stolen."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker for each core, up to four, each with up to 2 GB; none for a single file, which one worker would run."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    files = {argument.partition('::')[0] for argument in config.args}
    if cores == 1 or (len(files) == 1 and next(iter(files)).endswith('.py')):
        return 0
    return min(cores, MOST_WORKERS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {TESTS / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))


def pytest_configure(config: pytest.Config) -> None:
    if 'not slow' in config.getoption('markexpr'):
        amounts.part = 4
    if hasattr(config, 'workerinput') or config.getoption('dist', 'no') == 'no':
        for name in WITH_FIXTURES:  # they import timm, which the process that starts the workers need not wait for
            config.pluginmanager.import_plugin(name)


def pytest_collection_finish() -> None:
    """Thousands of tests and all of torch are there for good: each ``gc.collect()`` of a test would go through them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """A store waits at every cell until the disk has it, which guards against a power cut alone."""
    connect = sqlite3.connect

    def without_waiting(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        base = connect(*args, **kwargs)
        with contextlib.suppress(sqlite3.Error):  # a file that is no store
            base.execute('PRAGMA synchronous = OFF')
        return base

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, 'connect', without_waiting)
        yield


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
                '--no-compile',
                *arguments,
            ],
            self.empty,
        )


def create_environment(folder: Path) -> Environment:
    builder = venv.EnvBuilder(symlinks=os.name != 'nt')
    builder.create(folder)
    python = Path(builder.ensure_directories(folder).env_exe)
    (folder / 'empty').mkdir()
    where = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    site = Path(succeed([python, '-I', '-c', where], folder).stdout.strip())
    borrowed = [entry for entry in sys.path if Path(entry).name in ('site-packages', 'dist-packages')]
    (site / 'borrowed.pth').write_text('\n'.join(borrowed), encoding='utf-8')
    return Environment(python, site, folder / 'empty')


@pytest.fixture(scope='session')
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Environment]:
    return lambda: create_environment(tmp_path_factory.mktemp('environment'))


@pytest.fixture(scope='session')
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if hasattr(request.config, 'workerinput') else folder


LITTLE_COMPRESSION = 'import gzip\ngzip.GzipFile.__init__.__defaults__ = (None, None, 1, None, None)\n'
"""For Python that builds: most of the time of a build goes into compressing weights, which gains next to nothing."""


@dataclass
class Distributions:
    sdist: Path
    wheel_of_sdist: Path


@pytest.fixture(scope='session')
def distributions(shared: Path) -> Distributions:
    """Built by the first worker that needs them."""
    folder = shared / 'dist'
    with FileLock(shared / 'dist.lock'):
        if not folder.exists():
            new = shared / 'dist.partial'
            new.mkdir(exist_ok=True)
            (shared / 'quick').mkdir(exist_ok=True)
            (shared / 'quick' / 'sitecustomize.py').write_text(LITTLE_COMPRESSION, encoding='utf-8')
            build = [sys.executable, '-m', 'build', '--no-isolation', ROOT, '--outdir', new]
            succeed(build, new, PYTHONPATH=str(shared / 'quick'))
            new.rename(folder)
    (sdist,), (wheel,) = folder.glob('*.tar.gz'), folder.glob('*.whl')
    return Distributions(sdist, wheel)


@pytest.fixture(scope='session')
def installed(distributions: Distributions, shared: Path) -> Environment:
    """An environment with the wheel that was built from the sdist, made by the first worker that needs it."""
    folder, places = shared / 'installed', shared / 'installed.json'
    with FileLock(shared / 'installed.lock'):
        if not places.exists():
            environment = create_environment(folder)
            environment.install(distributions.wheel_of_sdist)
            places.write_text(json.dumps([str(place) for place in astuple(environment)]), encoding='utf-8')
    return Environment(*map(Path, json.loads(places.read_text(encoding='utf-8'))))


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
