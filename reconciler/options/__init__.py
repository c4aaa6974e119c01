"""A container's options, each a row of one table (`table.py`)."""
