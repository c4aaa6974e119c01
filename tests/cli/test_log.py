"""The log: JSON in a pipe, text on a terminal or when asked for, never a secret."""

import io
import json
import logging

import pytest
import structlog

from reconciler import log
from reconciler.secret import Secret
from reconciler.settings import Log


@pytest.fixture(autouse=True)
def restored() -> object:
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def test_json_lines() -> None:
    stream = io.StringIO()
    log.configure(Log(), stream)
    secret = Secret("hunter2hunter2")
    structlog.get_logger().info(
        "cycle.finished",
        revision="abc",
        password=secret,
        nested=[secret],
        problems=("one", "says hunter2hunter2"),
        places={"hunter2hunter2": ["at hunter2hunter2", 3]},
    )
    structlog.get_logger().debug("too.much")
    logging.getLogger("library").warning("says %s", "this")
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [row["event"] for row in rows] == ["cycle.finished", "library.message"]
    assert rows[0]["level"] == "info"
    assert rows[0]["password"] == "***" and rows[0]["nested"] == ["***"]
    assert rows[0]["problems"] == ["one", "says ***"] and rows[0]["places"] == {"***": ["at ***", 3]}
    assert rows[1]["message"] == "says this"
    assert "hunter2" not in stream.getvalue()


def test_text_without_values_of_variables() -> None:
    stream = io.StringIO()
    log.configure(Log(level="debug", format="text"), stream)
    password = "hunter2hunter2"
    structlog.get_logger().debug("action.done", action="start:web", message="", value=Secret(password))
    try:
        raise ValueError("no value here")
    except ValueError:
        structlog.get_logger().exception("it.failed")
    text = stream.getvalue()
    assert "action.done" in text
    assert "action=start:web" in text
    assert "message=" not in text
    assert "ValueError: no value here" in text
    assert "hunter2" not in text
    assert "\x1b" not in text
