"""What checks of checkpoints share: pictures, the logits of a network, and what a command says when it refuses."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from timm_zerosnet import cli
from timm_zerosnet._errors import WeightError

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def logits(model):
    with torch.no_grad():
        return model.eval()(IMAGES)


def refused(line, capsys):
    """The last line that a command prints when it ends with code 2."""
    assert cli.main([str(word) for word in line]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def message(*args, **kwargs):
    with pytest.raises(WeightError) as error:
        timm.create_model(*args, **kwargs)
    return str(error.value)


def images(folder, classes):
    for i in range(classes):
        path = folder / 'validation' / f'c{i:03}' / '0.png'
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((32, 32, 3), i, np.uint8)).save(path)
    return folder
