"""Files of containers and jobs: content, mode, what should not be there."""

import json
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from reconciler.model import Action, Container, Desired, Difference, File, FileState, Held, Verb
from reconciler.phrases import few
from reconciler.plan.as_made import state_digest
from reconciler.plan.draft import Draft
from reconciler.plan.redact import file_diff
from reconciler.reasons import Reason

_CONFIG_FILES = "/var/lib/kolla/config_files"  # where Kolla's images find the folder
_KINDS = {"directory": "a folder", "symlink": "a link", "other": "something special"}


def plan_files(
    draft: Draft, owner: str, container: Container, needs: tuple[str, ...]
) -> tuple[list[File], tuple[str, ...]]:
    """Plan the files of a container or job. Returns those whose content changes, and the ids of every action taken:
    the container's own waits for all of them, because it is what puts them to the test."""
    changed, taken = [], []
    made = draft.as_made(container) if owner == container.name else None
    kept = {
        path
        for path, digest in (made.files if made else {}).items()
        if digest == state_digest(draft.actual.files.get(path))
    }
    for file in draft.files.get(owner, []):
        if file.path in kept:
            continue
        action = _file(draft, file, container, needs)
        if action and draft.add(action):
            taken.append(action.id)
            if action.verb is Verb.WRITE:
                changed.append(file)
    for path in _extra(draft, container.config_directory or draft.directory_before(container.name)):
        if path in kept:
            continue
        if not draft.wrote(path):
            _foreign(draft, owner, container, path)
            continue
        drift = path not in draft.previous and path not in draft.basis.touched
        cause = "drift: it is back" if drift else "no longer part of the configuration"
        action = Action(Verb.DELETE, path, cause, needs, container.name, container.service, drift=drift)
        if draft.add(action):
            taken.append(action.id)
    return changed, tuple(taken)


def staying(desired: Desired, files: Mapping[str, FileState]) -> dict[str, bytes]:
    """What a host has of those that stay as they are there, by path."""
    there = {file.path: files[file.path] for file in desired.files if file.stays and file.path in files}
    return {path: state.content for path, state in there.items() if state.kind == "file" and state.content}


def _file(draft: Draft, file: File, container: Container, needs: tuple[str, ...]) -> Action | None:
    if reason := draft.why_unknown(f"file:{file.path}"):
        draft.held.append(Held(file.path, Reason.Unknown, f"cannot be read: {reason}"))
        return None
    state = draft.actual.files.get(file.path)
    wanted = draft.basis.contents[file.path]
    known = file.path in draft.previous
    if state is None or state.kind != "file":
        found = "absent" if state is None else state.kind
        drift = known and draft.unchanged(file)
        cause = "new file" if state is None else f"{_KINDS[state.kind]} is in its place"
        if drift:
            cause = f"drift: {cause if state else 'the file is absent'}"
        difference = Difference("content", "present", found)
        return _write(draft, file, container, needs, cause, difference, drift, None)
    if state.content != wanted:
        difference = Difference("content", "as rendered", "different")
        drift, rotated = draft.unchanged(file), _rotated(draft, file)
        cause = f"a secret rotated: {', '.join(rotated)}" if rotated else "content changed"
        felt = dict.fromkeys(draft.desired.meanwhile[name] for name in rotated if name in draft.desired.meanwhile)
        cause = "; ".join((cause, *felt))
        cause = "drift: edited on the node" if drift else cause
        if renamed := draft.renamed(file):
            cause = f"another identifier: {few(renamed)}"
        write = _write(draft, file, container, needs, cause, difference, drift, state.content)
        return replace(write, risks=("secret",)) if rotated and not drift else write
    found_mode = (state.mode, state.owner, state.group)
    if found_mode != (file.mode, file.owner, file.group):
        difference = Difference("mode", _mode(file.mode, file.owner, file.group), _mode(*found_mode))
        if not draft.achievable(f"file:{file.path}", (difference,)):
            return None
        cause = f"{difference.actual}, should be {difference.desired}"
        return Action(
            Verb.CHMOD,
            file.path,
            cause,
            needs,
            container.name,
            file.service,
            drift=draft.unchanged(file),
            differences=(difference,),
        )
    return None


