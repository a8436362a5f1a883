"""Measuring a model: inputs that mean the same give the same, everything else is refused with what was seen."""

import random
import re
import warnings
from fractions import Fraction

import numpy as np
import pytest
import timm
import torch
from amounts import slow
from PIL import Image
from places import CIFAR10_SAMPLE
from torch import nn

import timm_zerosnet  # noqa: F401
from timm_zerosnet.robustness import SUITES, Evaluation, evaluate, perturb
from timm_zerosnet.robustness.arguments import ArgumentTypeError
from timm_zerosnet.robustness.data import LabelledImages, load_labelled
from timm_zerosnet.robustness.models import Source
from timm_zerosnet.robustness.plan import plan_conditions
from timm_zerosnet.robustness.run import run

FIELDS = tuple(Evaluation.__dataclass_fields__)
SAMPLE = load_labelled(CIFAR10_SAMPLE)
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
    """Wrong or no normalisation of one of the forms gives far lower accuracy than the table."""
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
    """Normalised or 0..255 values taken for pixels in [0, 1] make accuracy and noise meaningless."""
    for noise in ({}, dict(perturbation='randn', level=0.1)):
        with pytest.raises(ValueError, match=seen):
            evaluate(net, images, LABELS, **noise)
    if torch.is_tensor(images) or images.dtype.kind == 'f':
        with pytest.raises(ValueError, match=seen):
            perturb(torch.as_tensor(images), 'const', 0.1)


@pytest.mark.parametrize(
    'images, message',
    [
        (IMAGES[..., 0], r'expected shape \(N, H, W, 3\) or \(N, 3, H, W\), .*, got \(40, 32, 32\)'),
        (IMAGES[..., :1], r'expected shape \(N, H, W, 3\) .*, got \(40, 32, 32, 1\)'),
        (IMAGES[:, :16, :16] / 255, 'expected float images of 32x32, which the model takes, got 16x16'),
        (list(IMAGES / 255), r'expected a list of PIL images .*, got an image that is a float64 array \(32, 32, 3\)'),
        (list(torch.from_numpy(IMAGES)), 'that is a Tensor; torch.stack makes one array'),
        (['cat.png'] * 40, 'got an image that is a str'),
        ([Image.fromarray(np.full((32, 32), 999, np.uint16))] * 40, 'expected 8 bits a channel, got Pillow mode I;16'),
    ],
)
def test_what_is_not_images_is_refused(images, message, net):
    with pytest.raises(ValueError, match=message):
        evaluate(net, images, LABELS)


