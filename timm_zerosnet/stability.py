"""``multistep`` by its former path."""

from .multistep import MultistepMethod, ZeroStabilityWarning  # noqa: F401
