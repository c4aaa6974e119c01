"""The pages of docs/ as a site with a search, in one folder that a web server or a browser alone can show.

    python -m tests.packaging.site [--out dist/site]

The README is the first page. What links lead to outside of docs/ (a test, a service's own folder) stays text.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.support.environments import environment
from tests.support.paths import CHECKOUT, cache

_PAGES = (
    "tutorial",
    "review",
    "operations",
    "migrating",
    "upgrading",
    "fleet",
    "services",
    "site-reference",
    "security",
    "architecture",
    "performance",
    "reliability",
    "what-has-run",
    "dependencies",
)
_LINK = re.compile(r"(\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)#\s]+)(#[^)\s]*)?\)")


def build(out: Path) -> Path:
    """Build the site into `out`, which is made anew; returns its first page. Raises subprocess.CalledProcessError."""
    sphinx = environment(cache() / "site", Path(__file__).with_name("site.lock"))
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "docs"
        shutil.copytree(CHECKOUT / "docs", source)
        shutil.copyfile(Path(__file__).with_name("site_conf.py"), source / "conf.py")
        readme = (CHECKOUT / "README.md").read_text().replace("](docs/", "](")
        (source / "index.md").write_text(f"{readme}\n{_contents(source)}")
        for page in source.rglob("*.md"):
            page.write_text(_LINK.sub(partial(_kept, page, source), page.read_text()))
        shutil.rmtree(out, ignore_errors=True)
        words = [
            str(sphinx / "bin/sphinx-build"),
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "html",
            "-d",
            f"{name}/doctrees",
            str(source),
            str(out),
        ]
        subprocess.run(words, check=True)
    return out / "index.html"


def _contents(source: Path) -> str:
    """The side bar: every page once."""
    listed = {f"{name}.md" for name in _PAGES} | {"index.md"}
    others = sorted(str(page.relative_to(source)) for page in source.rglob("*.md"))
    services = [name for name in others if name.startswith("services/") and name != "services/README.md"]
    rest = [name for name in others if name not in listed and name not in services]
    trees = (
        ("Pages", [f"{name}.md" for name in _PAGES]),
        ("Services", ["services/README.md", *services]),
        ("More", [n for n in rest if n != "services/README.md"]),
    )
    return "\n".join(
        f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
        + "\n".join(name.removesuffix(".md") for name in names)
        + "\n```\n"
        for caption, names in trees
        if names
    )


def _kept(page: Path, source: Path, found: re.Match[str]) -> str:
    """A link as it is, or its text alone where it leads out of the site."""
    text, target, heading = found.groups()
    place = (page.parent / target).resolve()
    if ":" in target:
        return found[0]
    if not place.is_relative_to(source.resolve()) or not place.exists():
        return str(text)[1:-1]
    if place.is_dir():
        return (
            f"{text}({target.rstrip('/')}/README.md{heading or ''})"
            if (place / "README.md").exists()
            else str(text)[1:-1]
        )
    return found[0]


def main(arguments: list[str] | None = None) -> int:
    """Build, and say where."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=CHECKOUT / "dist" / "site")
    print(build(parser.parse_args(arguments).out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
