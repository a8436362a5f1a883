"""What documents and cards say of getting the package is true, and is said in one place."""

import re

import pytest
from places import ROOT

from timm_zerosnet.maintain import release

DOCUMENTS = [*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md'), *ROOT.glob('timm_zerosnet/**/*.md')]


def test_no_document_installs_from_pypi_before_it_is_there():
    lines = [
        (path.name, line)
        for path in DOCUMENTS
        for line in path.read_text(encoding='utf-8').splitlines()
        if re.match(r'\$? *pip install +timm-zerosnet', line)
    ]
    assert release.ON_PYPI or lines == []


def test_addresses_of_the_project_are_those_of_the_release_module():
    tomllib = pytest.importorskip('tomllib')  # Python 3.11
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    urls = project.get('urls', {})
    if release.REPOSITORY is None:
        assert urls == {}
    else:
        assert urls and all(release.REPOSITORY in url for url in urls.values())


@pytest.mark.parametrize(
    'repository, on_pypi, command, place',
    [
        (None, False, 'pip install -e .', 'in a checkout of timm-zerosnet'),
        ('https://example.org/x', False, 'pip install git+https://example.org/x', 'anywhere'),
        ('https://example.org/x', True, 'pip install timm-zerosnet', 'anywhere'),
    ],
)
def test_the_command_follows_from_what_there_is(repository, on_pypi, command, place, monkeypatch):
    monkeypatch.setattr(release, 'REPOSITORY', repository)
    monkeypatch.setattr(release, 'ON_PYPI', on_pypi)
    assert (release.install_command(), release.install_place()) == (command, place)
