"""reconciler: keeps Docker hosts in the state that a Git repository describes."""

# The one place that says it: pyproject.toml and every printed version take it from here.
__version__ = "0.1.0"

# What pip knows the program as. PyPI's `reconciler` is a stranger's package.
DISTRIBUTION = "kolla-reconciler"
