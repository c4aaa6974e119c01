"""What Git declares: which wave a host is in, and how many go at once."""

import pytest

from reconciler.rollout import policy
from reconciler.rollout.policy import Budget, Wave, places

HOSTS = ("ctl1", "ctl2", "ctl3", *(f"cmp{number}" for number in range(1, 26)))
GROUPS = {"control": HOSTS[:3], "compute": HOSTS[3:]}
RULES = {"rest": "10%", "bake": 60, "deadline": 1800, "tolerate": 0, "max_absent": "5%"}


@pytest.mark.parametrize(
    ("at_once", "hosts", "number"), [(3, 100, 3), ("10%", 97, 9), ("10%", 5, 1), ("100%", 7, 7), ("1%", 1, 1)]
)
def test_numbers_and_percents(at_once: int | str, hosts: int, number: int) -> None:
    assert places(at_once, hosts) == number


def test_a_host_counts_in_the_first_wave_that_selects_it() -> None:
    waves = [
        {
            "name": "first",
            "hosts": [{"group": "compute", "first": 1}, {"group": "control", "last": 1}],
            "at_once": 1,
            "in_order": True,
        },
        {"name": "controllers", "hosts": [{"group": "control"}], "at_once": 1, "in_order": False},
        {
            "name": "rack b",
            "hosts": ["cmp9", {"group": "rack-b"}, {"group": "none"}, "nobody"],
            "at_once": "50%",
            "in_order": False,
        },
        {"name": "none left", "hosts": [{"group": "control"}], "at_once": 5, "in_order": False},
    ]
    found = policy.of({**RULES, "waves": waves}, HOSTS, {**GROUPS, "rack-b": ("cmp5", "cmp1")}, {})
    assert found.waves == (
        Wave("first", ("cmp1", "ctl3"), 1, True),
        Wave("controllers", ("ctl1", "ctl2"), 1),
        Wave("rack b", ("cmp9", "cmp5"), 1),
        Wave("the rest", tuple(h for h in HOSTS[4:] if h not in ("cmp5", "cmp9")), 2),
    )
    assert found.max_absent == 1 and found.hosts == frozenset(HOSTS)
    assert [found.wave_of(host) for host in ("ctl1", "ctl3", "cmp6", "gone")] == [1, 0, 3, None]


def test_a_site_of_one_host_has_one_wave() -> None:
    found = policy.of({**RULES, "waves": [], "max_absent": 0}, ["all"], {}, {"db": Budget("db", 1, ("all",))})
    assert found.waves == (Wave("the rest", ("all",), 1),) and found.max_absent == 0
    assert found.size("db", 0) == 1 and found.size(policy.WAVE, 0) == 1


def test_hosts_are_selected_by_a_label() -> None:
    waves = [
        {"name": "one", "hosts": [{"variable": "rack", "is": 7, "first": 1}], "at_once": 1, "in_order": False},
        {"name": "rack b", "hosts": [{"variable": "rack", "is": "b"}], "at_once": 1, "in_order": False},
    ]
    rules = {**RULES, "waves": waves}
    assert policy.labels(rules) == {"rack"}
    racks = {"cmp1": "b", "cmp2": 7, "cmp3": "7", "cmp4": "b", "ctl1": "b"}
    found = policy.of(rules, HOSTS, GROUPS, {}, {"rack": racks})
    assert [wave.hosts for wave in found.waves[:2]] == [("cmp2",), ("ctl1", "cmp1", "cmp4")]
