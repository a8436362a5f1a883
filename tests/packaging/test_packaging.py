"""The distributions hold what they should, and what is installed works away from the checkout."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import succeed
from places import ROOT

MANIFEST = ROOT / 'weights' / 'manifest.json'
ROWS = json.loads(MANIFEST.read_text(encoding='utf-8')) if MANIFEST.is_file() else {}
SMALLEST = min(
    (name for name in ROWS if name.startswith('zerosnet')), key=lambda name: ROWS[name]['bytes'], default=None
)


def files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def in_checkout(folder: str, pattern: str = '*') -> set[str]:
    """Files below a folder of the checkout, hidden ones and caches left out."""
    paths = [path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob(pattern) if path.is_file()]
    return {path.as_posix() for path in paths if not any(part.startswith(('.', '__pycache__')) for part in path.parts)}


@pytest.mark.slow
def test_wheel_holds_the_package_its_data_and_nothing_else(distributions):
    (info,) = {name.split('/')[0] for name in files(distributions.wheel_of_sdist) if '.dist-info/' in name}
    assert files(distributions.wheel_of_sdist) == {
        'timm_zerosnet_autoload.py',
        'timm_zerosnet/py.typed',
        *(f'timm_zerosnet/{name}' for name in in_checkout('timm_zerosnet')),
        *(f'timm_zerosnet/_weights/{name}' for name in in_checkout('weights')),
        *(f'timm_zerosnet/_recipes/{name}' for name in in_checkout('recipes', '*.yaml')),
        *(f'{info}/{name}' for name in ('METADATA', 'WHEEL', 'RECORD', 'entry_points.txt', 'licenses/LICENSE')),
    }


@pytest.mark.slow
def test_wheel_of_the_sdist_equals_that_of_the_checkout(distributions, tmp_path):
    succeed([sys.executable, '-m', 'build', '--no-isolation', ROOT, '--outdir', tmp_path, '--wheel'], tmp_path)
    (wheel,) = tmp_path.glob('*.whl')
    assert files(distributions.wheel_of_sdist) == files(wheel)


def test_sdist_holds_what_runs_its_tests(distributions):
    with tarfile.open(distributions.sdist) as archive:
        names = {name.split('/', 1)[-1] for name in archive.getnames()}
    assert {'LICENSE', 'README.md', 'tests/conftest.py', 'pyproject.toml'} <= names


@pytest.mark.skipif(not (ROOT / '.git').exists() or not shutil.which('git'), reason='needs a checkout of git')
def test_sdist_holds_what_git_has_and_nothing_that_lies_beside_it(distributions):
    """Such as downloaded images, or a virtual environment, whose links a build would refuse."""
    with tarfile.open(distributions.sdist) as archive:
        names = {name.split('/')[1] for name in archive.getnames() if '/' in name}
    tracked = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert names - {'PKG-INFO'} == {name.split('/')[0] for name in tracked.strip('\0').split('\0')}


@pytest.mark.parametrize('name', ROWS)
def test_packaged_weight_is_that_of_the_manifest(distributions, name):
    with zipfile.ZipFile(distributions.wheel_of_sdist) as archive:
        data = archive.read(f'timm_zerosnet/_weights/{name}.safetensors')
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (ROWS[name]['sha256'], ROWS[name]['bytes'])


def test_weights_are_small_enough_for_a_wheel(distributions):
    with zipfile.ZipFile(distributions.wheel_of_sdist) as archive:
        assert sum(entry.file_size for entry in archive.infolist() if '/_weights/' in entry.filename) <= 40e6


@pytest.mark.slow
def test_installed_wheel_finds_its_files(installed, bare):
    code = (
        f'smallest = {SMALLEST!r}'
        """
import timm, timm_zerosnet
from importlib.metadata import distribution
from timm_zerosnet import weights
for name in weights.manifest():
    weights.verify(name)
if smallest:
    timm.create_model(smallest, pretrained=True)
from timm_zerosnet.robustness.report import html as report
page = [(report.FOLDER / name).is_file() for name in ('report.html.jinja', 'report.css', 'report.js')]
points = distribution('timm-zerosnet').entry_points
result = dict(
    package=timm_zerosnet.__file__, manifest=sorted(weights.manifest()), weights=str(weights.WEIGHTS),
    recipes=sorted(path.name for path in weights.RECIPES.iterdir()), template=all(page),
    points={f'{point.group}: {point.name}': callable(point.load()) for point in points})
import json
print(json.dumps(result))
"""
    )
    done = bare('-c', code, path=installed.site)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    package = installed.site / 'timm_zerosnet'
    assert found == dict(
        package=str(package / '__init__.py'),
        manifest=sorted(ROWS),
        weights=str(package / '_weights'),
        recipes=sorted(in_checkout('recipes', '*.yaml')),
        template=True,
        points={'console_scripts: timm-zerosnet': True, 'torch.backends: timm_zerosnet': True},
    )
    assert any(installed.python.parent.glob('timm-zerosnet*'))


@pytest.mark.slow
def test_editable_install_works_and_outlives_its_checkout(new_environment, checkout):
    environment = new_environment()
    environment.install('-e', checkout)
    code = """
import sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import torch
    early = 'timm' in sys.modules
    import timm
plugin = sys.modules.get('timm_zerosnet.weights')
result = dict(early=early, models=timm.list_models('zerosnet20'), weights=str(plugin.WEIGHTS) if plugin else None,
              warnings=[str(warning.message) for warning in caught if 'zerosnet' in str(warning.message)])
"""
    assert environment.result(code) == dict(
        early=False, models=['zerosnet20'], weights=str(checkout / 'weights'), warnings=[]
    )
    shutil.rmtree(checkout)
    found = environment.result(code)
    (warning,) = found.pop('warnings')
    assert "No module named 'timm_zerosnet'" in warning
    assert found == dict(early=False, models=[], weights=None)
