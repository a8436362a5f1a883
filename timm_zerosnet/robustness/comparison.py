"""Re-export of ``analysis.comparison``."""

from .analysis.comparison import *  # noqa: F403
