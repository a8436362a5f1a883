"""Suite imagenet-c against imagecorruptions-imaug, which has its severities only, at every one of them."""

import numpy as np
import perturbations
import pytest

from timm_zerosnet.robustness import SUITES

pytest.importorskip('imagecorruptions', reason='imagecorruptions-imaug is not installed', exc_type=ImportError)
pytest.importorskip('sklearn', reason="scikit-learn's photographs are not installed")

cells = pytest.mark.parametrize(
    'name, severity, size',
    [(name, severity, size) for name in SUITES['imagenet-c'] for size in (64, 224) for severity in range(1, 6)],
)


@cells
def test_agreement(name, severity, size):
    """Constants of another size, a changed dependency: pixels, or the mean and scatter of what noise adds."""
    before = np.random.get_state()[1].tolist()
    found = perturbations.agreement(name, severity, size)
    assert np.random.get_state()[1].tolist() == before
    if SUITES['imagenet-c'][name].seeded:
        assert abs(found['mean_z']) < 4.5 and abs(found['std_z']) < 4.5
        assert found['std_ours'] == pytest.approx(found['std_theirs'], rel=0.02)
    else:  # a step here and there, where OpenCV, scipy or numpy of another version round otherwise
        assert found['max_abs'] <= 1 and found['mean_abs'] <= 0.01


@pytest.mark.parametrize('name', [name for name, row in SUITES['imagenet-c'].items() if not row.seeded])
def test_comparison_tells_severities_apart(name):
    """A comparison that another severity would pass shows nothing."""
    images = perturbations.photographs(64)
    for severity in range(1, 5):
        ours, theirs = perturbations.ours(images, name, severity), perturbations.theirs(images, name, severity + 1)
        assert np.abs(ours.astype(int) - theirs).mean() > 0.1
