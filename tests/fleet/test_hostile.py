"""Hosts that say odd things, each beside a host that is well: it costs the view of nobody but themselves."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.fleet.metrics import Metrics
from reconciler.fleet.reporter import Round
from reconciler.report import StatusText, signed
from tests.fleet.conftest import Fleet
from tests.fleet.hosts import Host, converged

Make = Callable[..., Fleet]
HEAD = "HEAD"  # stands for the commit in what is signed below
ODD = "ok\n\x1b[2J\x1b]0;owned\x07n1  rack0  converged\u202e\ud800\x00\u2028 @all <script>"


def line(host: str, head: str, /, *, raw: str = "", **changes: Any) -> bytes:
    """What a host signs: a sound statement with some fields replaced; `raw` is put where "RAW" stands."""
    status = {"commit": head, "state": "success", "description": "3 containers", "key": "converged"}
    content = {
        "kind": "reconciler-report", "version": 1, "site": "north", "host": host, "at": datetime.now(UTC).isoformat(),
        "commit": head, "reason": "Converged", "statuses": [status], **changes,
    }  # fmt: skip
    return json.dumps(content).replace('"RAW"', raw).replace(HEAD, head).encode() + b"\n"


def status(**changes: Any) -> list[dict[str, Any]]:
    return [{"commit": HEAD, "state": "success", "description": "x", "key": "k", **changes}]


REFUSED: dict[str, dict[str, Any]] = {
    "not a number": {"busy": "RAW", "raw": "NaN"},
    "infinity": {"version": "RAW", "raw": "Infinity"},
    "a huge number": {"busy": "RAW", "raw": "9" * 5000},
    "a huge float": {"busy": "RAW", "raw": "1e999"},
    "a negative count": {"busy": -1},
    "a doubled name": {"busy": "RAW", "raw": 'false, "host": "n0"'},
    "deep": {"busy": "RAW", "raw": "[" * 20_000 + "]" * 20_000},
    "a deep object": {"statuses": "RAW", "raw": '{"a":' * 5000 + "1" + "}" * 5000},
    "another type": {"statuses": {"commit": HEAD}},
    "a text for a list": {"statuses": "success"},
    "a number for a list": {"statuses": 7},
    "nothing for a list": {"statuses": None},
    "nothing in a list": {"statuses": [None]},
    "many statuses": {"statuses": status() * 50},
    "an unknown field of a status": {"statuses": status(owned=True)},
    "another state": {"statuses": status(state="owned")},
    "a list as a state": {"statuses": status(state=["success"])},
    "another commit": {"statuses": status(commit="main")},
    "a commit in force that is none": {"commit": "../../etc\n"},
    "a number as a text": {"statuses": status(description=5)},
    "a long text": {"statuses": status(description="x" * 5000)},
    "a long reason": {"reason": "x" * 5000},
    "a reason of lines": {"reason": "Converged\nn1 converged"},
    "a reason with a label's end": {"reason": 'x"} 1\nreconciler_fleet_hosts{state="converged'},
    "a long name": {"host": "n" * 30_000},
    "the year 10^9": {"at": "1000000000-01-01T00:00:00+00:00"},
    "the year 9999": {"at": "9999-12-31T23:59:59-23:59"},
    "the year 1": {"at": "0001-01-01T00:00:00+23:59"},
    "no time": {"at": "yesterday"},
    "no zone": {"at": "2026-11-03T03:00:00"},
    "a number as a time": {"at": 1e308},
    "a list of names": {"host": ["n1"]},
    "nothing": {"host": None},
    "another kind": {"kind": {"a": ODD}},
    "a version of lines": {"program": "0.3.1\nn1 converged"},
    "a long version": {"program": "1" * 65},
    "a number as a version": {"program": 1},
    "no digest of a catalogue": {"catalogue": "../../etc"},
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_statement_that_is_none(what: str) -> None:
    changes = dict(REFUSED[what])
    with pytest.raises(errors.Terminal) as caught:
        signed.decode(line("n1", "a" * 40, **changes))
    assert caught.value.reason == "ReportMalformed"
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


def test_a_newer_host_may_say_more_than_this_program_knows() -> None:
    """Hosts and reporters are not upgraded in one moment."""
    said = signed.decode(line("n1", "a" * 40, owned=True, program="9.9.1.dev2+g1", catalogue="c" * 64))
    assert (said.host, said.program, said.catalogue) == ("n1", "9.9.1.dev2+g1", "c" * 64)


def test_other_encodings_are_not_guessed() -> None:
    sound = line("n1", "a" * 40)
    assert signed.decode(sound).host == "n1"
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        with pytest.raises(errors.Terminal):
            signed.decode(sound.decode().encode(encoding))


def test_another_name_is_shown_as_what_it_is(tmp_path: Path) -> None:
    host = Host("n1", "127.0.0.1")
    (tmp_path / "allowed").write_text(f"n1 {host.key.public}\n")
    for changes in ({"host": ODD}, {"site": ODD}, {"host": "n2" * 100}):
        with pytest.raises(errors.Terminal) as caught:
            signed.verify(host.key.sign(line("n1", "a" * 40, **changes)), "north", "n1", tmp_path / "allowed")
        assert caught.value.reason == "ReportMismatch"
        assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_texts_are_made_printable() -> None:
    said = signed.decode(line("n1", "a" * 40, statuses=status(description=ODD, key=ODD, branch=ODD)))
    for text in (said.statuses[0].description, said.statuses[0].key, said.statuses[0].branch):
        assert text.isprintable() and text.encode() and len(text) <= 400


def once(place: Any, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reconciler", "reporter", "--once", "--config", str(place.settings), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_one_host_breaks_the_view_of_none(make_fleet: Make) -> None:
    """All of them at once, as JSON, as a table, as statuses and as the page's data."""
    fleet = make_fleet(len(REFUSED) + 3)
    hosts, place = fleet.hosts, fleet.place
    head = place.push(hosts.site())
    hosts[0].say(head, converged(head))
    hosts[1].answer = hosts[1].key.sign(line("n1", head, statuses=status(description=ODD, key=ODD)))
    hosts[2].answer = hosts[2].key.sign(
        line("n2", head, statuses=status(state="failed", description=ODD), reason="Odd")
    )
    for host, changes in zip(hosts.all[3:], REFUSED.values(), strict=True):
        host.answer = host.key.sign(line(host.name, head, **changes))
    table = once(place, "--dry-run")
    assert table.returncode == 1 and "Traceback" not in table.stderr, table.stderr
    rows = table.stdout.splitlines()
    assert len(rows) == 1 + 1 + len(hosts.all) + 1  # title, heads, hosts, sum: nobody made a row of his own
    assert sum(row.startswith("n1 ") for row in rows) == 1
    assert all(row.isprintable() for row in rows)
    shown = once(place, "--json")
    assert shown.returncode == 1 and "Traceback" not in shown.stderr, shown.stderr
    states = {one["host"]: one["state"] for one in json.loads(shown.stdout)["hosts"]}
    assert (states.pop("n0"), states.pop("n1"), states.pop("n2")) == ("converged", "converged", "failed")
    assert set(states.values()) == {"unknown"} and len(states) == len(REFUSED)
    found = fleet.look()
    assert {view.reason for view in found.views if view.state == "unknown"} == {"ReportMalformed"}
    assert all(view.message.isprintable() for view in found.views)
    ((state, text),) = fleet.rows("reconciler/north/n2", head)
    assert state == "failed" and text.isprintable() and "\\x1b" in text
    metrics = Metrics()
    metrics.take(found)
    exposed = metrics.text()[0].decode()
    assert f'reconciler_fleet_unknown_hosts{{reason="ReportMalformed"}} {len(REFUSED)}.0' in exposed
    assert "owned" not in exposed and "Odd" not in exposed


