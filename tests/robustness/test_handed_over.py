"""Labelled images that somebody made in memory: what is measured is what they hold, or they are refused."""

import numpy as np
import pytest
from PIL import Image
from small_runs import FEW, IMAGES, LABELS, plain

from timm_zerosnet.robustness.corrupt import corrupt
from timm_zerosnet.robustness.data import DataError, LabelledImages
from timm_zerosnet.robustness.run import run

WRONG = {
    'floats': (IMAGES / 255, LABELS, None, r'images: expected uint8 .*got float64 .*; of floats in \[0, 1\], \(255 \*'),
    'channels first': (IMAGES.transpose(0, 3, 1, 2), LABELS, None, r'images: expected uint8 \(N, H, W, 3\)'),
    'too few labels': (IMAGES, LABELS[:-1], None, f'expected {len(IMAGES)} integers, one for each image, got int64'),
    'labels that are no integers': (IMAGES, LABELS / 1.0, None, 'one for each image, got float64'),
    'a label below 0': (IMAGES, np.where(LABELS == LABELS[0], -1, LABELS), 'abcdefghij', 'indices of 10 classes.* -1'),
    'a label without a class': (IMAGES, LABELS + 5, 'abcdefghij', 'indices of 10 classes, from 0 on, got 1'),
}


@pytest.mark.parametrize('case', WRONG)
def test_what_would_be_measured_as_something_else(case, tmp_path):
    images, labels, classes, message = WRONG[case]
    data = LabelledImages(images, labels, classes and tuple(classes))
    with pytest.raises(DataError, match=message):
        run([plain('a')], data, tmp_path / 'out', **FEW)
    with pytest.raises(DataError, match=message):
        corrupt(data, tmp_path / 'out', suite='zerosnet', corruptions=['const'], levels=[0.1])
    assert not list(tmp_path.rglob('*.npz'))


def test_pictures_of_a_palette_are_their_colours(tmp_path):
    """Equal numbers of other colours are other images."""
    outcomes = []
    for palette in (range(256), range(255, -1, -1)):
        pictures = [Image.fromarray(image[..., 0]) for image in IMAGES]
        for picture in pictures:
            picture.putpalette([value for value in palette for _ in range(3)])
        assert {picture.mode for picture in pictures} == {'P'}
        outcomes.append(run([plain('a')], LabelledImages(pictures, LABELS), tmp_path, **FEW))
    assert [outcome.kept for outcome in outcomes] == [0, 0]
