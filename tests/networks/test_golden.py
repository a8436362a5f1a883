"""Parity with the original implementations, loaded as their users would."""

import pytest
import timm
import torch
from golden_weights import MODELS, load

import timm_zerosnet  # noqa: F401


@pytest.fixture(params=[(case, prefix) for case in MODELS for prefix in ('', 'module.')], ids=lambda p: '-'.join(p))
def original(request, tmp_path):
    case, prefix = request.param
    state_dict, x, logits = load(case)
    path = tmp_path / 'theirs.pth.tar'
    torch.save({'state_dict': {prefix + key: value for key, value in state_dict.items()}, 'epoch': 3}, path)
    return MODELS[case], path, x, logits


@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-8), (torch.float32, 1e-5)], ids=['float64', 'float32'])
def test_logits_of_the_original(original, dtype, tolerance):
    name, path, x, logits = original
    model = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=dict(file=str(path)), num_classes=logits.shape[1], dtype=dtype
    )
    with torch.inference_mode():
        found = model.eval()(x.to(dtype)).double()
    scale = 1 if dtype == torch.float64 else logits.abs().max()
    assert (found - logits).abs().max() <= tolerance * scale
