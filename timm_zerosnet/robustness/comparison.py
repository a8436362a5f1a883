"""``analysis.comparison`` by its former path."""

from .analysis.comparison import Comparison, Difference, Trainings, compare, compare_trainings  # noqa: F401
