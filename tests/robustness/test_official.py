"""The official perturbed images are shown as they are, condition by condition."""

import numpy as np
import pytest
import torch
from PIL import Image

from timm_zerosnet.robustness.data import DataError
from timm_zerosnet.robustness.official import OfficialSet, official_batches

RNG = np.random.default_rng(0)
ARRAYS = RNG.integers(0, 256, (30, 12, 12, 3), dtype=np.uint8)


def config(size, channels=3):
    normalisation = dict(mean=(0.5,) * channels, std=(0.5,) * channels)
    return dict(
        input_size=(channels, size, size),
        crop_pct=0.875,
        interpolation='bicubic',
        crop_mode='center',
        **normalisation,
    )


@pytest.fixture
def cifar(tmp_path):
    for name in ('fog', 'snow'):
        np.save(tmp_path / f'{name}.npy', ARRAYS)
    np.save(tmp_path / 'labels.npy', np.tile(np.arange(6), 5))
    return tmp_path


@pytest.fixture(params=['', 'weather'])
def imagenet(request, tmp_path):
    for corruption, severities in (('fog', (1, 2, 5)), ('snow', (1,))):
        for severity in severities:
            for i in range(6):
                path = tmp_path / request.param / corruption / str(severity) / f'n0{i % 2}' / f'val_{i}.JPEG'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(ARRAYS[6 * severity - 6 + i]).save(path, quality=85)
    return tmp_path


def test_arrays(cifar):
    found = OfficialSet(cifar)
    assert found.severities == {'fog': [1, 2, 3, 4, 5], 'snow': [1, 2, 3, 4, 5]}
    data = found.load('fog', 3, limit=5)
    assert data.subset == 'first 5 of 6' and data.labels.tolist() == [0, 1, 2, 3, 4]
    parts = list(official_batches(data, [config(12), config(8), config(None)], 2))
    assert [len(batch[0]) for batch in parts] == [2, 2, 1]
    whole, middle, own = (torch.cat(kind) for kind in zip(*parts, strict=True))
    expected = torch.from_numpy(ARRAYS[12:17]).permute(0, 3, 1, 2)
    assert torch.equal(whole, expected) and torch.equal(own, expected)
    assert torch.equal(middle, expected[:, :, 2:10, 2:10])


@pytest.mark.parametrize('workers', [0, 2])
def test_pictures(workers, imagenet):
    found = OfficialSet(imagenet)
    assert found.severities == {'fog': [1, 2, 5], 'snow': [1]}
    data = found.load('fog', 2)
    assert data.classes == ('n00', 'n01') and data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    parts = list(official_batches(data, [config(12), config(7), config(12, channels=1)], 1, workers))
    whole, middle, grey = (torch.cat(kind) for kind in zip(*parts, strict=True))
    expected = torch.from_numpy(np.stack([np.asarray(image) for image in data.images[:]])).permute(0, 3, 1, 2)
    assert torch.equal(whole, expected) and torch.equal(middle, expected[:, :, 2:9, 2:9])
    assert np.array_equal(grey[4, 0], np.asarray(data.images[4].convert('L')))
    assert found.load('snow', 1, limit=2).subset == 'first 2 of 6'


@pytest.mark.parametrize('workers', [0, 2])
def test_models_that_are_larger(workers, cifar):
    batches = official_batches(OfficialSet(cifar).load('fog', 1), [config(12), config(16)], 2, workers)
    with pytest.raises(DataError, match='at most 12x12 pixels, the size of the official images, .* got one of 16x16'):
        next(batches)


@pytest.mark.parametrize('workers', [0, 2])
def test_broken_picture(workers, imagenet):
    path = next(imagenet.rglob('fog/5/n01/val_3.JPEG'))
    path.write_bytes(path.read_bytes()[:99])
    batches = official_batches(OfficialSet(imagenet).load('fog', 5), [config(12)], 1, workers)
    with pytest.raises(DataError, match=r'1 of 6 images cannot be read:\n.*val_3\.JPEG'):
        list(batches)


def test_conditions_that_are_not_there(imagenet, tmp_path):
    found = OfficialSet(imagenet)
    with pytest.raises(DataError, match='lacks Fog at severity 1; did you mean fog.; it holds fog 1, 2, 5, snow 1'):
        found.load('Fog', 1)
    with pytest.raises(DataError, match='lacks fog at severity 3; it holds'):
        found.load('fog', 3)
    found.load('fog', 1)
    next(imagenet.rglob('fog/2/n01/val_3.JPEG')).unlink()
    with pytest.raises(DataError, match=r'the pictures of the other conditions, got 1 that differ: n01/val_3\.JPEG'):
        found.load('fog', 2)
    for folder in (tmp_path / 'none', next(imagenet.rglob('fog/1'))):
        with pytest.raises(DataError, match='expected CORRUPTION.npy beside labels.npy, .* got neither'):
            OfficialSet(folder)
