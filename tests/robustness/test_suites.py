"""What all rows of all suites share: pixels depend on nothing but the row, the level, the seed and the index."""

import dataclasses
import pickle
import random
import re

import numpy as np
import pytest
import timm
import torch
from amounts import examples, slow, slow_but
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import CIFAR10_SAMPLE

import timm_zerosnet  # noqa: F401
from timm_zerosnet.robustness import SUITES, evaluate, perturb
from timm_zerosnet.robustness.data import load_labelled
from timm_zerosnet.robustness.suites import find_perturbation

SAMPLE = load_labelled(CIFAR10_SAMPLE)
ROWS = [(suite, name) for suite, rows in SUITES.items() for name in rows]
GRADED = [(suite, name) for suite, name in ROWS if SUITES[suite][name].severities]
DRAWN_ONCE = 'glass_blur motion_blur snow frost frost_like fog elastic_transform spatter'.split()  # for all channels
# their severities are graded by how hard they are for a network, not by how far they move pixels
UNEVEN = 'glass_blur motion_blur frost frost_like elastic_transform spatter'.split()
COVERS = 'snow frost frost_like fog spatter'.split()
SHORTEST = {'zerosnet': 1, 'cifar-c': 1, 'imagenet-c': 64}
each_row = pytest.mark.parametrize('suite, name', ROWS)
each_graded_row = pytest.mark.parametrize('suite, name', GRADED)


def pictures(suite, count=4, grey=False):
    """8-bit pictures (N, C, H, W) as floats, of the size that the suite is made for."""
    images = SAMPLE.images[:count]
    if suite == 'imagenet-c':
        images = np.stack([np.asarray(Image.fromarray(image).resize((64, 64))) for image in images])
    images = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    return images[:, :1].contiguous() if grey else images.contiguous()


def in_steps(images):
    return (255 * images.double()).round().to(torch.uint8)


def run(suite, name, images, level=None, **kwargs):
    return perturb(images, name, SUITES[suite][name].levels[-1] if level is None else level, suite=suite, **kwargs)


def test_suites():
    assert {suite: list(rows) for suite, rows in SUITES.items()} == {
        'zerosnet': ['const', 'rand', 'randn', 'uniform'],
        **dict.fromkeys(
            ('cifar-c', 'imagenet-c'),
            'gaussian_noise shot_noise impulse_noise defocus_blur glass_blur motion_blur zoom_blur snow frost fog '
            'brightness contrast elastic_transform pixelate jpeg_compression speckle_noise gaussian_blur spatter '
            'saturate frost_like'.split(),
        ),
    }
    for suite, name in ROWS:
        row = find_perturbation(suite, name)
        assert row.name == name and row.source and pickle.loads(pickle.dumps(row)) == row
        assert row.seeded == (name in ('rand', 'randn', 'uniform', *DRAWN_ONCE) or name.endswith('noise'))
        assert row.levels == (1, 2, 3, 4, 5) if suite != 'zerosnet' else 0 not in row.levels
        with pytest.raises(dataclasses.FrozenInstanceError):
            row.levels = ()


def test_levels_of_the_papers_noise():
    both = {name: [sign * level for level in levels for sign in (-1, 1)] for name, levels in ZEROSNET.items()}
    for name, row in SUITES['zerosnet'].items():
        assert sorted(row.levels) == sorted(both[name] if row.signed else ZEROSNET[name])
    assert {name for name, row in SUITES['zerosnet'].items() if row.signed} == {'const', 'rand'}


ZEROSNET = {
    'const': (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.45),
    'rand': (0.04, 0.06, 0.08, 0.1, 0.12, 0.2),
    'randn': (0.01, 0.02, 0.03, 0.035, 0.04, 0.05, 0.1, 0.2),
    'uniform': (0.04, 0.06, 0.08, 0.1, 0.12, 0.2),
}


