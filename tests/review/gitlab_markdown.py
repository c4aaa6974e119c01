"""What GitLab would make of a note, as far as it acts on it: a CommonMark parser, and a look at what is not inside code."""

import re
from html.parser import HTMLParser

from markdown_it import MarkdownIt

_INERT = {"code", "pre"}
# What our own notes are made of; anything else came from a branch.
_ALLOWED = {
    "h3", "h4", "p", "strong", "em", "code", "pre", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "details",
    "summary", "b", "sub", "br",
}  # fmt: skip
_ALLOWED_ATTRIBUTES = {("code", "class"), ("th", "style"), ("td", "style")}
# Mentions, references (issue, merge request, label, milestone, snippet, epic, alert …), addresses, emoji, tables of contents.
_REFERENCE = re.compile(
    r"@[\w.-]+|(?<![\w&])[#!$&%~^*][\w\"{]+|https?:|www\.|:[a-z_+-]+:|\[\[|\{\{|GL-\d|[\w.-]+@[\w-]+\.\w+|[0-9a-f]{7,40}(?![\w…])"
)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _ALLOWED:
            self.found.append(f"<{tag}>")
        self.found += [f"{tag} {name}={value}" for name, value in attrs if (tag, name) not in _ALLOWED_ATTRIBUTES]
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.found.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if not _INERT & set(self.open):
            self.found += [f"reference {match[0]!r}" for match in _REFERENCE.finditer(data)]

    def handle_comment(self, data: str) -> None:
        if not data.startswith(" reconciler review of "):
            self.found.append(f"comment {data!r}")


def acted_on(note: str) -> list[str]:
    """Everything in a note that GitLab would act on or that is not of our making; empty when the note is harmless."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    reader = _Reader()
    reader.feed(parser.render(note))
    reader.close()
    found = reader.found + [f"<{tag}> stays open" for tag in reader.open]
    # Whatever a version of GitLab thinks of fences: a command stands at the start of a line.
    found += [f"command {line!r}" for line in note.splitlines() if re.match(r"/\w", line)]
    return found
