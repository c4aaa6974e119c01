"""Measures what docs/performance.md promises: `python -m tests.bench [--quick] [NAME…]`.

Each module holds figures of one kind; `measure` is what they are made of, `bed` what they are measured on, `floors` what the
machine needs for the bare minimum of the same work.
"""
