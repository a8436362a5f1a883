"""The commands about methods, models and weights; one module for each."""

from . import convert, demo, info, listing, predict, publish, stability, weights

MODULES = (demo, stability, listing, info, predict, convert, weights, publish)
