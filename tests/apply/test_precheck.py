"""What is told of a check before an upgrade that failed: what it holds against the upgrade, and not what passed."""

from pathlib import Path
from typing import Any, cast

from reconciler.apply import OneShot, precheck
from reconciler.model import Container, Job, Precheck

# As oslo.upgradecheck 2.5 writes it.
PASSED = """\
| Check: {name:<61}|
| Result: Success                                                     |
| Details: None                                                       |
+---------------------------------------------------------------------+
"""
TABLE = """\
+---------------------------------------------------------------------+
| Upgrade Check Results                                               |
+---------------------------------------------------------------------+
| Check: Policy                                                       |
| Result: Warning                                                     |
| Details: x is | old                                                 |
+---------------------------------------------------------------------+
| Check: Placement API                                                |
| Result: Failure                                                     |
| Details: There is no placement-api endpoint in the service catalog, |
|   and so nothing of this can work as it should.                     |
+---------------------------------------------------------------------+
| Check: Cells v2                                                     |
| Result: Failure                                                     |
| Details: None                                                       |
+---------------------------------------------------------------------+
""" + "".join(PASSED.format(name=f"Another {number}") for number in range(14))


class _Says:
    def __init__(self, output: str) -> None:
        self.output, self.jobs = output, list[Job]()

    def run_once(self, job: Job, claim: str = "") -> tuple[int, str]:
        self.jobs.append(job)
        return 2, self.output


def said(output: str, folder: Path) -> str:
    engine = _Says(output)
    container = Container("nova_api", "nova-api:2")
    check = Precheck("nova_status", "nova_api", ("nova-status", "upgrade", "check"), passes=(0, 1))
    found = precheck.run(cast(Any, engine), check, OneShot(container, (), {}, "d", folder))
    assert engine.jobs[0].verbatim
    return found


def test_a_table_is_told_by_what_failed(tmp_path: Path) -> None:
    assert said(f"deprecated: y\n{TABLE}", tmp_path).splitlines() == [
        "Placement API (failure): There is no placement-api endpoint in the service catalog, and so nothing of this can work as it should.",
        "Cells v2 (failure): None",
        "Policy (warning): x is | old",
    ]


def test_without_a_table_it_is_what_tells_most(tmp_path: Path) -> None:
    assert said("reading\nERROR no database\n", tmp_path) == "ERROR no database"
    assert said(TABLE[: TABLE.index("| Check")] + "| cut off", tmp_path).endswith("| cut off")
    assert said("", tmp_path) == "exit code 2"
    assert len(said("error " * 100_000, tmp_path)) == 1000
