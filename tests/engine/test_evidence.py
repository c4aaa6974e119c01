"""When a failing check counts for good: a slow start never trips it, a steady failure does not wait for the engine's own verdict."""

from collections.abc import Callable

import pytest

from reconciler.engine.evidence import Evidence, patience

USUAL = 9.0


def decided(
    usual: float | None,
    *,
    code: Callable[[float], int | None] = lambda now: 1,
    log: Callable[[float], set[str]] = lambda now: set(),
    named: bool = False,
    busy: float = 0.0,
    until: float = 120.0,
) -> float | None:
    """The second at which it is decided; None when it never is. A check every second, by a clock of the test's own."""
    evidence = Evidence(usual, 0.0)
    evidence.begin(0.0, 0.0)
    now = 0.0
    while now < until:
        now += 1.0
        evidence.failed(code(now), now, now * busy)
        if evidence.asks_the_log:
            evidence.read(log(now))
            if evidence.decides(named=named):
                return now
    return None


def test_what_was_healthy_in_nine_seconds_and_fails_steadily_is_given_up_within_thirty() -> None:
    assert decided(USUAL, named=True, log=lambda now: {"Could not load #"}) == pytest.approx(18, abs=1)
    assert decided(USUAL) == pytest.approx(25, abs=1), "a log that names nothing gets more time"


def test_what_was_never_healthy_keeps_the_long_patience() -> None:
    assert decided(None, named=True, log=lambda now: {"error"}) is None


def test_a_slow_start_gets_there() -> None:
    """Twice as slow as before, in silence; and, as long as something moves, for as long as the engine's own patience lasts."""
    found = decided(USUAL)
    assert found is not None and found > 2 * USUAL
    assert decided(60.0, until=160.0) is None, "what takes a minute may take more than two and a half"
    assert decided(0.3, until=20.0) is None, "what was quick may be slow for once"
    assert decided(USUAL, log=lambda now: {f"migration {'x' * int(now // 4)}"}) is None, "its log says something new"
    assert decided(USUAL, named=True, log=lambda now: {"error", f"trying {'y' * int(now // 4)}"}) is None
    assert decided(USUAL, code=lambda now: int(now // 4)) is None, "its check answers otherwise"


def test_it_has_to_be_steady_at_the_end() -> None:
    assert decided(USUAL, code=lambda now: 7 if now < 23 else 22) == pytest.approx(28, abs=1)


def test_a_machine_that_keeps_everybody_waiting_gets_more_time() -> None:
    assert decided(USUAL, busy=1.0) == pytest.approx(36, abs=2)
    assert decided(USUAL, busy=9.0) == pytest.approx(36, abs=2), "most of the time counts all the same"
    assert decided(USUAL, named=True, log=lambda now: {"error"}, busy=1.0) == pytest.approx(27, abs=2), (
        "within 30 s, too"
    )


def test_begun_again_it_counts_from_there() -> None:
    evidence = Evidence(USUAL, 0.0)
    evidence.begin(0.0, 0.0)
    for second in range(1, 25):
        evidence.failed(1, float(second), 0.0)
    evidence.begin(25.0, 0.0)
    evidence.failed(1, 30.0, 0.0)
    assert not evidence.asks_the_log and not evidence.decides(named=True)


def test_the_patience_grows_with_what_it_took() -> None:
    assert patience(0.1, named=True) == 12 and patience(0.1, named=False) == 25
    assert patience(100, named=True) == 200 and patience(100, named=False) == 275
