"""What is of the wrong type is refused by name, before anything is read or written."""

import numpy as np
import pytest
import torch

from timm_zerosnet.robustness.arguments import ArgumentTypeError, integer, real, selection
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.models import checked_class_map
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
    'value',
    [np.array(True), np.array('1'), bytearray(b'1'), np.complex64(1), np.array(1, object), torch.tensor(True)],
    ids=repr,
)
def test_what_would_be_converted_without_a_word_is_no_number(value):
    for check in (lambda: integer('n', value), lambda: real('n', value, 'a number')):
        with pytest.raises(ArgumentTypeError, match='n: expected a'):
            check()


def test_a_tensor_without_data_and_a_sequence_without_dimensions():
    with pytest.raises(ArgumentTypeError, match='n: expected an integer >= 0, got tensor'):
        integer('n', torch.tensor(1, device='meta'))
    for values in (np.array(1), torch.tensor(1)):
        with pytest.raises(ArgumentTypeError, match='levels: expected a sequence of numbers, got '):
            selection('levels', values, 'numbers')


def test_a_class_map_may_hold_integers_of_numpy_and_torch():
    found = checked_class_map({'0': np.int64(3), '1': torch.tensor(4)})
    assert found == {'0': 3, '1': 4} and all(type(index) is int for index in found.values())


@pytest.mark.parametrize(
    'given, message',
    [
        (dict(out=3), 'out: expected a path, got 3'),
        (dict(cache=3), 'cache: expected a path, got 3'),
        (dict(frost_pictures=3), 'frost_pictures: expected a path, got 3'),
        (dict(frost_pictures=3, corruptions=['fog']), 'frost_pictures: expected a path, got 3'),
        (dict(class_map=[1]), 'class_map: expected a mapping from class names to indices, got a list'),
        (dict(class_map={0: 1}), 'class_map: expected class names as text, .*, got 0'),
        (dict(class_map={'0': 'cat'}), "class_map of '0': expected an integer, got 'cat'"),
        (dict(class_map={'0': True}), "class_map of '0': expected an integer, got True"),
        (dict(class_map={'0': 1.0}), "class_map of '0': expected an integer, got 1.0"),
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
    with pytest.warns(UserWarning, match='the pictures of frost are not used: the row frost is not asked for'):
        run(
            ['zerosnet20'],
            LabelledImages(IMAGES, np.array([0, 1])),
            tmp_path / 'out',
            corruptions=['randn'],
            frost_pictures=tmp_path,
            dry_run=True,
        )
