"""reconciler: keeps Docker hosts in the state that a Git repository describes."""
