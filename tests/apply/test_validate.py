"""What a checker that does not get through costs, and that it gets through in the end."""

from pathlib import Path

import pytest

from reconciler import errors
from reconciler.apply import OneShot, Validator
from reconciler.model import Container, Job, Validation
from reconciler.reasons import Reason


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
