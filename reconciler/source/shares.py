"""The hosts of a site, shared by several children: each loads the site once and works on every n-th host.

The first child reads the site and says how many hosts there are to work on; for many, others join it. Each says a dot for every host
it has done. The child's side is `site_child.share`.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

from reconciler.source import child
from reconciler.system import run

T = TypeVar("T")
Progress = Callable[[int, int, float], None]  # hosts done, of all, seconds gone

_HOSTS_PER_CHILD: Final = 12


def workers(hosts: int, most: int) -> int:
    """How many children share so many hosts: below two dozen, another one costs more than it saves."""
    return max(1, min(most, hosts // _HOSTS_PER_CHILD))


def ask(
    function: str,
    argument: Mapping[str, Any],
    answers: type[T],
    *,
    limits: run.Limits,
    most: int,
    progress: Progress | None = None,
) -> list[T]:
    """What the children answer, the first one's answer first; at most `most` of them. `argument` as in `child.ask`, and `hosts`: the
    names to work on, none for all.

    `progress` is called a few times a second once the number of hosts is known. Raises as `child.ask`.
    """
    return _Children(function, {**argument, "most": most}, answers, limits, progress).work()


class _Children(Generic[T]):
    """The children of one task, and how far they are."""

    def __init__(
        self,
        function: str,
        argument: Mapping[str, Any],
        answers: type[T],
        limits: run.Limits,
        progress: Progress | None,
    ) -> None:
        self.function, self.argument, self.type, self.limits = function, argument, answers, limits
        self.progress = progress
        self.answers: list[Future[T]] = []
        self.done, self.total = 0, b""
        self.lock = threading.Lock()
        self.started = time.monotonic()

    def work(self) -> list[T]:
        """Their answers, once all of them have ended."""
        threads = [self._start(0)]
        while True:
            # Who has ended is asked first: what those said of the number of hosts is then known.
            alive = [thread for thread in threads if thread.is_alive()]
            with self.lock:
                done, total = self.done, int(self.total) if self.total.endswith(b"\n") else 0
            missing = range(len(threads), workers(total, self.argument["most"])) if not self._failed() else ()
            threads += [self._start(number) for number in missing]
            if total and self.progress:
                self.progress(done, total, time.monotonic() - self.started)
            if not alive and not missing:
                return [answer.result() for answer in self.answers]
            if alive:
                alive[0].join(0.1)

    def _failed(self) -> bool:
        return any(answer.done() and answer.exception() for answer in self.answers)

    def _note(self, said: bytes) -> None:
        """Take what a child says of how far it is."""
        with self.lock:
            for byte in said:
                if byte == ord("."):
                    self.done += 1
                elif len(self.total) < 8 and not self.total.endswith(b"\n") and byte in b"0123456789\n":
                    self.total += bytes([byte])

    def _start(self, number: int) -> threading.Thread:
        # A daemon thread: when this process is interrupted it does not wait for it, and the child ends with the process.
        answer: Future[T] = Future()
        self.answers.append(answer)
        thread = threading.Thread(target=self._run, args=(number, answer), daemon=True)
        thread.start()
        return thread

    def _run(self, number: int, answer: Future[T]) -> None:
        try:
            argument = {**self.argument, "number": number}
            answer.set_result(child.ask(self.function, argument, self.type, limits=self.limits, progress=self._note))
        except BaseException as error:
            answer.set_exception(error)