@pytest.mark.parametrize(
    'labels, message',
    [
        (LABELS[:-1], r'40 images and labels of shape \(39,\)'),
        (LABELS[:, None], r'expected .* a label for each, got 40 images and labels of shape \(40, 1\)'),
        (LABELS / 1, 'labels: expected integers, got float64'),
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
    """A prediction would depend on its neighbours in the batch; --limit, too: a part is the beginning of the whole."""
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
    """Noise would depend on the batch: pixels are bit-equal alone, in any batch and in any order."""
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
    """Noise would differ from run to run unless the caller seeds a global generator."""
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
    """Strength zero would not give clean accuracy."""
    assert_same(evaluate(net, IMAGES, LABELS, perturbation=name, level=level), clean)


@pytest.mark.parametrize('name', NOISES)
def test_noise_is_clamped_once_on_both_sides(name):
    """Noise wraps around: white stays white under what brightens, black stays black under what darkens."""
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
    """A level of 10 in place of 0.1 would be taken without a word."""
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
    with pytest.raises(
        ValueError, match=rf'{name}.*did you mean .*\b{hint}\b.*expected one of const, rand, randn, uniform'
    ):
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
        with pytest.raises(ValueError, match=f'{key}: expected one value, or one for each of 3 channels, got 2'):
            evaluate(net, IMAGES, LABELS, **{key: (0.5, 0.5)})


class Adapting(nn.Module):
    """Test-time adaptation: batch norms by the batch, in each of the ways that people have."""

    def __init__(self, how):
        super().__init__()
        self.how, self.num_classes = how, 10
        self.norm = nn.BatchNorm2d(3, track_running_stats=how != 'never tracked')
        self.linear = nn.Linear(3 * 32 * 32, 10)
        if how == 'dropped':
            self.norm.running_mean = self.norm.running_var = None

    def train(self, mode=True):
        super().train(mode)
        if self.how == 'kept in train mode':
            self.norm.train()
        return self

    def forward(self, x):
        if self.how == 'put into train mode':
            self.norm.train()
        return self.linear(self.norm(x).flatten(1))


@pytest.mark.parametrize('how', ['never tracked', 'dropped', 'kept in train mode', 'put into train mode'])
def test_a_network_that_normalises_by_the_batch_is_named(how):
    torch.manual_seed(0)
    net = Adapting(how)
    config = dict(mean=(0.5,) * 3, std=(0.25,) * 3)
    with pytest.warns(UserWarning, match=r'1 batch norms \(norm\) normalise by the batch.*batch_size=40;'):
        whole = evaluate(net, IMAGES, LABELS, batch_size=40, **config)
    with pytest.warns(UserWarning, match='batch_size=3;'):
        other = evaluate(net, IMAGES, LABELS, batch_size=3, **config)
    assert not np.allclose(whole.loss, other.loss, atol=1e-3)
    net = Adapting('')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for size in (3, 40):
            evaluate(net.train(), IMAGES, LABELS, batch_size=size, **config)  # eval() stops it


def test_a_run_of_such_a_network_is_of_one_batch_size(tmp_path):
    torch.manual_seed(0)
    source = Source('adapting', Adapting('never tracked'), mean=(0.5,) * 3, std=(0.25,) * 3)
    for size, measured in ((40, 2), (40, 0), (3, 2)):
        with pytest.warns(UserWarning, match='adapting: 1 batch norms'):
            outcome = run(
                [source], LabelledImages(IMAGES, LABELS), tmp_path, corruptions=['const'], levels=[0.1], batch_size=size
            )
        assert outcome.measured == measured


@pytest.mark.parametrize('kind', [torch.float32, torch.float64])
def test_rounding_beyond_the_range_is_clipped(kind, net):
    """As resizing in floats leaves it; beyond it the message has the digits that tell."""
    plain = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=kind)
    plain[0, 0, 0] = torch.linspace(0, 1, 32)
    beyond = plain.clone()
    beyond[0, 0, 0, 0], beyond[0, 0, 0, -1] = -2.4e-7, 1 + 2.4e-7
    before = beyond.clone()
    assert torch.equal(perturb(beyond, 'const', 0), plain) and torch.equal(
        perturb(beyond, 'randn', 0.1), perturb(plain, 'randn', 0.1)
    )
    assert np.array_equal(perturb(beyond.numpy(), 'const', -0.1), perturb(plain, 'const', -0.1).numpy())
    for images in (beyond, beyond.numpy()):
        assert_same(evaluate(net, images, LABELS[:4]), evaluate(net, plain, LABELS[:4]))
    assert torch.equal(beyond, before)
    for value, seen in ((1 + 2e-6, r'to 1\.00000[12]'), (-2e-6, 'from -2e-06|from -1.9+')):
        beyond[0, 0, 0, 0] = value
        for measured in (lambda: perturb(beyond, 'const', 0.1), lambda: evaluate(net, beyond, LABELS[:4])):
            with pytest.raises(ValueError, match=seen):
                measured()


def frozen(array):
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


ARRAYS = {
    'uint8 NHWC': lambda x: x,
    'uint8 NCHW': lambda x: np.moveaxis(x, -1, 1),
    'float32 NHWC': lambda x: x.astype(np.float32) / np.float32(255),
    'float64 NHWC': lambda x: x / 255,
    'float32 NCHW, backwards': lambda x: np.moveaxis(x, -1, 1)[::-1].astype(np.float32)[::-1] / np.float32(255),
    'float32 NCHW, read-only': lambda x: frozen(np.moveaxis(x, -1, 1) / np.float32(255)),
    'uint8 NCHW, read-only': lambda x: frozen(np.moveaxis(x, -1, 1).copy()),
    'big-endian': lambda x: (x.astype(np.float32) / np.float32(255)).astype('>f4'),
    'uint8 tensor NHWC': torch.from_numpy,
    'float tensor NHWC': lambda x: torch.from_numpy(x) / 255,
}


@pytest.mark.parametrize('suite, name, level', [('zerosnet', 'randn', 0.1), slow('cifar-c', 'shot_noise', 3)])
@pytest.mark.parametrize('form', ARRAYS)
def test_perturb_takes_what_evaluate_takes(form, suite, name, level, net):
    expected = perturb((torch.from_numpy(IMAGES) / 255).permute(0, 3, 1, 2), name, level, 3, suite=suite)
    images = ARRAYS[form](IMAGES)
    found = perturb(images, name, level, 3, suite=suite)
    assert type(found) is type(images) and found.shape == images.shape
    found = torch.as_tensor(found)
    assert found.dtype == (torch.float64 if 'float64' in form else torch.float32)
    assert torch.allclose((found if 'NCHW' in form else found.permute(0, 3, 1, 2)).float(), expected, atol=1e-6, rtol=0)
    one = evaluate(net, perturb(images, name, level, 3, suite=suite), LABELS)
    other = evaluate(net, images, LABELS, perturbation=name, level=level, seed=3, suite=suite)
    assert np.allclose(one.loss, other.loss, atol=1e-5)


@pytest.mark.parametrize(
    'images, error, message',
    [
        (IMAGES.astype(np.int32), ValueError, 'expected uint8, or floats in .*, got int32'),
        (IMAGES.astype(np.float32), ValueError, 'got a range from 0 to 255;'),
        (list(IMAGES), TypeError, 'images: expected a tensor or an array .*, got a list'),
        (IMAGES[0] / 255, ValueError, r'images: expected shape .*, got \(32, 32, 3\)'),
    ],
)
def test_perturb_refuses_what_is_no_batch_of_images(images, error, message):
    with pytest.raises(error, match=message):
        perturb(images, 'randn', 0.1)


@pytest.mark.parametrize(
    'given, error, message',
    [
        (dict(seed=1.5), ArgumentTypeError, r'seed: expected an integer from 0 to 2\*\*64 - 1, got 1.5'),
        (dict(seed=True), ArgumentTypeError, 'seed: expected an integer .*, got True'),
        (dict(seed=np.True_), ArgumentTypeError, 'seed: expected an integer .*, got '),
        (dict(seed=torch.tensor(True)), ArgumentTypeError, 'seed: expected an integer'),
        (dict(seed=float('nan')), ArgumentTypeError, 'seed: expected an integer .*, got nan'),
        (dict(seed='1'), ArgumentTypeError, "seed: expected an integer .*, got '1'"),
        (dict(seed=None), ArgumentTypeError, 'seed: expected an integer .*, got None'),
        (dict(seed=-1), ValueError, 'seed: expected an integer .*, got -1'),
        (
            dict(level='a'),
            ArgumentTypeError,
            "randn level: expected a number from 0 to 1, as pixels .*, got 'a'",
        ),
        (dict(level='0.1'), ArgumentTypeError, "level: expected a number .*, got '0.1'"),
        (dict(level=True), ArgumentTypeError, 'level: expected a number .*, got True'),
        (dict(level=[0.1]), ArgumentTypeError, r'level: expected a number .*, got \[0.1\]'),
        (dict(level=1j), ArgumentTypeError, 'level: expected a number .*, got 1j'),
        (dict(level=float('nan')), ValueError, 'level: expected a number .*, got nan'),
        (dict(level=10**400), ValueError, 'level: expected a number .*, got inf'),
    ],
)
def test_numbers_that_are_none_are_refused_alike(given, error, message, net):
    settings = {'level': 0.1, 'seed': 0, **given}
    for measured in (
        lambda: perturb(float_images(), 'randn', **settings),
        lambda: evaluate(net, IMAGES, LABELS, perturbation='randn', **settings),
        lambda: plan_conditions('zerosnet', ['randn'], [settings['level']], [settings['seed']]),
    ):
        with pytest.raises(error, match=message.replace('seed:', 'seeds?:')) as refused:
            measured()
        assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize('level', [np.float32(0.5), np.int64(1), Fraction(1, 2), torch.tensor(0.5)], ids=repr)
@pytest.mark.parametrize('seed', [np.int64(3), np.uint64(2**64 - 1), torch.tensor(3)], ids=repr)
def test_numbers_of_other_kinds_are_numbers(level, seed, net):
    images = float_images()
    assert torch.equal(perturb(images, 'randn', level, seed), perturb(images, 'randn', float(level), int(seed)))
    (condition,) = plan_conditions('zerosnet', ['randn'], [level], [seed], clean=False)
    assert (type(condition.level), type(condition.seed)) == (float, int)


@pytest.mark.parametrize(
    'given, error, message',
    [
        (dict(corruptions=[]), ValueError, r'corruptions: expected at least one name, or None for all, got \[\]'),
        (dict(levels=[]), ValueError, r'levels: expected at least one number, or None .*, got \[\]'),
        (dict(levels=np.array([])), ValueError, 'levels: expected at least one number'),
        (dict(seeds=[]), ValueError, r'seeds: expected at least one integer >= 0, got \[\]'),
        (dict(seeds=range(0)), ValueError, 'seeds: expected at least one'),
        (dict(models=[]), ValueError, r'models: expected at least one name or source, got \[\]'),
        (dict(corruptions='randn'), TypeError, "corruptions: expected a sequence of .*, got 'randn'"),
        (dict(models=[nn.Identity()]), ArgumentTypeError, 'names or sources, such as Source.*, got an Identity'),
        (dict(models='zerosnet20'), TypeError, "models: expected a sequence of .*, got 'zerosnet20'"),
        (dict(seeds=3), TypeError, 'seeds: expected a sequence of .*, got 3'),
        (dict(levels=0.1), TypeError, 'levels: expected a sequence of .*, got 0.1'),
        (dict(batch_size=1.5), TypeError, 'batch_size: expected an integer >= 1, got 1.5'),
        (dict(workers=-1), ValueError, 'workers: expected an integer >= 0, got -1'),
    ],
)
def test_empty_selections_are_refused(given, error, message, tmp_path):
    """An empty list of corruptions measured clean images alone."""
    with pytest.raises(ArgumentTypeError, match='data: expected LabelledImages, .*, got an ndarray'):
        run(['zerosnet20'], IMAGES, tmp_path / 'out')
    models = given.get('models', ['zerosnet20'])
    with pytest.raises(error, match=message):
        run(
            models,
            LabelledImages(IMAGES, LABELS),
            tmp_path / 'out',
            **{k: v for k, v in given.items() if k != 'models'},
        )
    assert not (tmp_path / 'out').exists()
