"""Noise robustness of any timm model."""

from .analysis.comparison import compare
from .evaluation import Evaluation, evaluate
from .suites import SUITES, perturb

__all__ = ['SUITES', 'Evaluation', 'compare', 'evaluate', 'perturb']
