"""Every example and command of the documents runs as written, in small, and every link leads somewhere."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import timm
import torch
from golden_weights import load
from PIL import Image
from places import CIFAR10_SAMPLE, ROOT, STAND_IN
from processes import python
from study.data import load as load_arrays

from timm_zerosnet.cifar import CIFAR10_LABELS as LABELS

DOCUMENTS = [*(ROOT / f'{name}.md' for name in ('README', 'MODEL_CARD', 'CONTRIBUTING')), *(ROOT / 'docs').glob('*.md')]
TEXTS = [
    path
    for each in ('*', '.github/*', 'benchmarks/**/*', 'docs/*', 'tests/**/*', 'weights/*')
    for path in ROOT.glob(f'{each}.md')
]
"""All documents of the repository but the template of the cards: the links of these are looked at."""
RUN, READ = {'python', 'console'}, {'bibtex', 'json', 'text', 'toml', 'yaml'}
"""Languages of blocks that are run here, and of those that nobody runs."""
each_document = pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf'^```{language}\n(.*?)^```$', path.read_text(encoding='utf-8'), re.DOTALL | re.MULTILINE)


def prose(path: Path) -> str:
    return re.sub(r'^```.*?^```$', '', path.read_text(encoding='utf-8'), flags=re.DOTALL | re.MULTILINE)


class Shown(NamedTuple):
    """A command of a document, and the output that is shown below it, if any."""

    line: str
    output: str


def commands(path: Path) -> list[Shown]:
    """The commands of the console blocks: lines after ``$``, or all lines of a block without any."""
    found = []
    for block in blocks(path, 'console'):
        if re.match(r'\$ ', block):
            for line, output in re.findall(r'^\$ (.*)\n((?:(?!\$ ).*\n)*)', block, re.MULTILINE):
                found.append(Shown(line, output))
        else:
            lines = block.replace('\\\n', ' ').splitlines()
            found += [Shown(line, '') for line in lines if line.strip() and not line.startswith('#')]
    return found


# links


@each_document
def test_every_block_is_in_a_language_that_is_run_or_only_read(path):
    text = path.read_text(encoding='utf-8')
    fences = re.findall(r'^( *)```(.*)$', text, re.MULTILINE)
    assert {indent for indent, _ in fences} <= {''} and {language for _, language in fences[::2]} <= RUN | READ
    assert {language for _, language in fences[1::2]} <= {''} and len(fences) % 2 == 0


@functools.cache
def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r'^#+ +(.*)', prose(path), re.MULTILINE):
        heading = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading)
        slug = re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')
        found.add(next(each for i in range(99) if (each := f'{slug}-{i}' if i else slug) not in found))
    return found | set(re.findall(r'<a (?:id|name)="([^"]+)"', prose(path)))


@pytest.mark.parametrize('path', TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for link in re.findall(r'\]\(([^)\s]+)', prose(path)):
        if link.startswith('https://'):
            continue
        target, _, anchor = link.partition('#')
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


def test_every_document_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / 'README.md']
    while waiting:
        path = waiting.pop()
        reached.add(path)
        links = re.findall(r'\]\(([^)#:]+\.md)', path.read_text(encoding='utf-8'))
        waiting += {(path.parent / link).resolve() for link in links} - reached
    assert {path.name for path in DOCUMENTS if path not in reached} == set()


# examples in Python

NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError('a connection was attempted')
socket.socket.connect = socket.create_connection = refuse
"""
FEW_DIGITS = """
from timm_zerosnet import demo
def few_digits(seed, load=demo.load_digits):
    digits = load(seed)
    return demo.Digits(digits.x_train[:200], digits.y_train[:200], digits.x_test[:50], digits.y_test[:50])
demo.load_digits = few_digits
"""
FEW_PICTURES = """
import pathlib, numpy, torchvision
from PIL import Image
class CIFAR10:
    classes = ['airplane', 'automobile']
    def __init__(self, root, train=True, download=False):
        pathlib.Path(root).mkdir(exist_ok=True)
        self.targets = [0, 1] * (20 if train else 5)
        self.data = numpy.zeros((len(self.targets), 32, 32, 3), dtype='uint8')
    def __iter__(self):
        return zip(map(Image.fromarray, self.data), self.targets)
torchvision.datasets.CIFAR10 = CIFAR10
"""
EXAMPLES = [
    pytest.param(block, id=f'{path.stem}-{i}', marks=pytest.mark.slow if path.parent != ROOT else ())
    for path in DOCUMENTS
    for i, block in enumerate(blocks(path, 'python'))
]


