"""What tests of refused commands need: small inputs to name, and the promise that no work begins."""

import numpy as np
import pytest
from small_trainings import write_images

from timm_zerosnet.commands import robustness
from timm_zerosnet.training import scripts


def write_inputs(folder):
    """Write ``images``, class folders of two splits, and ``images.npz``, ten images."""
    write_images(folder / 'images')
    np.savez(folder / 'images.npz', x_test=np.zeros((10, 32, 32, 3), dtype=np.uint8), y_test=np.arange(10))


@pytest.fixture(name='no_work')
def forbid_work(monkeypatch):
    """Fail where a script of timm's runs or data are read."""

    def begin(*args, **kwargs):
        raise AssertionError('the work has begun')

    run_path = scripts.runpy.run_path
    monkeypatch.setattr(robustness, 'load_data', begin)
    monkeypatch.setattr(
        scripts.runpy,
        'run_path',
        lambda path, run_name: begin() if run_name == '__main__' else run_path(path, run_name=run_name),
    )
