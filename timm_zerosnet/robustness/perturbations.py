"""``suites`` by its former path."""

from .suites import *  # noqa: F403
