"""What a GitLab project remembers, with GitLab's own rules; no HTTP."""

import re
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .standin import Refused

GUEST, REPORTER, DEVELOPER, MAINTAINER = 10, 20, 30, 40
NEVER_FINISHED = ("pending", "running")
_EVENT = {
    "pending": "enqueue",
    "running": "run",
    "success": "success",
    "failed": "drop",
    "canceled": "cancel",
    "skipped": "skip",
}
# From a state to those that it cannot take: GitLab's answer is 400. Whatever is finished gets a new row instead.
_FORBIDDEN = {"pending": ("pending",), "running": ("running", "pending", "skipped")}


@dataclass(frozen=True)
class User:
    """A user and what a token of theirs may do."""

    id: int
    username: str
    level: int = MAINTAINER
    scopes: frozenset[str] = frozenset({"api"})
    name: str = ""
    public_email: str = ""
    bot: bool = False

    def basic(self) -> dict[str, Any]:
        name = self.name or self.username
        return {"id": self.id, "username": self.username, "name": name, "state": "active"}


@dataclass
class Row:
    """One commit status."""

    id: int
    sha: str
    ref: str
    name: str
    status: str
    description: str | None
    target_url: str | None
    pipeline: int
    author: User
    retried: bool = False
    created_at: str = ""
    finished_at: str | None = None


@dataclass
class Pipeline:
    id: int
    sha: str
    ref: str
    source: str = "external"


@dataclass
class Note:
    id: int
    body: str
    author: User
    created_at: str
    updated_at: str
    system: bool = False
    discussion: str = ""
    resolvable: bool = False
    resolved: bool = False


@dataclass
class Version:
    """One version of a merge request's diff: made at every push."""

    id: int
    head: str
    created_at: str


@dataclass
class LabelEvent:
    id: int
    user: User
    label: str
    action: str
    created_at: str


@dataclass
class MergeRequest:
    iid: int
    title: str
    source_branch: str
    target_branch: str
    author: User
    description: str = ""
    state: str = "opened"
    merge_commit_sha: str | None = None
    merged_at: str | None = None
    fork: Path | None = None  # the bare repository that the source branch is in, when it is another one
    sha: str = ""
    commits: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    approvals: dict[str, tuple[User, str]] = field(default_factory=dict)  # username → who, when
    labels: list[LabelEvent] = field(default_factory=list)
    pusher: User | None = None  # who pushes next; its author when None

    @property
    def label_names(self) -> list[str]:
        there = {event.label: event.action for event in self.labels}
        return [label for label, action in there.items() if action == "add"]


@dataclass
class Deployment:
    id: int
    environment: str
    sha: str
    ref: str
    status: str
    user: User
    created_at: str
    updated_at: str


@dataclass
class Alert:
    iid: int
    title: str
    fingerprint: str
    payload: dict[str, Any]
    status: str = "triggered"
    events: int = 1


