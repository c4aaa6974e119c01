"""A container's options."""
