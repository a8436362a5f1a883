"""Tools of the maintainers: adding a weight, publishing, cards and tables. Imported by their commands alone."""
