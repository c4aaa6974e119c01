"""`python -m reconciler.source.precompile`: compile what the catalogue says, once for the Python that is to run it.

A third of what rendering a controller takes is compiling. So what Python does with modules when a package is installed is done with the
catalogue's texts, and what comes of it lies where Python keeps what comes of modules, with the same owner: who can write
there can write the program. Nothing writes it later. A site's own texts are compiled when they are rendered.
"""

import hashlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Final

from reconciler.render import environment, precompiled
from reconciler.source import prepare
from reconciler.system import files

_RENDER: Final = Path(environment.__file__).parent


def main() -> int:
    """Write the file. Exits with 1 when that is not possible."""
    target = path()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(target, precompiled.make(prepare.shipped(), compiler()), mode=0o644)
    except OSError as error:
        print(
            f"error: {target} cannot be written ({error.strerror}): run this as who installed the program",
            file=sys.stderr,
        )
        return 1
    print(f"wrote {target}")
    return 0


def load() -> bool:
    """Use what was compiled beforehand from now on, when it was made by what would compile here. Whether it was."""
    try:
        content = path().read_bytes()
    except OSError:
        return False
    found = precompiled.read(content, compiler())
    environment.take(found or {})
    return found is not None


def path() -> Path:
    """Where the compiled texts are: beside the byte code of the module that compiles."""
    return Path(importlib.util.cache_from_source(str(_RENDER / "catalogue.py"))).with_suffix(".texts")


@cache
def compiler() -> bytes:
    """SHA-256 of all that decides what becomes of a text: Python's byte code, Jinja, and our own rendering."""
    found = hashlib.sha256(importlib.util.MAGIC_NUMBER)
    jinja = importlib.util.find_spec("jinja2")
    assert jinja is not None and jinja.origin is not None
    for folder in (Path(jinja.origin).parent, _RENDER):
        for source in sorted(folder.glob("*.py")):
            content = source.read_bytes()
            found.update(f"{source.name}\0{len(content)}\0".encode() + content)
    return found.digest()


if __name__ == "__main__":
    sys.exit(main())
