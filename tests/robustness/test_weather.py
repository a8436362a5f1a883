"""Snow, frost, fog and spatter against closed forms, and the relief of water against OpenCV."""

import importlib.util

import numpy as np
import pytest
import torch
from perturbations import GivenDraws
from PIL import Image

from timm_zerosnet.robustness import SUITES, perturb
from timm_zerosnet.robustness import weather as do
from timm_zerosnet.robustness.corruptions import Draws
from timm_zerosnet.robustness.plan import plan_conditions
from timm_zerosnet.robustness.splashes import edge_distances, equalise, find_edges, water_depth
from timm_zerosnet.robustness.suites import has_whole_suite, suite_rows

DRAWS = Draws(1, 'test', range(4))


def plain(value, size=32, channels=3):
    return torch.full((4, channels, size, size), value, dtype=torch.float64)


def in_steps(x):
    return (255 * x).round()


@pytest.mark.parametrize('side', [1, 2, 4, 32])
def test_plasma_by_hand(side):
    """The diamond-square algorithm one pixel at a time, with its own numbering of the draws."""
    drawn = np.random.default_rng(0).random(side**2 - 1)
    heights, numbers = np.zeros((side, side)), iter(drawn)
    step, rough = side, 100.0

    def at(row, column):
        return heights[row % side, column % side]

    while step >= 2:
        half = step // 2
        grid = [(row, column) for row in range(0, side, step) for column in range(0, side, step)]
        for row, column in grid:
            corners = at(row, column) + at(row + step, column) + at(row, column + step) + at(row + step, column + step)
            heights[row + half, column + half] = corners / 4 + rough**2 * (2 * next(numbers) - 1)
        found = {}
        for row, column in grid:
            sides = at(row - half, column + half) + at(row + half, column + half)
            found[row, column + half] = sides + at(row, column) + at(row, column + step)
        for row, column in grid:
            sides = at(row + half, column - half) + at(row + half, column + half)
            found[row + half, column] = sides + at(row, column) + at(row + step, column)
        for place, total in found.items():
            heights[place] = total / 4 + rough**2 * (2 * next(numbers) - 1)
        step, rough = half, rough / 1.7
    heights -= heights.min()
    expected = heights / heights.max() if side > 1 else heights
    assert np.allclose(do.plasma(torch.from_numpy(drawn)[None], 1.7)[0], expected, atol=1e-9)


def test_fog_brightens_to_the_brightest_value():
    x = plain(0.2)
    found = do.fog(x, (1.0, 2.0), DRAWS)
    assert float(found.max()) == pytest.approx((0.2 + 1) * 0.2 / 1.2) and float(found.min()) == pytest.approx(
        0.2 * 0.2 / 1.2
    )
    assert torch.equal(found[:, 0], found[:, 2]) and not torch.equal(found[0], found[1])
    assert not do.fog(plain(0.0), (1.0, 2.0), DRAWS).any()


def test_snow_without_flakes_bleaches():
    x = plain(0.4)
    x[:, 0] = 0.8
    strength = (0.1, 0.2, 1.0, 0.6, 8, 3, 0.9)
    found = do.snow(x, strength, GivenDraws(np.full(4, 0.5), np.zeros((4, 32, 32))))
    grey = 0.299 * 0.8 + 0.701 * 0.4
    for channel, value in ((0, 0.8), (1, 0.4)):
        expected = 0.9 * value + 0.1 * max(value, 1.5 * grey + 0.5)
        assert torch.allclose(found[:, channel], torch.tensor(expected, dtype=torch.float64), atol=1e-6)


def test_snow_is_the_same_upside_down():
    found = do.snow(plain(0.0), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55), DRAWS)
    assert torch.allclose(found, found.flip(2, 3)) and found.std() > 0.05
    assert torch.equal(found[:, 0], found[:, 1]) and not torch.equal(found[0], found[1])


def frost_pictures(folder, count=6, size=(80, 90)):
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *size, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f'frost{i + 1}.png')
    (folder / 'notes.txt').write_text('no picture')
    return images


