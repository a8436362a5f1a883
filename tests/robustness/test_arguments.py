"""What is of the wrong type is refused by name, before anything is read or written."""

import numpy as np
import pytest
import torch

from timm_zerosnet.robustness.arguments import ArgumentTypeError, integer, real, selection
from timm_zerosnet.robustness.corrupt import corrupt
from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.evaluation import evaluate
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
    with pytest.raises(ValueError, match=r'pictures of frost: \S*frost1\.png .*; replace or remove it$'):
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


@pytest.mark.parametrize(
    'given, message',
    [
        (dict(corruptions=[['randn']]), r"unknown perturbation \['randn'\]"),
        (dict(suite=['zerosnet']), r"suite: expected text, got \['zerosnet'\]"),
        (dict(seeds=[[0]]), r'seeds: expected an integer from 0 to .*, got \[0\]'),
        (dict(corruptions=np.array([['randn']])), r'unknown perturbation array\(\[.*randn'),
        (dict(baseline=3), 'baseline: expected text, got 3'),
        (dict(data_name=3), 'data_name: expected text, got 3'),
        (dict(dry_run='False'), "dry_run: expected True or False, got 'False'"),
        (dict(progress='no'), "progress: expected True or False, got 'no'"),
        (dict(seeds=range(10**20)), 'at most 1,000,000 cells in a run, got '),
        (dict(data=lambda: (IMAGES, [0, 1])), 'data: expected LabelledImages, .*, got a tuple'),
        (dict(device='meta'), "device 'meta' cannot be used"),
        (dict(device=2**70), 'device 1180591620717411303424 cannot be used'),
        (dict(device=False), 'device False cannot be used'),
        (dict(amp='yes'), "amp: expected True or False, got 'yes'"),
        (dict(tf32=1), 'tf32: expected True or False, got 1'),
        (dict(channels_last='x'), "channels_last: expected True or False, got 'x'"),
        (dict(device=99), 'device 99 cannot be used'),
        (dict(device=['cpu']), r"device \['cpu'\] cannot be used"),
        (dict(out='a\0b'), r"out: expected a path, got 'a\\x00b'"),
    ],
)
def test_settings_of_a_run(given, message, tmp_path):
    images = LabelledImages(IMAGES, np.array([0, 1]))
    settings = {'data': images, 'out': tmp_path / 'out', 'corruptions': ['randn'], **given}
    with pytest.raises(ValueError, match=message):
        run(['zerosnet20'], **settings)
    assert not [path for path in tmp_path.rglob('*') if path.suffix != '.lock' and path.is_file()]


def test_generators_name_what_a_run_measures(tmp_path):
    images = LabelledImages(IMAGES, np.array([0, 1]))
    chosen = {'corruptions': ['randn', 'const'], 'levels': [0.1], 'seeds': [0, 1]}
    for given in (chosen, {key: iter(values) for key, values in chosen.items()}):
        outcome = run(['zerosnet20'], images, tmp_path / 'out', dry_run=True, **given)
        assert '1 model x 4 conditions = 4 cells' in outcome.plan


@pytest.mark.parametrize(
    'given, message',
    [
        (dict(data=(IMAGES, [0, 1])), 'data: expected LabelledImages, .*, got a tuple'),
        (dict(size='32'), "size: expected an integer >= 1, got '32'"),
        (dict(size=True), 'size: expected an integer >= 1, got True'),
        (dict(size=32, crop_pct='1'), "crop_pct: expected a number above 0, at most 1, got '1'"),
        (dict(size=32, crop_pct=0), 'crop_pct: expected a number above 0, at most 1, got 0'),
        (dict(interpolation='bilinar'), "unknown interpolation 'bilinar': did you mean bilinear"),
        (dict(workers=-1), 'workers: expected an integer >= 0, got -1'),
        (dict(cache=3), 'cache: expected a path, got 3'),
    ],
)
def test_settings_of_perturbed_files(given, message, tmp_path):
    images = LabelledImages(IMAGES, np.array([0, 1]))
    settings = {'data': images, 'out': tmp_path / 'out', 'suite': 'zerosnet', 'corruptions': ['randn'], **given}
    with pytest.raises(ValueError, match=message):
        corrupt(**settings)
    assert not list(tmp_path.iterdir())


def test_indices_of_perturbed_images():
    with pytest.raises(ArgumentTypeError, match='indices: expected a sequence of integers >= 0, got 5'):
        perturb(IMAGES, 'randn', 0.1, indices=5)
    first, second = perturb(IMAGES, 'randn', 0.1), perturb(IMAGES, 'randn', 0.1, indices=np.arange(2))
    assert np.array_equal(first, second) and perturb(IMAGES[:0], 'randn', 0.1, indices=[]).shape == (0, 32, 32, 3)


@pytest.mark.parametrize(
    'given, message',
    [
        (dict(mean=['a', 'b', 'c']), r"mean: expected finite numbers, one for each channel, got \['a', 'b', 'c'\]"),
        (dict(std=[[1], [1, 2]]), 'std: expected finite numbers above 0, one for each channel, got '),
        (dict(mean='0.5'), 'mean: expected finite numbers, one for each channel, got 0.5'),
        (dict(std=True), 'std: expected finite numbers above 0, one for each channel, got True'),
        (dict(mean=[10**400]), 'mean: expected finite numbers, one for each channel, got '),
        (dict(suite='nonsense'), "unknown suite 'nonsense'"),
        (dict(images=None), 'images: expected an array, a tensor or a list of pictures, got a NoneType'),
        (
            dict(images=(image for image in IMAGES)),
            'images: expected an array, a tensor or a list of pictures, got a generator',
        ),
        (dict(model=None), 'model: expected a name for timm.create_model or a module, got a NoneType'),
        (dict(device='meta'), "device 'meta' cannot be used"),
        (dict(device=99), 'device 99 cannot be used'),
        (
            dict(device='gpu'),
            "device 'gpu' cannot be used: expected a name that torch.device knows, such as 'cpu' or 'cuda:1'$",
        ),
        (dict(device=None), 'device None cannot be used'),
    ],
)
def test_settings_of_an_evaluation(given, message):
    settings = {'model': 'zerosnet20', 'images': IMAGES, 'labels': [0, 1], **given}
    with pytest.raises(ValueError, match=message):
        evaluate(**settings)


def test_normalisation_may_be_a_tensor_and_labels_a_generator():
    plain = evaluate('zerosnet20', IMAGES, [0, 1], mean=[0.5, 0.25, 0.5])
    mean = torch.nn.Parameter(torch.tensor([0.5, 0.25, 0.5], dtype=torch.bfloat16))
    assert np.array_equal(plain.loss, evaluate('zerosnet20', IMAGES, (label for label in [0, 1]), mean=mean).loss)
