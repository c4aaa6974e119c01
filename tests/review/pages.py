"""What is in a page that is not ours: scripts, links, addresses, attributes that run something."""

from html.parser import HTMLParser

_TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "p", "strong", "code", "h1", "h2", "h3", "ul", "ol", "li", "main",
    "div", "section", "details", "summary", "small", "span", "table", "tr", "td", "form", "label", "input", "select", "option",
    "button", "footer", "script", "pre", "del", "ins",
}  # fmt: skip
_ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "id", "hidden", "role", "for", "type", "autocomplete",
    "placeholder", "value", "aria-pressed", "tabindex", "data-item", "data-count", "data-services", "data-risks",
    "data-hosts", "data-text", "data-box",
}  # fmt: skip
_VOID = {"meta", "input"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag not in _TAGS:
            self.found.append(f"<{tag}>")
        self.found += [f"{tag} {name}" for name, _ in attrs if name not in _ATTRIBUTES]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.found.append(f"</{tag}> closes nothing")

    def handle_comment(self, data: str) -> None:
        self.found.append(f"comment {data!r}")


def foreign(page: str) -> list[str]:
    """Empty when the page holds what we make and nothing else."""
    reader = _Reader()
    reader.feed(page.removeprefix("<!doctype html>"))
    reader.close()
    return reader.found + [f"<{tag}> stays open" for tag in reader.open] + (["scripts"] if reader.scripts != 1 else [])
