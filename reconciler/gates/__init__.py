"""Reasons to wait."""
