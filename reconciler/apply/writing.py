"""The files of one plan: each written or deleted once those before it are kept, for as long as a container has to prove itself."""

import contextlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from reconciler import errors
from reconciler.apply.ports import Basis, Engine
from reconciler.apply.rollback import Rollback
from reconciler.model import Action, Container, Desired, Outcome, Plan, Verb
from reconciler.system import files

DIRECTORY_MODE = 0o770  # kolla's
FILE_VERBS = frozenset({Verb.WRITE, Verb.DELETE, Verb.CHMOD})


class Writing:
    """Files below the config root. Safe to call from several threads.

    `contents` are the final bytes of the files by path. `tested` names the containers that this plan puts to the test;
    `remember` notes that a container runs with the files that are there.
    """

    def __init__(
        self,
        plan: Plan,
        desired: Desired,
        basis: Basis,
        *,
        contents: Mapping[str, bytes],
        engine: Engine,
        rollback: Rollback,
        tested: Collection[str],
        remember: Callable[[Container], None],
    ) -> None:
        self._basis, self._containers = basis, basis.in_force
        self._engine, self._rollback, self._remember = engine, rollback, remember
        self._files = {file.path: file for file in desired.files}
        self._jobs = {job.name for job in desired.jobs}
        self._root, self._contents = Path(desired.config_root), contents
        # Files of one container are kept together, as they were before the first of them changes; those of a container
        # that nothing of this plan puts to the test are not kept, because nothing would tell that they work.
        self._changing: dict[str, list[str]] = {name: [] for name in tested if name in self._containers}
        for action in plan.actions:
            if action.verb in FILE_VERBS and action.container in self._changing:
                self._changing[action.container].append(action.target)

    def write(self, action: Action) -> Outcome:
        """Content, owner and mode."""
        file = self._files[action.target]
        self._keep(action)
        container = self._containers.get(action.container)
        untested = container is not None and action.container not in self._changing
        if action.verb is Verb.CHMOD and container and untested and self._engine.exists(container.name):
            # It has this content already, whoever started it: the new time of the file is not to say otherwise.
            self._remember(container)
        if any(d.actual == "symlink" for d in action.differences):
            files.remove(self._root, file.path)
        directory = file.path.rpartition("/")[0]
        if directory:
            files.make_dirs(self._root, directory, DIRECTORY_MODE, file.owner, file.group)
        content = self._contents[file.path]
        files.write_under(self._root, file.path, content, mode=file.mode, uid=file.owner, gid=file.group)
        return Outcome(action, "done")

    def delete(self, action: Action) -> Outcome:
        """What this program wrote, and nothing else."""
        self._keep(action)
        files.remove(self._root, action.target, only=self._basis.written.get(action.target, ()))
        if action.container not in self._containers and action.container not in self._jobs:
            with contextlib.suppress(errors.ReconcilerError):  # others may have files in the directory
                files.remove_dir(self._root, action.target.rpartition("/")[0])
        return Outcome(action, "done")

    def _keep(self, action: Action) -> None:
        if changing := self._changing.get(action.container):
            self._rollback.keep(action.container, changing)
