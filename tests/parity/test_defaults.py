"""What a variable is where a site says nothing: as in kolla-ansible, or with a reason. A site that comes from there says little."""

from typing import Any

import pytest

from reconciler import catalogue, data
from tests.parity import __main__ as tool
from tests.parity import defaults, environment, oracle
from tests.parity.defaults import Difference, Reason

SHIPPED = catalogue.load(data.services(), "catalogue")


@pytest.mark.slow
@pytest.mark.parametrize("release", environment.RELEASES)
def test_every_default_comes_to_the_same_or_has_a_reason(release: str) -> None:
    found = defaults.compare(oracle.Site("aio", tool.SITES / "aio", release), "aio")
    reasons = defaults.reasons(tool.HERE / "defaults.yml", release)
    assert [str(one) for one in found if not any(reason.fits(one) for reason in reasons)] == []
    assert [reason.name for reason in reasons if not any(map(reason.fits, found))] == [], "explains nothing"
    assert any(one.world for one in found) and len(found) > 100


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        ("enable_octavia", "yes", True),
        ("octavia_api_port", "9876", 9876),
        ("octavia_notification_topics", [{"name": "notifications", "enabled": "no"}], []),
        ("ironic_dnsmasq_dhcp_ranges", "", []),
        ("octavia_extra_volumes", ["", "a:b"], ["a:b"]),
        ("octavia_provider_agents", " amphora_agent ", "amphora_agent"),
    ],
)
def test_one_value_has_one_spelling(name: str, theirs: Any, ours: Any) -> None:
    schema = SHIPPED.variables[name].schema
    assert defaults.spelled(schema, theirs) == defaults.spelled(schema, ours)


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        ("octavia_auto_configure", True, False),
        ("octavia_auto_configure", "yes", None),
        ("octavia_amp_flavor_id", "1", ""),
        ("octavia_notification_topics", [{"name": "notifications", "enabled": True}], []),
    ],
)
def test_another_value_has_another(name: str, theirs: Any, ours: Any) -> None:
    schema = SHIPPED.variables[name].schema
    assert defaults.spelled(schema, theirs) != defaults.spelled(schema, ours)


def test_a_reason_is_about_what_it_names_alone() -> None:
    reason = Reason("why", ("*_scheme",), world=("internal_protocol=https",), ours=('"https"',))
    one = Difference("fluentd_scheme", "internal_protocol=https", '"http"', '"https"')
    assert reason.fits(one)
    others = (
        Difference("fluentd_port", one.world, one.theirs, one.ours),
        Difference(one.name, "", one.theirs, one.ours),
        Difference(one.name, one.world, one.theirs, '"tcp"'),
    )
    assert not any(map(reason.fits, others))
