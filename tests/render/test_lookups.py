"""What templates ask of the site: templates of the service and of `common`, files of config/ and whether they are there."""

import pytest

from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from reconciler.render import render
from reconciler.site import Site
from tests.render.sites import file, make_site, rendered


def text(template: str, files: dict[str, str] | None = None, more: str = "", **templates: str) -> str:
    """What a template of the service `app` comes to on ctl1."""
    body = f"containers: {{app: {{image: x, command: y, files: [{{name: f, template: t, {more}}}]}}}}"
    return file(rendered(body, files, templates={"t": template, **templates}), "app/f").content


def refused(template: str, files: dict[str, str] | None = None, more: str = "", **templates: str) -> str:
    with pytest.raises(SiteInvalid) as caught:
        text(template, files, more, **templates)
    return str(caught.value.problems[0])


def test_a_template_includes_another_of_its_service() -> None:
    assert text("a {% include 'b' %} c", b="{{ container }}") == "a app c"
    assert text("{% for n in ['b', 'c'] %}{% include n %}{% endfor %}", b="1", c="2") == "12"
    assert text("{{ template('b', port=80) }}", b="{{ port }} {{ inventory_hostname }}") == "80 ctl1"
    assert text("{{ lookup('template', 'b') }}", b="x") == "x"


def test_what_is_wrong_in_an_included_template_has_its_place() -> None:
    assert refused("{% include 'b' %}", b="a\n{{ gone }}").startswith(
        "catalogue/app/templates/b:2:1: the variable 'gone'"
    )
    assert "neither app nor common has a template 'bee'; did you mean" in refused("{% include 'bee' %}", been="")
    assert "templates are inside one another more than 10 deep" in refused("{% include 't' %}")
    assert "templates are inside one another more than 10 deep" in refused("{% include 'b' %}", b="{% include 't' %}")


def test_every_service_has_the_templates_of_common_and_its_own_go_first() -> None:
    body = "description: x\ncontainers: {app: {image: x, command: y, files: [{name: f, template: uwsgi.ini.j2, vars: {port: 5000}}]}}\n"
    services = {
        "common/service.yml": "description: Shared\n",
        "common/templates/uwsgi.ini.j2": "[uwsgi]\nport = {{ port }}\n{% include 'tail' %}",
        "common/templates/tail": "common",
        "app/service.yml": body,
    }
    assert file(render(make_site(services), "ctl1", "r"), "app/f").content == "[uwsgi]\nport = 5000\ncommon"
    site = make_site({**services, "app/templates/tail": "{{ container }}"})
    assert file(render(site, "ctl1", "r"), "app/f").content == "[uwsgi]\nport = 5000\napp"
    assert not site.catalogue.warnings


def test_vars_of_a_file_are_seen_by_its_template_and_its_fields() -> None:
    body = """
    containers:
      app:
        image: x
        command: y
        files:
          - {name: "{{ word }}.conf", template: t, destination: "/etc/{{ word }}", vars: {word: "{{ container }}-1"}}
    """
    assert file(rendered(body, templates={"t": "{{ word }}"}), "app/app-1.conf").content == "app-1"


FRAGMENTS = {"config/app/in/b.conf": "b {{ inventory_hostname }}\n", "config/app/in/a.conf": "a\n"}


def test_fragments_are_asked_for_by_pattern() -> None:
    template = "{% for path in overrides('app/in/*.conf', 'app/none') %}{{ override(path) }}{% endfor %}"
    desired = rendered(
        "containers: {app: {image: x, command: y, files: [{name: f, template: t, reads: [app/in/*.conf]}, {name: g, content: x}]}}",
        FRAGMENTS,
        templates={"t": template},
    )
    assert file(desired, "app/f").content == "a\nb ctl1\n"
    assert file(desired, "app/f").sources == (
        "catalogue/app/templates/t",
        "config/app/in/a.conf",
        "config/app/in/b.conf",
    )
    assert file(desired, "app/g").sources == ("catalogue/app/service.yml",)


def test_what_a_template_reads_has_to_be_named() -> None:
    assert (
        refused("x", FRAGMENTS)
        == "config/app/in/a.conf:1:1: no service reads this file (docs/site-reference.md lists the paths of each service)"
    )
    assert "the site has no config/app/none: ask first_override()" in refused("{{ override('app/none') }}")


