"""`maintenance` of a service: where it is done, and what it cannot say."""

import re

import pytest

from reconciler.errors import SiteInvalid
from reconciler.render import render
from tests.render import sites

SERVICE = """
groups: {app: [control], compute: []}
passwords: {app_password: {kind: random}}
defaults: {containers: {kolla: false, image: "app:1"}}
containers:
  app: {group: app, command: app}
  other: {group: compute, command: other}
maintenance:
  things: {description: they go elsewhere, container: app, command: [move, "{{ inventory_hostname }}"], timeout: 60}
  rest: {description: it is off, container: app, command: rest, enabled: "{{ 1 == 2 }}"}
"""
INVENTORY = """hosts:
  a: {addresses: {network: 10.0.0.11}, groups: [control]}
  b: {addresses: {network: 10.0.0.12}, groups: [compute]}
groups: {control: {}, compute: {}}
"""


def test_it_is_done_where_its_container_is() -> None:
    site = sites.one_service(SERVICE, inventory=INVENTORY)
    (step,) = render(site, "a", "0" * 40).maintenance
    assert (step.name, step.container, step.command, step.timeout) == ("things", "app", ("move", "a"), 60.0)
    assert step.words == "they go elsewhere"
    assert render(site, "b", "0" * 40).maintenance == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("container: app, command: [move", "container: ap, command: [move", "'ap'.*did you mean 'app'"),
        ('command: [move, "{{ inventory_hostname }}"], ', "", "command"),
        ('"{{ inventory_hostname }}"', '"{{ app_password }}"', "a maintenance cannot use the secret app_password"),
        ("timeout: 60", "timeout: 60, inside: true", "inside"),
    ],
)
def test_what_is_refused(old: str, new: str, said: str) -> None:
    assert old in SERVICE
    with pytest.raises(SiteInvalid) as caught:
        render(
            sites.one_service(SERVICE.replace(old, new), inventory=INVENTORY, secrets={"app_password": "x"}),
            "a",
            "0" * 40,
        )
    assert re.search(said, str(caught.value), re.DOTALL), caught.value
