"""Glass, motion and zoom blur and the elastic transform against closed forms, scipy, OpenCV and ImageMagick."""

import numpy as np
import pytest
import reference_corruptions as references
import torch
from perturbations import GivenDraws, corrupt_with

from timm_zerosnet.robustness import SUITES
from timm_zerosnet.robustness import distortions as do
from timm_zerosnet.robustness.corruptions import Draws

CASES = pytest.mark.parametrize('suite, severity', references.CASES)


def constants(name):
    values = [SUITES[suite][name].strength(severity) for suite in ('cifar-c', 'imagenet-c') for severity in range(1, 6)]
    return pytest.mark.parametrize('strength', values, ids=str)


def pictures(height=40, width=33, count=2, channels=3):
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.integers(0, 256, (count, channels, height, width))).double() / 255


def in_steps(x):
    return (255 * x).round()


@CASES
@pytest.mark.parametrize('name', references.NAMES)
def test_equals_the_official_scripts_as_recorded(name, suite, severity):
    """ImageMagick's motion blur and OpenCV's affine warp as the scripts call them, with the same draws."""
    image = references.source(suite, severity)
    normal, uniform = references.numbers(suite, severity, len(image))
    found = corrupt_with(references.draws(name, normal, uniform), image, name, severity, suite)
    with np.load(references.RECORDED) as recorded:
        expected = recorded[f'{name} {suite} {severity}']
    assert np.array_equal(found, expected)
    other = corrupt_with(
        references.draws(name, normal[::-1].copy(), uniform[::-1].copy()), image, name, severity, suite
    )
    assert not np.array_equal(other, expected)


@CASES
@pytest.mark.parametrize('name', ['motion_blur', 'snow'])
def test_equals_imagemagick(name, suite, severity):
    pytest.importorskip('wand.image', reason='wand or its ImageMagick is not installed', exc_type=ImportError)
    image = references.source(suite, severity)
    normal, uniform = references.numbers(suite, severity, len(image))
    found = corrupt_with(references.draws(name, normal, uniform), image, name, severity, suite)
    expected = references.reference(name, suite, severity, image, normal, uniform)
    assert np.abs(found.astype(int) - expected).max() <= 2  # other versions round where this one cuts off


@CASES
def test_elastic_transform_equals_opencvs_and_scipys(suite, severity):
    """The installed OpenCV interpolates at exact positions, or at those rounded to 1/32 px."""
    pytest.importorskip('cv2', reason='OpenCV is not installed', exc_type=ImportError)
    image = references.source(suite, severity)
    drawn = references.numbers(suite, severity, len(image))
    draws = references.draws('elastic_transform', *drawn)
    found = corrupt_with(draws, image, 'elastic_transform', severity, suite).astype(int)
    expected = references.reference('elastic_transform', suite, severity, image, *drawn)
    assert np.abs(found - expected).max() <= 4 and np.abs(found - expected).mean() < 0.25


def test_affine_map_takes_the_corners_to_their_places():
    moves = np.array([[3, -2], [0.5, 1], [-1, 4]])
    matrix = do.affine_map(moves, 30, 30)
    corners = np.array([[25, 25], [25, 5], [5, 5]])
    assert np.allclose(corners @ matrix[:, :2].T + matrix[:, 2], corners + moves)


def test_warp_by_whole_pixels_shifts_and_mirrors():
    image = pictures()[0].float().numpy()
    found = do.warp(image, np.array([[1, 0, 3], [0, 1, -2]]))  # to the right by 3, up by 2
    assert np.array_equal(found, np.pad(image, ((0, 0), (0, 2), (3, 0)), mode='reflect')[:, 2:, :-3])
    half = do.warp(image, np.array([[1, 0, 0.5], [0, 1, 0]]))
    assert np.allclose(half[..., 1:], (image[..., 1:] + image[..., :-1]) / 2)
    assert np.array_equal(do.warp(image, np.eye(2, 3)), image)


def test_a_map_onto_a_line_gives_some_picture():
    image = pictures()[0].float().numpy()
    for matrix in ([[1, 1, 0], [1, 1, 0]], [[1, 1, 0], [1, 1 + 1e-9, 0]]):
        found = do.warp(image, np.array(matrix))
        assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1


def test_displacement_equals_scipys():
    ndimage = pytest.importorskip('scipy.ndimage')
    image = pictures()[0].float().numpy()
    across, down = np.random.default_rng(1).normal(0, 9, (2, 40, 33))
    rows, columns = np.indices((40, 33))
    expected = [
        ndimage.map_coordinates(channel, [rows + down, columns + across], order=1, mode='reflect') for channel in image
    ]
    assert np.allclose(do.displace(image, across, down), expected, atol=1e-6)


