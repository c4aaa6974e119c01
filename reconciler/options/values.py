"""Values of options that have parts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """Docker's health check. Durations in seconds; `test` is Docker's list form (`["CMD-SHELL", "…"]`)."""

    test: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 5.0


@dataclass(frozen=True, slots=True)
class Mount:
    """One bind or named volume. `source` with a leading `/` is a host path, else a volume name."""

    source: str
    target: str
    mode: str = "rw"  # Docker's comma-separated bind options, sorted: "ro", "rw", "rshared,rw", "ro,z"

    @property
    def read_only(self) -> bool:
        return "ro" in self.mode.split(",")


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A resource limit; -1 is unlimited."""

    name: str
    soft: int
    hard: int


NO_HEALTHCHECK = Healthcheck(test=("NONE",))
