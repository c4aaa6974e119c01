"""What the hosts of a site reported for a commit, read from its commit statuses: for a scheduled job's log and report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote
from xml.etree import ElementTree

from reconciler.forge import ForgeSettings
from reconciler.forge.client import Client
from reconciler.report import State, read_status
from reconciler.review.escape import clean
from reconciler.review.ranges import compact
from reconciler.text import printable

SILENT: Final = "silent"  # what a host is that said nothing; all else is the verdict on its report
_WORST: Final = (State.FAILED, State.DRIFTED, State.WAITING, SILENT)
_BAD: Final = (State.FAILED, State.DRIFTED)
_TITLES = {
    State.FAILED: "failed",
    State.DRIFTED: "drifted",
    State.WAITING: "at work, waiting or suspended",
    SILENT: "no report for this commit yet",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What one host, or one group in the aggregate mode, said last."""

    host: str
    state: str  # a `State`, or SILENT
    message: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """All reports for one commit."""

    site: str
    commit: str
    reports: tuple[Report, ...]

    @property
    def well(self) -> bool:
        """Whether no host drifted or failed. A silent host may be about to report: metrics tell since when."""
        return all(report.state not in _BAD for report in self.reports)


def collect(settings: ForgeSettings, commit: str, site: str, hosts: Sequence[str]) -> Summary:
    """Ask GitLab, a hundred statuses a request. Raises what `Forge` raises."""
    client = Client(settings, f"{settings.url.rstrip('/')}/api/v4", header="PRIVATE-TOKEN")
    path = f"/projects/{quote(settings.project, safe='')}/repository/commits/{commit}/statuses"
    # The newest last: it overwrites what a host said before.
    rows = client.retry(lambda _: list(client.pages(path, {"order_by": "id", "sort": "asc"})))
    prefix = f"reconciler/{site}/"
    said: dict[str, Report] = {}
    for row in rows:
        name = str(row.get("name") or "")
        if name.startswith(prefix):
            host = name.removeprefix(prefix)
            description = clean(str(row.get("description") or ""), 255)
            said[host] = Report(host, read_status(str(row.get("status")), description), description)
    return summarise(site, commit, hosts, said)


def summarise(site: str, commit: str, hosts: Sequence[str], said: dict[str, Report]) -> Summary:
    """Every host with its report; in the aggregate mode, where groups report, the groups instead."""
    if said and not any(host in said for host in hosts):
        return Summary(site, commit, tuple(said[name] for name in sorted(said)))
    return Summary(site, commit, tuple(said.get(host, Report(host, SILENT)) for host in hosts))


def text(summary: Summary) -> str:
    """A few lines: how many are well, then what each of the others says."""
    total = len(summary.reports)
    well = [report.host for report in summary.reports if report.state == State.CONVERGED]
    lines = [f"{summary.site} at {summary.commit[:12]}: {len(well)} of {total} hosts converged"]
    for state in _WORST:
        found = [report for report in summary.reports if report.state == state]
        if found:
            lines.append(f"  {len(found)} {_TITLES[state]}: {compact(report.host for report in found)}")
            lines += [f"    {report.host}: {report.message}" for report in found if report.message]
    return "\n".join(map(printable, lines))


def as_json(summary: Summary) -> dict[str, Any]:
    """{"site", "commit", "well", "reports": [{"host", "state", "message"}]}"""
    rows = [{"host": r.host, "state": r.state, "message": r.message} for r in summary.reports]
    return {"site": summary.site, "commit": summary.commit, "well": summary.well, "reports": rows}


def junit(summary: Summary) -> str:
    """One test case per host, so that the pipeline's test tab says who is well."""
    bad = [report for report in summary.reports if report.state in _BAD]
    suite = ElementTree.Element(
        "testsuite", name="reconciler hosts", tests=str(len(summary.reports)), failures=str(len(bad))
    )
    for report in summary.reports:
        case = ElementTree.SubElement(suite, "testcase", classname=printable(summary.site), name=printable(report.host))
        if report in bad:
            ElementTree.SubElement(case, "failure", message=report.message or report.state)
        elif report.state in (SILENT, State.WAITING):
            ElementTree.SubElement(case, "skipped", message=report.message or _TITLES[report.state])
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)
