"""``analysis.comparison`` by its former path."""

from .analysis.comparison import *  # noqa: F403
