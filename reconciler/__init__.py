"""reconciler: keeps Docker hosts in the state that a Git repository describes."""

# What pip knows the program as. PyPI's `reconciler` is a stranger's package.
DISTRIBUTION = "kolla-reconciler"
