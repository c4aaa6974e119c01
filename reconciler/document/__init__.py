"""Strict YAML with positions, and its validation by JSON Schema. Pure: bytes in, values or problems out."""
