"""The ways that an error about a damaged packaged weight names are gone here, and the weight loads again."""

from __future__ import annotations

import shutil
import sys

from conftest import ROOT, execute, succeed

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


def test_reinstalling(distributions, new_environment):
    environment = new_environment()
    environment.install(distributions.wheel_of_checkout)
    path = environment.site / 'timm_zerosnet' / '_weights' / FILE
    damage(path)
    assert_refused(execute([environment.python, '-c', LOAD], environment.empty), path)
    environment.install(distributions.wheel_of_checkout)
    assert environment.run('-c', LOAD).stdout == '10\n'


def test_restoring_the_file_from_its_repository(checkout):
    path = checkout / 'weights' / FILE
    shutil.copy(ROOT / 'weights' / FILE, path)
    git = ['git', '-c', 'user.name=a', '-c', 'user.email=a@b.c']
    for command in (['init', '-q'], ['add', path], ['commit', '-qm', 'all']):
        succeed([*git, *command], checkout)
    damage(path)
    assert_refused(execute([sys.executable, '-c', LOAD], checkout, PYTHONPATH=str(checkout)), path)
    succeed([*git, 'restore', path], checkout)
    assert succeed([sys.executable, '-c', LOAD], checkout, PYTHONPATH=str(checkout)).stdout == '10\n'
