"""The tutorial's pictures, taken with a real browser while the day goes on."""

from collections.abc import Callable
from pathlib import Path

import jinja2
from markdown_it import MarkdownIt

from tests.day import steps
from tests.day.bed import Day, DayFailed
from tests.review.browser import Browser, browser, missing
from tests.support.lab import wait_for

_PAGE = Path(__file__).with_name("note.html.j2")
_TEXTS = """
const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) if (walk.currentNode.data.trim()) found.push(walk.currentNode);
"""


def take(day: Day, step: steps.Step, folder: Path) -> None:
    """Take the picture that belongs to a step that was just carried out, if there is one. Raises DayFailed."""
    found: dict[steps.Step, Callable[[Day, Browser], None]] = {steps.propose: _note, steps.drift: _drift}
    if step not in found:
        return
    what = found[step]
    if absent := missing():
        raise DayFailed(f"pictures need a browser: run `apt-get install --no-install-recommends {absent}`")
    with browser() as window:
        window.scheme("light")
        what(day, window)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"tutorial-{what.__name__.lstrip('_')}.png").write_bytes(window.picture())


def _note(day: Day, window: Browser) -> None:
    note = MarkdownIt("commonmark", {"html": True}).enable("table").render(day.stable.text(day.pictures["note"]))
    page = day.root / "note.html"
    page.write_text(
        jinja2.Environment(autoescape=False)
        .from_string(_PAGE.read_text())
        .render(note=note, number=1, branch="more-cache", title=day.project.merge_requests[0].title)
    )
    window.screen(980, 400)
    window.open(page)
    window.run("document.querySelectorAll('details').forEach((one, i) => { one.open = i != 1; })")
    _fit(window, 980)


def _drift(day: Day, window: Browser) -> None:
    window.screen(1120, 400)
    window._post("url", url=day.pictures["drift"])
    wait_for(
        "the page to show the drift", lambda: "stopped by hand" in window.run("return document.body.innerText"), 30
    )
    _fit(window, 1120)
    # With the times and commits of the text around it. The page draws itself anew when there is news; now there is none.
    texts = window.run(f"{_TEXTS} return found.map((node) => node.data)")
    window.run(
        f"{_TEXTS} found.forEach((node, i) => {{ node.data = arguments[0][i]; }})", [_told(day, t) for t in texts]
    )


def _told(day: Day, text: str) -> str:
    lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return f"{lead}{day.stable.text(text.strip(), spans=False)}{trail}"


def _fit(window: Browser, width: int) -> None:
    """Make the screen as high as the page, up to a limit."""
    window.screen(width, min(1400, int(window.run("return document.documentElement.scrollHeight"))))
