"""What the site asks of bridges is what Neutron's agent makes of them: two who set the same thing otherwise would take turns for ever."""

import pytest

from reconciler.render import render
from tests.services import golden


@pytest.mark.parametrize(
    ("site", "more", "mode"),
    [
        # Open vSwitch forgets the flows of a standalone bridge some twenty seconds after its agent went away.
        ("compute", "", "secure"),
        # ovn-controller does not speak with these bridges, and nobody would give a secure one its flows.
        ("ovn", "", "standalone"),
        ("compute", "openvswitch_fail_mode: standalone\n", "standalone"),
    ],
)
def test_a_bridge_keeps_its_flows_where_an_agent_gives_them(site: str, more: str, mode: str) -> None:
    folder = golden.HERE / site / "site"
    text = (folder / "globals.yml").read_text() + more
    made = render(golden.load(folder, {"globals.yml": text.encode()}), "cmp", "0" * 40)
    bridges = {one.name: dict(one.fields) for one in made.host_settings if one.kind == "bridge"}
    agents = {one.name for one in made.containers} & {"neutron_openvswitch_agent", "ovn_controller"}
    assert agents == {"neutron_openvswitch_agent" if site == "compute" else "ovn_controller"}
    # Its own bridge is OVN's to keep.
    assert bridges.pop("br-int", {"fail_mode": "secure"}) == {"fail_mode": "secure"}
    assert bridges and all(fields == {"fail_mode": mode} for fields in bridges.values())
