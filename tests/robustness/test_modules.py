"""Cells of a module are kept as long as nothing that decides its answers has changed, as far as that can be told."""

import numpy as np
import pytest
import torch
from small_runs import IMAGES, LABELS, Plain

from timm_zerosnet.robustness.data import LabelledImages
from timm_zerosnet.robustness.models import Source, describe_model
from timm_zerosnet.robustness.run import run

FIVE = LabelledImages(IMAGES[:5], LABELS[:5])


class Scaled(Plain):
    """A module whose answers something decides that is not in its state dict."""

    def __init__(self, scale, kept=None):
        super().__init__()
        self.scale = scale
        self.register_buffer('kept', kept, persistent=False)

    def forward(self, x):
        seen = self.scale() if callable(self.scale) else self.scale
        seen = seen['scale'][0] if isinstance(seen, dict) else seen
        return super().forward(x) * float(seen) * (1 if self.kept is None else self.kept)


@pytest.mark.parametrize(
    'one, other, again',
    [
        (Scaled(1), Scaled(2), Scaled(1)),
        (Scaled(0.1), Scaled(0.1 + 1e-12), Scaled(0.1)),
        (Scaled('1'), Scaled('2'), Scaled('1')),
        (Scaled(True), Scaled(False), Scaled(True)),
        (Scaled({'scale': (1, 2)}), Scaled({'scale': (3, 2)}), Scaled({'scale': (1, 2)})),
        (Scaled(np.float32(1)), Scaled(np.float32(2)), Scaled(np.float32(1))),
        (Scaled(np.array(1)), Scaled(np.array(2)), Scaled(np.array(1))),
        (Scaled(torch.tensor(1)), Scaled(torch.tensor(2)), Scaled(torch.tensor(1))),
        (Scaled(1, torch.tensor(1)), Scaled(1, torch.tensor(2)), Scaled(1, torch.tensor(1))),
        (torch.nn.Sequential(Scaled(1)), torch.nn.Sequential(Scaled(2)), torch.nn.Sequential(Scaled(1))),
    ],
)
def test_what_a_module_holds_beside_its_weights_makes_other_cells(one, other, again, tmp_path):
    """They had the cells of the first one, as name, code and weights are the same."""
    few = dict(corruptions=['const'], levels=[0.1])
    found = [run([own(module)], FIVE, tmp_path, **few) for module in (one, other, again)]
    assert [(outcome.measured, outcome.kept, outcome.failed) for outcome in found] == [
        (2, 0, []),
        (2, 0, []),
        (0, 2, []),
    ]


def test_settings_that_a_module_of_torch_does_not_print():
    one, other = (torch.nn.TransformerEncoderLayer(12, heads, 8) for heads in (2, 3))
    other.load_state_dict(one.state_dict())
    assert repr(one) == repr(other)
    assert len({structure(Scaled(1), attention=net) for net in (one, other)}) == 2


def test_what_a_module_holds_may_be_anything():
    """Objects and functions are told by their kind alone."""
    endless: list = []
    endless.append(endless)
    for value in (endless, {(1, 2): 3}, {'a', 'b'}, object(), b'x', np.array([object()]), torch.ones(2).to_sparse()):
        assert structure(Scaled(value)) == structure(Scaled(value)) != structure(Scaled(0))
    assert structure(Scaled(lambda: 1)) == structure(Scaled(lambda: 2))


def own(module):
    return Source('own', module, mean=(0.5,) * 3, std=(0.5,) * 3, preprocessing={'input_size': (32, 32)})


def structure(module, **more):
    for name, value in more.items():
        setattr(module, name, value)
    return describe_model(own(module), module).structure
