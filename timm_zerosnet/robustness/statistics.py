"""``analysis.statistics`` by its former path."""

from .analysis.statistics import *  # noqa: F403
