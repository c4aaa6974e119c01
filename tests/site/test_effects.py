"""What a change of a variable reaches, as the pages of the services say it."""

import pytest

from reconciler import catalogue
from reconciler.site.effects import Effects

FILES = {
    "one/service.yml": """
description: One
enabled: "{{ enable_one }}"
containers:
  one: {image: "{{ one_image }}", kolla: false, files: [{name: one.conf, template: one.conf.j2, destination: /one.conf}]}
  plain: {image: "{{ one_image }}", kolla: false, environment: {PORT: "{{ one_port }}"}}
jobs:
  once: {container: one, inputs: ["{{ one_schema }}"]}
frontends:
  one: {mode: tcp, port: "{{ one_port }}", hosts: []}
""",
    "one/variables.yml": """
enable_one: {description: x, type: boolean, default: true}
one_image: {description: x, type: string, default: "one:1"}
one_port: {description: x, type: integer, default: 80}
one_schema: {description: x, type: string, default: a}
one_level: {description: x, type: string, default: "{{ one_noise }}"}
one_noise: {description: x, type: string, default: low}
one_included: {description: x, type: string, default: low}
one_text: {description: x, type: string, default: "one_port in a text is no name"}
""",
    "one/templates/one.conf.j2": "one_schema {{ one_level }} {% include 'more.j2' %}",
    "one/templates/more.j2": "{{ one_included }} {{ one_text }}",
    "lb/service.yml": """
description: Load balancer
containers:
  lb: {image: "lb:1", kolla: false, files: [{name: lb.cfg, template: lb.cfg.j2, destination: /lb.cfg}]}
""",
    "lb/templates/lb.cfg.j2": "{% for entry in frontends %}{{ entry.port }}{% endfor %}",
}


@pytest.mark.parametrize(
    ("variable", "reached"),
    [
        ("enable_one", ("lb", "one", "plain", "the job once")),
        ("one_level", ("one",)),
        ("one_noise", ("one",)),  # through the default of another
        ("one_included", ("one",)),  # through a template that a template includes
        ("one_schema", ("the job once",)),  # in the template it is only text
        ("one_port", ("lb", "plain")),  # through what a template gathers from all services
        ("nothing", ()),
    ],
)
def test_what_a_change_reaches(variable: str, reached: tuple[str, ...]) -> None:
    loaded = catalogue.load({name: text.encode() for name, text in FILES.items()}, "catalogue")
    assert Effects(loaded).of(variable) == reached
