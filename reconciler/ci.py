"""From two revisions of a site to a review: every host planned from base to head, desired state against desired state.

The work is split over limited children without network; each loads both sites once and renders its share of the hosts. A
branch is a stranger's text: nothing of it is looked at in this process, only the plans that come back.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler import errors, run
from reconciler.ci_child import WORK_TREE, Source, workers
from reconciler.errors import Problem
from reconciler.model import Difference, from_json
from reconciler.review import Review
from reconciler.review.grouping import join

__all__ = ["WORK_TREE", "Limits", "Source", "hosts", "review", "told"]

MEMORY = 1 << 30  # bytes, this process and its children together
_OWN_MEMORY = 160 << 20
_MOST_WORKERS = 4  # more would each have too little of it
# What happened to planning itself is told where the review is read; anything else is a mistake of whoever asked for it.
_TOLD = ("LimitExceeded", "DeadlineExceeded", "ChildFailed")


@dataclass(frozen=True, slots=True)
class Limits:
    """What planning may take.

    `seconds` of wall clock in all; `load_seconds` of processor time to validate the site, `host_seconds` to plan one host; `memory`
    in bytes for this process and its children together.
    """

    seconds: float = 300.0
    load_seconds: float = 60.0
    host_seconds: float = 20.0
    memory: int = MEMORY


def review(
    base: Source | None,
    head: Source,
    *,
    limits: Limits | None = None,
    hosts: Sequence[str] = (),
    progress: Callable[[int, int, float], None] | None = None,
) -> Review:
    """Plan all hosts (or `hosts`) of `head` from `base` (None: from nothing).

    `progress` is called a few times a second with the number of hosts done, of all, and the seconds gone. What is wrong with
    the site is in the result; raises errors.Terminal (LimitExceeded when a child ran into its limits, RevisionUnknown, HostUnknown …) and
    errors.Transient (DeadlineExceeded).
    """
    with tempfile.TemporaryDirectory(prefix="reconciler-plan-") as folder:
        argument = {
            "base": base.to_json() if base else None,
            "head": head.to_json(),
            "hosts": list(hosts),
            "most": min(os.cpu_count() or 1, _MOST_WORKERS),
            "folder": folder,
        }
        answers = _Children(argument, limits or Limits(), Path(folder), progress).work()
    return _joined(answers, base, head)


def told(
    base: Source | None,
    head: Source,
    label: str,
    *,
    site: str = "",
    limits: Limits | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    also: Sequence[str] = (),
) -> Review:
    """As `review`, for a reader: `label` is what to call the base, `site` the site where it does not say its own name, and
    what ended planning early is in the result. Raises what concerns nobody but the caller, but for the reasons `also`.
    """
    empty = Review(site=site, base=label, head=head.label, path=head.path)
    try:
        found = review(base, head, limits=limits, progress=progress)
        return replace(found, base=label, site=found.site or site)
    except errors.SiteInvalid as error:
        return replace(empty, problems=error.problems)
    except errors.ReconcilerError as error:
        if error.reason not in (*_TOLD, *also):
            raise
        return replace(empty, failure=f"{error} [{error.reason}]", reason=error.reason)


class _Children:
    """The children of one review, and how far they are: each adds a byte to the file `done` for every host."""

    def __init__(
        self,
        argument: Mapping[str, Any],
        limits: Limits,
        folder: Path,
        progress: Callable[[int, int, float], None] | None,
    ) -> None:
        self.argument = {**argument, "host_seconds": limits.host_seconds, "load_seconds": limits.load_seconds}
        self.limits = run.Limits(
            seconds=limits.seconds,
            cpu_seconds=int(limits.seconds) + 1,
            memory=(limits.memory - _OWN_MEMORY) // argument["most"],
        )
        self.folder, self.progress = folder, progress
        self.answers: list[Future[Any]] = []
        self.started = time.monotonic()

    def work(self) -> list[Any]:
        """Their answers. The first child reads the sites and says how many hosts there are; for many, others join it."""
        (self.folder / "done").touch()
        threads = [self._start(0)]
        while alive := [thread for thread in threads if thread.is_alive()]:
            alive[0].join(0.1)
            total = self._total()
            if total:
                threads += [
                    self._start(number) for number in range(len(threads), workers(total, self.argument["most"]))
                ]
                if self.progress:
                    done = (self.folder / "done").stat().st_size
                    self.progress(done, total, time.monotonic() - self.started)
        return [answer.result() for answer in self.answers]

    def _total(self) -> int:
        try:
            return int((self.folder / "total").read_text() or 0)
        except (OSError, ValueError):  # not there yet, or not what a child of ours writes
            return 0

    def _start(self, number: int) -> threading.Thread:
        # A daemon thread: when this process is interrupted it does not wait for it, and the child ends with the process.
        answer: Future[Any] = Future()
        self.answers.append(answer)
        thread = threading.Thread(target=self._run, args=(number, answer), daemon=True)
        thread.start()
        return thread

    def _run(self, number: int, answer: Future[Any]) -> None:
        try:
            argument = {**self.argument, "number": number}
            answer.set_result(run.python("reconciler.ci_child:plan", argument, limits=self.limits, no_network=True))
        except BaseException as error:
            answer.set_exception(error)


def _joined(answers: Sequence[Any], base: Source | None, head: Source) -> Review:
    first = answers[0]
    order = {name: number for number, name in enumerate(first["hosts"])}
    rotated: dict[str, set[str]] = {}
    for answer in answers:
        for name, hosts in answer["rotated"].items():
            rotated.setdefault(name, set()).update(hosts)
    return Review(
        site=first["site"],
        base=base.label if base else "nothing",
        head=head.label,
        path=head.path,
        hosts=tuple(first["hosts"]),
        joined=tuple(first["joined"]),
        left=tuple(first["left"]),
        groups=join((answer["groups"] for answer in answers), order),
        rotated={name: tuple(sorted(hosts, key=order.__getitem__)) for name, hosts in sorted(rotated.items())},
        policy=tuple(from_json(Difference, row) for row in first["policy"]),
        warnings=_problems(first["warnings"]),
        problems=_problems(row for answer in answers for row in answer["problems"]),
        base_problems=_problems(row for answer in answers for row in answer["base_problems"]),
    )


def hosts(source: Source) -> tuple[str, tuple[str, ...]]:
    """The site's name and its hosts. Raises errors.SiteInvalid and what `review` raises."""
    limits = run.Limits(seconds=60, cpu_seconds=60, memory=MEMORY)
    name, found = run.python("reconciler.ci_child:hosts", source.to_json(), limits=limits, no_network=True)
    return name, tuple(found)


def _problems(rows: Iterable[Sequence[Any]]) -> tuple[Problem, ...]:
    return tuple(sorted({Problem(*row) for row in rows}))
