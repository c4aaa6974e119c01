"""The signed report: made by the program, judged by OpenSSH itself, and the other way round."""

import stat
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.model import Action, Condition, Interruption, Outcome, Plan, Verb
from reconciler.reasons import Reason
from reconciler.report import Refusal, Report, RepositoryStatus, StatusText, signed
from reconciler.web import Request, report_handlers
from reconciler.web.node import _busy_at
from tests.fleet.hosts import Key
from tests.git import servers

COMMIT = "a" * 40
NOW = datetime(2026, 11, 3, 3, 0, tzinfo=UTC)


def report(**changes: Any) -> Report:
    ready = Condition("Ready", True, Reason.Converged, "1 container as wanted", NOW)
    plan = Plan("n0", COMMIT, (), (), ())
    values = {"plan": plan, "containers": 1, "conditions": (ready,), "seconds": 2.0, **changes}
    return Report(
        "north", "n0", COMMIT, NOW, trigger="interval", deep=False, source=RepositoryStatus(True, COMMIT), **values
    )  # type: ignore[arg-type]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    servers.ssh_key(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def allowed(tmp_path: Path, key: Path) -> Path:
    file = tmp_path / "allowed_signers"
    public = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    file.write_text(f'n0 namespaces="{signed.NAMESPACE}" {public}\n')
    return file


def test_what_was_said_before_a_merge_goes_with_it(key: Path, allowed: Path) -> None:
    ahead = StatusText("b" * 40, "failed", "before it is merged: held by ready\n(3 passed)", "held", "upgrade")
    made = signed.Signer(key, lambda: (report(), None), ahead=lambda: ahead)
    said = signed.verify(made.answer() or b"", "north", "n0", allowed)
    assert said.ahead and said.ahead.commit == "b" * 40 and "\n" not in said.ahead.description
    assert said.status("b" * 40) is None, "it is none of the revision's"
    for wrong in (replace(ahead, commit="upgrade"), replace(ahead, state="odd"), replace(ahead, branch="x" * 500)):  # type: ignore[arg-type]
        with pytest.raises(errors.Terminal, match="of another shape"):
            signed.decode(signed.encode(replace(said, ahead=wrong)))


def test_how_long_restarts_were_felt(key: Path, allowed: Path) -> None:
    """By container, bounded: whoever reads it shows it among what others say."""
    felt = {f"c{number}": Interruption(9.5, 3) for number in range(400)}
    said = signed.statement(report(), None, felt)
    assert len(said.interruptions) == 300
    answer = signed.sign(signed.encode(said), key)
    assert len(answer) < signed.MAX_BYTES and signed.verify(answer, "north", "n0", allowed) == said
    for name, found in (
        ("a b", felt["c1"]),
        ("c1", Interruption(-1.0, 1)),
        ("c1", Interruption(1e9, 1)),
        ("c1", Interruption(1.0, 0)),
    ):
        with pytest.raises(errors.Terminal) as caught:
            signed.decode(signed.encode(replace(said, interruptions={name: found})))
        assert caught.value.reason == Reason.ReportMalformed


def test_what_a_report_says() -> None:
    said = signed.statement(report())
    assert said.at == NOW + timedelta(seconds=2) and not said.busy
    text = said.status(COMMIT)
    assert text and (text.state, text.description) == ("success", "1 containers, 0 changed in 2.0 s")
    refused = report(refusal=Refusal("b" * 40, Reason.SiteInvalid, "globals.yml:1:1: no"))
    assert [(s.commit, s.state) for s in signed.statement(refused).statuses] == [
        ("b" * 40, "failed"),
        (COMMIT, "success"),
    ]
    outcome = Outcome(Action(Verb.START, "web", "was stopped"), "failed", Reason.Unhealthy, "line\n" * 500)
    long = signed.statement(report(outcomes=(outcome,)))
    assert long.statuses[0].state == "failed" and len(long.statuses[0].description) <= 400
    later = NOW + timedelta(minutes=5)
    assert signed.statement(report(), later).at == later and signed.statement(report(), later).busy


def test_openssh_verifies_it_by_hand(tmp_path: Path, key: Path, allowed: Path) -> None:
    """The commands of docs/operations.md."""
    (tmp_path / "report").write_bytes(signed.sign(signed.encode(signed.statement(report())), key))
    script = (
        "head -n 1 report > line; tail -n +2 report > signature; "
        f"ssh-keygen -Y verify -f {allowed} -I n0 -n reconciler-report -s signature < line"
    )
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('Good "reconciler-report" signature for n0')