def test_whatever_happens_it_is_that_hosts_matter(make_fleet: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults of our own that nobody thought of yet, while asking and while judging."""
    fleet = make_fleet(4, forge=False)
    hosts = fleet.hosts
    head = fleet.place.push(hosts.site())
    hosts.say(head)
    verify, judge = signed.verify, sys.modules["reconciler.fleet.judge"].view

    def breaks(found: bytes, site: str, host: str, signers: Path) -> Any:
        if host in ("n1", "n2"):
            raise {"n1": RecursionError, "n2": ZeroDivisionError}[host](ODD)
        return verify(found, site, host, signers)

    def odd(member: Any, answer: Any, *rest: Any) -> Any:
        if member.host == "n3" and answer.said is not None:
            raise OverflowError(ODD)
        return judge(member, answer, *rest)

    monkeypatch.setattr(signed, "verify", breaks)
    monkeypatch.setattr("reconciler.fleet.judge.view", odd)
    found = fleet.look()
    assert fleet.states(found) == {"n0": "converged", "n1": "unknown", "n2": "unknown", "n3": "unknown"}
    assert set(fleet.reasons(found).values()) == {"Converged", "ReportMalformed"}
    assert "OverflowError" in found.views[3].message and ODD not in found.views[3].message


# --- what a host may do with a connection ------------------------------------------------------------------------------


def _endless(start: bytes, piece: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    def act(connection: socket.socket) -> None:
        connection.sendall(start)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            connection.sendall(piece)
            time.sleep(pause)

    return act


def _says(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


OK = b"HTTP/1.1 200 OK\r\n"
WIRES: dict[str, Callable[[socket.socket], None]] = {
    "an impossible length": _says(OK + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nx"),
    "a long number": _says(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nx"),
    "a negative length": _says(OK + b"Content-Length: -5\r\n\r\nx"),
    "an impossible chunk": _says(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nx"),
    "a negative chunk": _says(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nx"),
    "a short body": _says(OK + b"Content-Length: 500\r\n\r\nx"),
    "no HTTP": _says(b"\x00\xff\x16\x03\x01" * 100),
    "a long status line": _says(b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n"),
    "an odd status": _says(b"HTTP/1.1 99999999999 OK\r\n\r\n"),
    "many headers": _says(OK + b"X: y\r\n" * 2000 + b"\r\n"),
    "a switch of protocols": _says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "compressed": _says(OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b" + b"\0" * 500),
    "elsewhere": _says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"),
    "a message of lines": _says(b"HTTP/1.1 503 X\r\n\r\n" + ODD.encode(errors="replace") * 9),
    "endless headers": _endless(OK, b"X: " + b"y" * 1000 + b"\r\n"),
    "an endless body": _endless(OK + b"\r\n", b"x" * 10_000),
    "for ever 'continue'": _endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "a dripping head": _endless(b"HTTP/1.1 ", b"2", 0.05),
    "a dripping body": _endless(OK + b"\r\n", b"x", 0.05),
    "silence": _endless(b"", b"", 0.5),
}  # fmt: skip


def test_what_a_host_does_with_a_connection(make_fleet: Make) -> None:
    fleet = make_fleet(len(WIRES) + 1, forge=False)
    hosts = fleet.hosts
    head = fleet.place.push(hosts.site())
    hosts[0].say(head, converged(head))
    for host, wire in zip(hosts.all[1:], WIRES.values(), strict=True):
        host.wire = wire
    fleet.place.write(timeout=3)
    began = time.monotonic()
    found = fleet.look()
    assert time.monotonic() - began < 30
    states = fleet.states(found)
    assert states.pop("n0") == "converged" and set(states.values()) == {"unknown"}
    reasons = {"ReportUnreachable", "ReportUnavailable", "ReportMalformed"}
    for what, view in zip(WIRES, found.views[1:], strict=True):
        assert view.reason in reasons, (what, view)
        assert view.message.isprintable() and len(view.message) < 300, (what, view)
    asked = hosts.asked
    assert asked == len(hosts.all)  # nobody was asked because another one said so
    summary = found.whole
    assert summary is not None and summary.text == f"1/{len(hosts.all)} converged, {len(WIRES)} unknown"


def test_a_key_that_speaks_late_or_early(make_fleet: Make) -> None:
    """Times at the edge of what is believed break no arithmetic."""
    fleet = make_fleet(4, forge=False)
    hosts = fleet.hosts
    head = fleet.place.push(hosts.site())
    times = [
        datetime(2999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2020, 1, 1, tzinfo=UTC),
        datetime.now(UTC) + timedelta(days=1000),
    ]
    for host, at in zip(hosts.all, times, strict=False):
        host.say(head, converged(head), at=at)
    hosts[3].say(head, converged(head))
    found: Round = fleet.look()
    assert list(fleet.reasons(found).values()) == ["ReportAhead", "ReportStale", "ReportAhead", "Converged"]


def test_an_answer_is_bounded_before_it_is_read() -> None:
    host = Host("n0", "127.0.0.1")
    big = host.statement("a" * 40, *[StatusText("a" * 40, "success", "x" * 400, "k")] * 400)
    with pytest.raises(errors.Terminal) as caught:
        signed.verify(host.key.sign(signed.encode(big)), "north", "n0", Path("/nonexistent"))
    assert caught.value.reason == "ReportMalformed"
