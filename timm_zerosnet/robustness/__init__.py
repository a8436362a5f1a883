"""Noise robustness of any timm model."""

from .comparison import compare
from .evaluation import Evaluation, evaluate
from .perturbations import SUITES, perturb

__all__ = ['SUITES', 'Evaluation', 'compare', 'evaluate', 'perturb']
