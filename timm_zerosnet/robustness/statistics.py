"""Re-export of ``analysis.statistics``."""

from .analysis.statistics import *  # noqa: F403