def _rotated(draft: Draft, file: File) -> list[str]:
    """The secrets in a file that have other values than when it was last written, when nothing else in it changed."""
    previous, good = draft.previous.get(file.path), draft.memory.last_good
    if good is None or previous is None or previous.content != file.content:
        return []
    return [name for name in file.secrets if draft.desired.secrets.get(name) != good.secrets.get(name)]


def _write(
    draft: Draft,
    file: File,
    container: Container,
    needs: tuple[str, ...],
    cause: str,
    difference: Difference,
    drift: bool,
    found: bytes | None,
) -> Action:
    known = draft.previous.get(file.path)
    plain = file.path in draft.memory.plain
    text = file_diff(file, draft.basis.contents[file.path], found, known, plain=plain)
    return Action(
        Verb.WRITE,
        file.path,
        cause,
        needs,
        container.name,
        file.service,
        drift,
        (difference,),
        text,
    )


def _extra(draft: Draft, directory: str) -> list[str]:
    """What lies in a container's folder and no commit asks for, except in folders of others below it."""
    if not directory:
        return []
    parts = (*draft.desired.containers, *(job.container for job in draft.desired.jobs))
    folders = {part.config_directory for part in parts} - {"", directory}
    others = tuple(f"{folder}/" for folder in folders if not f"{directory}/".startswith(f"{folder}/"))
    kept = {file.path for file in draft.desired.files}
    return sorted(
        path
        for path in draft.actual.files
        if path.startswith(f"{directory}/") and path not in kept and not path.startswith(others)
    )


def _foreign(draft: Draft, owner: str, container: Container, path: str) -> None:
    """Somebody else's file: it is named and stays. What the container reads with its folder counts as drift."""
    read = _is_read(draft, owner, container, path)
    found = Difference("foreign", "absent", draft.actual.files[path].kind)
    action = Action(Verb.DELETE, path, "", service=container.service, differences=(found,))
    if draft.drift_mode(action) == "ignore":
        return
    message = "this program did not write it, so it stays: remove it if nobody needs it"
    if read:
        message = f"{container.name} reads it with its folder, and {message}"
    draft.held.append(Held(path, Reason.Foreign, message, (found,), drift=read))


def _is_read(draft: Draft, owner: str, container: Container, path: str) -> bool:
    """Whether the container takes whatever lies in the file's folder, by its config.json or by a bind."""
    if not container.kolla:
        absolute = f"{draft.desired.config_root}/{path}"
        return any(absolute.startswith(f"{mount.source}/") for mount in container.mounts)
    inside = path.removeprefix(f"{container.config_directory}/")
    for file in draft.files.get(owner, ()):
        if file.path == f"{container.config_directory}/config.json":
            sources = [entry["source"] for entry in json.loads(file.content)["config_files"]]
            names = [source.removeprefix(f"{_CONFIG_FILES}/").rstrip("/") for source in sources]
            return any(inside.startswith(f"{name}/") or fnmatchcase(inside, name) for name in names)
    return False


def delete_files(draft: Draft, name: str, directory: str, service: str, needs: tuple[str, ...]) -> None:
    """Plan the end of what was written into a container's directory."""
    for path in _extra(draft, directory):
        if draft.wrote(path):
            draft.add(Action(Verb.DELETE, path, f"of {name}", needs, name, service))
        else:
            message = f"this program did not write it, so it stays, though {name} is no longer part of the site"
            found = Difference("foreign", "absent", draft.actual.files[path].kind)
            draft.held.append(Held(path, Reason.Foreign, message, (found,)))


def _mode(mode: int, owner: int, group: int) -> str:
    return f"{mode:04o} {owner}:{group}"
