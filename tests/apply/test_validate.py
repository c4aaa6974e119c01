"""What a checker says decides whether anything is touched; what one that does not get through costs, and that it gets through in the end."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler import errors
from reconciler.apply import OneShot, Validator
from reconciler.model import Container, Desired, File, Job, Validation
from reconciler.reasons import Reason
from tests.apply.bed import Node, settled

WEB = Container("web", "i", config_directory="web", validation=Validation(("check",), "#!/bin/sh\n", timeout=40))
BEFORE = Desired("site", "here", "r1", "/etc/kolla", (WEB,), files=(File("web/x.conf", "good", container="web"),))
AFTER = replace(
    BEFORE,
    revision="r2",
    containers=(replace(WEB, image="new"),),
    files=(File("web/x.conf", "bad", container="web"),),
)


class _Busy:
    """An engine on which the checker needs `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.given = seconds, list[float]()

    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
        self.given.append(job.timeout)
        if job.timeout < self.seconds:
            raise errors.Terminal("it did not end in time", reason=Reason.JobTimeout)
        return 0, ""


def test_a_checker_that_was_too_slow_has_twice_as_long(tmp_path: Path) -> None:
    engine, validator = _Busy(seconds=200), Validator()
    container = Container("nova-api", "nova-api:1", validation=Validation(("check",), timeout=60))

    def check() -> str:
        return validator.run(engine, OneShot(container, (), {}, "d", tmp_path))  # type: ignore[arg-type]

    for _ in range(2):
        with pytest.raises(errors.Terminal):
            check()
    assert check() == ""
    assert check() == "" and engine.given == [60, 120, 240, 240], "and keeps it: the next one is no quicker"


def test_there_is_an_end_to_patience(tmp_path: Path) -> None:
    engine, validator = _Busy(seconds=9e9), Validator()
    container = Container("nova-api", "nova-api:1", validation=Validation(("check",), timeout=60))
    for _ in range(6):
        with pytest.raises(errors.Terminal):
            validator.run(engine, OneShot(container, (), {}, "d", tmp_path))  # type: ignore[arg-type]
    assert max(engine.given) == 480


def test_no_file_is_laid_out_where_others_could_exchange_it(tmp_path: Path) -> None:
    """Nor is anything removed there."""
    engine, root = _Busy(seconds=0), tmp_path / "kolla"
    root.mkdir()
    root.chmod(0o777)
    there = root / ".reconciler-validate" / "check" / "kept"
    there.parent.mkdir(parents=True)
    there.touch()
    with pytest.raises(errors.Terminal) as caught:
        OneShot(Container("a", "a:1"), (), {}, "d", root).run(engine, "check", ("x",), script="", timeout=1)  # type: ignore[arg-type]
    assert caught.value.reason is Reason.FileUnsafe and not engine.given and there.exists()


class _Says:
    """An engine whose checker answers in this order."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers, self.jobs = list(answers), list[Job]()

    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
        self.jobs.append(job)
        return self.answers.pop(0)


def check(validator: Validator, engine: _Says, folder: Path, digest: str = "d", container: Container = WEB) -> str:
    return validator.run(cast(Any, engine), OneShot(container, (), {}, digest, folder))


def test_what_it_runs_is_the_image_s_own(tmp_path: Path) -> None:
    engine = _Says((0, "all is well"))
    assert check(Validator(), engine, tmp_path) == ""
    (job,) = engine.jobs
    assert (job.name, job.container.command, job.timeout) == ("reconciler-validate-web", ("check",), 40)
    assert job.container.network_mode == "none"


def test_what_it_refused_is_not_asked_again_and_another_configuration_is(tmp_path: Path) -> None:
    validator, other = Validator(), replace(WEB, name="other")
    engine = _Says((1, "reading\nx.conf: line 3: error\n"), (1, ""), (1, "of another"), (0, ""), (2, "now it is"))
    for _ in range(3):
        assert check(validator, engine, tmp_path) == "x.conf: line 3: error", "what tells most of what was said"
    assert len(engine.jobs) == 1
    assert check(validator, engine, tmp_path, "e") == "exit code 1", "one that says nothing"
    assert check(validator, engine, tmp_path, "e", other) == "of another", "another container is another matter"
    assert check(validator, engine, tmp_path, "f") == ""
    assert check(validator, engine, tmp_path, "e") == "now it is", "what passed since is not what was refused before"
    assert not engine.answers


def test_one_that_nobody_can_tell_from_another_is_asked_each_time(tmp_path: Path) -> None:
    validator, engine = Validator(), _Says((1, "no"), (0, ""))
    assert check(validator, engine, tmp_path, "") == "no"
    assert check(validator, engine, tmp_path, "") == ""


@pytest.mark.parametrize("code", [126, 127])
def test_an_image_without_the_checker_says_nothing(tmp_path: Path, code: int) -> None:
    assert check(Validator(), _Says((code, "bash: check: command not found")), tmp_path) == ""


def test_only_one_that_was_too_slow_has_more_time(tmp_path: Path) -> None:
    class Refuses(_Says):
        def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
            self.jobs.append(job)
            raise errors.Terminal("no such image", reason=Reason.ImageNotFound)

    validator, engine = Validator(), Refuses()
    for _ in range(2):
        with pytest.raises(errors.Terminal):
            check(validator, engine, tmp_path)
    assert [job.timeout for job in engine.jobs] == [40, 40]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = settled(tmp_path, BEFORE)
    made.engine.jobs.clear()
    return made


def refuses(name: str, command: Sequence[str]) -> tuple[int, str]:
    return 1, "x.conf: unknown word"


def test_what_it_refuses_touches_nothing(node: Node) -> None:
    before = node.engine.containers["web"]
    node.engine.says = refuses
    _, outcomes = node.converge(AFTER)
    assert [(one.action.verb, one.result) for one in outcomes] == [
        ("validate", "failed"), ("write", "skipped"), ("replace", "skipped")
    ]  # fmt: skip
    assert outcomes[0].reason is Reason.ConfigInvalid and outcomes[0].message == (
        "web: its own checker refuses the new configuration, so nothing was touched: x.conf: unknown word"
    )
    assert node.faults.calls == ["run reconciler-validate-web"]
    assert node.engine.containers["web"] == before and (node.root / "web/x.conf").read_text() == "good"
    assert not node.rollback.kept() and not node.state.memory().quarantine

    node.converge(AFTER)
    assert node.faults.calls == ["run reconciler-validate-web"], "nor is it asked again, pass after pass"
    node.engine.says = lambda name, command: (0, "")
    mended = replace(AFTER, revision="r3", files=(File("web/x.conf", "better", container="web"),))
    assert {outcome.result for outcome in node.converge(mended)[1]} == {"done"}
    assert node.engine.containers["web"].spec.image == "new" and (node.root / "web/x.conf").read_text() == "better"


def test_it_is_shown_the_new_files_of_its_container_alone(node: Node) -> None:
    seen: list[tuple[str, str]] = []

    def looks(name: str, command: Sequence[str]) -> tuple[int, str]:
        folder = node.root / ".reconciler-validate"
        seen.extend((str(p.relative_to(folder)), p.read_text()) for p in sorted(folder.rglob("*")) if p.is_file())
        return 0, ""

    node.engine.says = looks
    more = (Container("other", "i", config_directory="other"), File("other/y.conf", "y", container="other"))
    node.converge(replace(AFTER, containers=(*AFTER.containers, more[0]), files=(*AFTER.files, more[1])))
    folder = "reconciler-validate-web/web"
    assert seen == [(f"{folder}/reconciler-check", "#!/bin/sh\n"), (f"{folder}/x.conf", "bad")]
    assert node.engine.jobs[0][0].container.image == "new"
    assert (node.root / "web/x.conf").read_text() == "bad"
