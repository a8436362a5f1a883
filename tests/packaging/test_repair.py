"""The ways that an error about a damaged packaged weight names are gone here, and the weight loads again."""

from __future__ import annotations

import shutil

import pytest
from conftest import ROOT, succeed

NAME = 'zerosnet20.cifar10'
FILE = f'{NAME}.safetensors'
LOAD = f"import timm, timm_zerosnet; print(timm.create_model('{NAME}', pretrained=True).num_classes)"
ADVICE = 'Reinstall timm-zerosnet, or restore the file from its repository.'


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def assert_refused(done, path):
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and f'{path} is damaged or was changed' in last and last.endswith(ADVICE)


@pytest.mark.slow
def test_reinstalling(distributions, new_environment, bare):
    environment = new_environment()
    environment.install(distributions.wheel_of_sdist)
    path = environment.site / 'timm_zerosnet' / '_weights' / FILE
    damage(path)
    assert_refused(bare('-c', LOAD, path=environment.site), path)
    environment.install(distributions.wheel_of_sdist)
    assert bare('-c', LOAD, path=environment.site).stdout == '10\n'


@pytest.mark.slow
def test_restoring_the_file_from_its_repository(checkout, bare):
    path = checkout / 'weights' / FILE
    shutil.copy(ROOT / 'weights' / FILE, path)
    git = ['git', '-c', 'user.name=a', '-c', 'user.email=a@b.c']
    for command in (['init', '-q'], ['add', path], ['commit', '-qm', 'all']):
        succeed([*git, *command], checkout)
    damage(path)
    assert_refused(bare('-c', LOAD, path=checkout), path)
    succeed([*git, 'restore', path], checkout)
    assert bare('-c', LOAD, path=checkout).stdout == '10\n'
