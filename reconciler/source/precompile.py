"""`python -I -m reconciler.source.precompile`: read and compile the catalogue, once for the Python that is to run the program.

Four tenths of what rendering a controller takes is reading what the catalogue says and compiling it. So what Python does with modules when a
package is installed is done with the catalogue, and what comes of it lies where Python keeps what comes of modules. Nothing
writes it later. What a site says itself is read and compiled when it is rendered.
"""

import pickle
import sys

from reconciler import catalogue, data, errors
from reconciler.render import precompiled
from reconciler.source import beforehand


def main() -> int:
    """Write both files. Exits with 1 when that is not possible."""
    services = data.services()
    found = catalogue.load(services, "catalogue", trusted=True)
    try:
        made = (
            beforehand.keep(
                beforehand.CATALOGUE, pickle.dumps(found, pickle.HIGHEST_PROTOCOL), beforehand.digest(services)
            ),
            beforehand.keep(beforehand.TEXTS, precompiled.make(found)),
        )
    except (OSError, errors.ReconcilerError) as error:
        where = beforehand.path(beforehand.CATALOGUE).parent
        print(
            f"error: nothing can be written into {where} ({error}): run this as who installed the program",
            file=sys.stderr,
        )
        return 1
    for path in made:
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
