"""Values that an expression gives: what no file, engine or server could take is a problem with its place."""

import pytest

from reconciler.errors import SiteInvalid
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
