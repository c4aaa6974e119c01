"""Values that an expression gives: what no file, engine or server could take is a problem with its place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import SiteInvalid
from reconciler.render import values
from reconciler.render.meter import Meter, Run, Running
from reconciler.source import prepare
from tests.render.sites import one_service, rendered

APP = "groups: {{app: [control]}}\ncontainers: {{app: {{group: app, image: x, command: y, kolla: false, {0}}}}}\n"
CHECK = "groups: {{app: [control]}}\ncontainers: {{app: {{group: app, image: x, command: y, kolla: false}}}}\nchecks: {{a: {{group: app, {0}}}}}\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (APP.format('restart_policy: "{{ \'on-failure:x\' }}"'), "restart_policy"),
        (APP.format('restart_policy: "{{ \'sometimes\' }}"'), "restart_policy"),
        (APP.format("shm_size: \"{{ '9' * 400 }}\""), "shm_size must be a size"),
        (APP.format("dimensions: {mem_limit: \"{{ '9' * 30 }}g\"}"), "mem_limit must be a size"),
        (APP.format("stop_timeout: \"{{ '1' * 30 }}\""), "stop_timeout must be an integer"),
        (APP.format("stop_timeout: \"{{ '1' * 5000 }}\""), "stop_timeout must be an integer"),
        (APP.format("stability: \"{{ '9' * 400 }}\""), "stability must be a duration"),
        (APP.format("user: \"{{ '\\\\ud800' }}\""), "half a surrogate pair"),
        (APP.format("environment: {A: \"{{ ['\\\\udfff'] }}\"}"), "half a surrogate pair"),
        (APP.format("labels: \"{{ {'\\\\ud800': 1} }}\""), "half a surrogate pair"),
        (APP.format("hostname: \"{{ 'a\\\\u0000' }}\""), "U+0000"),
        (APP.format("stability: \"{{ 10.0 ** 300 * 10.0 ** 300 }}\""), "no number that can be written"),
        (APP.format("files: [{name: \"{{ 'a\\\\nb' }}\", content: x, destination: /x}]"), "is not a path below"),
        (APP.format("files: [{name: a, content: \"{{ '\\\\ud800' }}\", destination: /x}]"), "half a surrogate pair"),
        (APP.format("files: [{name: a, content: x, destination: /x, owner: \"{{ '1' * 5000 }}\"}]"), "an owner is a number"),
        (CHECK.format("http: 'http://x', expect: [\"{{ '²' }}\"]"), "is not a status of HTTP"),
        (CHECK.format("http: 'http://x', expect: [\"{{ '1' * 5000 }}\"]"), "is not a status of HTTP"),
        (CHECK.format("tcp: \"x:{{ '²' }}\""), "is not host:port"),
    ],
)  # fmt: skip
def test_values_that_nothing_could_take(body: str, message: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        rendered(body)
    assert message in str(caught.value) and "app/service.yml" in str(caught.value)


def test_a_template_that_no_file_can_hold() -> None:
    body = APP.format("files: [{name: a, template: a.j2, destination: /x}]")
    with pytest.raises(SiteInvalid, match=r"a\.j2:1:1: the result holds half a surrogate pair"):
        rendered(body, templates={"a.j2": "{{ '\\ud800' }}"})


def test_a_long_chain_and_a_circle_of_containers() -> None:
    def chain(last: str) -> str:
        lines = [f"  c{n}: {{group: app, image: x, command: y, depends_on: [c{n + 1}]}}\n" for n in range(1500)]
        return f"groups: {{app: [control]}}\ncontainers:\n{''.join(lines)}  c1500: {{group: app, image: x, command: y{last}}}\n"

    assert len(rendered(chain("")).containers) == 1500 + 1
    with pytest.raises(SiteInvalid, match="these wait for each other: c0 → c1 → c2"):
        rendered(chain(", depends_on: [c0]"))
    assert one_service(chain(""))


_NAMES = st.sampled_from(["", "a", "b", "ctl01", "ctl02", "x" * 511, "x" * 512, "y" * 2000])
_ITEMS = st.one_of(_NAMES, st.integers(-1, 1), st.booleans(), st.none(), st.lists(_NAMES, max_size=2))


@given(st.one_of(st.lists(_NAMES, max_size=8), st.lists(_ITEMS, max_size=8)), _ITEMS)
@settings(deadline=None, max_examples=300)
def test_what_a_list_contains_and_costs_does_not_depend_on_how_it_is_looked_through(
    listed: list[object], item: object
) -> None:
    told = []
    for look in (values.contains, lambda listed, item: any(values.equal(item, other) for other in listed)):
        payer = Meter()
        with Running(Run(payer, {})):
            told.append((look(listed, item), payer.steps, payer.size))
    assert told[0] == told[1]


def test_what_a_host_says_alone_is_in_its_file_and_in_the_inventory() -> None:
    inventory = (
        "hosts: {a: {addresses: {network: 10.0.0.1}, variables: {site_x: 1}}, b: {addresses: {network: 10.0.0.2}}}\n"
    )
    found = prepare.load(
        {"inventory.yml": inventory.encode(), "globals.yml": b"site_z: 1\n", "hosts/a.yml": b"site_y: 2\n"}
    )
    assert (found.alone("a"), found.alone("b")) == (frozenset(("site_x", "site_y")), frozenset())
