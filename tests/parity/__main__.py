"""`make parity [SITE=NAME[,NAME]|FOLDER] [SERVICE=NAME[,NAME]] [RELEASE=2025.1|2026.1] [EXPLAINED=1]`

Renders each site with kolla-ansible (kept until its inputs change) and with the catalogue of this checkout, and compares. Ends
with 1 when a difference is not explained, or, of all sites and releases, an explanation explains nothing.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from reconciler.errors import SiteInvalid
from tests.parity import compare, convert, environment, oracle

HERE = Path(__file__).parent
SITES = HERE / "sites"
NOTE = 240  # characters of what the oracle could not do: the beginning says it, and Ansible says it at length


def main() -> int:
    """The tables, and every difference."""
    asked = _arguments()
    reasons = compare.load_reasons(HERE / "explained.yml", names())
    every: dict[tuple[str, str], list[compare.Found]] = {}
    for site in _sites(asked.site, asked.release):
        try:
            found, notes = run(site, reasons)
        except SiteInvalid as error:
            print(f"{site.name}: the site is not valid for us:", *error.problems, sep="\n  ", file=sys.stderr)
            return 2
        except environment.OracleError as error:
            print(f"{site.name}: {error}", file=sys.stderr)
            return 2
        shown = [entry for entry in found if not asked.service or {entry.service, entry.role} & set(asked.service)]
        print(f"=== {site.name} ({site.release})")
        print(*(f"note: {note}" for note in notes), sep="\n")
        print("\n".join(compare.listing(shown, asked.explained)))
        print(f"\n{compare.table(shown)}\n", flush=True)
        every[site.name, site.release] = shown
    if len(every) > 1:
        print(f"=== all together\n{compare.table(entry for found in every.values() for entry in found)}\n")
        rows = ((f"{name} {release}", entry.verdict) for (name, release), found in every.items() for entry in found)
        print(compare.summary("site", rows))
    whole = not (asked.site or asked.service or asked.release)
    unused = list(compare.stale(reasons, every)) if whole else []
    print(*(f"explained.yml: explains nothing: {text}" for text in unused), sep="\n", file=sys.stderr)
    return int(
        bool(unused) or any(entry.verdict not in ("equal", "explained") for found in every.values() for entry in found)
    )


def run(site: oracle.Site, reasons: list[compare.Reason]) -> tuple[list[compare.Found], list[str]]:
    """One site compared, and what stands beside: parts that failed in the oracle, and what ours did not take of the site."""
    rendered = oracle.render(site)
    converted = convert.convert(site, rendered)
    their, our = compare.theirs(rendered), compare.ours(converted, converted.secrets)
    found = compare.compare(site.name, their, our, reasons, site.release)
    notes = [f"kolla-ansible did not finish: {part[:NOTE]}" for part in rendered.incomplete]
    left = [f"not taken over: {name}" for name in converted.left_out]
    return found, [*notes, *left]


def names() -> list[str]:
    """The sites that come with the project."""
    return sorted(path.name for path in SITES.iterdir() if (path / "globals.yml").exists())


def _sites(asked: list[str], release: str) -> Iterator[oracle.Site]:
    for name in asked or names():
        folder = Path(name) if "/" in name else SITES / name
        if not (folder / "globals.yml").exists():
            raise SystemExit(
                f"error: no site {name}: give a name below {SITES}, or a folder with inventory and globals.yml"
            )
        for one in [release] if release else environment.RELEASES:
            yield oracle.Site(folder.name, folder, one)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make parity", description=__doc__)
    words = {"type": lambda text: [word for word in text.split(",") if word], "default": []}
    parser.add_argument("--site", **words, help="only these; a folder elsewhere has a / in it")  # type: ignore[arg-type]
    parser.add_argument("--service", **words, help="only these services or roles of kolla-ansible's")  # type: ignore[arg-type]
    parser.add_argument("--release", default="", choices=environment.RELEASES, help="only this one")
    parser.add_argument("--explained", action="store_true", help="list the explained differences, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
