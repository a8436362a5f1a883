"""What the documents show runs as written: Python blocks without network, the guide's commands in small."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from golden_weights import load
from PIL import Image
from places import CIFAR10_SAMPLE, ROOT, STAND_IN

from timm_zerosnet import cli
from timm_zerosnet import weights as pretrained
from timm_zerosnet.cifar import CIFAR10_LABELS as LABELS

DOCUMENTS = [*(ROOT / f'{name}.md' for name in ('README', 'MODEL_CARD', 'CONTRIBUTING')), *(ROOT / 'docs').glob('*.md')]
NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError('a connection was attempted')
socket.socket.connect = socket.create_connection = refuse
"""


def blocks(path, language):
    return re.findall(rf'```{language}\n(.*?)```', path.read_text(encoding='utf-8'), flags=re.DOTALL)


EXAMPLES = [
    pytest.param(block, id=f'{path.stem}-{i}') for path in DOCUMENTS for i, block in enumerate(blocks(path, 'python'))
]


def test_there_are_examples():
    assert (
        len(blocks(ROOT / 'README.md', 'python')) >= 4 and len(blocks(ROOT / 'docs' / 'fine-tuning.md', 'python')) >= 3
    )


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_blocks_are_of_kinds_that_are_run(path):
    """No example is broken: run by the tests below, test_adding.py and test_publishing.py (CONTRIBUTING)."""
    text = path.read_text(encoding='utf-8')
    assert set(re.findall(r'```(.+)', text)) <= {'python', 'console', 'bibtex'}
    assert len(re.findall('^```$', text, re.MULTILINE)) == len(re.findall(r'```\w', text))
    if blocks(path, 'console'):
        assert path.stem in ('README', 'MODEL_CARD', 'CONTRIBUTING', 'commands', 'fine-tuning', 'robustness')


def test_installs_of_the_readme():
    """What follows ``&&`` is run elsewhere: tests/commands/test_demo.py, and pytest is running."""
    project = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    lines = [line for block in blocks(ROOT / 'README.md', 'console') for line in block.splitlines() if 'pip' in line]
    found = [re.fullmatch(r'pip install -e "\.\[(\w+)\]" && (.+)', line).groups() for line in lines]
    assert found == [('robustness', 'timm-zerosnet demo'), ('dev', 'pytest')]
    assert all(f'\n{extra} = [' in project for extra, _ in found)


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = re.sub(r'```.*?```', '', path.read_text(encoding='utf-8'), flags=re.DOTALL)
    for link in re.findall(r'\]\(([^)#]+)', text):
        assert link.startswith('https://') or (path.parent / link).exists(), link


def test_every_document_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / 'README.md']
    while waiting:
        path = waiting.pop()
        reached.add(path)
        links = re.findall(r'\]\(([^)#:]+\.md)', path.read_text(encoding='utf-8'))
        waiting += {(path.parent / link).resolve() for link in links} - reached
    assert {path.name for path in DOCUMENTS if path not in reached} == set()


