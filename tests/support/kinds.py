"""One network of each kind, small enough for tests of what all of them do."""

import amounts
import pytest
import timm
import torch

import timm_zerosnet  # noqa: F401

SMALL_CIFAR = dict(layers=(4, 1, 2))
SMALL_IMAGENET = dict(layers=(3, 1, 1, 2), widths=(8, 16, 16, 24))
KINDS = {
    'zerosnet20': {},
    'zerosnet20_tra': {},
    'zerosnet164': SMALL_CIFAR,
    'zerosnet18': SMALL_IMAGENET,
    'zerosnet50_tra': SMALL_IMAGENET,
    'preresnet20': {},
    'preresnet18': SMALL_IMAGENET,
    'lmresnet20': {},
    'lmresnet164': SMALL_CIFAR,
    'multistep_resnet20': dict(method='ab3'),
}
VARIED = ('multistep_resnet20', 'zerosnet50_tra', 'lmresnet20')
"""Between them they have every class of step and of block, both stems, and slopes that are kept."""


def slow_but(often, names=KINDS):
    """``names`` as parameters, of which only ``often`` are not slow."""
    return amounts.slow_but(often, names)


def depth(name):
    return int(''.join(character for character in name if character.isdigit()))


each_kind = pytest.mark.parametrize('name', KINDS)


def create(name, **kwargs):
    torch.manual_seed(0)
    return timm.create_model(name, **{**KINDS.get(name, {}), **kwargs})


def is_imagenet(name):
    return depth(name) in (18, 34, 50, 101, 152)


def images(name, batch=2, size=None, **kwargs):
    height, width = size or ((64, 64) if is_imagenet(name) else (16, 16))
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1), **kwargs)


def settle(model, name):
    """Move the running statistics off their initial values, which hide mistakes, and go to eval mode."""
    with torch.no_grad():
        model.train()(images(name, batch=4, dtype=next(model.parameters()).dtype))
    return model.eval()


def same(found, wanted, tolerance=1e-5):
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


newer_torch = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split('.')[:2])) < (2, 6),
    reason="torch 2.5's own exports with dynamic shapes are unfinished",
)
