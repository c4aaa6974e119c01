"""What a node tells a reporter, signed with its own SSH host key so that nobody else can say it.

The answer is one line of JSON and, below it, an armored SSH signature (SSHSIG) of that line with its line end:
`ssh-keygen -Y verify -n reconciler-report` checks it as well as we do. It says who speaks (site and host), as of when, and
the commit statuses that the node would have posted itself, of a commit that is not merged too, and how long restarts of its
containers were felt: a reporter needs no more, and learns no more.

Reasons raised, all errors.Terminal: ReportMalformed, ReportForged (not signed with the key that the site declares for the
host), ReportMismatch (signed by that host, and about another one or another site), ReportKeyUnusable (on the node).
"""

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from reconciler import errors
from reconciler.codec import UNREADABLE, from_json, to_json
from reconciler.git import trust
from reconciler.model import Interruption
from reconciler.reasons import Reason
from reconciler.report.cycle import Report
from reconciler.report.summary import StatusText, status_text
from reconciler.system import run
from reconciler.text import one_line, printable

NAMESPACE = "reconciler-report"
MAX_BYTES = 64 << 10  # of an answer
_VERSION = 1
_KIND = "reconciler-report"
_TEXT = 400  # characters of a description
_NAME = 255  # characters of a site's or a host's name
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FIRST, _LAST = 2020, 2999  # years
_STATUSES = 4
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_PROGRAM, _CATALOGUE = re.compile(r"[0-9A-Za-z.+!_-]{0,64}"), re.compile(r"([0-9a-f]{64})?")
_INTERRUPTIONS = 300  # containers
_LONGEST, _MOST_TIMES = 86_400.0, 1000  # seconds of an interruption; times that one was measured
_ARMOR = b"-----BEGIN SSH SIGNATURE-----"
_STATES = ("pending", "success", "failed")


@dataclass(frozen=True, slots=True)
class Statement:
    """What one host says as of `at`: the revision it enforces, and its statuses, by commit. `busy`: a pass is under way."""

    site: str
    host: str
    at: datetime
    commit: str
    statuses: tuple[StatusText, ...] = ()
    reason: Reason | None = None  # of the condition Ready
    busy: bool = False
    interruptions: Mapping[str, Interruption] = field(default_factory=dict)  # by container: how long one is felt
    program: str = ""  # the version of this program that runs there, and
    catalogue: str = ""  # the digest of its catalogue
    ahead: StatusText | None = None  # of a commit that is not merged

    def status(self, commit: str) -> StatusText | None:
        """What the host says about a commit."""
        return next((status for status in self.statuses if status.commit == commit), None)


_FIELDS = frozenset(item.name for item in fields(Statement))


def statement(
    report: Report,
    busy_at: datetime | None = None,
    interruptions: Mapping[str, Interruption] | None = None,
    ahead: StatusText | None = None,
) -> Statement:
    """The statement that a report makes, with what is known of interruptions by container, and what was said last of a commit that is not merged.
    `busy_at`: now, when the pass after it is under way for long: the main loop signs for itself that it lives, so what it is busy with is as fresh as
    that."""
    ended = report.started_at + timedelta(seconds=report.seconds)
    ready = next((c for c in report.conditions if c.type == "Ready"), None)
    texts = tuple(_cut(text) for text in status_text(report))[:_STATUSES]
    reason = ready.reason if ready else None
    felt = dict(sorted((interruptions or {}).items())[:_INTERRUPTIONS])
    busy = busy_at is not None
    return Statement(
        report.site,
        report.host,
        busy_at or ended,
        report.revision,
        texts,
        reason,
        busy,
        felt,
        report.program,
        report.catalogue,
        _cut(ahead) if ahead else None,
    )


