"""Which files below a config root are this program's: path → digests of what it wrote there, oldest first.

Only such a file is ever deleted. An entry is noted before its file is written, so that a kill in between leaves nothing
unknown; what was edited since has another digest and counts as somebody else's.
"""

from collections.abc import Mapping

from reconciler.model import Actual, Memory, Plan, Verb
from reconciler.system.files import digest

Manifest = Mapping[str, tuple[str, ...]]


def known(noted: Manifest | None, root: str, actual: Actual, memory: Memory) -> Manifest:
    """What is ours below `root`. `noted` None: this is the memory of a version that did not note it.

    Then what the last complete apply wrote counts, as it is there now.
    """
    good = memory.last_good
    if noted is not None or good is None or good.config_root != root:
        return noted or {}
    there = {file.path: _there(actual, file.path) for file in good.files}
    return {path: (found,) for path, found in there.items() if found}


def before_writing(manifest: Manifest, plan: Plan, contents: Mapping[str, bytes], actual: Actual) -> Manifest:
    """With everything that the plan is about to write. What is on the disk now stays among the newest."""
    result = dict(manifest)
    for action in plan.actions:
        if action.verb is Verb.WRITE and action.target in contents:
            before, there = manifest.get(action.target, ()), _there(actual, action.target)
            older = tuple(found for found in before if found != there)
            result[action.target] = (*older, *((there,) if there in before else ()), digest(contents[action.target]))
    return result


def after_converging(manifest: Manifest, plan: Plan, contents: Mapping[str, bytes], actual: Actual) -> Manifest:
    """When everything is as it should be: `contents` are on the disk and ours, whoever wrote them; what was deleted, or was not there before
    either, is forgotten, what could not be deleted yet is not."""
    gone = {action.target for action in plan.actions if action.verb is Verb.DELETE}
    unread = {item.removeprefix("file:") for item in actual.unknown}
    there = {
        path for path in manifest if path in actual.files or path in unread or f"{path.rpartition('/')[0]}/" in unread
    }
    others = {
        path: found for path, found in manifest.items() if path in there and path not in contents and path not in gone
    }
    return {**others, **{path: (digest(content),) for path, content in contents.items()}}


def _there(actual: Actual, path: str) -> str:
    """The digest of the file that is there; "" when there is none that could be ours."""
    state = actual.files.get(path)
    return digest(state.content) if state is not None and state.content is not None else ""
