"""Names that kolla-ansible's roles have inside: files of config/ see them, as the services say what they are here, and nobody else does."""

import pytest

from reconciler.errors import SiteInvalid
from reconciler.render import render
from tests.render.sites import file, make_site

COMMON = """\
description: Shared
role_names:
  service_name: "{{ container | replace('_', '-') }}"
  family: "{{ 'ipv6' if ':' in addresses.tunnel else 'ipv4' }}"
  flag: "no"
  gone: null
"""
APP = """\
description: x
containers:
  app_api:
    image: x
    command: y
    files:
      - {name: app.conf, content: "[own]\\n", merge: ini, overrides: [app.conf]}
      - {name: whole, overrides: [whole], optional: true}
      - {name: made, template: made.j2}
role_names:
  flag: "yes"
  app_file: "{{ app_file or none }}"
  role_app_port: "{{ app_port }}"
  shard: {stat: {exists: "{{ first_override('whole') != '' }}"}}
"""
VARIABLES = "app_file: {description: File., type: string, default: ''}\napp_port: {description: Port., type: integer, default: 80}\n"
MADE = "{{ app_file is defined }} {{ override('whole') if first_override('whole') else '' }}"


def text(path: str, overrides: dict[str, str], host: str = "ctl1", made: str = MADE) -> str:
    services = {"common/service.yml": COMMON, "app/service.yml": APP, "app/templates/made.j2": made}
    site = make_site(services, {f"config/{name}": content for name, content in overrides.items()}, variables=VARIABLES)
    return file(render(site, host, "r"), f"app-api/{path}").content


def test_an_override_sees_what_the_role_has_inside() -> None:
    said = "[a]\nname = {{ service_name }}\nport = {{ role_app_port + 1 }}\nflag = {{ flag | bool }}\nfamily = {{ family }}\n"
    assert text("app.conf", {"app.conf": said}).split("\n")[-6:-1] == ["name = app-api", "port = 81", "flag = True", "family = ipv4", ""]  # fmt: skip
    assert text("whole", {"whole": "{{ shard.stat.exists }}{{ service_name }}"}) == "Trueapp-api"


def test_a_name_that_is_nothing_here_is_not_defined_and_no_mistake() -> None:
    """kolla-ansible defines `…_policy_file` only where the site brings one; here it is a variable, and empty."""
    asked = "{{ gone is defined }} {{ app_file is defined }} {{ app_file | default('none') }}"
    assert text("whole", {"whole": asked}) == "False False none"
    files = {"whole": asked, "globals": ""}
    services = {"common/service.yml": COMMON, "app/service.yml": APP, "app/templates/made.j2": MADE}
    site = make_site(services, {"config/whole": files["whole"], "globals.yml": "app_file: policy.yaml\n"}, variables=VARIABLES)  # fmt: skip
    assert file(render(site, "ctl1", "r"), "app-api/whole").content == "False True policy.yaml"


def test_templates_of_services_do_not_see_them_and_what_they_take_from_config_does() -> None:
    assert text("made", {"whole": "{{ service_name }} {{ app_file is defined }}"}) == "True app-api False"
    with pytest.raises(SiteInvalid, match="the variable 'service_name' is not defined"):
        text("made", {}, made="{{ service_name }}")


def test_a_name_that_is_mistyped_is_refused_and_they_are_among_what_is_suggested() -> None:
    with pytest.raises(SiteInvalid) as caught:
        text("whole", {"whole": "\n{{ family }} {{ servce_name }}"})
    assert "config/whole:2:1: the variable 'servce_name' is not defined (did you mean 'service_name'?)" in str(caught.value)  # fmt: skip