@pytest.mark.parametrize('block', EXAMPLES)
def test_example_runs(block, tmp_path):
    environment = {'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path / 'none')}
    done = subprocess.run(
        [sys.executable, '-c', NO_NETWORK + block],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr


def write_images(folder, classes, mode='RGB'):
    rng = np.random.default_rng(0)
    for split, count in (('train', 20), ('validation', 10)):
        for i in range(max(count, classes)):
            path = folder / split / f'class{i % classes:03d}' / f'{i:03d}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).convert(mode).save(path)


SAMPLE = np.load(CIFAR10_SAMPLE)


def command_files(folder):
    """What the examples of docs/commands.md read: three images, class folders, an original checkpoint."""
    for i, label in enumerate(('cat', 'ship', 'frog')):
        chosen = SAMPLE['x_test'][SAMPLE['y_test'] == LABELS.index(label)]
        Image.fromarray(chosen[0]).save(folder / f'{label}.png')
        for k, image in enumerate(chosen[:3]):
            path = folder / 'photos' / label / f'{i}{k}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    np.savez(folder / 'cifar10.npz', x_test=SAMPLE['x_test'][:20], y_test=SAMPLE['y_test'][:20])
    state_dict, _, _ = load('cifar-ZeroSNet20_Tra-scalar_-1.5')
    torch.save({'state_dict': state_dict}, folder / 'ZeroSNet20_Tra.pth.tar')


def comparable(text):
    """Without what depends on the processor and on torch's file format."""
    for pattern in (r'\d+\.\d+ %', r'\d\.\d{7,}', r'[0-9a-f]{64}', r'(?<=  bytes)\s+\d+'):
        text = re.sub(pattern, '#', text)
    return text


def test_commands_print_what_their_page_shows(tmp_path, monkeypatch, capsys):
    command_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    seen = set()
    for block in blocks(ROOT / 'docs' / 'commands.md', 'console'):
        line, _, expected = block.partition('\n')
        prompt, command, *words = shlex.split(line)
        assert (prompt, command) == ('$', 'timm-zerosnet')
        assert cli.main(words) == 0
        found, expected = comparable(capsys.readouterr().out), comparable(expected)
        shown, cut, _ = expected.partition('[...]\n')
        assert found.startswith(shown) if cut else found == shown, line
        seen.add(words[0])
    for line in [line for block in blocks(ROOT / 'README.md', 'console') for line in block.splitlines()]:
        command, *words = shlex.split(line)
        if command == 'timm-zerosnet' and words[0] not in ('train', 'validate'):
            assert cli.main(words) == 0, line
            seen.add(f'README {words[0]}')
    assert seen >= {'README stability', 'README list', 'README predict'}
    assert seen >= {
        'stability',
        'list',
        'info',
        'predict',
        'convert',
        'robustness',
        'compare',
        'corrupt',
        'weights',
        'publish',
    }
    assert (tmp_path / 'ab3.png').is_file() and (tmp_path / 'ours.safetensors').is_file()


@pytest.mark.timeout(600)
@pytest.mark.parametrize('document', ['README', 'MODEL_CARD'])
def test_train_commands_run(document, tmp_path):
    lines = [line for block in blocks(ROOT / f'{document}.md', 'console') for line in block.splitlines()]
    lines = [line for line in lines if line.split()[1:2] in (['train'], ['validate'])]
    assert len(lines) == 3 if document == 'README' else len(lines) == len(pretrained.manifest())
    write_images(tmp_path / 'data', 10)
    write_images(tmp_path / 'data100', 100)
    for line in lines:
        line = line.replace('--dataset torch/cifar100', '--data-dir data100').replace('--dataset torch/cifar10', '')
        line = line.replace('--data-dir data100 --dataset-download --data-dir data', '--data-dir data100')
        line = line.replace('--dataset-download', '')
        _, *words = shlex.split(line)
        small = ['--epochs', '1', '--batch-size', '10', '--warmup-epochs', '0'] if 'short' in words else []
        done = subprocess.run(
            [sys.executable, '-m', 'timm_zerosnet.cli', *words, *small],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'TIMM_SCRIPTS': str(STAND_IN), 'OMP_NUM_THREADS': '1'},
        )
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
    assert document == 'MODEL_CARD' or (tmp_path / 'runs' / 'first' / 'last.pth.tar').is_file()


@pytest.mark.timeout(900)
def test_commands_of_the_fine_tuning_guide_run(tmp_path):
    """Scripts that assume a GPU stop on a CPU: there is none here, and none is asked for."""
    scripts = os.environ.get('TIMM_SCRIPTS') or STAND_IN
    for name, classes, mode in (('flowers', 7, 'RGB'), ('pets', 3, 'RGB'), ('grey', 7, 'L'), ('cifar', 100, 'RGB')):
        write_images(tmp_path / name, classes, mode)
    small = ['--epochs', '1', '--batch-size', '10', '--warmup-epochs', '0', '--workers', '1']
    lines = [line for block in blocks(ROOT / 'docs' / 'fine-tuning.md', 'console') for line in block.splitlines()]
    assert len(lines) >= 7
    for line in lines:
        # a download is not possible here
        line = line.replace('--dataset torch/cifar100 --dataset-download --data-dir data', '--data-dir cifar')
        command, action, *arguments = shlex.split(line)
        assert command == 'timm-zerosnet'
        if action == 'train' and '--continue' not in arguments:
            arguments += small
        done = subprocess.run(
            [sys.executable, '-m', 'timm_zerosnet.cli', action, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'TIMM_SCRIPTS': str(scripts), 'OMP_NUM_THREADS': '1'},
        )
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
    assert {path.name for path in (tmp_path / 'runs').iterdir()} >= {'flowers', 'cifar100', 'pets', 'grey', 'larger'}
    shutil.rmtree(tmp_path / 'runs')


def test_commands_of_the_noise_guide_run(tmp_path):
    sample = np.load(ROOT / 'tests' / 'data' / 'cifar10_test_200.npz')
    np.savez(tmp_path / 'cifar10.npz', x_test=sample['x_test'][:20], y_test=sample['y_test'][:20])
    lines = [line for block in blocks(ROOT / 'docs' / 'robustness.md', 'console') for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        done = subprocess.run(
            [sys.executable, '-m', 'timm_zerosnet.cli', *shlex.split(line)[1:]],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        )
        assert done.returncode == 0, f'{line}\n{done.stdout}\n{done.stderr}'
    assert '| overall |' in done.stdout
    files = re.findall(
        r'^\| `([^`]+)` \| ', (ROOT / 'docs' / 'robustness.md').read_text(encoding='utf-8'), re.MULTILINE
    )
    made = {path.name for path in (tmp_path / 'noise').iterdir()}
    assert {name.rstrip('/') for name in files if '.' in name or '/' in name} <= made
