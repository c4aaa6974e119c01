"""The day that docs/tutorial.md tells, carried out: `python -m tests.day --write docs/tutorial.md` tells it anew."""
