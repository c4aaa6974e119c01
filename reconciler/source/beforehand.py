"""What is worked out once, when the program is installed, and lies beside Python's own byte code (`precompile` makes it).

A file says what it was made of, by digests, and is of use to nobody else: one of another program, or one that is not whole, counts as
absent. The digests keep out what is old or was cut short, not what somebody forged: who can write there can write the program.
"""

import hashlib
import importlib.util
import pickle
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler import data
from reconciler.system import files

if TYPE_CHECKING:
    from reconciler.catalogue import Catalogue

_PACKAGE: Final = Path(data.__file__).parent
_MARK: Final = b"reconciler: made beforehand 1\n"
_HEAD: Final = len(_MARK) + 2 * 32

TEXTS: Final = "texts"  # what `render.precompiled` made of the catalogue
CATALOGUE: Final = "catalogue"  # the catalogue itself, read and put together


def keep(kind: str, content: bytes, *made_of: bytes) -> Path:
    """Write what was made of `made_of` by this program; the result is where. Raises OSError, errors.Transient (DiskFull …)."""
    target = path(kind)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(target, _head(content, made_of) + content, mode=0o644)
    return target


def kept(kind: str, *made_of: bytes) -> bytes | None:
    """What this program made of `made_of`; None when there is nothing, or something else."""
    try:
        found = path(kind).read_bytes()
    except OSError:
        return None
    content = found[_HEAD:]
    return content if found[:_HEAD] == _head(content, made_of) else None


def path(kind: str) -> Path:
    """Where it is, for the Python that runs."""
    return Path(importlib.util.cache_from_source(str(_PACKAGE / "data.py"))).with_suffix(f".{kind}")


def catalogue(services: Mapping[str, bytes]) -> "Catalogue | None":
    """The catalogue of exactly these files, when it was read beforehand."""
    content = kept(CATALOGUE, digest(services))
    found: Catalogue | None = pickle.loads(content) if content is not None else None  # noqa: S301  # of `keep`
    return found


def digest(content: Mapping[str, bytes]) -> bytes:
    """SHA-256 of files, by their paths."""
    found = hashlib.sha256()
    for name, text in content.items():
        found.update(f"{name}\0{len(text)}\0".encode() + text)
    return found.digest()


def _head(content: bytes, made_of: tuple[bytes, ...]) -> bytes:
    return _MARK + hashlib.sha256(program() + b"".join(made_of)).digest() + hashlib.sha256(content).digest()


@cache
def program() -> bytes:
    """SHA-256 of all that decides what becomes of a catalogue: Python's byte code, Jinja, and our own modules that read and render."""
    jinja = importlib.util.find_spec("jinja2")
    assert jinja is not None and jinja.origin is not None
    folders = (_PACKAGE, *(_PACKAGE / name for name in ("document", "catalogue", "render")), Path(jinja.origin).parent)
    sources = (source for folder in folders for source in sorted(folder.glob("*.py")))
    return hashlib.sha256(
        importlib.util.MAGIC_NUMBER + digest({str(source): source.read_bytes() for source in sources})
    ).digest()
