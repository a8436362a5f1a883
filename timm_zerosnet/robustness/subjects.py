"""``models`` by its former path."""

from .models import ModelError, Source  # noqa: F401