@pytest.mark.parametrize('level', [0, 0.0, -0.0, np.int64(0)], ids=repr)
@each_row
def test_level_0_is_clean_bit_for_bit(suite, name, level):
    """Strength zero would not give clean accuracy; also between the steps of 8 bits."""
    for images in (pictures(suite), torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))):
        found = run(suite, name, images, level)
        assert torch.equal(found, images) and found.data_ptr() != images.data_ptr()


@each_row
def test_neighbours_change_nothing(suite, name, monkeypatch):
    """Noise would depend on the batch: bit-equal alone, in parts, in another order, however many at once."""
    images = pictures(suite, 24)
    together = run(suite, name, images, seed=5)
    assert together.shape == images.shape and not torch.equal(together, images)
    for i in (0, 1, 11, 23):
        assert torch.equal(run(suite, name, images[i : i + 1], seed=5, indices=[i])[0], together[i])
    backwards = run(suite, name, images.flip(0), seed=5, indices=np.arange(23, -1, -1))
    assert torch.equal(backwards.flip(0), together)
    assert torch.equal(run(suite, name, images[:7], seed=5), together[:7])
    monkeypatch.setattr('timm_zerosnet.robustness.suites.VALUES_AT_ONCE', 1)
    assert torch.equal(run(suite, name, images, seed=5), together)


