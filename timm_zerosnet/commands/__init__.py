"""The commands, each in the module of its name, in the order in which ``timm-zerosnet --help`` lists them."""

from . import convert, demo, info, list_, predict, publish, robustness, stability, weights

MODULES = (demo, stability, list_, info, predict, convert, weights, publish, robustness)
