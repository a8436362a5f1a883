"""``models`` by its former path."""

from .models import *  # noqa: F403
