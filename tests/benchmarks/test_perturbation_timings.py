"""benchmarks/perturbations.py times every row of every suite, at 32 or 224 px and three severities, with one thread."""

import csv
import sys

import numpy as np
import perturbations
import pytest
import torch

from timm_zerosnet.robustness import SUITES


@pytest.fixture
def table(tmp_path, monkeypatch):
    """perturbations.csv of two images."""
    pytest.importorskip('imagecorruptions', reason='it has the pictures of frost', exc_type=ImportError)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / 'images.npz', x_test=pixels, y_test=[0, 1])
    monkeypatch.setattr(perturbations, 'MOST_SECONDS', 0)
    words = f'--timings --no-agreement --data {tmp_path / "images.npz"} --results {tmp_path}'
    monkeypatch.setattr(sys, 'argv', ['perturbations.py', *words.split()])
    threads = torch.get_num_threads()
    try:
        perturbations.main()
    finally:
        torch.set_num_threads(threads)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['images.npz', 'perturbations.csv']
    with (tmp_path / 'perturbations.csv').open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_row_at_three_severities(table):
    found = {(row['suite'], row['perturbation'], row['level'], row['size']) for row in table}
    expected = {('', 'zerosnet20 forward', '', '32')}
    expected |= {('zerosnet', name, f'{row.levels[-1]:.4g}', '32') for name, row in SUITES['zerosnet'].items()}
    for suite, size in (('cifar-c', '32'), ('imagenet-c', '224')):
        assert len(SUITES[suite]) == 19 + 1
        expected |= {(suite, name, level, size) for name in SUITES[suite] for level in '135'}
    assert found == expected
    for row in table:
        assert (row['threads'], row['runs']) == ('1', str(perturbations.FEWEST_RUNS))
        assert float(row['images_per_second']) == pytest.approx(1e6 / float(row['us_per_image']), rel=1e-3)
