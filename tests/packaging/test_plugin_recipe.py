"""docs/plugin.md, followed step by step: two plugins of its kind beside this package, one of them broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import ROOT

PAGE = (ROOT / 'docs' / 'plugin.md').read_text(encoding='utf-8')
(NETWORKS,) = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
INIT = re.search(r'`my_models/__init__\.py` imports the models: `(.*?)`', PAGE)[1]
LINES = re.findall(r'^    ((?:PLUGIN|NETWORKS) = .*)$', PAGE, re.MULTILINE)
ENTRY_POINT = re.search(r'^    \[project\.entry-points\."(.+)"\]\n    (.+)$', PAGE, re.MULTILINE)

CODE = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import torch
    early = sorted(name for name in sys.modules if name in ('timm', 'my_models', 'broken_models'))
    import timm
names = ['my_net', 'broken_net', 'zerosnet20']
result = dict(
    early=early,
    models=[name for name in names if timm.is_model(name)],
    built=type(timm.create_model('my_net', num_classes=7)).__name__ if timm.is_model('my_net') else None,
    warnings=[str(entry.message) for entry in caught if '_models' in str(entry.message)],
)
"""


def make_plugin(site: Path, name: str, models: str) -> None:
    """Write an installed plugin as the page says, with ``name`` in place of its example's."""
    (package := site / f'{name}_models').mkdir()
    package.joinpath('__init__.py').write_text(f'{INIT}\n')
    package.joinpath('networks.py').write_text(models.replace('my_net', f'{name}_net'))
    text = (ROOT / 'timm_zerosnet_autoload.py').read_text(encoding='utf-8')
    for line in LINES:
        text, changed = re.subn(rf'^{line.split()[0]} = .*$', line, text, flags=re.MULTILINE)
        assert changed == 1
    text = text[: text.index('\ndef command()')].replace('my_models', f'{name}_models')
    (site / f'{name}_models_autoload.py').write_text(text, encoding='utf-8')
    group, point = ENTRY_POINT[1], ENTRY_POINT[2].replace('"', '').replace('my_models', f'{name}_models')
    (info := site / f'{name}_models-1.0.dist-info').mkdir()
    info.joinpath('METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}-models\nVersion: 1.0\n')
    info.joinpath('entry_points.txt').write_text(f'[{group}]\n{point}\n')


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A folder with two plugins, of which one cannot be imported."""
    make_plugin(tmp_path, 'my', NETWORKS)
    make_plugin(tmp_path, 'broken', f'raise OSError("no such disk")\n{NETWORKS}')
    return tmp_path


@pytest.mark.slow
def test_working_plugins_register_and_a_broken_one_costs_one_warning(installed, plugins):
    found = installed.result(f'import sys{CODE}', path=[plugins])
    (warning,) = found.pop('warnings')
    assert 'broken_models' in warning and 'no such disk' in warning and 'BROKEN_MODELS_AUTOLOAD=0' in warning
    assert found == dict(early=[], models=['my_net', 'zerosnet20'], built='MyNet')


@pytest.mark.slow
def test_each_plugin_has_its_own_switch(installed, plugins):
    found = installed.result(f'import sys{CODE}', path=[plugins], MY_MODELS_AUTOLOAD='0', BROKEN_MODELS_AUTOLOAD='0')
    assert found == dict(early=[], models=['zerosnet20'], built=None, warnings=[])