def encode(said: Statement) -> bytes:
    """The line that is signed."""
    content = {"kind": _KIND, "version": _VERSION, **to_json(said)}
    return json.dumps(content, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def sign(line: bytes, key_file: Path) -> bytes:
    """The whole answer: the line and its signature. Raises errors.Terminal (ReportKeyUnusable), errors.Transient."""
    words: list[str | Path] = ["ssh-keygen", "-Y", "sign", "-q", "-n", NAMESPACE, "-f", key_file]
    done = run.program(words, stdin=line, seconds=20.0)
    if done.code != 0 or not done.stdout.startswith(_ARMOR):
        said = done.message.splitlines()[-1][:200] if done.message else f"exit code {done.code}"
        raise errors.Terminal(
            f"reports cannot be signed with {key_file}: {said} (name an ed25519 private key without a passphrase as "
            "report.key_file; only its owner may read it)",
            reason=Reason.ReportKeyUnusable,
        )
    return line + done.stdout


def verify(answer: bytes, site: str, host: str, allowed_signers: Path) -> Statement:
    """The statement in an answer of `host`, when it is that host's. Raises as the module says, and errors.Transient."""
    line, found, armor = answer.partition(b"\n")
    if not found or not armor.startswith(_ARMOR) or len(answer) > MAX_BYTES:
        raise _malformed("it is not one line and a signature")
    try:
        trust.verify_bytes(line + b"\n", armor, host, NAMESPACE, allowed_signers)
    except errors.Terminal as error:
        raise errors.Terminal(f"the report is not {host}'s: {error}", reason=Reason.ReportForged) from None
    said = decode(line)
    # A host that never accepted a commit does not know its site: it may say what is wrong, and cannot have converged.
    lost = not said.site and all(status.state != "success" for status in said.statuses)
    if said.host != host or (said.site != site and not lost):
        other = printable(f"{said.host!r} of {said.site!r}", limit=160)
        raise errors.Terminal(
            f"{host} of {site} signs for {other} (do two hosts have one key, or does an address lead to another host?)",
            reason=Reason.ReportMismatch,
        )
    return said


def decode(line: bytes) -> Statement:
    """The statement of a line whose signature was checked: bounded, and its texts made printable, for what a host says is
    shown among what others say. Raises errors.Terminal (ReportMalformed)."""
    try:
        content = json.loads(line.decode(), object_pairs_hook=_once, parse_constant=_no_number)
        kind, version = content.pop("kind"), content.pop("version")
        if (kind, version) != (_KIND, _VERSION):
            other = printable(f"{kind!r}, version {version!r}", limit=80)
            raise _malformed(f"it is of kind {other}: that of another version of this program")
        # A newer version may say more: who does not know it need not.
        known = {name: value for name, value in content.items() if name in _FIELDS}
        said = from_json(Statement, known)
        wrong = _unsound(said)
    except UNREADABLE as error:
        raise _malformed(f"its content is of another shape ({type(error).__name__})") from None
    if wrong:
        raise _malformed(wrong)
    ahead = _shown(said.ahead) if said.ahead else None
    return replace(said, statuses=tuple(_shown(status) for status in said.statuses), ahead=ahead)


class Signer:
    """Signs what a node says when somebody asks, once for each thing it says, and one thing at a time.

    `last` gives the newest report of this process (None: none yet) and, while a pass is under way for long, the time now;
    `interruptions` what the node knows of how long its containers' restarts were felt, `ahead` what it said last of a commit that is not merged.
    """

    def __init__(
        self,
        key_file: Path,
        last: Callable[[], tuple[Report | None, datetime | None]],
        interruptions: Callable[[], Mapping[str, Interruption]] = dict,
        ahead: Callable[[], StatusText | None] = lambda: None,
    ) -> None:
        self._key_file, self._last, self._interruptions, self._ahead = key_file, last, interruptions, ahead
        self._guard = threading.Lock()
        self._made: tuple[bytes, bytes] = (b"", b"")

    def answer(self) -> bytes | None:
        """The signed report; None while there is none. Raises as `sign`."""
        with self._guard:  # strangers may ask as often as they like: each of them would start a program
            report, busy_at = self._last()
            if report is None:
                return None
            line = encode(statement(report, busy_at, self._interruptions(), self._ahead()))
            if self._made[0] != line:
                self._made = (line, sign(line, self._key_file))
            return self._made[1]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON in which each name stands once: another reader could take another one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")


def _unsound(said: Statement) -> str:
    """What is wrong with a statement; "" when nothing is. First match wins."""
    names = (said.site, said.host, said.commit, said.program, said.catalogue)
    if not all(isinstance(text, str) and len(text) <= _NAME for text in names) or not isinstance(said.busy, bool):
        return "a field of it is of another type, or too long"
    if not _PROGRAM.fullmatch(said.program) or not _CATALOGUE.fullmatch(said.catalogue):
        return "it names no version, or no catalogue"
    if not _is_commit(said.commit) or not isinstance(said.reason, Reason | None):
        return "it names no commit, or no reason"
    if not isinstance(said.at, datetime) or said.at.tzinfo is None or not _FIRST <= said.at.year <= _LAST:
        return "its time has no zone, or is no time at which this program ran"
    statuses = [*said.statuses, *([] if said.ahead is None else [said.ahead])]
    if len(said.statuses) > _STATUSES or not all(_is_status(status) for status in statuses):
        return "a status in it is of another shape"
    if len(said.interruptions) > _INTERRUPTIONS or not all(
        _is_interruption(*one) for one in said.interruptions.items()
    ):
        return "what it says of interruptions is of another shape"
    return ""


def _is_commit(text: str) -> bool:
    return text == "" or _COMMIT.fullmatch(text) is not None


def _is_interruption(container: Any, found: Any) -> bool:
    named = isinstance(container, str) and _CONTAINER.fullmatch(container) is not None
    return named and 0 <= found.seconds <= _LONGEST and 1 <= found.times <= _MOST_TIMES


def _is_status(status: Any) -> bool:
    texts = (status.commit, status.description, status.key, status.branch)
    fits = all(isinstance(text, str) and len(text) <= _TEXT for text in texts)
    return fits and status.state in _STATES and _COMMIT.fullmatch(status.commit) is not None


def _shown(status: StatusText) -> StatusText:
    description, key, branch = (
        printable(text, limit=_TEXT) for text in (status.description, status.key, status.branch)
    )
    return replace(status, description=description, key=key, branch=branch)


def _cut(status: StatusText) -> StatusText:
    description, key, branch = (one_line(text, limit=_TEXT) for text in (status.description, status.key, status.branch))
    return replace(status, description=description, key=key, branch=branch)


def _malformed(what: str) -> errors.Terminal:
    return errors.Terminal(f"the report cannot be read: {what}", reason=Reason.ReportMalformed)
