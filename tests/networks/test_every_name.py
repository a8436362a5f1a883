"""Names of every kind and most depths: built, run forward, trained for one step; test_networks.py builds all."""

import pytest
import timm
import torch
from kinds import KINDS, depth, slow_but

NAMES = timm.list_models(module='zerosnet')
DEEP = ('lmresnet110', 'zerosnet152_tra', 'zerosnet650')


@pytest.mark.parametrize('name', slow_but(KINDS, [name for name in NAMES if depth(name) < 100 or name in DEEP]))
def test_one_training_step(name):
    torch.manual_seed(0)
    model = timm.create_model(name)
    size = 8 if model.default_cfg['input_size'][1] == 32 else 64
    images, targets = torch.randn(2, 3, size, size), torch.tensor([0, 1])
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = torch.nn.functional.cross_entropy(model(images), targets)
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    optimizer.step()
    moved = [name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])]
    assert len(moved) > 0.9 * len(before) and 'stem.conv.weight' in moved and 'head.fc.weight' in moved
    with torch.no_grad():
        assert model.eval()(images).shape == (2, model.num_classes)
