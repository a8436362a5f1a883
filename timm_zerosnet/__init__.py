"""Zero-stable networks for timm: importing this package registers its models."""

# before anything of this package: a thread that imports timm meanwhile can then import the networks by itself
import timm as _timm  # noqa: F401

from .methods import METHODS, parse_method
from .multistep import MultistepMethod, ZeroStabilityWarning
from .multistep_resnet import MultistepResNet
from .weights import weights_overlay

__version__ = '0.1.0'
__all__ = [
    'METHODS',
    'MultistepMethod',
    'MultistepResNet',
    'ZeroStabilityWarning',
    '__version__',
    'parse_method',
    'weights_overlay',
]

from . import zerosnet as _zerosnet  # noqa: E402, F401  (last: at its end it registers the networks)