@pytest.mark.parametrize('sigma', [0.96, 6.4, 170.8])
def test_smoothness_of_the_displacement_equals_scipys(sigma):
    ndimage = pytest.importorskip('scipy.ndimage')
    field = np.random.default_rng(0).random((40, 33))
    down, across = (do._reflecting_blur(side, sigma).numpy() for side in field.shape)
    expected = ndimage.gaussian_filter(field, sigma, mode='reflect', truncate=3)
    assert np.allclose(down @ field @ across.T, expected, atol=1e-12)


def test_elastic_transform_without_moves_changes_nothing():
    x = pictures()
    still = GivenDraws(np.full((2, 6 + 2 * 40 * 33), 0.5))
    for strength in ((0, 0, 3.0), (3.0, 1.0, 2.0)):
        assert torch.equal(in_steps(do.elastic_transform(x, strength, still)), in_steps(x))


@constants('glass_blur')
def test_glass_blur_copies_pixel_by_pixel(strength):
    """The loop of the scripts, on colours that no blur mixes."""
    _, reach, passes = strength
    height, width = 17, 14
    rows, columns = max(0, height - 2 * reach), max(0, width - 2 * reach)
    uniform = np.random.default_rng(0).random((1, passes, rows, columns, 2))
    steps = np.floor(2 * reach * uniform).astype(int) - reach
    image = np.arange(height * width).reshape(height, width) % 251
    x = torch.from_numpy(image[None, None] / 255)
    expected = image.copy()
    for i in range(passes):
        for r, h in enumerate(range(height - reach, reach, -1)):
            for c, w in enumerate(range(width - reach, reach, -1)):
                across, down = steps[0, i, r, c]
                expected[h, w] = expected[h + down, w + across]
    found = do.glass_blur(x, (0.05, reach, passes), GivenDraws(uniform))
    assert np.array_equal(in_steps(found)[0, 0], expected)


def test_glass_blur_loses_colours():
    """A swap would keep all of them; the copy that the scripts make keeps two thirds."""
    x = torch.arange(1024).view(1, 1, 32, 32) % 256 / 255
    x = torch.cat([x, torch.arange(1024).view(1, 1, 32, 32) // 256 / 255, x], 1).double()
    found = do.glass_blur(x, (0.05, 1, 1), Draws(0, 'test', [0]))
    colours = in_steps(found)[0].flatten(1).T.unique(dim=0)
    assert 650 < len(colours) < 760


@constants('motion_blur')
@pytest.mark.parametrize('angle', [-45.0, 0.0, 30.0, 45.0])
def test_motion_blur_is_a_one_sided_bell(strength, angle):
    radius, sigma = strength
    size = 101
    point = torch.zeros(1, size, size, dtype=torch.float64)
    point[0, 50, 50] = 1
    found = in_steps(do.streak(point, radius, sigma, angle))[0].numpy()
    expected = np.zeros((size, size))
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    for i, weight in enumerate(weights / weights.sum()):
        across, down = i * np.cos(np.radians(angle)), i * np.sin(np.radians(angle))
        expected[50 - int(np.ceil(down - 0.5)), 50 - int(np.ceil(across - 0.5))] += weight
    assert np.abs(found + 0.5 - 255 * expected)[expected > 0].max() <= 0.51 and not found[expected == 0].any()
    plain = torch.full((3, 9, 7), 100 / 255, dtype=torch.float64)
    assert torch.allclose(do.streak(plain, radius, sigma, angle), plain)


@constants('zoom_blur')
def test_zoom_blur_is_the_mean_of_scipys_zooms(strength):
    ndimage = pytest.importorskip('scipy.ndimage')
    for size in (32, 64):
        x = pictures(size, size)
        expected = np.zeros((2, 3, size, size))
        factors = np.arange(1, *strength)
        for factor in factors:
            part = int(np.ceil(size / factor))
            start = (size - part) // 2
            centre = x.numpy()[..., start : start + part, start : start + part]
            zoomed = ndimage.zoom(centre, (1, 1, factor, factor), order=1)
            cut = (zoomed.shape[-1] - size) // 2
            expected += zoomed[..., cut : cut + size, cut : cut + size]
        expected = (x.numpy() + expected) / (len(factors) + 1)
        found = in_steps(do.zoom_blur(x, strength)).numpy()
        assert np.abs(found + 0.5 - 255 * expected).max() <= 0.5 + 1e-4


@pytest.mark.parametrize('shape', [(1, 1), (2, 5), (7, 1)])
def test_zoom_of_tiny_pictures(shape):
    values = np.random.default_rng(0).random(shape)
    for factor in (1.0, 1.25, 2.25, 4.5):
        found = do.zoom(values, factor)
        assert found.shape == shape and found.min() >= values.min() and found.max() <= values.max()
    assert np.array_equal(do.zoom(values, 1.0), values)
