"""The dashboard as a person sees it: in a real browser, from the login page to the list of servers."""

import time
from collections.abc import Callable

from tests.demo.bed import DemoFailed
from tests.review.browser import Browser

_LOGIN = """
const [user, password] = arguments;
const field = (name) => document.querySelector(`[name=${name}]`);
field("username").value = user;
field("password").value = password;
const domain = field("domain");
if (domain) domain.value = "Default";
field("username").form.querySelector("[type=submit]").click();
"""


def log_in(browser: Browser, url: str, user: str, password: str) -> None:
    """From the login page to the first page that shows something. Raises DemoFailed with what the page says."""
    browser.visit(url)
    _wait(browser, "a login page", lambda: browser.run("return !!document.querySelector('[name=username]')"))
    browser.run(_LOGIN, user, password)
    _wait(browser, "somebody logged in", lambda: browser.run("return !document.querySelector('[name=password]')"))


def servers(browser: Browser, url: str) -> list[str]:
    """The names in the list of the project's servers."""
    browser.visit(f"{url}/project/instances/")
    rows = "return [...document.querySelectorAll('#instances tbody tr[data-object-id]')].map(r => r.innerText)"
    _wait(browser, "a list of servers", lambda: browser.run(rows))
    return [str(row).split()[0] for row in browser.run(rows)]


def _wait(browser: Browser, what: str, ready: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            text = browser.run("return document.body.innerText")
            raise DemoFailed(f"the dashboard shows no sign of {what}: {' '.join(str(text).split())[:400]}")
        time.sleep(0.5)
