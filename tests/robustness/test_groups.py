"""Models that take the same pixels share them: each batch is perturbed once, whatever happens to one of the models."""

import gc
import weakref

import numpy as np
import pytest
import timm
import torch
from amounts import slow
from small_runs import CELLS, DATA, FEW, IMAGES, LABELS, Plain, plain, rows

from timm_zerosnet.robustness import evaluate, measuring
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.store import read_run

BATCHES = 4  # of 10 images


def other_pixels(name):
    """A model that takes the same images as others, by another interpolation and size."""
    return Source(name, timm.create_model('zerosnet20', pretrained=True), preprocessing={'input_size': (24, 24)})


@pytest.fixture
def perturbed(monkeypatch):
    """The conditions and first images that were perturbed, in order."""
    found, do = [], measuring.perturb

    def counted(images, corruption, level, seed, indices, *more):
        found.append((corruption, level, seed, indices[0]))
        return do(images, corruption, level, seed, indices, *more)

    monkeypatch.setattr(measuring, 'perturb', counted)
    return found


def test_each_batch_is_perturbed_once_for_each_kind_of_preprocessing(perturbed, tmp_path):
    sources = [plain('a'), other_pixels('b'), plain('c'), plain('d')]
    outcome = run(sources, DATA, tmp_path, batch_size=10, **FEW)
    assert (outcome.measured, outcome.failed) == (4 * CELLS, [])
    assert len(perturbed) == 2 * (CELLS - 1) * BATCHES and len(set(perturbed)) == (CELLS - 1) * BATCHES
    assert [row['model'] for row in rows(tmp_path)] == [name for name in 'abcd' for _ in range(CELLS)]


def test_only_what_is_missing_is_shown(perturbed, tmp_path):
    calls = []
    first, second = (plain(name, lambda logits, x, name=name: (calls.append(name), logits)[1]) for name in 'ab')
    run([first], DATA, tmp_path, batch_size=10, **FEW)
    assert calls == ['a'] * CELLS * BATCHES
    calls.clear()
    perturbed.clear()
    outcome = run([first, second], DATA, tmp_path, batch_size=10, **FEW)
    assert (outcome.measured, outcome.kept) == (CELLS, CELLS)
    assert calls == ['b'] * CELLS * BATCHES and len(perturbed) == (CELLS - 1) * BATCHES


@pytest.mark.parametrize(
    'models_at_once, workers', [(1, 0), (2, 3), slow(1, 3), slow(2, 0), slow(None, 0), slow(None, 3)]
)
def test_how_many_are_held_changes_nothing_but_the_work(models_at_once, workers, perturbed, tmp_path):
    sources = [plain(name) for name in 'abc']
    run(sources, DATA, tmp_path, batch_size=10, models_at_once=models_at_once, workers=workers, **FEW)
    parts = {1: 3, 2: 2, None: 1}[models_at_once]
    assert len(perturbed) == parts * (CELLS - 1) * BATCHES
    for cell in read_run(tmp_path).cells:
        settings = {} if cell.corruption == 'clean' else dict(perturbation=cell.corruption, level=cell.level)
        alone = evaluate(
            Plain(), IMAGES, LABELS, seed=cell.seed or 0, mean=(0.5,) * 3, std=(0.5,) * 3, batch_size=10, **settings
        )
        assert np.array_equal(cell.result.loss, alone.loss) and np.array_equal(cell.result.predicted, alone.predicted)


def test_one_that_fails_leaves_its_condition_alone(perturbed, tmp_path):
    """At the second of four batches; what was perturbed for it goes on to the others."""

    def answer(logits, x):
        seen.append(len(x))
        return logits if len(seen) % 2 else logits[:, :2]

    seen = []
    outcome = run([plain('a'), plain('b', answer), plain('c')], DATA, tmp_path, batch_size=10, **FEW)
    assert len(outcome.failed) == CELLS and all(text.startswith('b, ') for text in outcome.failed)
    assert len(seen) == 2 * CELLS and len(perturbed) == (CELLS - 1) * BATCHES


def test_a_condition_without_models_ends(perturbed, tmp_path):
    outcome = run([plain('a', lambda logits, x: logits[None])], DATA, tmp_path, batch_size=1, **FEW)
    assert len(outcome.failed) == CELLS and len(perturbed) == CELLS - 1


