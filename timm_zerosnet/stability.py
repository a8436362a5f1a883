"""The multistep method by its former path."""

from .multistep import *  # noqa: F403
from .multistep import MultistepMethod, ZeroStabilityWarning  # noqa: F401
