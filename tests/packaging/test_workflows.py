"""GitHub's files are valid, and call the scripts that a contributor calls."""

import subprocess
import sys

import pytest
import yaml
from places import ROOT

GITHUB = ROOT / '.github'
FORMS = sorted(path for path in (GITHUB / 'ISSUE_TEMPLATE').glob('*.yml') if path.stem != 'config')
SCHEMAS = {
    'vendor.github-workflows': sorted((GITHUB / 'workflows').glob('*.yml')),
    'vendor.github-issue-forms': FORMS,
    'vendor.github-issue-config': [GITHUB / 'ISSUE_TEMPLATE' / 'config.yml'],
}


def load(path):
    return yaml.safe_load(path.read_text(encoding='utf-8'))


def steps(name):
    jobs = load(GITHUB / 'workflows' / f'{name}.yml')['jobs']
    return {job: [step.get('run') or step['uses'] for step in row['steps']] for job, row in jobs.items()}


@pytest.mark.parametrize('schema, paths', SCHEMAS.items(), ids=SCHEMAS)
def test_files_fit_githubs_schemas(schema, paths):
    pytest.importorskip('check_jsonschema')
    assert paths
    line = [sys.executable, '-m', 'check_jsonschema', '--builtin-schema', schema, *map(str, paths)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_workflows_call_the_scripts_of_the_repository():
    tests = load(GITHUB / 'workflows' / 'tests.yml')['jobs']
    assert tests['newest']['strategy']['matrix']['python'] == ['3.10', '3.13']
    assert any(line.startswith('./check ') for line in steps('tests')['newest'])
    assert '.ci/oldest' in steps('tests')['oldest']
    assert 'mkdocs build --strict' in steps('documents')['build']
    assert all((ROOT / name).stat().st_mode & 0o100 for name in ('check', '.ci/oldest'))


def test_only_the_release_may_write_to_pypi():
    for path in SCHEMAS['vendor.github-workflows']:
        workflow = load(path)
        assert workflow['permissions'] == {'contents': 'read'}, path.name
    release = load(GITHUB / 'workflows' / 'release.yml')
    assert release[True] == {'push': {'tags': ['v*']}}  # YAML reads the key "on" so
    assert any('twine check' in line for line in steps('release')['build'])


def test_hooks_before_a_commit_are_local():
    (repository,) = load(ROOT / '.pre-commit-config.yaml')['repos']
    assert repository['repo'] == 'local' and [hook['id'] for hook in repository['hooks']] == [
        'ruff-format',
        'ruff',
        'mypy',
    ]
