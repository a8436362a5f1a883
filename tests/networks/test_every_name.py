"""Every registered name: built, run forward, trained for one step."""

import re

import pytest
import timm
import torch
from torch.nn.functional import cross_entropy

NAMES = timm.list_models(module='zerosnet')
SMALL = [name for name in NAMES if int(re.search(r'\d+', name)[0]) <= 110]
DEEP = [name for name in NAMES if name not in SMALL]


def batch(model, device=None):
    size = 8 if model.default_cfg['input_size'][1] == 32 else 64
    return torch.randn(2, 3, size, size, device=device), torch.tensor([0, 1], device=device)


@pytest.mark.parametrize('name', [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in DEEP)])
def test_one_training_step(name):
    torch.manual_seed(0)
    model = timm.create_model(name)
    images, targets = batch(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = cross_entropy(model(images), targets)
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    optimizer.step()
    moved = [name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])]
    assert len(moved) > 0.9 * len(before) and 'stem.conv.weight' in moved and 'head.fc.weight' in moved
    with torch.no_grad():
        assert model.eval()(images).shape == (2, model.num_classes)


@pytest.mark.parametrize('name', DEEP)
def test_deep_networks_train_without_numbers(name):
    """On the device ``meta``, which has shapes alone."""
    model = timm.create_model(name, device='meta')
    images, targets = batch(model, device='meta')
    logits = model(images)
    cross_entropy(logits, targets).backward()
    assert logits.shape == (2, model.num_classes)
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
