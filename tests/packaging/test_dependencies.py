"""Every package that the code imports is declared, with a lower bound, in pyproject.toml."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest
from places import ROOT

tomllib = pytest.importorskip('tomllib')  # Python 3.11
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
EXTRAS = PROJECT['optional-dependencies']
OURS = {'timm_zerosnet', 'timm_zerosnet_autoload'}
DISTRIBUTIONS = packages_distributions()


def normal(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def named(requirements):
    return {normal(re.match(r'[\w.-]+', line)[0]) for line in requirements}


def imported(paths):
    """The top-level modules of all import statements, with the files that have them."""
    found = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            else:
                continue
            for name in names:
                found.setdefault(name.split('.')[0], set()).add(path.name)
    return {name: files for name, files in found.items() if name not in sys.stdlib_module_names | OURS}


def test_every_import_is_declared():
    declared = named(PROJECT['dependencies']) | named(EXTRAS['robustness'])
    paths = [*(ROOT / 'timm_zerosnet').rglob('*.py'), ROOT / 'timm_zerosnet_autoload.py']
    found = imported(paths)
    assert {'torch', 'timm', 'yaml', 'PIL', 'scipy'} <= found.keys()
    for module, files in found.items():
        packages = {normal(name) for name in DISTRIBUTIONS.get(module, [module])}
        assert packages & declared, f'{module}, imported in {sorted(files)}, is not declared'


def test_every_dependency_is_imported():
    found = {
        normal(name)
        for module in imported((ROOT / 'timm_zerosnet').rglob('*.py'))
        for name in DISTRIBUTIONS.get(module, [])
    }
    assert named(PROJECT['dependencies']) | named(EXTRAS['robustness']) <= found


def test_bounds_are_lower_bounds():
    lines = PROJECT['dependencies'] + EXTRAS['robustness']
    assert all(re.fullmatch(r'[\w-]+>=[\d.]+', line) for line in lines), lines


def test_the_oldest_versions_are_those_that_ci_installs():
    script = (ROOT / '.ci' / 'oldest').read_text(encoding='utf-8')
    pinned = dict(re.findall(r'([\w-]+)==([\d.]+)', script))
    bounds = dict(line.split('>=') for line in PROJECT['dependencies'] + EXTRAS['robustness'])
    assert pinned == bounds


def test_every_extra_is_named_in_the_readme():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert all(f'`{extra}`' in text for extra in EXTRAS)


def test_each_tested_python_is_a_classifier():
    versions = [line.rsplit(' ', 1)[1] for line in PROJECT['classifiers'] if re.search(r':: 3\.\d+$', line)]
    assert versions == ['3.10', '3.11', '3.12', '3.13'] and PROJECT['requires-python'] == '>=3.10'