def test_frost_lays_a_part_of_a_picture_over(tmp_path):
    images = frost_pictures(tmp_path)
    pictures, _ = do.load_frost(tmp_path)
    assert len(pictures) == 5 and all(map(np.array_equal, pictures, images))
    x = plain(100 / 255)[:1]
    drawn = GivenDraws([[(2 + 0.5) / 5, (7 + 0.5) / (80 - 32), (11 + 0.5) / (90 - 32)]])
    found = in_steps(do.frost(x, (0.8, 0.6, 1), drawn, pictures))[0].permute(1, 2, 0).numpy()
    exact = 0.8 * 100 + 0.6 * images[2, 7 : 7 + 32, 11 : 11 + 32]
    assert np.array_equal(found, np.floor(exact))
    small = plain(100 / 255, 8)[:1]
    drawn = GivenDraws([[0, (3 + 0.5) / (16 - 8), (4 + 0.5) / (18 - 8)]])
    found = in_steps(do.frost(small, (1, 0.4, 5), drawn, pictures))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, np.floor(100 + 0.4 * images[0, 2::5, 2::5][3 : 3 + 8, 4 : 4 + 8]))


def test_pixels_of_a_smaller_picture_are_opencvs(tmp_path):
    """Shrinking to a fifth takes the middle one of five pixels, which is what OpenCV's linear resize does."""
    cv2 = pytest.importorskip('cv2', exc_type=ImportError)
    for size in ((80, 90), (83, 92), (81, 94)):
        (image,) = frost_pictures(tmp_path, 1, size)
        assert np.array_equal(do._sized(image, 5, 4, 4), cv2.resize(image, (0, 0), fx=0.2, fy=0.2))


def test_a_picture_of_frost_that_is_too_small_is_enlarged(tmp_path):
    frost_pictures(tmp_path, 1)
    for size in ((80, 20), (100, 30), (64, 200)):
        x = torch.zeros(2, 3, *size)
        found = perturb(x, 'frost', 3, suite='cifar-c', frost_pictures=tmp_path)
        assert found.shape == x.shape and found.std() > 0.01


def test_frost_depends_on_its_pictures_and_is_kept_apart_by_them(tmp_path):
    frost_pictures(tmp_path / 'one')
    frost_pictures(tmp_path / 'other', size=(81, 90))
    x = plain(0.5).float()
    row = SUITES['cifar-c']['frost']
    found, known = [], []
    for name in ('one', 'other'):
        found.append(perturb(x, 'frost', 3, suite='cifar-c', frost_pictures=str(tmp_path / name)))
        known.append(row.identity(3, tmp_path / name))
    assert not torch.equal(*found) and known[0]['pictures'] != known[1]['pictures']
    assert 'pictures' not in SUITES['cifar-c']['frost_like'].identity(3)


def test_folders_without_pictures_of_frost_are_refused(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'notes').mkdir()
    (tmp_path / 'notes' / 'frost.txt').touch()
    expected = r'expected a folder with pictures of frost \(\.png, .*\), got '
    for name, found in (
        ('empty', 'a folder without any'),
        ('notes', 'a folder without any'),
        ('notes/frost.txt', 'a file'),
        ('nothing', 'no folder'),
    ):
        with pytest.raises(ValueError, match=f'{expected}{found}: .*{name}; a run that is given none takes'):
            perturb(plain(0.5).float(), 'frost', 3, suite='cifar-c', frost_pictures=tmp_path / name)


def test_without_pictures_frost_like_takes_the_place_of_frost(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name, *rest: None if name == 'imagecorruptions' else found(name, *rest)
    )
    for suite in ('cifar-c', 'imagenet-c'):
        assert 'frost' not in suite_rows(suite) and 'frost_like' in suite_rows(suite)
        assert 'frost' in suite_rows(suite, tmp_path) and 'frost_like' not in suite_rows(suite, tmp_path)
        assert len(suite_rows(suite)) == len(suite_rows(suite, tmp_path)) == 19
        for names in (suite_rows(suite), suite_rows(suite, tmp_path), SUITES[suite]):
            assert has_whole_suite(suite, names)
        assert not has_whole_suite(suite, suite_rows(suite)[1:])
    assert {c.corruption for c in plan_conditions('cifar-c')} == {'clean', *suite_rows('cifar-c')}
    with pytest.raises(ValueError, match='frost needs pictures of frost: expected a folder .* frost_like needs none'):
        perturb(plain(0.5), 'frost', 1, suite='cifar-c')


