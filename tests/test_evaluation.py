"""Measuring a model: inputs that mean the same give the same, everything else is refused with what was seen."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import timm_zerosnet  # noqa: F401
from timm_zerosnet.robustness import SUITES, Evaluation, evaluate, perturb
from timm_zerosnet.robustness.data import load_labelled

FIELDS = tuple(Evaluation.__dataclass_fields__)
SAMPLE = load_labelled(Path(__file__).parent / 'data' / 'cifar10_test_200.npz')
IMAGES, LABELS = SAMPLE.images[:40], SAMPLE.labels[:40]
NOISES = SUITES['zerosnet']


@pytest.fixture(scope='module')
def net():
    return timm.create_model('zerosnet20', pretrained=True)


@pytest.fixture(scope='module')
def clean(net):
    return evaluate(net, IMAGES, LABELS)


def assert_same(one, other, order=slice(None)):
    for field in FIELDS:
        assert np.array_equal(getattr(one, field)[order], getattr(other, field)), field


def normalised(images):
    mean, std = (np.array(values, dtype=np.float32) for values in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
    return (images / np.float32(255) - mean) / std


def float_images(channels=3, size=32, count=8, seed=0):
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def pil(images, mode=None):
    return [Image.fromarray(image).convert(mode) if mode else Image.fromarray(image) for image in images]


FORMS = {
    'PIL images': pil(IMAGES),
    'list of arrays': list(IMAGES),
    'float32': IMAGES.astype(np.float32) / 255,
    'float64': IMAGES / 255,
    'NCHW array': np.moveaxis(IMAGES, -1, 1),
    'uint8 tensor NCHW': torch.from_numpy(IMAGES).permute(0, 3, 1, 2),
    'float tensor NCHW': (torch.from_numpy(IMAGES) / 255).permute(0, 3, 1, 2).contiguous().requires_grad_(),
}


@pytest.mark.parametrize('form', FORMS)
def test_forms_of_the_same_images_agree(form, net, clean):
    """Case b10."""
    assert 80 < clean.top1 < 100 == clean.top5
    assert_same(evaluate(net, FORMS[form], torch.from_numpy(LABELS)), clean)


def test_name_stands_for_its_pretrained_network(clean):
    assert_same(evaluate('zerosnet20', IMAGES, list(LABELS)), clean)


@pytest.mark.parametrize(
    'images, seen',
    [
        (IMAGES.astype(np.float32), 'range from 0 to 255'),
        (torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float(), 'range from 0 to 255'),
        (normalised(IMAGES), r'range from -2\.\d+ to 2\.\d+'),
        (np.full((40, 32, 32, 3), np.nan), 'range from nan to nan'),
        (IMAGES.astype(np.int64), 'images: expected uint8, or floats in .*, got int64'),
        (IMAGES / 255 + 1e-3, r'range from 0.001\d* to 1.001'),
    ],
)
def test_pixels_out_of_range_are_refused_with_the_range(images, seen, net):
    """Cases b10 and c11."""
    for noise in ({}, dict(perturbation='randn', level=0.1)):
        with pytest.raises(ValueError, match=seen):
            evaluate(net, images, LABELS, **noise)
    if torch.is_tensor(images) or images.dtype.kind == 'f':
        with pytest.raises(ValueError, match=seen):
            perturb(torch.as_tensor(images), 'const', 0.1)


@pytest.mark.parametrize(
    'images, message',
    [
        (IMAGES[..., 0], r'shape \(40, 32, 32\): accepted is \(N, H, W, 3\) or \(N, 3, H, W\)'),
        (IMAGES[..., :1], r'shape \(40, 32, 32, 1\): accepted is \(N, H, W, 3\)'),
        (IMAGES[:, :16, :16] / 255, 'float images of 16x16: the model takes 32x32'),
        (list(IMAGES / 255), r'an image is a float64 array \(32, 32, 3\): accepted are lists of PIL images'),
        (list(torch.from_numpy(IMAGES)), 'an image is a Tensor: accepted are'),
        (['cat.png'] * 40, 'an image is a str: accepted are'),
        ([Image.fromarray(np.full((32, 32), 999, np.uint16))] * 40, 'I;16: accepted are images with 8 bits'),
    ],
)
def test_what_is_not_images_is_refused(images, message, net):
    with pytest.raises(ValueError, match=message):
        evaluate(net, images, LABELS)


@pytest.mark.parametrize(
    'labels, message',
    [
        (LABELS[:-1], r'40 images and labels of shape \(39,\)'),
        (LABELS[:, None], r'labels of shape \(40, 1\): accepted is one label for each'),
        (LABELS / 1, 'labels are float64: accepted are integers'),
        (np.where(LABELS == 9, 10, LABELS), 'labels range from 0 to 10: the model has 10 classes'),
        (LABELS - 1, 'labels range from -1 to 8: the model has 10 classes'),
    ],
)
def test_wrong_labels_are_refused(labels, message, net):
    with pytest.raises(ValueError, match=message):
        evaluate(net, IMAGES, labels)


def test_no_images_are_refused(net):
    with pytest.raises(ValueError, match='at least one'):
        evaluate(net, IMAGES[:0], LABELS[:0])


@pytest.mark.parametrize('noise', [{}, dict(perturbation='randn', level=0.05, seed=3)], ids=str)
def test_batches_change_nothing(noise, net):
    """Case c3; --limit, too: a part is the beginning of the whole."""
    whole = evaluate(net, IMAGES, LABELS, batch_size=250, **noise)
    for size in (1, 7):
        other = evaluate(net, IMAGES, LABELS, batch_size=size, **noise)
        assert np.array_equal(other.correct, whole.correct) and np.array_equal(other.predicted, whole.predicted)
        assert np.allclose(other.loss, whole.loss, atol=1e-5)
    part = evaluate(net, IMAGES[:11], LABELS[:11], **noise)
    assert np.array_equal(part.correct, whole.correct[:11]) and np.allclose(part.loss, whole.loss[:11], atol=1e-5)


def test_order_changes_nothing(net, clean):
    reverse = evaluate(net, IMAGES[::-1], LABELS[::-1], batch_size=7)
    assert np.array_equal(reverse.correct[::-1], clean.correct)
    assert np.allclose(reverse.loss[::-1], clean.loss, atol=1e-5)


@pytest.mark.parametrize('name', NOISES)
def test_noise_of_an_image_is_its_own(name):
    """Case c3: pixels are bit-equal alone, in any batch and in any order."""
    images, level = float_images(), NOISES[name].levels[-1]
    together = perturb(images, name, level, seed=5)
    assert together.shape == images.shape and not torch.equal(together, images)
    for i in range(len(images)):
        assert torch.equal(perturb(images[i : i + 1], name, level, 5, [i])[0], together[i])
    assert torch.equal(perturb(images.flip(0), name, level, 5, range(7, -1, -1)).flip(0), together)
    assert torch.equal(perturb(images[:3], name, level, 5), together[:3])
    assert torch.equal(perturb(images, name, level, np.int64(5), np.arange(8)), together)


def test_noise_differs_between_seeds_images_and_kinds():
    grey = torch.full((2, 3, 32, 32), 0.5)
    draws = [
        perturb(grey, name, 0.2, seed) for name in ('rand', 'randn', 'uniform') for seed in (0, 1, 2**63, 2**64 - 1)
    ]
    images = torch.cat([(draw - 0.5) for draw in draws])
    for i, one in enumerate(images):
        for other in images[:i]:
            assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].abs() < 0.1


def test_levels_scale_one_draw():
    grey = torch.full((2, 3, 8, 8), 0.5)
    for name in NOISES:
        weak, strong = (perturb(grey, name, level) - 0.5 for level in (0.02, 0.08))
        assert torch.allclose(4 * weak, strong, atol=1e-6)


def global_states():
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


def test_global_random_state_is_neither_read_nor_changed():
    """Case c1."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = global_states()
        found.append(evaluate('zerosnet20', IMAGES, LABELS, perturbation='randn', level=0.1, seed=7))
        assert global_states() == before
        torch.rand(3)
    assert_same(*found)
    assert not np.array_equal(found[0].loss, evaluate('zerosnet20', IMAGES, LABELS).loss)


