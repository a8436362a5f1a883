"""Does zero stability predict accuracy? Many coefficient sets, one recipe, several seeds; see ``run.py``."""
