"""When the certificates in the files of services end."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.model import File
from reconciler.system import run

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.{1,20000}?-----END CERTIFICATE-----", re.DOTALL)
_LIMITS = run.Limits(seconds=300.0, cpu_seconds=20, memory=128 << 20)


def certificate_ends(files: Iterable[File], contents: Mapping[str, bytes]) -> dict[tuple[str, str], float]:
    """(service, path) → seconds since the epoch when the first certificate in that file ends.

    `contents` holds the bytes of the files by path. Files without a certificate are left out; what only looks like one is, too.
    Read in a child, for what takes certificates apart is large; private keys stay here. Raises as `run.python`.
    """
    found = {
        file: [block.decode("ascii", "replace") for block in _BLOCK.findall(contents.get(file.path, b""))]
        for file in files
    }
    named = {file.path: (file.service, file.path) for file, blocks in found.items() if blocks}
    if not named:
        return {}
    blocks = {file.path: blocks for file, blocks in found.items() if blocks}
    ends: dict[str, float] = run.python(
        "reconciler.report.certificates:read", blocks, limits=_LIMITS, answers=dict[str, float]
    )
    return {named[path]: end for path, end in ends.items() if path in named}


def warm(_: str) -> None:
    """For `run_child`."""
    from cryptography import x509  # noqa: F401


def read(blocks: Mapping[str, list[str]]) -> dict[str, Any]:
    """Path → end of the first certificate to end, of PEM blocks by path. The child's side."""
    from cryptography import x509

    ends: dict[str, float] = {}
    for path, texts in blocks.items():
        for text in texts:
            try:
                end = x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc.timestamp()
            except ValueError:
                continue
            ends[path] = min(end, ends.get(path, end))
    return ends
