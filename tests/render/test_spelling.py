"""A scalar keeps its spelling where text is wanted: what stood in the file is what a container, a label or a file gets."""

import json

import pytest
import yaml

from reconciler.document.numbers import spelled
from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from reconciler.render import explain, render
from tests.render.sites import container, file, one_service

SPELLINGS = [
    "24.10", "1.10", "0123", "022", "12345e7", "1E3", "0x1F", "0o17", ".5", "1.", "+1", "-0", "-0.0", "00", "1.50e-2",
    "1_000", "yes", "no", "on", "22:22", "2024-01-02", "10.0.0.0", "7", "-3", "2.5",
]  # fmt: skip

VARIABLES = """
typed: {description: A number., type: [integer, number], default: 1}
named: {description: A text., type: string, default: x}
"""

BODY = """
groups: {app: [control]}
containers:
  app:
    group: app
    kolla: false
    image: app:1
    command: [run, SPELT, "{{ site_value }}"]
    environment: {DIRECT: SPELT, BY_VARIABLE: "{{ site_value }}", IN_TEXT: "v{{ site_value }}", NAMED: "{{ named }}"}
    labels: {version: SPELT}
    log_driver: json-file
    log_opts: {tag: SPELT}
    files:
      - {name: a.txt, content: "{{ site_value }} {{ site_value | string }} {{ [site_value] | join }} {{ '%s' % site_value }}", destination: /a}
      - {name: b.yml, merge: yaml, overrides: [b.yml], optional: true, destination: /b}
"""


def desired(spelling: str) -> Desired:
    files = {
        "globals.yml": f'site_value: {spelling}\nnamed: "{{{{ site_value }}}}"\n',
        "config/b.yml": f"value: {spelling}\nlist: [{spelling}]\n",
    }
    return render(one_service(BODY.replace("SPELT", spelling), files, variables=VARIABLES), "ctl1", "0" * 40)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_scalar_keeps_its_spelling(spelling: str) -> None:
    found = desired(spelling)
    app = container(found, "app")
    assert app.command == ("run", spelling, spelling)
    assert {name: app.environment[name] for name in ("DIRECT", "BY_VARIABLE", "IN_TEXT", "NAMED")} == {
        "DIRECT": spelling, "BY_VARIABLE": spelling, "IN_TEXT": f"v{spelling}", "NAMED": spelling,
    }  # fmt: skip
    assert app.labels["version"] == app.log_opts["tag"] == spelling
    assert file(found, "app/a.txt").content == " ".join([spelling] * 4)
    merged = file(found, "app/b.yml").content
    assert merged == f"list:\n- {spelling}\nvalue: {spelling}\n"
    assert yaml.safe_load(merged)["value"] == yaml.safe_load(spelling)


@pytest.mark.parametrize("spelling", ["1e400", ".inf", ".nan", "123456789012345678901234567890"])
def test_a_number_that_nobody_could_read_says_to_quote_it(spelling: str) -> None:
    with pytest.raises(SiteInvalid, match="quote it if it is text"):
        desired(spelling)
    assert container(desired(f'"{spelling}"'), "app").environment["DIRECT"] == spelling


@pytest.mark.parametrize("spelling, number", [("010", 10), ("0x1F", 31), ("+1", 1), ("1e3", 1000.0), ('"0123"', 123)])
def test_where_a_number_is_wanted_it_is_the_number(spelling: str, number: float) -> None:
    body = BODY.replace("SPELT", "1").replace('"{{ site_value }}", IN_TEXT', '"{{ typed }}", IN_TEXT')
    made = one_service(body, {"globals.yml": f"typed: {spelling}\nsite_value: 1\n"}, variables=VARIABLES)
    assert container(render(made, "ctl1", "0" * 40), "app").environment["BY_VARIABLE"] == str(number)


def test_what_is_calculated_is_an_ordinary_number() -> None:
    texts = "{{ site_value + 0 }} {{ site_value | int }} {{ site_value == 24.1 }} {{ site_value > 24 }} {{ {'a': site_value} | to_json }}"
    body = BODY.replace("SPELT", "1").replace("{{ site_value }} {{ site_value | string }}", texts)
    found = render(one_service(body, {"globals.yml": "site_value: 24.10\n"}, variables=VARIABLES), "ctl1", "0" * 40)
    assert file(found, "app/a.txt").content.startswith('24.1 24 True True {"a": 24.1}')


def test_a_variable_of_type_text_says_how_to_quote_its_own_spelling() -> None:
    with pytest.raises(SiteInvalid, match=r'quote it: "2025\.10"'):
        one_service(BODY.replace("SPELT", "1"), {"globals.yml": "named: 2025.10\nsite_value: 1\n"}, variables=VARIABLES)


def test_explain_knows_it() -> None:
    made = one_service(
        BODY.replace("SPELT", "1"), {"globals.yml": "site_value: {a: [0123, 24.10, 7]}\n"}, variables=VARIABLES
    )
    assert json.dumps(spelled(explain(made, "ctl1", "site_value").value)) == '{"a": ["0123", "24.10", 7]}'
