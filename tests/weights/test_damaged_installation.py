"""An installation without manifest or weights: timm still knows the networks, and whatever needs weights says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from bare import Bare
from conftest import ROOT

from timm_zerosnet import weights

SAYS = """
import contextlib, io, json, sys
import timm
import timm_zerosnet_autoload
timm_zerosnet_autoload.install()
from timm_zerosnet import cli
from timm_zerosnet.zerosnet import default_cfgs
result = dict(names=len({*default_cfgs} & {*timm.list_models()}), networks=len(default_cfgs))
try:
    timm.create_model('zerosnet20', pretrained=True)
except Exception as error:
    result['pretrained'] = [type(error).__name__, str(error)]
for line in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = cli.main(line.split())
    result[line] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(result))
"""
IMAGE = ROOT / 'tests' / 'no.png'
COMMANDS = ('weights verify', 'list --pretrained', f'predict {IMAGE} --model zerosnet20')


def _says(folder: Path, bare: Bare) -> dict:
    done = bare('-c', SAYS, *COMMANDS, path=folder, env={'TIMM_ZEROSNET_AUTOLOAD': '1'})
    assert done.returncode == 0 and 'does not know its models' not in done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize('what', ['manifest', 'folder', 'empty manifest', 'damaged manifest', 'folder of a wheel'])
def test_networks_are_there_and_the_damage_is_said(what, checkout, tmp_path, bare):
    folder, place = checkout, checkout / 'weights'
    if what == 'manifest':
        (place / 'manifest.json').unlink()
    elif what == 'folder':
        shutil.rmtree(place)
    elif what == 'empty manifest':
        (place / 'manifest.json').write_text('{}', encoding='utf-8')
    elif what == 'damaged manifest':
        (place / 'manifest.json').write_text('{"zerosnet20.ci', encoding='utf-8')
    else:  # the package without _weights, and beside it a folder that is somebody else's
        folder = tmp_path / 'site'
        shutil.copytree(checkout / 'timm_zerosnet', folder / 'timm_zerosnet')
        shutil.copy(checkout / 'timm_zerosnet_autoload.py', folder)
        shutil.copytree(place, folder / 'weights')
        place = folder / 'timm_zerosnet' / '_weights'
    result = _says(folder, bare)
    assert result['names'] == result['networks'] > 50
    said = f'the installation is damaged: {place / "manifest.json"}'
    kind, message = result['pretrained']
    assert kind == 'WeightError' and message.startswith(said) and 'Reinstall timm-zerosnet' in message
    for command in COMMANDS:
        code, out, err = result[command]
        assert (code, out) == (2, '') and said in err and err.count('\n') == 1, command


def test_verify_ends_with_1_where_some_files_are_damaged(tmp_path, monkeypatch, capsys):
    from timm_zerosnet import cli

    whole = weights.manifest()
    (good, bad, gone) = list(whole)[:3]
    (tmp_path / 'manifest.json').write_text(json.dumps({name: whole[name] for name in (good, bad, gone)}))
    for name in (good, bad):
        shutil.copy(weights.WEIGHTS / f'{name}.safetensors', tmp_path)
    with open(tmp_path / f'{bad}.safetensors', 'r+b') as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    monkeypatch.setattr(weights, 'WEIGHTS', tmp_path)
    weights.manifest.cache_clear()
    try:
        assert cli.main(['weights', 'verify']) == 1
        out, err = capsys.readouterr()
    finally:
        monkeypatch.undo()
        weights.manifest.cache_clear()
    assert out == f'{good}: ok\n'
    assert (
        f'{bad}.safetensors is damaged or was changed: expected sha256' in err
        and f'{gone}.safetensors does not exist' in err
    )
    assert err.count('timm-zerosnet: ') == 2 == err.count('\n')