def test_both_ways(tmp_path: Path, key: Path, allowed: Path) -> None:
    said = signed.statement(report())
    answer = signed.sign(signed.encode(said), key)
    assert signed.verify(answer, "north", "n0", allowed) == said
    # Made without OpenSSH, after its description of the format.
    other = Key()
    allowed.write_text(f'n0 namespaces="{signed.NAMESPACE}" {other.public}\n')
    assert signed.verify(other.sign(signed.encode(said)), "north", "n0", allowed) == said
    with pytest.raises(errors.Terminal) as caught:
        signed.verify(answer, "north", "n0", allowed)
    assert caught.value.reason == "ReportForged" and "SHA256:" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{}\n", "ReportMalformed"),
        (b"[1]\n", "ReportMalformed"),
        (b"\xff\n", "ReportMalformed"),
        (b'{"kind":"reconciler-report","version":2}\n', "ReportMalformed"),
        (
            b'{"kind":"reconciler-report","version":1,"site":"north","host":"n0","at":5,"commit":""}\n',
            "ReportMalformed",
        ),
        (
            b'{"kind":"reconciler-report","version":1,"site":"north","host":"n0","at":"2026-11-03T03:00:00","commit":""}\n',
            "ReportMalformed",  # no time zone
        ),
        (
            b'{"kind":"reconciler-report","version":1,"site":"north","host":"n0","at":"2026-11-03T03:00:00Z","commit":"",'
            b'"statuses":[{"commit":"a","state":"owned","description":"","key":""}]}\n',
            "ReportMalformed",
        ),
        (b"[" * 30_000 + b"\n", "ReportMalformed"),
    ],
)
def test_a_host_may_sign_nonsense(tmp_path: Path, line: bytes, reason: str) -> None:
    key, allowed = Key(), tmp_path / "allowed"
    allowed.write_text(f"n0 {key.public}\n")
    with pytest.raises(errors.Terminal) as caught:
        signed.verify(key.sign(line), "north", "n0", allowed)
    assert caught.value.reason == reason


def test_a_key_for_one_thing_is_not_one_for_another(tmp_path: Path, key: Path) -> None:
    """What signs commits does not sign reports, and a host's name is no pattern."""
    answer = signed.sign(signed.encode(signed.statement(report())), key)
    public = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    for line in (f'n0 namespaces="git" {public}', f"n1 {public}", f"!n0 {public}", ""):
        (tmp_path / "allowed").write_text(line + "\n")
        with pytest.raises(errors.Terminal):
            signed.verify(answer, "north", "n0", tmp_path / "allowed")


def test_a_key_that_cannot_be_used(tmp_path: Path, key: Path) -> None:
    readable = tmp_path / "readable"
    readable.write_bytes(key.read_bytes())
    readable.chmod(stat.S_IRUSR | stat.S_IROTH)
    for file in (tmp_path / "none", readable):
        with pytest.raises(errors.Terminal) as caught:
            signed.sign(b"x\n", file)
        assert caught.value.reason == "ReportKeyUnusable" and str(file) in str(caught.value)
        answer = report_handlers(signed.Signer(file, lambda: (report(), None)))["/report"](
            Request("/report", {}, "::1")
        )
        assert (answer.code, answer.body.split(b";")[0]) == (503, b"ReportKeyUnusable")


def test_one_signature_for_one_thing_said(key: Path, allowed: Path) -> None:
    said = (
        [(None, None)] * 1 + [(report(), None)] * 2 + [(report(seconds=3.0), None), (replace(report(), site=""), None)]
    )
    signer = signed.Signer(key, lambda: said.pop(0))  # type: ignore[arg-type, return-value]
    assert signer.answer() is None
    first = signer.answer()
    assert first and signer.answer() is first
    assert signer.answer() not in (None, first)
    assert signer.answer()  # a node that does not know its site may still say what is wrong


def test_a_pass_that_takes_long_is_no_sign_of_death() -> None:
    assert _busy_at(None, NOW) is None
    assert _busy_at(NOW - timedelta(seconds=15), NOW) is None
    assert _busy_at(NOW - timedelta(seconds=60), NOW + timedelta(seconds=7)) == NOW  # to ten seconds


def test_reasons_of_texts() -> None:
    text = StatusText(COMMIT, "success", "x", "converged")
    said = signed.Statement("north", "n0", NOW, COMMIT, (text,), Reason.Converged)
    assert signed.decode(signed.encode(said)) == said
