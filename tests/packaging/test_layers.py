"""Imports run downwards and in no circle, and the tools of the maintainers load for their commands alone."""

from __future__ import annotations

import ast
import graphlib

import pytest
from conftest import ROOT

PACKAGE = 'timm_zerosnet'
# from the bottom to the top; a name stands for a module or for all modules of a folder
LAYERS = {
    'shared': '_errors _exit_codes _files _markdown cifar class_folders memory registry',
    'networks': 'multistep methods history design steps blocks multistep_resnet pretrained_arguments stability',
    'weights': '__init__ checkpoint weights zerosnet model_names recorded costs',
    'work': 'robustness training demo method_plot design_plot train validate',
    'maintain': 'maintain',
    'commands': 'commands',
    'command line': 'cli __main__',
}
LEVELS = {name: level for level, names in enumerate(LAYERS.values()) for name in names.split()}
MODULES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for path in (ROOT / PACKAGE).rglob('*.py')
}


def level(module: str) -> int:
    name = module.removeprefix(PACKAGE).lstrip('.').partition('.')[0] or '__init__'
    assert name in LEVELS, f'{module}: say in which layer it is'
    return LEVELS[name]


def imports(module: str) -> set[str]:
    """The modules of the package that a module imports, at its top or in a function."""
    found = set()
    parts = module.split('.') if MODULES[module].name == '__init__.py' else module.split('.')[:-1]
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = '.'.join(parts[: len(parts) - node.level + 1]) if node.level else ''
            origin = '.'.join(filter(None, (above, node.module)))
            inside = {f'{origin}.{alias.name}' for alias in node.names}
            found |= {name if name in MODULES else origin for name in inside}
    return (found & MODULES.keys()) - {module}


@pytest.mark.parametrize('module', MODULES)
def test_no_import_runs_upwards(module):
    upwards = [name for name in imports(module) if level(name) > level(module)]
    assert not upwards, f'{module} imports {", ".join(upwards)}'


def test_no_modules_import_each_other():
    graph = {module: imports(module) for module in MODULES}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f'imports run in a circle: {" <- ".join(error.args[1])}')


def test_imports_are_seen():
    """Of the three ways to write one, of a folder's ``__init__`` and of an import in a function."""
    assert f'{PACKAGE}._errors' in imports(f'{PACKAGE}.checkpoint')
    assert f'{PACKAGE}.weights' in imports(f'{PACKAGE}.zerosnet')
    assert f'{PACKAGE}.commands.weights' in imports(f'{PACKAGE}.commands')
    assert f'{PACKAGE}.maintain.tables' in imports(f'{PACKAGE}.commands.weights')


def test_tools_of_the_maintainers_load_for_their_commands_alone(bare):
    others = sorted(name for name in MODULES if f'{name}.'.startswith(f'{PACKAGE}.maintain.') is False)
    others = [name for name in others if not name.endswith('__main__')]
    code = f"""
import importlib, sys
for name in {others!r}:
    importlib.import_module(name)
assert 'timm_zerosnet.commands.publish' in sys.modules
assert not [name for name in sys.modules if name.startswith('timm_zerosnet.maintain')], 'maintain was imported'
"""
    done = bare('-c', code, path=ROOT)
    assert done.returncode == 0, done.stderr
