"""One thread that does in the background what is due, so that nobody who hands it something has to wait."""

import threading
from collections.abc import Callable


class Worker:
    """Does one step after the other, whenever one is due. The thread begins with the first `wake`, and dies with the process.

    `due` is asked with `changed` held: in how many seconds the next step is due, 0 or less for now, None when nothing waits. `step` does
    it, without the lock; it must not raise. It looks again at least every `longest` seconds, for clocks may be set.
    """

    def __init__(
        self, name: str, due: Callable[[], float | None], step: Callable[[], None], *, longest: float = 3600.0
    ) -> None:
        self.changed = threading.Condition()
        self.busy = False
        self.closed = False
        self._name, self._due, self._step, self._longest = name, due, step, longest
        self._thread: threading.Thread | None = None

    @property
    def began(self) -> bool:
        """Whether it was ever given something to do."""
        return self._thread is not None

    def wake(self) -> None:
        """What is due may have changed. With `changed` held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self.changed.notify_all()

    def close(self) -> None:
        """Begin no further step; what is under way is abandoned with the process."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _run(self) -> None:
        while self._wait():
            try:
                self._step()
            finally:
                with self.changed:
                    self.busy = False
                    self.changed.notify_all()

    def _wait(self) -> bool:
        """Wait until a step is due; False at the end."""
        with self.changed:
            while not self.closed:
                seconds = self._due()
                if seconds is not None and seconds <= 0:
                    self.busy = True
                    return True
                self.changed.wait(None if seconds is None else min(seconds, self._longest))
            return False
