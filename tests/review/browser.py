"""A headless Chromium, driven through chromedriver's WebDriver interface with plain HTTP requests.

python -m tests.review.browser DIR     takes the pictures of docs/images/ into DIR
"""

import base64
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import requests

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


def missing() -> str:
    """What is to be installed before `browser` works; "" when nothing is."""
    absent = [
        package
        for package, program in (("chromium", "chromium"), ("chromium-driver", "chromedriver"))
        if not shutil.which(program)
    ]
    return " ".join(absent)


@dataclass(frozen=True, slots=True)
class Browser:
    """One window. `log` is what the page complained about: policy violations, script errors, refused requests."""

    session: str

    def open(self, page: Path) -> None:
        self.visit(page.as_uri())

    def visit(self, url: str) -> None:
        """Go there, and return when the page is loaded."""
        self._post("url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that the body of a function returns in the page."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def press(self, keys: str) -> None:
        """Type into what has the focus."""
        element = requests.get(f"{self.session}/element/active", timeout=30).json()["value"][_ELEMENT]
        self._post(f"element/{element}/value", text=keys)

    def screen(self, width: int, height: int, *, phone: bool = False) -> None:
        """Make the window a screen of that many CSS pixels."""
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.devtools("Emulation.setDeviceMetricsOverride", values)

    def scheme(self, name: Literal["light", "dark"]) -> None:
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.devtools("Emulation.setEmulatedMedia", {"features": features})

    def picture(self) -> bytes:
        """What is on the screen, as PNG."""
        data = requests.get(f"{self.session}/screenshot", timeout=60).json()["value"]
        return base64.b64decode(data)

    def log(self) -> list[str]:
        return [row["message"] for row in self._post("se/log", type="browser")]

    def devtools(self, command: str, values: dict[str, Any]) -> Any:
        return self._post("goog/cdp/execute", cmd=command, params=values)

    def _post(self, path: str, **body: Any) -> Any:
        answer = requests.post(f"{self.session}/{path}", json=body, timeout=60).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"{path}: {answer['message']}")
        return answer


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A new browser with an empty profile; both programs are ended and the profile is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="review-browser-", ignore_cleanup_errors=True) as profile:
        driver, port = _driver(profile)
        try:
            root = f"http://127.0.0.1:{port}"
            options = {"args": [*FLAGS, f"--user-data-dir={profile}/data"], "binary": shutil.which("chromium")}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            answer = requests.post(
                f"{root}/session", json={"capabilities": {"alwaysMatch": wanted}}, timeout=60
            ).json()["value"]
            if "sessionId" not in answer:
                raise AssertionError(f"no browser: {answer.get('message')}")
            session = f"{root}/session/{answer['sessionId']}"
            try:
                yield Browser(session)
            finally:
                requests.delete(session, timeout=30)
        finally:
            driver.terminate()
            driver.wait(10)
            assert driver.stdout
            driver.stdout.close()


def _environment(home: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": home, "LANG": "C.UTF-8"}


def _driver(profile: str) -> tuple[subprocess.Popen[str], int]:
    """A chromedriver and its port. It takes the same free port for two protocols, and ends when somebody has one of them: then again."""
    said = ""
    for _ in range(3):
        driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environment(profile),
        )
        assert driver.stdout
        for line in driver.stdout:
            said += line
            if "started successfully on port" in line:
                return driver, int(line.rstrip(".\n").rpartition(" ")[2])
        driver.stdout.close()
        said += f"ended with {driver.wait(10)}\n"
    raise AssertionError(f"chromedriver did not start: {said}")


def pictures(folder: Path) -> None:
    """The sample's page on a desk and on a phone, in light and dark."""
    from markdown_it import MarkdownIt

    from reconciler.review import note, page

    from .sample import review

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, browser() as window:
        file = Path(place, "plan.html")
        file.write_text(page(review()))

        def take(name: str) -> None:
            (folder / f"review-{name}.png").write_bytes(window.picture())

        for name, scheme, width, height in (
            ("desktop", "light", 1180, 980), ("dark", "dark", 1180, 980), ("phone", "dark", 390, 844),
        ):  # fmt: skip
            window.scheme("light" if scheme == "light" else "dark")
            window.screen(width, height, phone=name == "phone")
            window.open(file)
            take(name)
        window.scheme("light")
        window.screen(1180, 900)
        window.open(file)
        window.run("document.querySelector('#search').value = 'cmp7'; form.dispatchEvent(new Event('input'));"
                   "document.querySelector('#folds').click(); document.querySelector('.filters').scrollIntoView();")  # fmt: skip
        take("filtered")
        window.screen(390, 844, phone=True)
        window.run("document.querySelector('[data-item=change]:not([hidden])').scrollIntoView();")
        take("phone-diff")
        file.write_text(_NOTE.format(MarkdownIt("commonmark", {"html": True}).enable("table").render(note(review()))))
        window.screen(980, 1150)
        window.open(file)
        window.run("document.querySelectorAll('details')[4].open = document.querySelectorAll('details')[7].open = true")
        take("note")


# Something like the style that GitLab gives notes: its own is not ours to copy.
_NOTE = """<!doctype html><meta charset="utf-8"><style>
body {{ font: 14px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #333238; margin: 20px; }}
div {{ border: 1px solid #dcdcde; border-radius: 4px; padding: 4px 16px 12px; }}
code {{ background: #ececef; border-radius: 4px; padding: 2px 4px; font-size: 12.5px; }}
pre {{ background: #fbfafd; border: 1px solid #dcdcde; border-radius: 4px; padding: 8px 12px; }} pre code {{ background: none; padding: 0; }}
table {{ border-collapse: collapse; }} td, th {{ border: 1px solid #dcdcde; padding: 6px 10px; text-align: left; }}
th {{ background: #ececef; }} details {{ margin: 8px 0; }} summary {{ cursor: pointer; }} ul {{ padding-left: 22px; }}
</style><div>{}</div>"""


if __name__ == "__main__":
    pictures(Path(sys.argv[1]))
