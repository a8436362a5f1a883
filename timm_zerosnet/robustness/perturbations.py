"""``suites`` by its former path."""

from .suites import SUITES, Perturbation, perturb  # noqa: F401