def test_frost_like_looks_like_frost():
    """Brighter, with structure, bluish, and less so at 32 px."""
    found = do.frost_like(plain(0.5, 64), (0.7, 0.5, 1), DRAWS)
    assert 0.55 < float(found.mean()) < 0.8 and float(found.std()) > 0.03
    assert (found[:, 2] >= found[:, 0]).all() and not torch.equal(found[0], found[1])


def test_mud_is_brown_and_sharp_where_it_is_thick():
    normal = np.zeros((1, 32, 32))
    normal[:, 8:24, 8:24] = 10
    found = do.spatter(plain(0.5)[:1], (0.65, 0.1, 0.5, 0.68, 0.6, 1), GivenDraws(normal=normal))
    assert torch.equal(in_steps(found)[0, :, 16, 16], torch.tensor([63.0, 42, 20], dtype=torch.float64))
    assert torch.equal(found[0, :, :4], torch.full((3, 4, 32), 127 / 255, dtype=torch.float64))


def test_without_liquid_nothing_changes():
    for strength in ((0.65, 0.1, 0.8, 0.7, 0.5, 0), (0.65, 0.1, 0.5, 0.68, 0.6, 1)):
        x = plain(100 / 255)
        assert torch.equal(do.spatter(x, strength, GivenDraws(normal=np.full((4, 32, 32), -9.0))), x)


def layers(side=70, count=4):
    """uint8 layers with blobs of liquid of different sizes."""
    ndimage = pytest.importorskip('scipy.ndimage')
    noise = np.random.default_rng(0).normal(0.65, 0.3, (count, side, side + 5))
    blurred = np.stack([ndimage.gaussian_filter(layer, 1 + i) for i, layer in enumerate(noise)])
    return np.uint8(255 * np.clip(np.where(blurred < 0.69, 0, blurred), 0, 1))


def test_edges_and_distances_equal_opencvs():
    cv2 = pytest.importorskip('cv2', exc_type=ImportError)
    generator = np.random.default_rng(1)
    stripes = np.uint8(np.indices((2, 70, 75))[1:].sum(0) % 9 * 28)
    noise = generator.integers(0, 256, (2, 70, 75), dtype=np.uint8)
    soft = np.stack([cv2.GaussianBlur(layer, (7, 7), 2) for layer in noise])
    for pictures in (layers(), stripes, noise, soft, np.zeros((1, 9, 7), np.uint8)):
        found = find_edges(pictures)
        expected = np.stack([cv2.Canny(picture, 50, 150) for picture in pictures])
        assert np.array_equal(255 * found, expected)
        distances = np.stack([cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5) for edges in expected])
        assert np.abs(edge_distances(found) - np.minimum(distances, 20)).max() < 2e-4


def test_relief_of_water_equals_opencvs():
    cv2 = pytest.importorskip('cv2', exc_type=ImportError)
    kernel = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    for picture, found in zip(layers(), water_depth(layers()), strict=True):
        distance = cv2.distanceTransform(255 - cv2.Canny(picture, 50, 150), cv2.DIST_L2, 5)
        relief = cv2.equalizeHist(np.uint8(cv2.blur(np.minimum(distance, 20), (3, 3))))
        relief = cv2.blur(cv2.filter2D(relief, cv2.CV_8U, kernel), (3, 3))
        assert (found != picture * relief.astype(np.float32)).mean() < 1e-3 and found.any()


def test_equalisation_spreads_values():
    picture = np.repeat(np.array([[3, 5, 9, 200]], dtype=np.uint8), 4, 0)
    assert equalise(picture)[0].tolist() == [0, 85, 170, 255]
    assert np.array_equal(equalise(picture[:, :1]), picture[:, :1])


@pytest.mark.parametrize('name', ['frost_like', 'fog', 'snow', 'spatter'])
def test_what_lies_over_grey_is_the_same_in_all_channels(name):
    for severity in (1, 5):
        one, three = (perturb(plain(0.4, 64, c), name, severity, suite='imagenet-c') for c in (1, 3))
        assert one.shape[1] == 1
        if name in ('fog', 'snow'):
            assert torch.equal(one.expand(-1, 3, -1, -1), three)
        else:  # coloured: the brightness of it
            grey = 0.299 * three[:, :1] + 0.587 * three[:, 1:2] + 0.114 * three[:, 2:]
            assert (one - grey).abs().max() < 1.5 / 255
