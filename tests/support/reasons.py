"""The parts of docs/operations.md that are made from the set of reasons: `python -m tests.support.reasons` writes them."""

import re

from reconciler import reasons
from tests.support.paths import CHECKOUT

PAGE = CHECKOUT / "docs" / "operations.md"


def page(text: str) -> str:
    """The page with its generated parts as they should be; what people wrote in it stays."""
    for name, content in (("reasons", reasons.tables()), ("blame", reasons.blame_table())):
        part = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(\n<!-- end -->)", re.DOTALL)
        if len(part.findall(text)) != 1:
            raise ValueError(f"{PAGE.name} has no place for the part {name!r}, or several")
        text = part.sub(lambda found, content=content: f"{found[1]}\n{content}\n{found[2]}", text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
