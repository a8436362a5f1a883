"""What is of the wrong type is refused by name, before anything is read or written."""

import numpy as np
import pytest
import torch

from timm_zerosnet.robustness.arguments import ArgumentTypeError, integer, real
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.run import run
from timm_zerosnet.robustness.suites import perturb

IMAGES = np.zeros((2, 32, 32, 3), np.uint8)


@pytest.mark.parametrize('value', [np.array([1]), torch.tensor([1]), np.array([[1]])], ids=repr)
def test_an_array_of_one_number_is_no_number(value):
    with pytest.raises(ArgumentTypeError, match='n: expected an integer >= 0, got '):
        integer('n', value)
    with pytest.raises(ArgumentTypeError, match='level: expected a number, got '):
        real('level', value, 'a number')


@pytest.mark.parametrize(
    'given, message',
    [
        (dict(out=3), 'out: expected a path, got 3'),
        (dict(cache=3), 'cache: expected a path, got 3'),
        (dict(frost_pictures=3), 'frost_pictures: expected a path, got 3'),
        (dict(class_map=[1]), r'class_map: expected a mapping from class names to indices, got \[1\]'),
        (dict(class_map={'0': 'cat'}), "class_map: expected an integer for '0', got 'cat'"),
        (dict(class_map={'0': True}), "class_map: expected an integer for '0', got True"),
        (dict(class_map={'0': 1.0}), "class_map: expected an integer for '0', got 1.0"),
    ],
)
def test_folders_and_class_maps_of_a_run(given, message, tmp_path):
    settings = {'out': tmp_path / 'out', 'suite': 'imagenet-c', 'corruptions': ['frost'], **given}
    with pytest.raises(ArgumentTypeError, match=message):
        run(['zerosnet20'], LabelledImages(IMAGES, np.array([0, 1])), **settings)
    assert not list(tmp_path.iterdir())


def test_frost_that_cannot_be_read_and_frost_that_is_not_used(tmp_path):
    (tmp_path / 'frost1.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match=r'that can be read, got .*frost1\.png: .*; replace or remove it'):
        perturb(IMAGES, 'frost', 1, suite='cifar-c', frost_pictures=tmp_path)
    with pytest.warns(UserWarning, match='the pictures of frost are not used: the row frost is not in this run'):
        run(
            ['zerosnet20'],
            LabelledImages(IMAGES, np.array([0, 1])),
            tmp_path / 'out',
            corruptions=['randn'],
            frost_pictures=tmp_path,
            dry_run=True,
        )
