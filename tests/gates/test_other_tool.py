"""How often another tool was at work on what was taken over from it, and from when on it is left alone."""

from datetime import UTC, datetime, timedelta

from reconciler.gates import other_tool
from reconciler.gates.other_tool import QUIET
from reconciler.model import OtherTool

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def after(*looks: tuple[timedelta, set[str]]) -> OtherTool | None:
    known = None
    for moment, holding in looks:
        known = other_tool.seen(known, holding, NOW + moment)
    return known


def test_what_is_never_seen_is_not_known() -> None:
    assert after((SECOND, set()), (SECOND * 2, set())) is None and not other_tool.gives_way(None)


def test_one_run_comes_to_several_containers_in_turn() -> None:
    known = after((SECOND * 0, {"keystone"}), (SECOND * 60, set()), (SECOND * 300, {"mariadb"}), (SECOND * 360, set()))
    assert known == OtherTool(1, NOW + SECOND * 300, ("keystone", "mariadb"), ())
    assert not other_tool.gives_way(known)


def test_what_it_keeps_is_not_another_run_however_long_it_keeps_it() -> None:
    """On a node that only reports, or whose daemon was away, nobody takes it over again."""
    known = after((SECOND * 0, {"keystone"}), (QUIET * 9, {"keystone"}), (QUIET * 99, {"keystone"}))
    assert known == OtherTool(1, NOW, ("keystone",), ("keystone",))


def test_after_a_quiet_time_it_is_a_second_run() -> None:
    first = (SECOND * 0, {"keystone"}), (SECOND * 60, set[str]())
    known = after(*first, (QUIET - SECOND, {"keystone"}))
    assert known and known.runs == 1
    known = after(*first, (QUIET, {"keystone"}))
    assert known == OtherTool(2, NOW + QUIET, ("keystone",), ("keystone",)) and other_tool.gives_way(known)
    back = after(*first, (-HOUR, {"keystone"}))
    assert back and back.runs == 2, "the clock was set back: nobody waits until it has caught up"
    # It stays so when nothing of it runs any more.
    assert other_tool.gives_way(other_tool.seen(known, set(), NOW + QUIET * 100))
