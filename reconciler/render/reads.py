"""What something was made of, all the way down: the names of what a site says that were looked at, as bits of two numbers.

`differences` gives a name its bit, and says which of them two hosts, or two revisions, see differently.
"""

from types import TracebackType


class Reads:
    """Names that were looked at for something about `host`: its own ones, and those of any other host."""

    __slots__ = ("host", "others", "own")

    def __init__(self, host: str, own: int = 0, others: int = 0) -> None:
        self.host = host
        self.own = own
        self.others = others

    def add(self, host: str, bits: int) -> None:
        """Names of `host` were looked at."""
        if host == self.host:
            self.own |= bits
        else:
            self.others |= bits

    def take(self, other: "Reads") -> None:
        """What `other` was made of is part of it."""
        if other.host == self.host:
            self.own |= other.own
            self.others |= other.others
        else:
            self.others |= other.own | other.others


class Ledger:
    """What is being made at present, one thing inside another: the innermost is told what is looked at."""

    __slots__ = ("present",)

    def __init__(self) -> None:
        self.present: Reads | None = None

    def add(self, host: str, bits: int) -> None:
        """Names of `host` are looked at."""
        if self.present is not None:
            self.present.add(host, bits)

    def take(self, reads: Reads) -> None:
        """Something that has been made before is looked at."""
        if self.present is not None:
            self.present.take(reads)

    def about(self, host: str) -> "_Page":
        """A context in which something about `host` is made; it gives its reads, complete at its end, also when that is an error."""
        return _Page(self, Reads(host))


class _Page:
    __slots__ = ("_ledger", "_outer", "_reads")

    def __init__(self, ledger: Ledger, reads: Reads) -> None:
        self._ledger = ledger
        self._reads = reads

    def __enter__(self) -> Reads:
        self._outer = self._ledger.present
        self._ledger.present = self._reads
        return self._reads

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ledger.present = self._outer
        if self._outer is not None:
            self._outer.take(self._reads)
