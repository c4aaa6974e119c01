"""The one door: whatever others say comes through it before it is cut, and whatever is made of it comes through once more."""

import ast
import base64
import dataclasses
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker.errors
import pymysql
import pytest

from reconciler import codec, errors, foreign, model
from reconciler.engine import faults, health, logs
from reconciler.forge.client import Answer
from reconciler.model import Action, CheckResult, Condition, Difference, Held, JobResult, Outcome, Verb
from reconciler.reasons import Reason
from reconciler.registrations.failures import denied, not_yet, of_status, refused, unreachable
from reconciler.registrations.mariadb.backend import MariaDB
from reconciler.registrations.protocol import Connection
from reconciler.secret import Secret, keep, known
from reconciler.system import run

VALUE = "pA$$'w/" + secrets.token_urlsafe(30)
FILLER = "x" * 280 + " "  # so that what follows is cut in the middle by whoever cuts first


@pytest.fixture(scope="module", autouse=True)
def alive() -> Secret:
    return Secret(VALUE)


def _error(error: BaseException) -> str:
    return str(error)


def _mariadb(text: str) -> str:
    server = MariaDB(Connection({"host": "h", "username": "root", "password": VALUE}))
    return str(server._failure(pymysql.OperationalError(1064, text)))


MAKERS: dict[str, Callable[[str], object]] = {
    "Terminal": lambda text: errors.Terminal(text, reason=Reason.EngineRefused),
    "Transient": lambda text: errors.Transient(text, reason=Reason.EngineRefused),
    "SiteInvalid": lambda text: errors.SiteInvalid([errors.Problem("f", 1, 1, text)]),
    "root cause": lambda text: errors.root_cause(OSError(text)),
    "wrapped": lambda text: errors.root_cause(ValueError(ConnectionError(text))),
    "stderr": lambda text: run.Completed(1, b"", text.encode()).message,
    "engine": lambda text: faults.translate(docker.errors.APIError("no", explanation=text), doing="start x"),
    "pull": lambda text: faults.explain(text, doing="pull x", image="r.example/x:1"),
    "engine gone": lambda text: faults.unreachable(OSError(text)),
    "log": lambda text: logs._last(text.encode(), 5),
    "health": lambda text: health._state({"State": {"Status": "x", "Health": {"Status": "y", "Log": [{"Output": text}]}}}),
    "forge": lambda text: Answer(400, {"message": text}, False).message,
    "forge list": lambda text: Answer(400, {"error": [text]}, False).message,
    "mariadb": _mariadb,
    "registrar unreachable": lambda text: unreachable(f"x at {text}", text),
    "registrar denied": lambda text: denied(f"x at {text}", text, text),
    "registrar refused": lambda text: refused(text, text),
    "registrar later": lambda text: not_yet(text, text),
    "registrar status": lambda text: of_status("t", text, 418, text),
    "outcome": lambda text: Outcome(Action(Verb.START, "x", "y"), "failed", Reason.EngineRefused, text),
    "check": lambda text: CheckResult("a", "b", False, text),
    "held": lambda text: Held("x", Reason.Unknown, text),
    "condition": lambda text: Condition("Ready", False, Reason.EngineRefused, text, datetime.now(UTC)),
    "job": lambda text: JobResult("x", False, datetime.now(UTC), text),
    "difference": lambda text: Difference("environment.X", "a", text),
    "cause": lambda text: Action(Verb.WRITE, "x", text),
    "diff": lambda text: Action(Verb.WRITE, "x", "y", diff=f"-{text}"),
    "read back": lambda text: codec.from_json(CheckResult, {"name": "a", "service": "b", "ok": False, "message": text}),
}  # fmt: skip


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("before", ["", FILLER])
def test_no_maker_lets_a_secret_through(maker: str, before: str) -> None:
    for spelled in (
        VALUE,
        json.dumps({"p": VALUE}),
        base64.b64encode(f"u:{VALUE}".encode()).decode(),
        VALUE.encode().hex(),
    ):
        made = MAKERS[maker](f"{before}password {spelled} end")
        shown = str(made) if isinstance(made, str | BaseException) else f"{made!r} {json.dumps(codec.to_json(made))}"
        part = spelled.strip('{}" ')[12:24]
        assert VALUE not in shown and part not in shown, shown


def test_controls_do_not_pass(alive: Secret) -> None:
    shown = str(errors.Terminal("a\x1b[2Jb\r\nc\u202ed", reason=Reason.EngineRefused))
    assert "\x1b" not in shown and "\r" not in shown and "\u202e" not in shown and "\n" in shown
    assert foreign.said(foreign.said("a\x1bb\\")) == foreign.said("a\x1bb\\")


def test_what_is_rotated_away_stays_known() -> None:
    value = secrets.token_urlsafe(30)
    keep([Secret(value)])
    assert known()(f"still {value}") == "still ***"
    gone = secrets.token_urlsafe(30)
    Secret(gone)
    Secret("something else")
    assert known()(gone) == gone


def test_a_cut_log_begins_with_a_whole_line() -> None:
    """The rest of a secret is not recognised as one."""
    text = b"x" * 10 + VALUE.encode() + b"\nsecond\n" + b"y" * 50
    assert foreign.whole_lines(text, 90) == b"second\n" + b"y" * 50
    assert foreign.whole_lines(b"a\nb", 90) == b"a\nb"


def test_every_message_of_a_report_comes_through() -> None:
    """A field that tells what happened, in any class that reports are made of, is cleaned when it is made."""
    for kind in vars(model).values():
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            names = {item.name for item in dataclasses.fields(kind)}
            assert not names & {"message", "cause"} or hasattr(kind, "__post_init__"), kind


ADAPTERS = ("engine", "registrations", "forge", "node/probe.py", "system/run.py", "node/host.py")


def test_adapters_decode_nothing_past_the_door() -> None:
    """Bytes of others become text in foreign.py; a name of a path or a header is read strictly."""
    root = Path(errors.__file__).parent
    for path in (file for name in ADAPTERS for file in ([root / name] if "." in name else (root / name).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "decode":
                lenient: list[Any] = [keyword for keyword in node.keywords if keyword.arg == "errors"]
                assert not lenient, f"{path}:{node.lineno} decodes what others said: use foreign.said"
