"""Noise robustness of any timm model."""

from .evaluation import Evaluation, evaluate
from .perturbations import SUITES, perturb

__all__ = ['SUITES', 'Evaluation', 'evaluate', 'perturb']
