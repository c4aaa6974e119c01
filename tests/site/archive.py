"""Many small files in one readable text: `-- path --` begins a file, as in Go's txtar."""

import re
from collections.abc import Mapping

_HEAD = re.compile(r"^-- (\S+) --\n", re.MULTILINE)


def split(text: str) -> tuple[str, dict[str, str]]:
    """The comment before the first file, and the files."""
    comment, *parts = _HEAD.split(text)
    return comment, dict(zip(parts[::2], parts[1::2], strict=True))


def encode(files: Mapping[str, str]) -> dict[str, bytes]:
    """Files as a site has them. `\\xff` in a text becomes that byte: something that is not UTF-8."""
    return {path: text.encode().replace(b"\\xff", b"\xff") for path, text in files.items()}
