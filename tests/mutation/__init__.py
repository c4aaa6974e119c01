"""Mutants: one thing of the program is changed at a time, and the tests that run it have to notice."""
