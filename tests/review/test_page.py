"""The page in a real browser: filters, keyboard, phone, dark, no network, and that nothing of a branch runs."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.model import Action, Plan, Verb
from reconciler.review import Group, Review, page
from tests.conftest import _unavailable
from tests.support.lab import wait_for

from . import sample
from .browser import Browser, browser, missing
from .pages import foreign
from .test_views import HOSTILE

# Elements of a kind that can be seen.
SEEN = "return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility()).map((e) => e.textContent.trim());"


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    if absent := missing():
        _unavailable(f"a browser is missing: run `apt-get install --no-install-recommends {absent}`")
    with browser() as found:
        yield found


@pytest.fixture
def shown(window: Browser, tmp_path: Path) -> Browser:
    """The sample's page on a desk, fresh."""
    return show(window, sample.review(), tmp_path)


def show(window: Browser, review: Review, folder: Path) -> Browser:
    file = folder / "plan.html"
    file.write_text(page(review), encoding="utf-8", errors="replace")
    window.screen(1180, 980)
    window.scheme("light")
    window.open(file)
    return window


def names(window: Browser) -> list[str]:
    """Groups of hosts that can be seen."""
    return window.run(SEEN, "[data-item=group] .name")


def shows(window: Browser, *expected: str) -> None:
    """The page comes to show these groups of hosts: keys arrive, and a reload ends, in their own time."""
    wait_for(f"{expected}", lambda: names(window) == [*expected])


def test_it_is_one_file_without_a_sound(shown: Browser) -> None:
    assert names(shown) == ["ctl1", "ctl[2-3]", "cmp[1-37]", "cmp[38-39]"]
    assert shown.run("return performance.getEntriesByType('resource').length") == 0
    assert shown.log() == []  # no script error, no refused request, no policy violation
    assert foreign(page(sample.review())) == []


def test_search_and_filters(shown: Browser) -> None:
    shown.run("document.querySelector('#search').focus()")
    shown.press("cmp39")
    shows(shown, "cmp[38-39]")
    assert shown.run("return document.querySelector('#count').textContent") == "1 of 4 groups, 2 hosts"
    shown.press("\ue00c")  # Escape
    wait_for("all groups", lambda: len(names(shown)) == 4)
    for field, value, found in (
        ("service", "keystone", ["ctl1", "ctl[2-3]"]),
        ("risk", "migration", ["ctl1"]),
        ("risk", "data-plane", ["cmp[1-37]", "cmp[38-39]"]),
    ):
        shown.run("const f = document.querySelector('#' + arguments[0]); f.value = arguments[1];"
                  "f.dispatchEvent(new Event('input', {bubbles: true}))", field, value)  # fmt: skip
        shows(shown, *found)
        shown.run("document.querySelector('#filters').reset()")
    shown.run("document.querySelector('#search').focus()")
    shown.press("nothing of the kind")
    wait_for("the page to say so", lambda: shown.run(SEEN, "#empty") == ["Nothing matches these filters."])


def test_a_filter_is_in_the_address(shown: Browser) -> None:
    shown.run("document.querySelector('#search').focus()")
    shown.press("cmp39")
    wait_for("the filter in the address", lambda: shown.run("return location.hash") == "#search=cmp39")
    shown.run("location.reload()")
    shows(shown, "cmp[38-39]")


def test_differences_follow_the_filter(shown: Browser) -> None:
    shown.run("document.querySelector('#folds').click()")
    shown.run("document.querySelector('#search').focus()")
    shown.press("ctl2")
    wait_for("only ctl2's changes", lambda: not any("nova" in target for target in shown.run(SEEN, ".change h3 code")))
    assert "mariadb/galera.cnf" in shown.run(SEEN, ".change h3 code")


def test_keyboard_alone_is_enough(shown: Browser) -> None:
    shown.press("/")
    assert shown.run("return document.activeElement.id") == "search"
    stops = []
    for _ in range(6):
        shown.press("\ue004")  # Tab
        stops.append(shown.run("return document.activeElement.id || document.activeElement.tagName"))
    assert stops == ["service", "risk", "folds", "BUTTON", "SUMMARY", "SUMMARY"]
    shown.press("\ue007")  # Enter
    assert shown.run("return document.activeElement.parentElement.open") is True


def test_a_phone_needs_no_sideways_scrolling(shown: Browser) -> None:
    shown.screen(390, 844, phone=True)
    shown.run("document.querySelector('#folds').click()")
    assert shown.run("return document.documentElement.scrollWidth") <= 390
    small = shown.run(
        "return [...document.querySelectorAll('input, select, button, .fold > summary')].filter("
        "(e) => e.checkVisibility() && e.getBoundingClientRect().height < 38).length"
    )
    assert small == 0  # everything can be touched


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(shown: Browser, scheme: str) -> None:
    """WCAG's contrast of 4.5 for every text that can be seen."""
    shown.scheme(scheme)  # type: ignore[arg-type]
    shown.run("document.querySelector('#folds').click()")
    weak = shown.run(_CONTRAST)
    assert weak == []


_CONTRAST = """
const channel = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c;
  }
  return [255, 255, 255];
};
const weak = new Set();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.matches("script, option")) continue;
  const a = light(parse(getComputedStyle(e).color)), b = light(ground(e));
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) weak.add(`${e.tagName}.${e.className} ${contrast.toFixed(2)}`);
}
return [...weak];
"""


def test_nothing_of_a_branch_runs(window: Browser, tmp_path: Path) -> None:
    """Every hostile text in every place: the page stays what it is, and no policy violation is even tried."""
    attacks = [*HOSTILE, '"><script>document.title = "owned"</script>', "' onfocus='document.title=1' autofocus='",
               "<svg onload=\"document.title='owned'\">", "javascript:document.title='owned'"]  # fmt: skip
    attacks = [text for text in attacks if text.strip() and text.isprintable()]
    groups = []
    for number, text in enumerate(attacks):
        action = Action(Verb.WRITE, text, text, service=text, container=text, diff=f"+{text}\n-{text}", risks=(text,))  # type: ignore[arg-type]
        groups.append(Group((f"{text}{number}",), Plan(text, "", (action,)), (str(number),), (True,)))
    hosts = tuple(host for group in groups for host in group.hosts)
    found = replace(sample.review(), site=attacks[-4], path=attacks[-4], hosts=hosts, groups=tuple(groups), rotated={})
    show(window, found, tmp_path)
    window.run("document.querySelector('#folds').click()")
    assert "owned" not in window.run("return document.title").replace('owned"</script>', "")
    assert window.run("return document.querySelectorAll('script, img, svg, iframe, a').length") == 1
    assert window.log() == []
    # The policy holds should something ever get through.
    window.run(
        "const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s);"
    )
    assert window.run("return window.owned") is None
    window.run(
        "const i = document.createElement('img'); i.src = 'https://evil.example/x.png'; document.body.append(i);"
    )
    assert json.dumps(window.log()).count("Content Security Policy") == 2


def test_problems_are_shown(window: Browser, tmp_path: Path) -> None:
    from reconciler.errors import Problem

    found = Review(site="s", base="a", head="b", problems=(Problem("globals.yml", 3, 1, "unknown <b>", "mean x?"),))
    show(window, found, tmp_path)
    assert window.run(SEEN, ".problems li") == ["globals.yml:3:1 unknown <b> (mean x?)"]
    assert window.log() == []
