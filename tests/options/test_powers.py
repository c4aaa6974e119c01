"""What gives a container power over its host: every option that a setting has to grant, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.model import Container, Mount
from reconciler.node.policy import STRICT, check
from reconciler.options import powers
from reconciler.options.table import TABLE
from tests.engine.test_options import CASES
from tests.engine.test_policy import ASKING

GRANTED = {name: row for name, row in TABLE.items() if row.granted_by}


@pytest.mark.parametrize("name", GRANTED)
def test_every_option_that_is_granted_is_told(name: str) -> None:
    """A new one fails here until `tests/engine/test_policy.py` has something that asks for it."""
    if name == "image":
        return  # a review tells those from elsewhere: tests/review/test_power.py
    key = GRANTED[name].key.rpartition(".")[2]
    silent = replace(Container("c", "i"), network_mode="none")
    asking = [one for one, _ in ASKING if getattr(one, name) != getattr(silent, name)]
    found = {power.option for one in asking for power in powers.more(powers.of(silent), powers.of(one))}
    assert asking and key in found


@pytest.mark.parametrize("case", [*CASES, *range(len(ASKING))])
def test_it_is_what_a_strict_host_refuses(case: str | int) -> None:
    asked = ASKING[case][0] if isinstance(case, int) else Container("c", "i", **CASES[case])
    found, refused = powers.of(asked), check(asked, STRICT)
    assert len({one if one.option != "ports" else "ports" for one in found}) == len(refused), (found, refused)


@pytest.mark.parametrize(
    ("before", "after", "gains"),
    [
        ({}, {}, []),
        ({"network_mode": "bridge"}, {}, ["network_mode host"]),
        ({}, {"privileged": True, "pid_mode": "host", "mounts": (Mount("/dev", "/d"), Mount("/srv", "/s", "ro"))},
         ["privileged", "pid_mode host", "volumes /dev", "volumes /srv:ro"]),
        ({"privileged": True}, {}, []),
        ({"mounts": (Mount("/srv", "/s"),)}, {"mounts": (Mount("/srv", "/t", "ro"),)}, []),
        ({"mounts": (Mount("/srv", "/s", "ro"),)}, {"mounts": (Mount("/srv/", "/s"),)}, ["volumes /srv"]),
        ({"mounts": (Mount("/run", "/r"),)}, {"mounts": (Mount("/run", "/r", "rw,shared"),)}, ["volumes /run:shared"]),
        ({"mounts": (Mount("/run", "/r", "rw,shared"),)}, {"mounts": (Mount("/run", "/r", "ro"),)}, []),
        ({"mounts": (Mount("/run", "/r", "ro,shared"),)}, {"mounts": (Mount("/run", "/r", "rw"),)}, ["volumes /run"]),
        ({"cap_add": ("CAP_NET_ADMIN",)}, {"cap_add": ("net_admin", "SYS_ADMIN")}, ["cap_add SYS_ADMIN"]),
        ({"oom_score_adj": -500}, {"oom_score_adj": -900}, []),
        ({}, {"mounts": (Mount("/etc/localtime", "/x", "ro"), Mount("data", "/d"))}, []),
        ({}, {"security_opt": ("seccomp=" + "x" * 900,)}, ["security_opt seccomp=" + "x" * 52 + "…"]),
    ],
)  # fmt: skip
def test_what_one_gains(before: dict[str, Any], after: dict[str, Any], gains: list[str]) -> None:
    had, has = (powers.of(Container("c", "i", **options)) for options in (before, after))
    assert [power.words for power in powers.more(had, has)] == gains


def test_a_new_one_is_on_the_host_s_network_as_all_are() -> None:
    assert [power.words for power in powers.USUAL] == ["network_mode host"]
