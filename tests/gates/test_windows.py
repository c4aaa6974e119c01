"""Maintenance windows: known cases, the nights on which clocks change, and what holds for any policy."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.gates.windows import DAYS, closed

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTS = {
    "name": "nights",
    "time_zone": "Europe/Berlin",
    "days": ["mon", "tue", "wed", "thu", "sun"],
    "from": "22:00",
    "to": "05:00",
}
YEAR_END = {"name": "year end", "time_zone": "Europe/Berlin", "from": "2026-12-20", "to": "2027-01-06"}


def said(policy: dict[str, Any], *moment: int, zone: ZoneInfo = BERLIN, fold: int = 0) -> str:
    """`open`, or what is said about a closed window at a local time."""
    year, month, day, hour, minute = moment
    found = closed(policy, datetime(year, month, day, hour, minute, tzinfo=zone, fold=fold))
    return str(found) if found else "open"


def window(begin: str, end: str, *days: str, zone: str = "Europe/Berlin") -> dict[str, Any]:
    return {"windows": [{"name": "w", "time_zone": zone, "days": list(days or DAYS), "from": begin, "to": end}]}


def test_without_windows_everything_may_be_done() -> None:
    assert closed({"windows": [], "freezes": [], "freeze": False}, datetime(2026, 11, 22, 12, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ((2026, 11, 23, 21, 59), "until 2026-11-23 22:00 CET (window nights)"),  # a Monday
        ((2026, 11, 23, 22, 0), "open"),
        ((2026, 11, 24, 4, 59), "open"),
        ((2026, 11, 24, 5, 0), "until 2026-11-24 22:00 CET (window nights)"),
        # Friday is not among the days, but the night that began on Thursday lasts into it.
        ((2026, 11, 27, 4, 0), "open"),
        ((2026, 11, 27, 5, 0), "until 2026-11-29 22:00 CET (window nights)"),
        ((2026, 11, 29, 1, 0), "until 2026-11-29 22:00 CET (window nights)"),
        ((2026, 6, 1, 12, 0), "until 2026-06-01 22:00 CEST (window nights)"),
    ],
)
def test_nights(moment: tuple[int, ...], expected: str) -> None:
    assert said({"windows": [NIGHTS]}, *moment) == expected


def test_a_window_of_a_whole_day() -> None:
    policy = window("00:00", "00:00", "sat")
    assert said(policy, 2026, 11, 28, 0, 0) == said(policy, 2026, 11, 28, 23, 59) == "open"
    assert said(policy, 2026, 11, 29, 0, 0) == "until 2026-12-05 00:00 CET (window w)"


def test_several_windows_the_first_to_open_is_named() -> None:
    policy = {
        "windows": [NIGHTS, {"name": "lunch", "time_zone": "UTC", "days": ["mon"], "from": "12:00", "to": "13:00"}]
    }
    assert said(policy, 2026, 11, 23, 8, 0) == "until 2026-11-23 12:00 UTC (window lunch)"
    assert said(policy, 2026, 11, 23, 13, 30) == "open"  # 12:30 UTC
    assert said(policy, 2026, 11, 23, 14, 0) == "until 2026-11-23 22:00 CET (window nights)"


def test_freezes() -> None:
    only = {"freezes": [YEAR_END]}
    assert said(only, 2026, 12, 19, 23, 59) == "open"
    assert said(only, 2026, 12, 20, 0, 0) == "until 2027-01-07 00:00 CET (freeze year end)"
    assert said(only, 2027, 1, 6, 23, 59) == "until 2027-01-07 00:00 CET (freeze year end)"
    assert said(only, 2027, 1, 7, 0, 0) == "open"
    both = {"windows": [NIGHTS], "freezes": [YEAR_END]}
    assert said(both, 2026, 12, 24, 23, 0) == "until 2027-01-07 00:00 CET (freeze year end, then window nights)"
    lunch = {**window("12:00", "13:00"), "freezes": [YEAR_END]}
    assert said(lunch, 2026, 12, 24, 23, 0) == "until 2027-01-07 12:00 CET (freeze year end, then window w)"
    # A window that would be open next lies in a freeze that has not begun yet.
    assert said(lunch, 2026, 12, 19, 14, 0) == "until 2027-01-07 12:00 CET (window w)"


def test_freezes_that_follow_each_other() -> None:
    more = {"name": "audit", "time_zone": "UTC", "from": "2027-01-06", "to": "2027-03-01"}
    assert said({"freezes": [YEAR_END, more]}, 2026, 12, 24, 0, 0).startswith("until 2027-03-02 01:00 CET")


def test_the_switch_freezes_without_an_end_and_drift_too() -> None:
    found = closed({"freeze": True, "windows": [NIGHTS]}, datetime(2026, 11, 23, 23, 0, tzinfo=BERLIN))
    assert found is not None and found.until is None and found.drift
    assert str(found) == "until further notice (freeze: true in reconciler.yml)"


def test_drift_waits_only_when_asked_for() -> None:
    noon = datetime(2026, 11, 23, 12, 0, tzinfo=BERLIN)
    for apply_to, expected in (("changes", False), ("everything", True)):
        found = closed({"windows": [NIGHTS], "windows_apply_to": apply_to}, noon)
        assert found is not None and found.drift is expected


def test_clocks_put_forward() -> None:
    """In Berlin 02:00 to 03:00 did not exist on 29 March 2026."""
    inside = window("02:15", "04:00")
    assert said(inside, 2026, 3, 29, 1, 59) == "until 2026-03-29 03:00 CEST (window w)"
    assert said(inside, 2026, 3, 29, 3, 0) == "open"
    gone = window("02:00", "03:00", "sun")
    assert said(gone, 2026, 3, 29, 1, 30) == "until 2026-04-05 02:00 CEST (window w)"


def test_clocks_put_back() -> None:
    """In Berlin 02:00 to 03:00 came twice on 25 October 2026."""
    policy = window("02:15", "02:30")
    assert said(policy, 2026, 10, 25, 2, 20) == said(policy, 2026, 10, 25, 2, 20, fold=1) == "open"
    assert said(policy, 2026, 10, 25, 2, 40) == "until 2026-10-25 02:15 CET (window w)"
    assert said(policy, 2026, 10, 25, 2, 40, fold=1) == "until 2026-10-26 02:15 CET (window w)"
    # 01:30 to 02:10: closed at the first 02:10, and clocks jump back into it.
    assert said(window("01:30", "02:10"), 2026, 10, 25, 2, 30) == "until 2026-10-25 02:00 CET (window w)"


def test_a_day_that_was_left_out() -> None:
    """Samoa had no 30 December 2011."""
    policy = window("10:00", "11:00", "fri", zone="Pacific/Apia")
    apia = ZoneInfo("Pacific/Apia")
    assert said(policy, 2011, 12, 29, 12, 0, zone=apia) == "until 2012-01-06 10:00 +14 (window w)"


# --- for any policy --------------------------------------------------------------------------------------------------

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Santiago",
    "Africa/Cairo",
]
CLOCKS = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from((0, 1, 15, 30, 45, 59)))
WINDOWS = st.fixed_dictionaries(
    {
        "name": st.just("w"),
        "time_zone": st.sampled_from(ZONES),
        "days": st.lists(st.sampled_from(DAYS), min_size=1, unique=True),
        "from": CLOCKS,
        "to": CLOCKS,
    }
)
# Around the days on which clocks change somewhere, and any day.
TURNS = [
    date(2026, 3, 8),
    date(2026, 3, 29),
    date(2026, 4, 5),
    date(2026, 10, 4),
    date(2026, 10, 25),
    date(2026, 11, 1),
]
MOMENTS = st.builds(
    lambda day, minutes: datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes),
    st.sampled_from(TURNS) | st.dates(date(2026, 1, 1), date(2027, 12, 31)),
    st.integers(-1440, 2880),
)


@st.composite
def freezes(draw: st.DrawFn) -> dict[str, Any]:
    first = draw(st.sampled_from(TURNS)) + timedelta(days=draw(st.integers(-3, 1)))
    last = first + timedelta(days=draw(st.integers(0, 5)))
    return {"name": "f", "time_zone": draw(st.sampled_from(ZONES)), "from": str(first), "to": str(last)}


POLICIES = st.fixed_dictionaries(
    {"windows": st.lists(WINDOWS, max_size=3), "freezes": st.lists(freezes(), max_size=2), "freeze": st.just(False)}
)


def allowed(policy: dict[str, Any], now: datetime) -> bool:
    """The rule as an operator would put it, read off the wall clock as text."""
    for freeze in policy["freezes"]:
        if freeze["from"] <= f"{now.astimezone(ZoneInfo(freeze['time_zone'])):%Y-%m-%d}" <= freeze["to"]:
            return False
    for entry in policy["windows"]:
        local = now.astimezone(ZoneInfo(entry["time_zone"]))
        clock, today, before = f"{local:%H:%M}", DAYS[local.weekday()], DAYS[local.weekday() - 1]
        over_midnight = entry["to"] <= entry["from"]
        if today in entry["days"] and clock >= entry["from"] and (over_midnight or clock < entry["to"]):
            return True
        if over_midnight and before in entry["days"] and clock < entry["to"]:
            return True
    return not policy["windows"]


@given(POLICIES, MOMENTS)
@settings(max_examples=150, deadline=None)
def test_it_opens_at_the_first_moment_that_is_allowed(policy: dict[str, Any], now: datetime) -> None:
    found = closed(policy, now)
    assert (found is None) == allowed(policy, now)
    if found is None:
        return
    assert found.until is not None and found.until > now
    assert closed(policy, found.until) is None, "what is announced is true"
    # Nothing opens before: every minute up to three days, which holds every change of clocks around `now`.
    for minute in range(1, min(4320, int((found.until - now).total_seconds() // 60))):
        assert not allowed(policy, now + timedelta(minutes=minute))


@given(POLICIES, MOMENTS)
@settings(max_examples=60, deadline=None)
def test_a_second_question_before_it_opens_has_the_same_answer(policy: dict[str, Any], now: datetime) -> None:
    found = closed(policy, now)
    if found is None or found.until is None:
        return
    later = closed(policy, now + (found.until - now) / 2)
    assert later is not None and later.until == found.until
