"""The commands about methods, models and weights; one module for each."""

from . import convert, demo, info, predict, publish, stability, weights
from . import list_ as listing

MODULES = (demo, stability, listing, info, predict, convert, weights, publish)