@each_row
def test_global_generators_are_neither_read_nor_changed(suite, name):
    """Noise would differ from run to run unless the caller seeds a global generator."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()
        found.append(run(suite, name, pictures(suite), seed=3))
        assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()) == before
    assert torch.equal(*found)


@each_row
def test_seed_matters_where_the_row_says_so(suite, name):
    images = pictures(suite, 1).expand(3, -1, -1, -1)
    one, other = (run(suite, name, images, seed=seed) for seed in (0, 2**64 - 1))
    seeded = SUITES[suite][name].seeded
    assert torch.equal(one, other) != seeded and torch.equal(one[0], one[1]) != seeded


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a second device')
@each_row
def test_device_changes_nothing(suite, name):
    images = pictures(suite)
    assert torch.allclose(run(suite, name, images.cuda()).cpu(), run(suite, name, images), atol=1e-7)


@each_row
def test_layout_and_type_change_nothing(suite, name):
    images = pictures(suite)
    expected = run(suite, name, images)
    before = images.clone()
    assert torch.equal(run(suite, name, images.to(memory_format=torch.channels_last)), expected)
    for dtype, steps in ((torch.float64, 1e-3), (torch.float16, 0.5)):
        found = run(suite, name, images.to(dtype))
        assert found.dtype == dtype and (found.double() - expected.double()).abs().max() < steps / 255
    assert torch.equal(images, before)
    assert run(suite, name, images[:0]).shape == images[:0].shape


@each_graded_row
def test_result_is_an_8_bit_picture(suite, name):
    for level in (1, 5):
        found = run(suite, name, pictures(suite), level)
        assert torch.equal(in_steps(found).float() / 255, found)
    shifted = (pictures(suite) + 0.4 / 255).clamp(0, 1)  # is rounded to the same picture
    assert torch.equal(run(suite, name, shifted), run(suite, name, pictures(suite)))


@each_row
def test_nothing_wraps_around(suite, name):
    """Noise wraps around: extremes stay within a small distance of themselves, and nothing leaves [0, 1]."""
    for value in (0.0, 1.0):
        plain = torch.full((2, 3, 64, 64), value)
        for level in (SUITES[suite][name].levels[0], SUITES[suite][name].levels[-1]):
            found = run(suite, name, plain, level)
            assert 0 <= found.min() and found.max() <= 1
            if name != 'impulse_noise':
                limit = {'const': 0.46, 'saturate': 0.21, 'brightness': 0.51, 'shot_noise': 0.35}.get(name, 0.26)
                assert (found - value).abs().mean() < (0.65 if name in COVERS else limit)
                if name in COVERS:  # a cover over black brightens all of it, one over white darkens all of it
                    assert ((found - value) * (1 - 2 * value)).min() >= 0


@pytest.mark.parametrize(
    'suite, name',
    [row for row in GRADED if not row[1].endswith('noise') and row[1] not in ('frost', 'frost_like', 'spatter')],
)
def test_grey_is_the_same_with_one_channel_and_three(suite, name):
    """Grey would differ as colour; saturate alone casts a colour over grey, which one channel cannot hold.

    Frost and spatter are coloured.
    """
    grey = pictures(suite, 12, grey=True)
    for level in range(1, 6):
        one, three = (run(suite, name, images, level) for images in (grey, grey.expand(-1, 3, -1, -1)))
        assert torch.equal(one, grey if name == 'saturate' else three[:, :1])
        assert torch.equal(three[:, :1], one)


@pytest.mark.parametrize(
    'suite, name', [row for row in ROWS if SUITES[row[0]][row[1]].seeded and row[1] not in DRAWN_ONCE]
)
def test_noise_is_drawn_for_each_channel(suite, name):
    """Noise of one channel repeated over three would be grey."""
    for channels in (1, 3):
        noise = run(suite, name, torch.full((1, channels, 64, 64), 128 / 255)) - 128 / 255
        assert noise.shape[1] == channels and noise.std() > 0.02
    corr = torch.corrcoef(noise[0].flatten(1))
    assert (corr - torch.eye(3)).abs().max() < 0.1


@pytest.mark.parametrize('suite, name', slow_but([row for row in GRADED if row[0] == 'cifar-c'], GRADED))
def test_severity_moves_pictures_further(suite, name):
    images = pictures(suite, 50)
    moved = [float((run(suite, name, images, level) - images).square().mean()) for level in range(6)]
    assert moved[0] == 0
    if name in UNEVEN:
        assert len(set(moved)) >= 5  # severities 3 and 4 of motion_blur differ in weights that 8 bits cannot show
        return
    parts = [moved]
    if name == 'saturate':  # weaker colours, then stronger ones
        parts = [moved[:3], moved[3:]]
    elif (suite, name) == ('imagenet-c', 'pixelate'):  # 38 of 64 px shift edges, 32 px do not
        parts = [moved[:2], moved[2:]]
    for part in parts:
        assert part == sorted(part) and len(set(part)) == len(part)


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_any_size_number_and_channels(data):
    suite, name = data.draw(st.sampled_from(ROWS))
    row, low = SUITES[suite][name], SHORTEST[suite]
    count, channels = data.draw(st.integers(1, 3)), data.draw(st.sampled_from((1, 3)))
    height, width = (data.draw(st.integers(low, low + 40)) for _ in range(2))
    seed, index = (data.draw(st.integers(0, 2**64 - 1)) for _ in range(2))
    level = data.draw(st.sampled_from(row.levels))
    generator = torch.Generator().manual_seed(seed % 2**63)
    images = torch.randint(0, 256, (count, channels, height, width), generator=generator) / 255
    indices = [index] * count
    found = perturb(images, name, level, seed, indices, suite)
    assert found.shape == images.shape and found.dtype == images.dtype
    assert 0 <= found.min() and found.max() <= 1
    assert torch.equal(perturb(images[-1:], name, level, seed, indices[:1], suite), found[-1:])


@pytest.mark.parametrize('name', SUITES['imagenet-c'])
@pytest.mark.parametrize('shape', [(32, 32), (63, 224), (64, 63)], ids=str)
def test_small_images_are_refused_and_the_other_suite_named(shape, name):
    """Code made for 224 pixels destroys images of 32, or fails on them."""
    message = f'images of {shape[0]}x{shape[1]}: suite imagenet-c is for 64 px and more; take suite cifar-c'
    for level in (0, 1):
        with pytest.raises(ValueError, match=message):
            run('imagenet-c', name, torch.rand(1, 3, *shape), level)
    assert run('cifar-c', name, torch.rand(1, 3, *shape), 1).shape == (1, 3, *shape)


@each_graded_row
@pytest.mark.parametrize('level', [-1, 6, 10, 0.1, 2.5, float('nan'), float('inf')])
def test_level_that_is_no_severity_is_refused(suite, name, level):
    """A level of 10 in place of 0.1 would be taken without a word."""
    message = f'{name} severity: expected an integer from 0 .clean. to 5, got {re.escape(f"{level:g}")}$'
    with pytest.raises(ValueError, match=message):
        run(suite, name, pictures(suite, 1), level)
    with pytest.raises(ValueError, match=message):
        evaluate('zerosnet20', SAMPLE.images, SAMPLE.labels, perturbation=name, level=level, suite=suite)


@pytest.mark.parametrize(
    'suite, name, message',
    [
        (
            'CIFAR-C',
            'contrast',
            "unknown suite 'CIFAR-C': did you mean cifar-c.*expected one of zerosnet, cifar-c, imagenet-c",
        ),
        ('imagenet_c', 'contrast', "unknown suite 'imagenet_c': did you mean imagenet-c"),
        ('zerosnett', 'const', 'did you mean zerosnet'),
        (
            'cifar-c',
            'Gaussian_Noise',
            "unknown perturbation 'Gaussian_Noise' of suite 'cifar-c': did you mean gaussian_n",
        ),
        ('cifar-c', 'jpeg', 'did you mean .*jpeg_compression'),
        ('cifar-c', 'randn', "'randn' of suite 'cifar-c'.*it is in suite zerosnet"),
        ('zerosnet', 'contrast', "'contrast' of suite 'zerosnet'.*it is in suite cifar-c and imagenet-c"),
        ('zerosnet', 'xxxxxxxx', "'zerosnet': expected one of const, rand, randn, uniform$"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(suite, name, message):
    """A capital letter would keep a corruption out of the average."""
    with pytest.raises(ValueError, match=message):
        perturb(torch.rand(1, 3, 64, 64), name, 1, suite=suite)
    with pytest.raises(ValueError, match=message):
        evaluate('zerosnet20', SAMPLE.images, SAMPLE.labels, perturbation=name, level=1, suite=suite)


def test_wrong_images_and_indices_are_refused():
    images = pictures('cifar-c')
    for shape in ((2, 2, 32, 32), (2, 4, 32, 32), (3, 32, 32)):
        with pytest.raises(ValueError, match=rf'expected shape \(N, 1 or 3, H, W\), got {re.escape(str(shape))}'):
            run('cifar-c', 'contrast', torch.rand(*shape))
    with pytest.raises(ValueError, match='expected pixels in .*, got a range from 0 to 255; already'):
        run('cifar-c', 'contrast', 255 * images / images.max())
    with pytest.raises(ValueError, match='range from nan to nan'):
        run('cifar-c', 'contrast', images * float('nan'))
    for index in (-1, 2**64):
        with pytest.raises(ValueError, match=f'indices: expected an integer from 0 to .*, got {index}'):
            run('cifar-c', 'shot_noise', images[:1], indices=[index])


@pytest.mark.parametrize('name', ['gaussian_noise', slow('contrast')])
def test_evaluation_equals_that_of_a_stored_set(name):
    """The official sets are measured as files; ours are made on the way and must give the same."""
    net = timm.create_model('zerosnet20', pretrained=True)
    images, labels = SAMPLE.images[:50], SAMPLE.labels[:50]
    stored = in_steps(run('cifar-c', name, pictures('cifar-c', 50), 3, seed=2)).permute(0, 2, 3, 1).numpy()
    found = evaluate(net, images, labels, perturbation=name, level=3, seed=2, suite='cifar-c', batch_size=7)
    expected = evaluate(net, stored, labels, batch_size=7)
    assert np.array_equal(found.loss, expected.loss) and np.array_equal(found.correct, expected.correct)
    assert not np.array_equal(found.loss, evaluate(net, images, labels, batch_size=7).loss)
    with pytest.raises(ValueError, match='suite imagenet-c is for 64 px and more; take suite cifar-c'):
        evaluate(net, images, labels, perturbation=name, level=3, suite='imagenet-c')
