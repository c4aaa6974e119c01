"""One-shot containers: run to the end once, found again after a crash of ours, removed afterwards."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from reconciler import errors, service_log
from reconciler.engine import logs, options
from reconciler.engine.connection import Connection
from reconciler.model import Container, Job, State
from reconciler.options.normal import digest
from reconciler.reasons import Reason

_KEEP_LINES = 60
_VERBATIM_LINES = 1000
_DIED = 255  # what the engine says of a container that ended together with it, in a power cut say: nobody knows how the job would have
_WAIT_SECONDS = 20.0  # of one wait request


class Runner:
    """Runs one job. `is_ours` judges a container by its labels. `create`, `start`, `stop` and `remove` are the engine's own actions, by name."""

    def __init__(
        self,
        connection: Connection,
        is_ours: Callable[[Mapping[str, str]], bool],
        *,
        create: Callable[[Container, Mapping[str, str]], object],
        start: Callable[[str], None],
        stop: Callable[[str], None],
        remove: Callable[[str], None],
    ) -> None:
        self._connection, self._is_ours = connection, is_ours
        self._create, self._start, self._stop, self._remove = create, start, stop, remove

    def run(self, job: Job, claim: str) -> tuple[int, str]:
        """Its exit code and its last lines. See `Engine.run_once`."""
        container = replace(job.container, name=job.name, restart_policy="no")
        labels = {options.JOB: job.name, **({options.CLAIM: claim} if claim else {})}
        deadline = time.monotonic() + job.timeout
        data = self._connection.inspect(job.name)
        if data is not None:
            self._require_ours(job, data)
            known = data["Config"]["Labels"]
            same = known.get(options.SPEC) == digest(container) and known.get(options.CLAIM, "") == claim
            if not same:
                # A run for other inputs, or with a claim that counts no more: never two at a time, and never one half done.
                self._wait(job, deadline)
            if not same or (data["State"]["Status"] == State.EXITED and data["State"].get("ExitCode") == _DIED):
                self._remove(job.name)
                data = None
        if data is None:
            self._create(container, labels)
            data = self._connection.inspect(job.name)
        if data is not None and data["State"]["Status"] == State.CREATED:
            try:
                self._start(job.name)
            except errors.ReconcilerError:
                self._remove(job.name)
                raise
        code = self._wait(job, deadline)
        if job.verbatim:
            text = logs.output(self._connection, job.name, _VERBATIM_LINES)
        else:
            text = logs.last_words(self._connection, replace(container, log_files=()), job.name, _KEEP_LINES)
            # Others write into its log files, too: they are asked only where it says nothing of why by itself.
            if code != 0 and not service_log.headline(text.splitlines()):
                text = logs.last_words(self._connection, container, job.name, _KEEP_LINES)
        self._remove(job.name)
        return code, text

    def _require_ours(self, job: Job, data: Mapping[str, Any]) -> None:
        labels = data["Config"].get("Labels") or {}
        if not self._is_ours(labels) or labels.get(options.JOB) != job.name:
            raise errors.Terminal(
                f"run {job.name}: a container of that name was made by somebody else (remove or rename it)",
                reason=Reason.NameInUse,
            )

    def _wait(self, job: Job, deadline: float) -> int:
        """The exit code. A job that is still running at the deadline is stopped."""
        while (data := self._connection.inspect(job.name)) is not None:
            if data["State"]["Status"] in (State.EXITED, State.DEAD):
                return int(data["State"]["ExitCode"])
            if data["State"]["Status"] == State.CREATED:
                return -1
            left = deadline - time.monotonic()
            if left <= 0:
                self._stop(job.name)
                container = replace(job.container, name=job.name)
                text = logs.last_words(self._connection, container, job.name)
                self._remove(job.name)
                raise errors.Terminal(
                    f"{job.name} did not end within {job.timeout:g} s and was stopped" + (f":\n{text}" if text else ""),
                    reason=Reason.JobTimeout,
                )
            try:
                with self._connection.asking(f"wait for {job.name}"):
                    api: Any = self._connection.api
                    api.wait(job.name, timeout=min(left, _WAIT_SECONDS))
            except errors.Transient as error:
                if error.reason != Reason.EngineTimeout:
                    raise
        raise errors.Transient(f"{job.name} was removed while it ran", reason=Reason.ContainerMissing)
