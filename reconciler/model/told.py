"""What reports are made of may hold what others said: it is cleaned where it comes in."""

from typing import Any

from reconciler.foreign import said


def clean(value: Any, *fields: str) -> None:
    """For `__post_init__` of what reports are made of: these fields may hold what others said."""
    for name in fields:
        object.__setattr__(value, name, said(getattr(value, name)))


class Told:
    """What has a `message` that may hold what others said."""

    __slots__ = ()

    def __post_init__(self) -> None:
        clean(self, "message")