@pytest.mark.parametrize('level', [0, -0.0])
@pytest.mark.parametrize('name', NOISES)
def test_level_0_is_clean(name, level, net, clean):
    """Case c13."""
    assert_same(evaluate(net, IMAGES, LABELS, perturbation=name, level=level), clean)


@pytest.mark.parametrize('name', NOISES)
def test_noise_is_clamped_once_on_both_sides(name):
    """Case c10: white stays white under what brightens, black stays black under what darkens."""
    white, black, levels = torch.ones(2, 3, 32, 32), torch.zeros(2, 3, 32, 32), NOISES[name].levels
    for level in (levels[0], levels[-1]):
        for images in (white, black, float_images()):
            found = perturb(images, name, level)
            assert found.min() >= 0 and found.max() <= 1
    if NOISES[name].signed:
        assert torch.equal(perturb(white, name, levels[-1]), white)
        assert torch.equal(perturb(black, name, levels[0]), black)
        assert perturb(white, name, levels[0]).mean() < 1 and perturb(black, name, levels[-1]).mean() > 0
    else:  # half of the draws go to either side
        assert 0.4 < (perturb(white, name, levels[-1]) < 1).float().mean() < 0.6
        assert 0.4 < (perturb(black, name, levels[-1]) > 0).float().mean() < 0.6


