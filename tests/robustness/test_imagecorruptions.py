"""Suite imagenet-c against imagecorruptions-imaug, which has its severities only, at every one of them.

Snow, frost and the elastic transform have another form there; ``test_distortions`` and ``test_weather`` check them.
"""

import numpy as np
import perturbations
import pytest
from amounts import slow_but

from timm_zerosnet.robustness import SUITES

pytest.importorskip('imagecorruptions', reason='imagecorruptions-imaug is not installed', exc_type=ImportError)
pytest.importorskip('sklearn', reason="scikit-learn's photographs are not installed")

cells = pytest.mark.parametrize(
    'name, severity, size',
    slow_but(
        [(name, 3, 64) for name in perturbations.COMPARED if name != 'glass_blur'],
        [(name, severity, 64) for name in perturbations.COMPARED for severity in range(1, 6)]
        + [(name, 3, 224) for name in perturbations.COMPARED],
    ),
)


@cells
def test_agreement(name, severity, size):
    """Constants of another size, a changed dependency: pixels, or the mean and scatter of what noise adds."""
    before = np.random.get_state()[1].tolist()
    found = perturbations.agreement(name, severity, size)
    assert np.random.get_state()[1].tolist() == before
    if 'mean_z' in found:
        assert abs(found['mean_z']) < 4.5 and abs(found['std_z']) < 4.5
        assert found['std_ours'] == pytest.approx(found['std_theirs'], rel=0.02)
        assert name.endswith('noise')
    else:  # a step here and there, where OpenCV, scipy or numpy of another version round otherwise
        assert found['max_abs'] <= 1 and found['mean_abs'] <= 0.01


@pytest.mark.parametrize('name', [name for name in perturbations.COMPARED if not SUITES['imagenet-c'][name].seeded])
def test_comparison_tells_severities_apart(name):
    """A comparison that another severity would pass shows nothing."""
    images = perturbations.photographs(64)
    for severity in range(1, 5):
        ours, theirs = perturbations.ours(images, name, severity), perturbations.theirs(images, name, severity + 1)
        assert np.abs(ours.astype(int) - theirs).mean() > 0.1


@pytest.mark.parametrize('name', slow_but(['fog'], perturbations.DRAWN))
def test_comparison_tells_draws_apart(name):
    """A comparison that another draw would pass shows nothing."""
    image = perturbations.photographs(64)[0]
    one, other = (
        perturbations.corrupt_with(perturbations.their_draws(name, 3, 64, seed), image, name, 3) for seed in (0, 1)
    )
    assert np.abs(one.astype(int) - other).mean() > 0.1
