"""Parity with the original implementations, loaded as their users would."""

import pytest
import timm
import torch
from amounts import slow
from golden_weights import MODELS, load

import timm_zerosnet  # noqa: F401


@pytest.fixture(params=MODELS)
def original(request, prefix, tmp_path):
    case = request.param
    state_dict, x, logits = load(case)
    path = tmp_path / 'theirs.pth.tar'
    torch.save({'state_dict': {prefix + key: value for key, value in state_dict.items()}, 'epoch': 3}, path)
    return MODELS[case], path, x, logits


@pytest.mark.parametrize(
    'prefix, dtype, tolerance',
    [
        ('', torch.float64, 1e-8),
        slow('', torch.float32, 1e-5),
        slow('module.', torch.float64, 1e-8),
        slow('module.', torch.float32, 1e-5),
    ],
    ids=str,
)
def test_logits_of_the_original(original, dtype, tolerance):
    name, path, x, logits = original
    model = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=dict(file=str(path)), num_classes=logits.shape[1], dtype=dtype
    )
    with torch.inference_mode():
        found = model.eval()(x.to(dtype)).double()
    scale = 1 if dtype == torch.float64 else logits.abs().max()
    assert (found - logits).abs().max() <= tolerance * scale
