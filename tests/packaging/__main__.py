"""`make packages`: what operators install, with bills of materials and checksums, into dist/.

python -m tests.packaging [--out dist] [bookworm|trixie|image …]
"""

import argparse
import hashlib
import sys
from pathlib import Path

from tests.packaging import deb, image
from tests.support.paths import CHECKOUT

_IMAGE = "image"


def main(arguments: list[str] | None = None) -> int:
    """Build what is asked for."""
    kinds = (*deb.RELEASES, _IMAGE)
    parser = argparse.ArgumentParser(prog="python -m tests.packaging", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=CHECKOUT / "dist")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(kinds)} (all)")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.kinds) - set(kinds)):
        parser.error(f"no such package: {', '.join(unknown)} (there are {', '.join(kinds)})")
    wanted = given.kinds or kinds
    made = [deb.build(suite, given.out) for suite in deb.RELEASES if suite in wanted]
    if made:
        made.append(deb.materials(given.out))
    if _IMAGE in wanted:
        found = image.build(given.out)
        made += [found.archive, found.bill]
        print(f"{found.archive.name}: {found.reference}")
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(made))
    (given.out / "SHA256SUMS").write_text(sums)
    print(sums, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
