"""`history`: what was changed or refused on a node, each with its commit, merge request and author."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.cli.options import config_option, json_option, load_settings
from reconciler.phrases import count

if TYPE_CHECKING:
    from reconciler.forge import MergeRequest
    from reconciler.forge.changes import Project
    from reconciler.git.commits import CommitInfo
    from reconciler.settings import Settings
    from reconciler.state import StateDirectory


@dataclass(frozen=True, slots=True)
class _Change:
    """Where a commit comes from, as far as it is known."""

    info: "CommitInfo | None" = None
    url: str | None = None
    merge_request: "MergeRequest | None" = None

    def to_json(self) -> dict[str, Any]:
        found = self.merge_request
        return {
            "author_email": self.info.author_email if self.info else None,
            "commit_url": self.url,
            "merge_request": {"iid": found.iid, "title": found.title, "url": found.web_url, "author": found.author}
            if found
            else None,
        }


@click.command()
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many entries.")
@click.option("--actions/--no-actions", default=True, show_default=True, help="Show what was done, too.")
@click.option("--offline", is_flag=True, help="Do not ask the forge for merge requests.")
@json_option
@config_option
def history(limit: int, actions: bool, offline: bool, json_: bool) -> None:
    """Show what was changed or refused, newest first.

    Only cycles that did something, or refused to, are in the history, and commits that changed nothing here. A failure that
    repeats itself is one entry. A commit that came newly is shown with its author,
    its page and its merge request: that one is in the message of a merge commit, else the forge of the settings is asked,
    once for each commit.
    """
    from reconciler.state import StateDirectory

    settings = load_settings()
    state = StateDirectory(settings.state_dir)
    entries = state.history.newest(limit + 1)
    shown, older = entries[:limit], [*entries[1:], {"revision": ""}]
    changes = _changes(settings, state, shown, offline)
    if json_:
        output.as_json([_with_links(entry, changes) for entry in shown])
        return
    if not shown:
        output.line("nothing happened yet")
    for entry, before in zip(shown, older, strict=False):
        output.line(_headline(entry), _style(entry))
        if entry["revision"] != before["revision"]:
            _origin(changes.get(entry["revision"], _Change()), entry.get("author", ""))
        _show(entry, changes, actions)


def _show(entry: dict[str, Any], changes: dict[str, _Change], actions: bool) -> None:
    if refused := entry.get("refused"):
        output.line(f"    refused {refused['commit'][:12]}: {refused['message']} [{refused['reason']}]")
        _origin(changes.get(refused["commit"], _Change()), "")
    if failure := entry.get("failure"):
        output.line(f"    {failure[1]} [{failure[0]}]")
    if cause := entry.get("cause"):
        output.line(f"    {cause}")
    if again := entry.get("again"):
        last = f"{datetime.fromisoformat(entry['last']).astimezone():%Y-%m-%d %H:%M:%S}"
        output.line(f"    again, {count(again, 'time')} since, the last at {last}")
    for action in entry["actions"] if actions else ():
        mark = "" if action["result"] == "done" else f"  {action['result']}: {action['message']} [{action['reason']}]"
        output.line(f"    {action['line']}{mark}")
    for found in entry.get("happened", ()):
        output.line(
            f"    {found['target']} was {found['text']}"
            if not found["text"].startswith("its ")
            else f"    {found['target']}: {found['text']}"
        )
    for target, text in entry.get("explained", {}).items():
        output.line(f"    {target} was {text}" if not text.startswith(("its ", "ended")) else f"    {target}: {text}")


def _origin(change: _Change, author: str) -> None:
    if change.info:
        author = f"{change.info.author} <{change.info.author_email}>"
    if author:
        output.line(f"    by      {author}")
    if found := change.merge_request:
        by = f" (opened by {found.author})" if found.author else ""
        output.line(f"    merged  {found.title}{by}: {found.web_url}")
    if change.url:
        output.line(f"    commit  {change.url}")


def _with_links(entry: dict[str, Any], changes: dict[str, _Change]) -> dict[str, Any]:
    nothing = _Change()
    linked = {**entry, **changes.get(entry["revision"], nothing).to_json()}
    if refused := entry.get("refused"):
        linked["refused"] = {**refused, **changes.get(refused["commit"], nothing).to_json()}
    return linked


# --- where commits come from ----------------------------------------------------------------------------------------


def _changes(
    settings: "Settings", state: "StateDirectory", entries: Sequence[dict[str, Any]], offline: bool
) -> dict[str, _Change]:
    """Commit → where it comes from. What cannot be found out is left open; why is said on stderr."""
    from reconciler.forge import changes

    taken: dict[str, datetime] = {}  # when, the first time
    for entry in entries:
        for commit in filter(None, (entry["revision"], (entry.get("refused") or {}).get("commit"))):
            taken[commit] = datetime.fromisoformat(entry["at"])
    project = changes.project_of(settings.forge, settings.git.url)
    found = {commit: _local(state, project, commit) for commit in taken}
    unnamed = [(commit, at) for commit, at in taken.items() if found[commit].merge_request is None]
    if not unnamed or offline or settings.forge is None:
        return found
    for commit, merge_request in _asked(settings, state, unnamed).items():
        if commit in found and changes.link(merge_request.web_url):
            found[commit] = _Change(found[commit].info, found[commit].url, merge_request)
    return found


def _local(state: "StateDirectory", project: "Project | None", commit: str) -> _Change:
    """What the node's own clone and settings tell."""
    from reconciler.git import tree

    info = None
    with suppress(errors.ReconcilerError):  # the clone may be new, and the commit of a branch that is gone
        info = tree.commit_info(state.repository, commit)
    if project is None:
        return _Change(info)
    return _Change(info, project.commit_url(commit), project.named_in(info.subject, info.body) if info else None)


def _asked(
    settings: "Settings", state: "StateDirectory", commits: Sequence[tuple[str, datetime]]
) -> dict[str, "MergeRequest"]:
    from reconciler.forge import changes, connect

    try:
        connection = changes.asking(settings)
        assert connection is not None
        requests = changes.MergeRequests(connect(connection), state.links)
        found, failure = requests.find(commits), requests.failure
    except errors.ReconcilerError as error:
        found, failure = {}, f"{error} [{error.reason}]"
    if failure:
        output.line(f"merge requests may be missing: {failure}", err=True)
    return found


# --- lines ----------------------------------------------------------------------------------------------------------


def _headline(entry: dict[str, Any]) -> str:
    done = sum(1 for action in entry["actions"] if action["result"] == "done")
    failed = sum(1 for action in entry["actions"] if action["result"] in ("failed", "rolled-back", "unknown"))
    counts = ", ".join(filter(None, (f"{done} done" if done else "", f"{failed} failed" if failed else "")))
    what = " ".join(filter(None, (entry["revision"][:12], entry.get("subject", ""))))
    when = f"{datetime.fromisoformat(entry['at']).astimezone():%Y-%m-%d %H:%M:%S}"
    quiet = entry.get("failure") or entry.get("refused") or entry.get("happened")
    nothing = "nothing done" if quiet else f"accepted, {entry.get('waits') or 'nothing to change here'}"
    return f"{when}  {what or 'no revision'}: {counts or nothing} in {entry['seconds']} s ({entry['trigger']})"


def _style(entry: dict[str, Any]) -> str:
    bad = entry.get("failure") or entry.get("refused") or any(a["result"] not in ("done",) for a in entry["actions"])
    return "warn" if bad else "ok"