POLICY = """
containers:
  app:
    image: x
    command: y
    files:
      - {name: f, template: t}
      - {name: "{{ policy }}", enabled: "{{ policy != '' }}", overrides: ["app/{host}/policy.yaml", app/policy.json], destination: "/etc/{{ policy }}"}
"""


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "none"),
        ({"config/app/policy.json": "{}"}, "policy.json"),
        ({"config/app/policy.json": "{}", "config/app/ctl1/policy.yaml": "a: b"}, "policy.yaml"),
        ({"config/app/ctl2/policy.yaml": "a: b"}, "none"),
    ],
)
def test_whether_an_override_is_there(files: dict[str, str], expected: str) -> None:
    policy = "{{ first_override('app/{host}/policy.yaml', 'app/policy.json') | basename }}"
    variables = f'policy: {{description: Its name., type: string, default: "{policy}"}}\n'
    template = "{% if policy %}{{ policy }}{% else %}none{% endif %}"
    desired = rendered(POLICY, files, variables=variables, templates={"t": template})
    assert file(desired, "app/f").content == expected
    assert len(desired.files) == (2 if expected == "none" else 3)


def test_lookup_is_ansibles_where_that_is_pure() -> None:
    assert text("{{ lookup('vars', 'node_' ~ 'config') }}") == "/etc/kolla"
    assert text("{{ lookup('vars', 'gone', default='x') }}") == "x"
    assert "there is no variable 'gone'" in refused("{{ lookup('vars', 'gone') }}")
    assert text("{{ lookup('file', 'app/a') }}", {"config/app/a": "x"}, "reads: [app/a]") == "x"
    assert text("{{ lookup('first_found', ['app/b', 'app/a']) }}", {"config/app/a": "x"}, "reads: [app/a]") == "app/a"
    assert "lookup('env') is not available: it would read the machine" in refused("{{ lookup('env', 'HOME') }}")


# --- folders and lists -------------------------------------------------------------------------------------------


def themed(more: str = "", kolla: str = "true") -> Desired:
    files = {f"config/app/themes/{path}": path for path in ("a.css", "dark/b.css", "dark/deep/c.css")}
    files |= {"config/app/ctl1/themes/dark/b.css": "mine"}
    entry = f'{{name: themes, overrides: ["app/{{host}}/themes/**", "app/themes/**"], destination: /themes{more}}}'
    return rendered(f"containers: {{app: {{image: x, command: y, kolla: {kolla}, files: [{entry}]}}}}", files)


def test_two_stars_take_a_whole_tree_and_keep_its_folders() -> None:
    made = {one.path: one.content for one in themed().files}
    del made["app/config.json"]
    assert made == {
        "app/themes/a.css": "a.css",
        "app/themes/dark/b.css": "mine",
        "app/themes/dark/deep/c.css": "dark/deep/c.css",
    }
    (app,) = themed(kolla="false").containers
    assert [(mount.source, mount.target) for mount in app.mounts] == [
        ("/etc/kolla/app/themes/dark/b.css", "/themes/dark/b.css"),
        ("/etc/kolla/app/themes/a.css", "/themes/a.css"),
        ("/etc/kolla/app/themes/dark/deep/c.css", "/themes/dark/deep/c.css"),
    ]


def scrapes(extend: str, **files: str) -> str:
    entry = (
        f'{{name: p.yml, template: t, merge: yaml, extend_lists: {extend}, source: ["app/{{host}}/p.yml", app/p.yml],'
        ' overrides: ["app/p.yml.d/*.yml"]}'
    )
    body = f"containers: {{app: {{image: x, command: y, files: [{entry}]}}}}"
    content = {f"config/app/{path}": text for path, text in files.items()}
    return file(rendered(body, content, templates={"t": "jobs: [shipped]\n"}), "app/p.yml").content


FRAGMENT = {"p.yml.d/a.yml": "jobs: [a]", "p.yml.d/b.yml": "jobs: [b]\nmore: 1"}


def test_lists_extend_where_the_file_says_so_and_the_base_can_be_replaced() -> None:
    assert scrapes("true", **FRAGMENT) == "jobs:\n- shipped\n- a\n- b\nmore: 1\n"
    assert scrapes("false", **FRAGMENT) == "jobs:\n- b\nmore: 1\n"
    assert scrapes("true", **FRAGMENT, **{"p.yml": "jobs: [own]"}) == "jobs:\n- own\n- a\n- b\nmore: 1\n"
    both = {"p.yml": "jobs: [own]", "ctl1/p.yml": "jobs: [host]"}
    assert scrapes("true", **both) == "jobs:\n- host\n"


def test_a_template_sees_only_this_hosts_files() -> None:
    site: Site = make_site(
        {"app/service.yml": "description: x\ncontainers: {app: {image: x, command: y, files: [{name: f, template: t, reads: ['app/{host}/x']}]}}",
         "app/templates/t": "{{ overrides('app/{host}/x') | join }}"},
        {"config/app/ctl2/x": "y"},
    )  # fmt: skip
    assert [file(render(site, host, "r"), "app/f").content for host in site.hosts] == ["", "app/ctl2/x", ""]
