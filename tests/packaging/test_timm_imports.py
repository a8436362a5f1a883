"""The package uses what timm and torch make public, so that a release of theirs does not break it."""

import ast
from pathlib import Path

import timm_zerosnet

PACKAGE = Path(timm_zerosnet.__file__).parent
PUBLIC = ('timm', 'timm.models', 'timm.layers', 'timm.data', 'timm.optim', 'timm.scheduler', 'timm.utils')
EXCEPTIONS = {
    'crop.py': {'timm.data.transforms.str_to_pil_interp'},
    'patches.py': {'timm.data.transforms_factory'},  # the padded crop has to take the place of a function there
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, '') for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def is_private(module, name):
    return any(part.startswith('_') and not part.endswith('__') for part in (*module.split('.'), name))


def test_only_public_names_of_torch():
    found = {(path.name, *each) for path in PACKAGE.rglob('*.py') for each in imported(path)}
    ours = {each for each in found if each[1].split('.')[0] in ('torch', 'torchvision')}
    assert not [each for each in ours if is_private(*each[1:])]
    assert ('blocks.py', 'torch', 'nn') in ours  # it looks where the imports are


def test_only_public_names_of_timm():
    found, private = set(), []
    for path in PACKAGE.rglob('*.py'):
        for module, name in imported(path):
            if module.split('.')[0] != 'timm':
                continue
            found.add(f'{module}.{name}')
            allowed = f'{module}.{name}' in EXCEPTIONS.get(path.name, ())
            if not allowed and (module not in PUBLIC or name.startswith('_')):
                private.append(f'{path.name}: {module}.{name}')
    assert not private
    assert 'timm.models.build_model_with_cfg' in found  # it looks where the imports are
