"""A manifest of the weights that is cut, or that has entries of the wrong type: one line from every command."""

import json

import pytest

from timm_zerosnet import cli, weights


def change(**entries):
    return lambda rows: rows['zerosnet20.cifar10'].update(entries)


def drop(key):
    return lambda rows: rows['zerosnet20.cifar10'].pop(key)


MANIFESTS = {
    'list': ('[]', 'expected an object with one entry for each weight, got a list'),
    'text': ('{"zerosnet20.cifar10": "91 %"}', "zerosnet20.cifar10: expected an object, got '91 %'"),
    'cut': ('{"zerosnet20', 'is damaged (Unterminated string'),
    'binary': (b'\xff\xfe\xff', 'is damaged ('),
    'accuracy': (change(top1='91 %'), "top1 of zerosnet20.cifar10: expected a number, got '91 %'"),
    'bytes': (change(bytes=True), 'bytes of zerosnet20.cifar10: expected an integer, got True'),
    'sum': (change(sha256=None), 'sha256 of zerosnet20.cifar10: expected text, got None'),
    'versions': (change(versions=['2.14']), 'expected an object, got ['),
    'missing': (drop('recipe'), 'recipe of zerosnet20.cifar10: expected text, got nothing'),
}


@pytest.mark.parametrize('case', MANIFESTS)
def test_manifest_of_the_wrong_type(case, tmp_path, monkeypatch, capsys):
    made, message = MANIFESTS[case]
    if callable(made):
        rows = json.loads((weights.WEIGHTS / 'manifest.json').read_text(encoding='utf-8'))
        made(rows)
        made = json.dumps(rows)
    (tmp_path / 'manifest.json').write_bytes(made if isinstance(made, bytes) else made.encode())
    monkeypatch.setattr(weights, 'WEIGHTS', tmp_path)
    weights.manifest.cache_clear()
    try:
        for line in ('list zerosnet20', 'info zerosnet20', 'weights verify', 'publish --namespace me --dry-run'):
            code, error = cli.main(line.split()), capsys.readouterr().err
            assert code == 2 and message in error and len(error.splitlines()) == 1
            assert 'manifest.json is damaged' in error and 'Reinstall timm-zerosnet' in error
    finally:
        monkeypatch.undo()
        weights.manifest.cache_clear()
    assert [path.name for path in tmp_path.iterdir()] == ['manifest.json']


@pytest.mark.slow
def test_damaged_manifest_of_a_fresh_process(checkout, bare):
    (checkout / 'weights' / 'manifest.json').write_text('[1]')
    done = bare('-c', 'import sys, timm_zerosnet_autoload as a; sys.exit(a.command())', 'list', path=checkout)
    assert done.returncode == 2 and not done.stdout and 'Traceback' not in done.stderr
    assert done.stderr.startswith('timm-zerosnet: ') and 'expected an object with one entry' in done.stderr
