"""The host itself: what services ask of it, and what is done about it."""