@dataclass
class Project:
    """One project. With `repository` (a bare one) branches and commits are real, else what `add_commit` was told."""

    path: str
    repository: Path | None = None
    protected: set[str] = field(default_factory=set)
    job_limit: int = 500
    rows: list[Row] = field(default_factory=list)
    pipelines: list[Pipeline] = field(default_factory=list)
    merge_requests: list[MergeRequest] = field(default_factory=list)
    deployments: list[Deployment] = field(default_factory=list)
    environments: list[str] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    quick_actions: list[str] = field(default_factory=list)
    default_branch: str = "main"
    merge_method: str = "merge"  # or "ff": no merge commit
    _branches: dict[str, str] = field(default_factory=dict)
    _commits: set[str] = field(default_factory=set)
    _last_id: int = 100

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def add_commit(self, sha: str, branch: str | None = "main") -> None:
        """Make a commit known (projects without a repository)."""
        self._commits.add(sha)
        if branch:
            self._branches[branch] = sha

    def git(self, *arguments: str) -> str:
        """Output of git in the repository; Refused 404 when it fails."""
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "GitLab",
            "GIT_AUTHOR_EMAIL": "gitlab@example.org",
            "GIT_COMMITTER_NAME": "GitLab",
            "GIT_COMMITTER_EMAIL": "gitlab@example.org",
        }
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", str(self.repository), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Refused(404, {"message": f"404 Not Found: {done.stderr.strip()[-200:]}"})
        return done.stdout.strip()

    def branches(self) -> dict[str, str]:
        """Branch names and the commits they point to."""
        if self.repository is None:
            return dict(self._branches)
        lines = self.git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def commit(self, sha: str) -> str:
        """The full id of a known commit; Refused 404 otherwise."""
        if self.repository is not None:
            return self.git("rev-parse", "--verify", "--end-of-options", f"{sha}^{{commit}}")
        if sha not in self._commits:
            raise Refused(404, {"message": "404 Commit Not Found"})
        return sha

    def commits_of(self, merge_request: MergeRequest) -> list[str]:
        """The commits that a merge request brings."""
        if self.repository is None or merge_request.state == "merged":
            return merge_request.commits
        span = f"refs/heads/{merge_request.target_branch}..refs/heads/{merge_request.source_branch}"
        try:
            return self.git("rev-list", span).splitlines()
        except Refused:  # a branch is gone
            return merge_request.commits

    def head(self, request: MergeRequest) -> str:
        """The newest commit of an open merge request; the repository has it under refs/merge-requests, a fork's too."""
        if request.state != "opened":
            return request.sha
        before = request.sha
        self._follow(request)
        if request.sha and request.sha != before:
            # An approval stays over a push, as in the free edition.
            request.versions.append(Version(self.next_id(), request.sha, now()))
            if before:
                self.system_note(
                    request, request.pusher or request.author, "added 1 commit\n\n<ul><li>a change</li></ul>"
                )
        return request.sha

    def _follow(self, request: MergeRequest) -> None:
        if request.fork is not None:
            ref = f"refs/merge-requests/{request.iid}/head"
            self.git("fetch", "--quiet", str(request.fork), f"+refs/heads/{request.source_branch}:{ref}")
            request.sha = self.git("rev-parse", ref)
        elif tip := self.branches().get(request.source_branch):
            request.sha = tip
            if self.repository is not None:
                self.git("update-ref", f"refs/merge-requests/{request.iid}/head", tip)

    def system_note(self, request: MergeRequest, user: User, body: str) -> None:
        """What GitLab writes itself."""
        request.notes.append(Note(self.next_id(), body, user, now(), now(), system=True))

    def approve(self, request: MergeRequest, user: User) -> None:
        request.approvals[user.username] = (user, now())
        self.system_note(request, user, "approved this merge request")

    def unapprove(self, request: MergeRequest, user: User) -> None:
        del request.approvals[user.username]
        self.system_note(request, user, "unapproved this merge request")

    def label(self, request: MergeRequest, user: User, label: str, action: str = "add") -> None:
        request.labels.append(LabelEvent(self.next_id(), user, label, action, now()))

    def merge(self, iid: int) -> str:
        """Merge a merge request, in the real repository if there is one; returns the merge commit."""
        request = self.merge_request(iid)
        request.commits = self.commits_of(request)
        target, source = f"refs/heads/{request.target_branch}", f"refs/heads/{request.source_branch}"
        if self.repository is None:
            sha = f"{iid:040x}"
            self.add_commit(sha, request.target_branch)
        elif self.merge_method == "ff":
            sha = self.git("rev-parse", source)
            self.git("update-ref", target, sha)
        else:
            tree = self.git("merge-tree", "--write-tree", target, source).splitlines()[0]
            text = f"Merge branch '{request.source_branch}' into '{request.target_branch}'\n\n{request.title}"
            text += f"\n\nSee merge request {self.path}!{request.iid}"  # GitLab's default template
            sha = self.git("commit-tree", tree, "-p", target, "-p", source, "-m", text)
            self.git("update-ref", target, sha)
        request.state, request.merged_at = "merged", now()
        request.merge_commit_sha = sha if self.merge_method == "merge" else None
        return sha

    def merge_request(self, iid: int) -> MergeRequest:
        """By number; Refused 404."""
        for request in self.merge_requests:
            if request.iid == iid:
                return request
        raise Refused(404, {"message": "404 Not found"})

    def post_status(self, user: User, sha: str, body: dict[str, Any]) -> Row:
        """POST /statuses/:sha. The order of the checks is GitLab's: a refused post leaves its pipeline behind."""
        sha = self.commit(sha)
        state, name = body["state"], body.get("name") or body.get("context") or "default"
        ref = body.get("ref") or next((b for b, tip in self.branches().items() if tip == sha), None)
        if ref is None:
            raise Refused(404, {"message": "404 References for commit Not Found"})
        pipeline = self._pipeline(sha, ref, body.get("pipeline_id"))
        if user.level < DEVELOPER or (ref in self.protected and user.level < MAINTAINER):
            raise Refused(403, {"message": "403 Forbidden"})
        row = self._current(pipeline, name, ref, user)
        if row and row.status in NEVER_FINISHED:
            if state in _FORBIDDEN[row.status]:
                text = f"Cannot transition status via :{_EVENT[state]} from :{row.status}"
                raise Refused(400, {"message": f'{text} (Reason(s): Status cannot transition via "{_EVENT[state]}")'})
        else:
            if sum(1 for r in self.rows if r.pipeline == pipeline.id) >= self.job_limit:
                raise Refused(422, {"message": "The number of jobs has exceeded the limit"})
            if row:
                row.retried = True
            row = Row(self.next_id(), sha, ref, name, state, None, None, pipeline.id, user, created_at=now())
            self.rows.append(row)
        row.status = state
        row.description = body.get("description", row.description)
        row.target_url = body.get("target_url", row.target_url)
        row.finished_at = None if state in NEVER_FINISHED else now()
        return row

    def write(self, request: MergeRequest, user: User, body: str) -> Note:
        """Add a note and carry out its quick actions (which the tests look at)."""
        note = Note(self.next_id(), self._checked(body), user, now(), now())
        note.discussion = f"{note.id:040x}"
        request.notes.append(note)
        return note

    def rewrite(self, note: Note, body: str) -> None:
        note.body, note.updated_at = self._checked(body), now()

    def alert(self, payload: dict[str, Any]) -> Alert:
        """One alert per fingerprint until it is resolved."""
        fingerprint = str(payload.get("fingerprint") or payload["title"])
        alert = next((a for a in self.alerts if a.fingerprint == fingerprint and a.status != "resolved"), None)
        if alert is None:
            alert = Alert(len(self.alerts) + 1, payload["title"], fingerprint, payload)
            self.alerts.append(alert)
        elif not payload.get("end_time"):
            alert.events += 1
        alert.payload = payload
        if payload.get("end_time"):
            alert.status = "resolved"
        return alert

    def _checked(self, body: str) -> str:
        if not body.strip():
            raise Refused(400, {"message": '400 Bad request - Note {:note=>["can\'t be blank"]}'})
        if len(body) > 1_000_000:
            raise Refused(400, {"message": "400 Bad request - Note is too long (maximum is 1000000 characters)"})
        self.quick_actions += quick_actions(body)
        return body

    def _pipeline(self, sha: str, ref: str, wanted: int | None) -> Pipeline:
        found = [p for p in self.pipelines if (p.sha, p.ref) == (sha, ref) and wanted in (None, p.id)]
        if found:
            return found[-1]
        if wanted is not None:
            raise Refused(404, {"message": "404 Pipeline for pipeline_id, sha and ref Not Found"})
        self.pipelines.append(Pipeline(self.next_id(), sha, ref))
        return self.pipelines[-1]

    def _current(self, pipeline: Pipeline, name: str, ref: str, user: User) -> Row | None:
        same = [r for r in self.rows if (r.pipeline, r.name, r.ref, r.author.id) == (pipeline.id, name, ref, user.id)]
        return same[-1] if same else None


def quick_actions(body: str) -> list[str]:
    """The lines that GitLab would carry out: a slash and a word at the start of a line, outside of code blocks."""
    found, fence = [], ""
    for line in body.splitlines():
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not line.strip(" `~"):
            fence = ""
        elif not fence and re.match(r"/[a-z_]+", line):
            found.append(line)
    return found


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
