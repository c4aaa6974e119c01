"""Every format in which the program says something, given any text at all: whole, one line where one is promised, nothing unseen."""

import io
import json
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
import structlog
from click.testing import CliRunner
from hypothesis import given, settings
from prometheus_client.parser import text_string_to_metric_families

from reconciler import errors, log, review
from reconciler.cli import problems as formats
from reconciler.cli.main import program
from reconciler.errors import Problem, SiteInvalid
from reconciler.forge.api import shorten
from reconciler.model import Action, Difference, Held, Outcome, Plan, Verb
from reconciler.reasons import Reason
from reconciler.report import Refusal, Report, RepositoryStatus, signed
from reconciler.report.metrics import Metrics
from reconciler.report.summary import history_entry, status_text
from reconciler.report.text import plan_text, plans_markdown, plans_text
from reconciler.review import text as review_text
from reconciler.review.ci_summary import Report as HostReport
from reconciler.review.ci_summary import Summary
from reconciler.review.ci_summary import junit as summary_junit
from reconciler.review.ci_summary import text as summary_text
from reconciler.review.types import Group, Review
from reconciler.settings import Log
from reconciler.text import json_text, printable
from reconciler.text import one_line as as_one_line
from reconciler.web.document import node_document
from tests.text.test_text import raw, texts

OWN = "\ufe0f"  # in the mark of a grave risk, which is the program's own


def one_line(text: str) -> None:
    assert not raw(text, OWN) and len(text.splitlines()) <= 1


def block(text: str) -> None:
    assert not raw(text, "\n\t" + OWN)
    text.encode()


def as_json(text: str) -> None:
    assert not raw(text, "\n")
    json.loads(text.encode())


def made(text: str) -> tuple[Plan, Report, Review]:
    found = (Difference(f"field {text}", text, text),)
    actions = tuple(
        Action(verb, f"{number}{text}", text, container=text, service=text, drift=True, differences=found, diff=f"--- a\n+{text}\n")
        for number, verb in enumerate((Verb.WRITE, Verb.REPLACE, Verb.REGISTER))
    )  # fmt: skip
    plan = Plan("web1", "a" * 40, actions, (Held(text, Reason.NotOwned, text, found),), (text,))
    outcomes = (Outcome(actions[0], "failed", Reason.Unhealthy, f"{text}\nlast line {text}"),)
    report = Report(
        "small", text, "a" * 40, datetime(2026, 1, 1, tzinfo=UTC), 1.0, "command", True, RepositoryStatus(False, "b" * 40, Reason.GitFailed, text),
        plan=plan, outcomes=outcomes, refusal=Refusal("b" * 40, Reason.SiteInvalid, text, (text,)), failure=(Reason.InternalError, text),
        subject=text, author=text, suspended=text, warnings=(text,), explained={text: text},
    )  # fmt: skip
    problem = Problem(text, 1, 1, text, text)
    whole = Review(
        site=text, base=text, head=text, path=text, hosts=("web1",), groups=(Group(("web1",), plan, ("a", "b", "c"), (True,) * 3),), policy=found,
        warnings=(problem,), joined=(text,), left=(text,), rotated={text: ("web1",)},
    )  # fmt: skip
    return plan, report, whole


@given(texts)
@settings(max_examples=60)
def test_problems(text: str) -> None:
    found = [Problem(text, 3, 1, text, text), Problem("", 0, 0, text, severity="warning")]
    for problem in found:
        one_line(str(problem))
    said = formats.text(found, 1)
    block(said)
    assert len(said.split("\n")) == 3
    as_json(json_text(formats.as_json(found, 1, [text])))
    as_json(formats.code_quality(found, text))
    xml = formats.junit(found)
    block(xml)
    ElementTree.fromstring(xml.encode())
    block(str(SiteInvalid(found)))
    block(str(errors.Terminal(text, reason=Reason.SiteInvalid)))
    one_line(errors.root_cause(OSError(5, text)))


@given(texts)
@settings(max_examples=60)
def test_plans_and_reviews(text: str) -> None:
    plan, _, whole = made(text)
    for action in plan.actions:
        one_line(action.line)
    lines = plan_text(plan).split("\n")
    assert len(lines) == len(plan_text(made("x")[0]).split("\n")) + 3 * text.count("\n")  # a diff has lines of its own
    for said in ("\n".join(lines), plans_text([plan]), plans_markdown([plan]), review_text.groups_text(whole)):
        block(said)
    for changed in (whole, Review(**{**_fields(whole), "problems": (Problem(text, 1, 1, text),), "failure": text})):  # type: ignore[arg-type]
        block(review.note(changed))
        block(review.page(changed))
        as_json(json_text(review.as_json(changed)))


def _fields(whole: Review) -> dict[str, object]:
    return {name: getattr(whole, name) for name in Review.__dataclass_fields__}


@given(texts)
@settings(max_examples=60)
def test_reports(text: str) -> None:
    _, report, _ = made(text)
    for status in status_text(report):
        one_line(shorten(status.description, 255))
    one_line(as_one_line(text, limit=200))
    line = signed.encode(signed.statement(report, None))
    assert line.count(b"\n") == 1
    json.loads(line)
    entry = history_entry(report)
    as_json(json_text(entry))
    as_json(json_text(node_document(report, [entry or {}], {})))
    metrics = Metrics()
    metrics.report(report, {text: text})
    metrics.certificate_ends({(text, text): 1.0})
    exposed = metrics.text()[0].decode()
    assert not raw(exposed, "\n")
    assert list(text_string_to_metric_families(exposed))
    summary = Summary(text, "a" * 40, (HostReport(text, "failed", shorten(text, 255)),))
    block_of = summary_text(summary)
    block(printable(block_of, keep_newlines=True))
    ElementTree.fromstring(summary_junit(summary).encode())


@given(texts)
@settings(max_examples=60)
def test_the_log(text: str) -> None:
    for kind in ("text", "json"):
        stream = io.StringIO()
        log.configure(Log(format=kind), stream)
        try:
            structlog.get_logger().info("it.happened", message=text, several=[text], nested={text: text})
            raised = ValueError(text)
            structlog.get_logger().error("it.failed", exc_info=raised)
        finally:
            structlog.reset_defaults()
        said = stream.getvalue()
        block(said)
        if kind == "json":
            assert [json.loads(line)["event"] for line in said.splitlines()] == ["it.happened", "it.failed"]
        else:
            assert len(said.split("\n")[0].splitlines()) == 1 and "it.happened" in said.split("\n")[0]


def test_what_nobody_foresaw_is_said_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: Any) -> None:
        raise ZeroDivisionError("what it holds is nobody's business")

    monkeypatch.setattr("reconciler.cli.site.in_child", fails)
    result = CliRunner().invoke(program, ["validate", "."])
    assert result.exit_code == 2
    assert "validate met a defect of this program: ZeroDivisionError at site.py:" in result.output
    assert "nobody's business" not in result.output and "Traceback" not in result.output
