"""Numbers that remember how they were written.

A file says `release: 24.10` or `pin: 0123`, and means a text as often as a number. So a number calculates and compares as
the number that it is, and where a text is made of it, it is the text that stood in the file. Whatever is calculated from it is an
ordinary number.
"""

from typing import Any, Final


class WrittenInteger(int):
    """An integer whose text is another one than Python's: `0123`, `+1`, `0x1F`."""

    written: str

    def __str__(self) -> str:
        return self.written

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, ...]:
        return _integer, (int(self), self.written)


class WrittenFloat(float):
    """A number with a fraction or an exponent whose text is another one than Python's: `24.10`, `1e3`, `.5`."""

    written: str

    def __str__(self) -> str:
        return self.written

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, ...]:
        return _float, (float(self), self.written)


def written(number: float, text: str) -> int | float:
    """`number`, which was written as `text`."""
    if str(number) == text:
        return number
    return _integer(number, text) if isinstance(number, int) else _float(number, text)


def plain(value: Any) -> Any:
    """A number without its spelling; anything else as it is."""
    return +value if isinstance(value, WRITTEN) else value


def spelled(data: Any) -> Any:
    """Plain data in which a number that JSON would write otherwise is the text that stood in the file."""
    if isinstance(data, dict):
        return {key: spelled(part) for key, part in data.items()}
    if isinstance(data, list):
        return [spelled(part) for part in data]
    return str(data) if isinstance(data, WRITTEN) else data


def _integer(number: int, text: str) -> WrittenInteger:
    result = WrittenInteger(number)
    result.written = text
    return result


def _float(number: float, text: str) -> WrittenFloat:
    result = WrittenFloat(number)
    result.written = text
    return result


WRITTEN: Final = (WrittenInteger, WrittenFloat)
