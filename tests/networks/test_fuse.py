"""Networks made ready for inference by timm's ``reparameterize_model``: fewer norms, the same logits."""

import numpy as np
import pytest
import timm
import torch
from kinds import newer_torch, slow_but
from timm.utils import reparameterize_model
from torch import nn

KINDS = {
    'zerosnet20': ({}, 9),
    'zerosnet20_tra': ({}, 9),
    'lmresnet20': ({}, 9),
    'zerosnet164': ({'layers': (4, 1, 2)}, 2 * 7),
    'multistep_resnet20': ({'method': 'ab3'}, 9),
    'zerosnet18': ({}, 1 + 8),
    'zerosnet50_tra': ({'constrain_mu': True, 'layers': (3, 1, 1, 2)}, 1 + 2 * 7),
}


def norms(model):
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.fixture(params=KINDS)
def network(request):
    """A network whose statistics and steps are not those of the start, in float64."""
    torch.manual_seed(0)
    kwargs, folded = KINDS[request.param]
    model = timm.create_model(request.param, **kwargs).double()
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith('step.mu'):
            value.data.uniform_(-0.9, 4)  # beyond the interval, too: constrain_mu keeps the effective one inside
        elif name.endswith('step.k'):
            value.data.uniform_(0.5, 1.5)
        elif value.ndim == 1 and value.is_floating_point():
            value.data.uniform_(0.5, 1.5)
    size = min(64, model.default_cfg['input_size'][1])
    return model, torch.randn(2, 3, size, size, dtype=torch.float64), folded


def test_logits_are_the_same(network):
    model, images, folded = network
    fused = reparameterize_model(model)  # in training mode, as validate.py does it
    assert norms(model) - norms(fused) == folded
    assert not any(name.endswith(('step.mu', 'step.k')) for name, _ in fused.named_parameters())
    expected = model.eval()(images).detach()
    assert torch.allclose(fused.eval()(images), expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    again = reparameterize_model(fused)
    assert torch.equal(again(images), fused(images))


@pytest.mark.parametrize('network', slow_but(['zerosnet20_tra', 'multistep_resnet20'], KINDS), indirect=True)
def test_float32_script_and_export(network):
    model, images, _ = network
    model, images = model.float().eval(), images.float()
    fused = reparameterize_model(model).eval()
    expected = model(images).detach()
    close = dict(rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert torch.allclose(fused(images), expected, **close)
    assert torch.allclose(torch.jit.script(fused)(images), expected, **close)
    assert torch.allclose(torch.export.export(fused, (images,)).module()(images), expected, **close)


@pytest.mark.slow
@newer_torch
def test_onnx_of_a_fused_network(tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    model = reparameterize_model(timm.create_model('zerosnet20', pretrained=True)).eval()
    images = torch.rand(2, 3, 32, 32)
    torch.onnx.export(model, (images,), tmp_path / 'model.onnx', dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx')
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert np.abs(found - model(images).detach().numpy()).max() < 1e-4


def test_other_norms_stay():
    model = timm.create_model('zerosnet20', norm_layer='groupnorm1').eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(reparameterize_model(model)(images), model(images), atol=1e-6)


def test_hooks_see_what_they_saw(network):
    model, images, _ = network
    model.eval()
    fused, seen = reparameterize_model(model).eval(), []
    for each in (model, fused):
        each.stages[0].blocks[-1].register_forward_hook(lambda module, args, out: seen.append(out[0][0].clone()))
        each(images)
    assert torch.allclose(*seen, rtol=1e-9)