def test_images_are_left_alone_and_keep_their_type():
    for dtype in (torch.float16, torch.float32, torch.float64):
        images = float_images().to(dtype)
        before = images.clone()
        assert perturb(images, 'randn', 0.2).dtype == dtype
        assert torch.equal(images, before)


DECLARED = {'const': (1, 0), 'rand': (1 / 2, 12**-0.5), 'randn': (0, 1), 'uniform': (0, 3**-0.5)}


@pytest.mark.parametrize(
    'name, sign', [(name, sign) for name, row in NOISES.items() for sign in ((1, -1) if row.signed else (1,))]
)
def test_noise_has_the_declared_mean_and_deviation(name, sign):
    mean, deviation = DECLARED[name]
    noise = perturb(torch.full((32, 3, 32, 32), 0.5, dtype=torch.float64), name, 0.08 * sign) - 0.5
    error = 5 * 0.08 / noise.numel() ** 0.5  # five standard errors
    assert abs(float(noise.mean()) - 0.08 * sign * mean) <= error + 1e-6
    assert abs(float(noise.std()) - 0.08 * deviation) <= error + 1e-6


@pytest.mark.parametrize('level', [10, 1.01, -1.01, float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('name', NOISES)
def test_level_out_of_range_is_refused(name, level, net):
    """Case c8."""
    message = rf'{name} level: expected a number from (-1|0) to 1, as pixels lie in .*, got {re.escape(f"{level:g}")}$'
    with pytest.raises(ValueError, match=message):
        perturb(float_images(), name, level)
    with pytest.raises(ValueError, match=message):
        evaluate(net, IMAGES, LABELS, perturbation=name, level=level)


@pytest.mark.parametrize('name', [name for name, row in NOISES.items() if not row.signed])
def test_negative_level_is_refused_where_it_means_nothing(name):
    with pytest.raises(ValueError, match=f'{name} level: expected a number from 0 to 1, .* got -0.1'):
        perturb(float_images(), name, -0.1)


@pytest.mark.parametrize('name, hint', [('RandN', 'randn'), ('uniforn', 'uniform'), ('constant', 'const')])
def test_unknown_perturbation_suggests_names(name, hint, net):
    with pytest.raises(ValueError, match=rf'{name}.*did you mean .*\b{hint}\b.*accepted: const, rand, randn, uniform'):
        evaluate(net, IMAGES, LABELS, perturbation=name, level=0.1)


def test_wrong_arguments_are_refused(net):
    images = float_images()
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=f'seed: expected an integer from 0 to .*, got {seed}'):
            perturb(images, 'randn', 0.1, seed)
    with pytest.raises(ValueError, match='indices: expected one for each of 8 images, got 1'):
        perturb(images, 'randn', 0.1, indices=[0])
    with pytest.raises(ValueError, match='images: expected uint8, or floats in .*, got torch.int64'):
        perturb(torch.from_numpy(IMAGES).long(), 'randn', 0.1)
    with pytest.raises(ValueError, match='level=0.1 without a perturbation'):
        evaluate(net, IMAGES, LABELS, level=0.1)
    with pytest.raises(ValueError, match="perturbation='randn' without a level: its own are 0.01, 0.02, "):
        evaluate(net, IMAGES, LABELS, perturbation='randn')
    assert evaluate(net, IMAGES, LABELS, perturbation='randn', level=0).top1 == evaluate(net, IMAGES, LABELS).top1
    with pytest.raises(ValueError, match='batch_size: expected an integer >= 1, got 0'):
        evaluate(net, IMAGES, LABELS, batch_size=0)
    for key in ('mean', 'std'):
        with pytest.raises(ValueError, match=f'{key} has 2 values: accepted is one, or one for each of 3 channels'):
            evaluate(net, IMAGES, LABELS, **{key: (0.5, 0.5)})