@pytest.mark.parametrize('block', EXAMPLES)
def test_example_runs(block, tmp_path):
    environment = {'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path / 'none')}
    in_small = FEW_DIGITS if 'load_digits' in block else FEW_PICTURES if 'CIFAR10' in block else ''
    done = python('-c', NO_NETWORK + in_small + block, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    if 'holdout' in block:  # for recipes
        assert {path.name: len(list(path.iterdir())) for path in (tmp_path / 'holdout' / 'train').iterdir()} == {
            'airplane': 20,
            'automobile': 20,
        }
    elif 'CIFAR10' in block:  # for the study
        assert load_arrays(tmp_path / 'data' / 'cifar10.npz').classes == 2


@pytest.mark.slow
def test_the_first_example_runs_in_a_new_interpreter(tmp_path):
    environment = {'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path / 'none'), 'PYTHONPATH': str(ROOT)}
    line = [sys.executable, '-c', NO_NETWORK + blocks(ROOT / 'README.md', 'python')[0]]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr


# commands

SAMPLE = np.load(CIFAR10_SAMPLE)
SMALL = ['--epochs', '1', '--batch-size', '10', '--warmup-epochs', '0', '--workers', '1']
FOLDERS = {'cifar10': 10, 'cifar100': 100, 'holdout': 10, 'flowers': 7, 'pets': 3, 'grey': 7}
"""The class folders that the commands read, and how many classes each has."""


def write_images(folder: Path, classes: int, mode: str) -> None:
    rng = np.random.default_rng(0)
    for split, count in (('train', 20), ('validation', 10)):
        for i in range(max(count, classes)):
            path = folder / split / f'class{i % classes:03d}' / f'{i:03d}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).convert(mode).save(path)


def save_images(path: Path, count: int) -> None:
    np.savez(path, x_test=SAMPLE['x_test'][:count], y_test=SAMPLE['y_test'][:count])


@pytest.fixture(scope='session')
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read: images, class folders, an npz, an original checkpoint."""
    folder = tmp_path_factory.mktemp('files')
    for i, label in enumerate(('cat', 'ship', 'frog')):
        chosen = SAMPLE['x_test'][SAMPLE['y_test'] == LABELS.index(label)]
        Image.fromarray(chosen[0]).save(folder / f'{label}.png')
        for k, image in enumerate(chosen[:3]):
            path = folder / 'photos' / label / f'{i}{k}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    save_images(folder / 'cifar10.npz', 20)
    state_dict, _, _ = load('cifar-ZeroSNet20_Tra-scalar_-1.5')
    torch.save({'state_dict': state_dict}, folder / 'ZeroSNet20_Tra.pth.tar')
    for name, classes in FOLDERS.items():
        write_images(folder / name, classes, 'L' if name == 'grey' else 'RGB')
    return folder


def comparable(text: str) -> str:
    """Without what depends on the processor and on torch's file format."""
    for pattern in (r'\d+\.\d+ %', r'\d\.\d{7,}', r'[0-9a-f]{64}', r'(?<=  bytes)\s+\d+'):
        text = re.sub(pattern, '#', text)
    return text


def in_small(words: list[str]) -> list[str]:
    """The same command on what is here: a folder or file in place of a data set that would be downloaded, one epoch."""
    if words[0] in ('robustness', 'corrupt'):
        return ['cifar10.npz' if word == 'torch/cifar10' else word for word in words]
    if words[0] not in ('train', 'validate'):
        return words
    if '--dataset' in words:
        place = words.index('--dataset')
        data = words[place + 1].removeprefix('torch/')
        words = [word for word in [*words[:place], *words[place + 2 :]] if word != '--dataset-download']
        words[words.index('--data-dir') + 1] = data
    return [*words, *SMALL] if words[0] == 'train' and '--continue' not in words else words


def is_run_elsewhere(words: list[str]) -> bool:
    """Whether only its options are looked at here: other tests run it (demo, maintain, test_official)."""
    of_the_checkout = words[:2] in (['weights', 'add'], ['weights', 'tables'])
    of_files = words[0] == 'demo' or 'official' in words
    return of_files or of_the_checkout or (words[0] == 'publish' and '--dry-run' not in words)


def assert_options_exist(line: str, help_of: list[str], words: list[str]) -> None:
    done = python(*help_of, '--help')
    assert done.returncode == 0, done.stderr
    used = {word.partition('=')[0] for word in words if word.startswith('--')}
    assert used <= set(re.findall(r'--[a-z][\w-]*', done.stdout)), line


def run(shown: Shown, folder: Path, scripts: Path) -> None:
    """Run a command of a document and compare its output with what is shown."""
    for part in shown.line.split(' && '):
        name, *words = shlex.split(part, comments=True)
        if name == 'pip':
            project = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
            for extras in re.findall(r'\[([\w,]+)\]', part):
                assert all(f'\n{extra} = [' in project for extra in extras.split(',')), shown.line
        elif name == 'python':
            assert_options_exist(shown.line, [str(ROOT / words[0])], words)
        elif name == 'torchrun':  # tests/robustness/test_ranks.py runs one
            words = words[words.index('timm_zerosnet') + 1 :]
            assert_options_exist(shown.line, ['-m', 'timm_zerosnet.cli', words[0]], words)
        elif name in ('git', 'cd', 'pytest'):
            pass
        elif name.startswith(('./', '.ci/')):
            assert os.access(ROOT / name, os.X_OK), shown.line
        elif name == 'timm-zerosnet' and is_run_elsewhere(words):
            depth = 2 if words[0] == 'weights' else 1
            assert_options_exist(shown.line, ['-m', 'timm_zerosnet.cli', *words[:depth]], words)
        elif name == 'timm-zerosnet':
            environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'TIMM_SCRIPTS': str(scripts)}
            done = python('-m', 'timm_zerosnet.cli', *in_small(words), cwd=folder, env=environment)
            assert done.returncode == 0, f'{shown.line}\n{done.stdout}\n{done.stderr}'
            if shown.output:
                found, (start, cut, _) = comparable(done.stdout), comparable(shown.output).partition('[...]\n')
                assert found.startswith(start) if cut else found == start, shown.line
        else:
            pytest.fail(f'{shown.line}: no test runs such a line; {__file__} has to learn it')


@pytest.fixture
def folder(files: Path, tmp_path: Path) -> Path:
    """A folder with links to what the commands read, for what they write."""
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


WITH_COMMANDS = [path for path in DOCUMENTS if commands(path)]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize('path', WITH_COMMANDS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_run_one_after_the_other(path, folder):
    if not any(shown.output for shown in commands(path)):  # no output depends on the number of images
        (folder / 'cifar10.npz').unlink()
        save_images(folder / 'cifar10.npz', 4)
    seen = set()
    for shown in commands(path):
        # of trainings that differ in the network alone, the first is enough
        kind = re.sub(r'(?<=--model )([a-z_0-9]+)', lambda name: f'{timm.is_model(name[1])}', shown.line)
        if kind in seen and ' train ' in kind:
            continue
        seen.add(kind)
        run(shown, folder, STAND_IN)
    # the files that the page on runs lists
    listed = re.findall(r'^\| `([^`\s]+[./][^`\s]*)` \| ', path.read_text(encoding='utf-8'), re.MULTILINE)
    if path.stem == 'robustness':
        assert {name.rstrip('/') for name in listed} <= {file.name for file in (folder / 'noise').iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not os.environ.get('TIMM_SCRIPTS'), reason='TIMM_SCRIPTS names no checkout')
def test_trainings_of_the_guides_run_with_the_scripts_of_timm(folder):
    """Scripts that assume a GPU stop on a CPU: there is none here, and none is asked for."""
    shown = [shown for path in WITH_COMMANDS if path.parent.name == 'docs' for shown in commands(path)]
    for each in shown:
        if shlex.split(each.line)[1:2] in (['train'], ['validate']):
            run(each, folder, Path(os.environ['TIMM_SCRIPTS']))


def test_every_command_is_shown():
    listed = re.findall(r'^ {4}(\w+)(?: {2}|$)', python('-m', 'timm_zerosnet.cli', '--help').stdout, re.MULTILINE)
    shown = [shlex.split(shown.line) for path in DOCUMENTS for shown in commands(path)]
    assert set(listed) == {words[words.index('timm-zerosnet') + 1] for words in shown if 'timm-zerosnet' in words}
    assert len(listed) >= 10
