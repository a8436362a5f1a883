"""Each corruption against its closed form, and the constants of the official scripts against a second list of them."""

import colorsys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from places import CIFAR10_SAMPLE
from torch.nn.functional import avg_pool2d, interpolate

from timm_zerosnet.robustness import SUITES, distortions, perturb, weather
from timm_zerosnet.robustness import corruptions as do
from timm_zerosnet.robustness.corruptions import Draws
from timm_zerosnet.robustness.data import load_labelled

SAMPLE = load_labelled(CIFAR10_SAMPLE).images
CIFAR_FROST = [(1, 0.2, 5), (1, 0.3, 5), (0.9, 0.4, 5), (0.85, 0.4, 5), (0.75, 0.45, 5)]
IMAGENET_FROST = [(1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)]
CONSTANTS = {
    'cifar-c': {
        'gaussian_noise': [0.04, 0.06, 0.08, 0.09, 0.10],
        'shot_noise': [500, 250, 100, 75, 50],
        'impulse_noise': [0.01, 0.02, 0.03, 0.05, 0.07],
        'defocus_blur': [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        'glass_blur': [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        'motion_blur': [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        'zoom_blur': [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
        'snow': [
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ],
        'frost': CIFAR_FROST,
        'fog': [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        'brightness': [0.05, 0.1, 0.15, 0.2, 0.3],
        'contrast': [0.75, 0.5, 0.4, 0.3, 0.15],
        'elastic_transform': [
            (0, 0, 2.56),
            (32 * 0.05, 32 * 0.2, 32 * 0.07),
            (32 * 0.08, 32 * 0.06, 32 * 0.06),
            (32 * 0.1, 32 * 0.04, 32 * 0.05),
            (32 * 0.1, 32 * 0.03, 32 * 0.03),
        ],
        'pixelate': [0.95, 0.9, 0.85, 0.75, 0.65],
        'jpeg_compression': [80, 65, 58, 50, 40],
        'speckle_noise': [0.06, 0.1, 0.12, 0.16, 0.2],
        'gaussian_blur': [0.4, 0.6, 0.7, 0.8, 1],
        'spatter': [
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ],
        'saturate': [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
        'frost_like': CIFAR_FROST,
    },
    'imagenet-c': {
        'gaussian_noise': [0.08, 0.12, 0.18, 0.26, 0.38],
        'shot_noise': [60, 25, 12, 5, 3],
        'impulse_noise': [0.03, 0.06, 0.09, 0.17, 0.27],
        'defocus_blur': [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
        'glass_blur': [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
        'motion_blur': [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
        'zoom_blur': [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
        'snow': [
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ],
        'frost': IMAGENET_FROST,
        'fog': [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
        'brightness': [0.1, 0.2, 0.3, 0.4, 0.5],
        'contrast': [0.4, 0.3, 0.2, 0.1, 0.05],
        'elastic_transform': [
            (488, 244 * 0.7, 244 * 0.1),
            (488, 244 * 0.08, 244 * 0.2),
            (244 * 0.05, 244 * 0.01, 244 * 0.02),
            (244 * 0.07, 244 * 0.01, 244 * 0.02),
            (244 * 0.12, 244 * 0.01, 244 * 0.02),
        ],
        'pixelate': [0.6, 0.5, 0.4, 0.3, 0.25],
        'jpeg_compression': [25, 18, 15, 10, 7],
        'speckle_noise': [0.15, 0.2, 0.35, 0.45, 0.6],
        'gaussian_blur': [1, 2, 3, 4, 6],
        'spatter': [
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ],
        'saturate': [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
        'frost_like': IMAGENET_FROST,
    },
}
DRAWS = Draws(1, 'test', range(16))


def strengths(name):
    return pytest.mark.parametrize('c', sorted({c for suite in CONSTANTS.values() for c in suite[name]}), ids=str)


def cases(*names):
    """Suite, name, severity and constant of some rows."""
    values = [
        (suite, name, severity, c)
        for suite, rows in CONSTANTS.items()
        for name in names
        for severity, c in enumerate(rows[name], 1)
    ]
    return pytest.mark.parametrize('suite, name, severity, c', values, ids=lambda value: str(value))


def photos(suite, count=6):
    """uint8 (N, H, W, 3) in the size of the suite, none square."""
    size = (32, 28) if suite == 'cifar-c' else (96, 70)
    return np.stack([np.asarray(Image.fromarray(image).resize(size[::-1])) for image in SAMPLE[:count]])


def corrupted(suite, name, severity, images):
    """uint8 (N, H, W, 3) of the same."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    found = perturb(pixels, name, severity, suite=suite) * 255
    return found.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def plain(value, size=64):
    return torch.full((16, 3, size, size), value, dtype=torch.float64)


def assert_moments(values, mean, deviation):
    """Within five standard errors, for tails not much heavier than normal ones."""
    error = 5 * deviation / values.numel() ** 0.5
    assert abs(float(values.mean()) - mean) < error
    assert abs(float(values.std()) - deviation) < 2 * error


@pytest.mark.parametrize('suite', CONSTANTS)
def test_constants_are_those_of_the_official_scripts(suite):
    """Severities made for 224 pixels destroy images of 32."""
    rows = SUITES[suite]
    assert {name: list(row.severities) for name, row in rows.items()} == CONSTANTS[suite]
    modules = (do, distortions, weather)
    assert all(row.function in [getattr(module, name, None) for module in modules] for name, row in rows.items())
    assert all(row.severities == rows['frost'].severities for name, row in rows.items() if name == 'frost_like')


@strengths('gaussian_noise')
def test_gaussian_noise(c):
    for x in (0.0, 0.5):
        assert_moments(do.gaussian_noise(plain(x), c, DRAWS) - x, 0, c)


@strengths('speckle_noise')
def test_speckle_noise_grows_with_the_pixel(c):
    for x in (0.25, 0.5, 1.0):
        assert_moments(do.speckle_noise(plain(x), c, DRAWS) - x, 0, c * x)
    assert not do.speckle_noise(plain(0.0), c, DRAWS).any()


@strengths('shot_noise')
def test_shot_noise_counts_photons(c):
    for x in (0.2, 0.6, 1.0):
        found = do.shot_noise(plain(x), c, DRAWS)
        assert_moments(found, x, (x / c) ** 0.5)
        assert torch.allclose(found * c, (found * c).round(), atol=1e-9)
    assert not do.shot_noise(plain(0.0), c, DRAWS).any()


@strengths('impulse_noise')
def test_impulse_noise_replaces_the_declared_share(c):
    x = plain(0.4)
    found = do.impulse_noise(x, c, DRAWS)
    assert set(found.unique().tolist()) == {0, 0.4, 1}
    for value in (0, 1):
        share = float((found == value).double().mean())
        assert abs(share - c / 2) < 5 * (c / 2 / x.numel()) ** 0.5
    more = do.impulse_noise(x, 1.5 * c, DRAWS)
    assert torch.equal(more[found != x], found[found != x])


def deviation_at_100(name, c):
    """Of the noise of a pixel of 100 steps, in steps."""
    return {'gaussian_noise': 255 * c, 'shot_noise': 255 * (100 / 255 / c) ** 0.5, 'speckle_noise': 100 * c}[name]


WEAK = [  # five deviations stay clear of the clamp
    (suite, name, severity, deviation_at_100(name, c))
    for suite, rows in CONSTANTS.items()
    for name in ('gaussian_noise', 'shot_noise', 'speckle_noise')
    for severity, c in enumerate(rows[name], 1)
    if deviation_at_100(name, c) < 20
]


@pytest.mark.parametrize('suite, name, severity, deviation', WEAK)
def test_noise_of_8_bit_pictures_has_the_declared_deviation(suite, name, severity, deviation):
    """Cutting off lowers the mean by half a step and adds the variance of a uniform error."""
    found = perturb(plain(100 / 255), name, severity, suite=suite) * 255 - 100
    if name == 'shot_noise':  # on multiples of 255 / c, so that the error is not uniform
        assert -1 <= float(found.mean()) < 0.2 and abs(float(found.std()) / deviation - 1) < 0.05
    else:
        assert_moments(found, -0.5, (deviation**2 + 1 / 12) ** 0.5)


@strengths('gaussian_blur')
def test_gaussian_blur(c):
    size = 61
    point = torch.zeros(1, 1, size, size, dtype=torch.float64)
    point[..., size // 2, size // 2] = 1
    distance = torch.arange(size) - size // 2
    bell = torch.exp(-0.5 * (distance / c) ** 2) * (distance.abs() <= int(4 * c + 0.5))
    bell = (bell / bell.sum()).double()
    assert torch.allclose(do.gaussian_blur(point, c)[0, 0], bell[:, None] * bell, atol=1e-7)
    assert torch.allclose(do.gaussian_blur(plain(0.3), c), plain(0.3))


@strengths('gaussian_blur')
def test_gaussian_blur_equals_scipys(c):
    ndimage = pytest.importorskip('scipy.ndimage')
    for shape in ((64, 70), (5, 3), (1, 1)):
        x = np.random.default_rng(0).random((2, 3, *shape))
        expected = ndimage.gaussian_filter(x, (0, 0, c, c), mode='nearest', truncate=4)
        assert np.allclose(do.gaussian_blur(torch.from_numpy(x), c), expected, atol=1e-12)


@pytest.mark.parametrize('severity', [1, 2, 3, 4, 5])
@pytest.mark.parametrize('side', [67, 101, 192, 224])
def test_defocus_blur_transforms_at_lengths_that_are_fast(side, severity, monkeypatch):
    """And gives the pixels of the least length that holds image and margins: of noise, of edges and of plain areas."""
    generator = np.random.default_rng(side)
    pictures = generator.integers(0, 256, (4, 3, side, side), dtype=np.uint8)
    pictures[1] = generator.integers(0, 256, (3, 1, 1))
    pictures[2] = pictures[1] * (np.arange(side) < side // 2)
    pictures[3] = 255 * (np.add.outer(np.arange(side), np.arange(side)) % 40 < 20)
    lengths, transform = set(), torch.fft.rfft2

    def watched(values, s):
        lengths.update(s)
        return transform(values, s=s)

    monkeypatch.setattr(torch.fft, 'rfft2', watched)
    found = perturb(pictures, 'defocus_blur', severity, suite='imagenet-c')
    assert all(60**20 % length == 0 for length in lengths)
    monkeypatch.setattr(do, '_fast_length', lambda least: least)
    assert np.array_equal(perturb(pictures, 'defocus_blur', severity, suite='imagenet-c'), found)


@strengths('defocus_blur')
def test_defocus_blur_is_the_mean_over_a_disc(c):
    radius, edge = c
    disc = do.disc(radius, edge)
    assert disc.dtype == np.float32 and disc.min() >= 0 and np.allclose(disc, disc[::-1, ::-1], atol=1e-8)
    assert np.allclose(disc, disc.T, atol=1e-8)
    # the soft edge of the largest discs is mirrored at the border of the weights, in the official sets as well
    assert abs(disc.sum(dtype=float) - 1) < (0.015 if radius >= 8 else 1e-6)
    grid = np.arange(len(disc)) - len(disc) // 2
    distance = np.hypot(grid[:, None], grid)
    reach = 2**0.5 * (1 if radius <= 8 else 2)
    assert not disc[distance > radius + reach].any()
    inside = disc[distance < radius - reach]
    assert inside.size == 0 or inside.max() - inside.min() < 1e-6
    ndimage = pytest.importorskip('scipy.ndimage')
    for shape in ((40, 33), (9, 5), (2, 1)):
        x = np.random.default_rng(0).random((2, 3, *shape))
        expected = ndimage.correlate(x, disc[None, None].astype(float), mode='mirror')
        assert np.allclose(do.defocus_blur(torch.from_numpy(x), c), expected, atol=1e-12)


@cases('contrast')
def test_contrast(suite, name, severity, c):
    images = photos(suite)
    mean = images.mean((1, 2), keepdims=True)
    found = corrupted(suite, name, severity, images)
    assert np.abs(found - (c * (images - mean) + mean - 0.5)).max() <= 0.5 + 1e-9
    assert np.allclose(found.std((1, 2)), c * images.std((1, 2)), atol=0.5)


def hsv(images):
    return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in images.reshape(-1, 3) / 255])


@cases('brightness')
def test_brightness_shifts_the_value(suite, name, severity, c):
    images = photos(suite, 1)
    expected = hsv(images)
    expected[:, 2] = np.minimum(expected[:, 2] + c, 1)
    assert_colours(corrupted(suite, name, severity, images), expected)


@cases('saturate')
def test_saturate_scales_the_saturation(suite, name, severity, c):
    images = photos(suite, 1)
    expected = hsv(images)
    expected[:, 1] = np.clip(c[0] * expected[:, 1] + c[1], 0, 1)
    assert_colours(corrupted(suite, name, severity, images), expected)


def assert_colours(found, expected):
    """The same up to cutting off to 8 bits."""
    colours = 255 * np.array([colorsys.hsv_to_rgb(*pixel) for pixel in expected])
    assert np.abs(found.reshape(-1, 3) + 0.5 - colours).max() <= 0.5 + 1e-9


def test_colours_with_two_equal_channels_black_and_white():
    corners = np.array(np.meshgrid(*[[0, 100, 255]] * 3), dtype=np.uint8).reshape(3, -1).T.reshape(1, 9, 3, 3)
    for name, change in (
        ('brightness', lambda h, s, v: (h, s, min(v + 0.2, 1))),
        ('saturate', lambda h, s, v: (h, min(2 * s + 0.1, 1), v)),
    ):
        expected = np.array([change(*pixel) for pixel in hsv(corners)])
        assert_colours(corrupted('cifar-c', name, 4, corners), expected)


@cases('jpeg_compression')
def test_jpeg_is_pillows_at_that_quality(suite, name, severity, c):
    for image in photos(suite):
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, 'JPEG', quality=c)
        assert np.array_equal(corrupted(suite, name, severity, image[None])[0], Image.open(buffer))


@cases('pixelate')
def test_pixelate_is_a_box_filter_down_and_up(suite, name, severity, c):
    images = photos(suite)
    height, width = images.shape[1:3]
    found = corrupted(suite, name, severity, images)
    for image, changed in zip(images, found, strict=True):
        small = Image.fromarray(image).resize((int(c * width), int(c * height)), Image.Resampling.BOX)
        assert np.array_equal(changed, small.resize((width, height), Image.Resampling.BOX))
    if c == 0.5:
        blocks = interpolate(avg_pool2d(torch.from_numpy(images).permute(0, 3, 1, 2).double(), 2), scale_factor=2)
        assert np.abs(found - blocks.permute(0, 2, 3, 1).numpy()).max() <= 1


def test_draws():
    """Images and names have streams of their own; a second call begins them anew; parts are those of the whole."""
    like = torch.zeros(3, 1, 8, 8)
    draws = Draws(2**64 - 1, 'one', [0, 2**64 - 1, 7])
    assert not (draws.named('part').uniform(like) == draws.uniform(like)).any()
    assert torch.equal(draws.named('part').uniform(like), Draws(2**64 - 1, 'one part', [0, 2**64 - 1, 7]).uniform(like))
    for kind in ('normal', 'uniform'):
        found = getattr(draws, kind)(like)
        assert torch.equal(getattr(draws, kind)(like), found) and len(found.unique()) > 150
        assert torch.equal(getattr(draws.part(1, 3), kind)(like[1:]), found[1:])
        assert torch.equal(getattr(Draws(2**64 - 1, 'one', [7]), kind)(like[:1])[0], found[2])
        for other in (Draws(0, 'one', [0, 1, 7]), Draws(2**64 - 1, 'two', [0, 1, 7])):
            assert not (getattr(other, kind)(like) == found).any()
    assert 0 <= draws.uniform(like).min() and draws.uniform(like).max() < 1
    assert draws.normal(like.double()).dtype == torch.float64
    for name, arguments in (('seed', (-1, 'one', [0])), ('indices', (0, 'one', [2**64]))):
        with pytest.raises(ValueError, match=rf'{name}: expected an integer from 0 to 2\*\*64 - 1, got '):
            Draws(*arguments)
    with pytest.raises(ValueError):
        draws.normal(like[:2])