@pytest.mark.parametrize('error', [torch.OutOfMemoryError('CUDA out of memory. Tried'), slow(MemoryError())], ids=repr)
def test_memory_that_runs_out_halves_the_models_at_once(error, perturbed, tmp_path, capsys):
    """A stand-in for memory: it holds two of the five networks that are at work, in eval mode."""
    nets = []

    class Large(Plain):
        def forward(self, x):
            if sum(not net.training for net in nets) > 2:
                raise error
            return super().forward(x)

    nets += [Large() for _ in 'abcde']
    sources = [Source(name, net, mean=(0.5,) * 3, std=(0.5,) * 3) for name, net in zip('abcde', nets, strict=True)]
    outcome = run(sources, DATA, tmp_path, batch_size=40, progress=True, **FEW)
    assert (outcome.measured, outcome.failed) == (5 * CELLS, [])
    said = capsys.readouterr().err
    assert f'{type(error).__name__}: {error}'.rstrip(': ') in said
    assert 'from here on 3 models at a time' in said and 'from here on 2 models at a time' in said
    assert {row['status'] for row in rows(tmp_path)} == {'ok'}
    assert len(perturbed) == 3 * (CELLS - 1), 'a and b, c, d and e'


def test_a_model_that_never_fits_fails_alone(tmp_path):
    def full(logits, x):
        raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 90 GiB')

    outcome = run([plain('a'), plain('huge', full), plain('c')], DATA, tmp_path, **FEW)
    assert len(outcome.failed) == CELLS and 'huge, clean: OutOfMemoryError: CUDA out of memory' in outcome.failed[0]
    assert outcome.measured == 2 * CELLS


def test_a_broken_device_is_nobodys_fault(monkeypatch, tmp_path):
    def broken(logits, x):
        raise RuntimeError('CUDA error: device-side assert triggered')

    sources = [plain('a'), plain('b', broken), plain('c')]
    with monkeypatch.context() as patched:
        patched.setattr(measuring, 'is_broken', lambda device: True)
        with pytest.raises(measuring.DeviceError, match='cpu answers no more .*: finished cells are kept'):
            run(sources, DATA, tmp_path, **FEW)
    found = read_run(tmp_path)
    assert not found.failed and len(found.missing) == 3 * CELLS
    mended = [plain(name) for name in 'abc']
    assert run(mended, DATA, tmp_path, **FEW).measured == 3 * CELLS


def test_networks_are_let_go(tmp_path):
    """One at a time: none of the parts before is still in memory."""
    alive, counts = weakref.WeakSet(), []

    class Counting(Source):
        def open(self, pretrained=True):
            gc.collect()
            counts.append(len(alive))
            alive.add(net := Plain())
            torch.nn.init.constant_(net.linear.bias, float(self.name[-2:]))
            return net

    sources = [Counting(name, mean=(0.5,) * 3, std=(0.5,) * 3) for name in ('zerosnet20', 'zerosnet32', 'zerosnet44')]
    run(sources, DATA, tmp_path, models_at_once=1, corruptions=['const'], levels=[0.1])
    assert counts == [0] * 6


@pytest.mark.parametrize('workers', [slow(0), 2])
def test_processes_draw_the_same(workers, tmp_path):
    """Images of 80 px are perturbed in processes, those of 32 px in threads."""
    chance = np.random.default_rng(0)
    images = LabelledImages(chance.integers(0, 256, (20, 80, 80, 3), dtype=np.uint8), LABELS[:20])
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10))
    torch.manual_seed(0)
    torch.nn.init.normal_(net[2].weight)
    source = Source('own', net, mean=(0.5,) * 3, std=(0.25,) * 3)
    before = torch.get_rng_state()
    run([source], images, tmp_path / 'out', suite='imagenet-c', corruptions=['shot_noise', 'pixelate'], workers=workers)
    assert torch.equal(torch.get_rng_state(), before)
    for cell in read_run(tmp_path / 'out').cells[1:]:
        alone = evaluate(
            net,
            images.images,
            images.labels,
            perturbation=cell.corruption,
            level=cell.level,
            suite='imagenet-c',
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
        )
        assert np.array_equal(cell.result.loss, alone.loss)


def test_processes_tell_what_cannot_be_perturbed(tmp_path):
    chance = np.random.default_rng(0)
    images = LabelledImages(chance.integers(0, 256, (6, 50, 90, 3), dtype=np.uint8), LABELS[:6])
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10))
    source = Source('own', net, mean=(0.5,) * 3, std=(0.25,) * 3)
    outcome = run([source], images, tmp_path, suite='imagenet-c', corruptions=['contrast'], workers=1)
    assert len(outcome.failed) == 5 and 'suite imagenet-c is for 64 px and more' in outcome.failed[0]
    assert outcome.measured == 1
