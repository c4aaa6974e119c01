"""What service.yml says once and means in several places: shared files, defaults, and the variables of Kolla's containers."""

from textwrap import dedent

import pytest

from reconciler import catalogue
from reconciler.catalogue import Service
from reconciler.catalogue.load import read
from reconciler.errors import Problem, SiteInvalid


def loaded(body: str, variables: str = "", **templates: str) -> catalogue.Catalogue:
    """A catalogue with one service, `nova`."""
    files = {
        "nova/service.yml": "description: Compute\n" + dedent(body),
        "nova/variables.yml": dedent(variables),
        **{f"nova/templates/{name}.j2": text for name, text in templates.items()},
    }
    return catalogue.load({path: text.encode() for path, text in files.items()}, "catalogue")


def service(body: str, variables: str = "", **templates: str) -> Service:
    return loaded(body, variables, **templates).services["nova"]


def refused(body: str, variables: str = "") -> list[str]:
    with pytest.raises(SiteInvalid) as error:
        loaded(body, variables)
    return [str(problem) for problem in error.value.problems]


# --- variables of Kolla's containers -----------------------------------------------------------------------------


def test_a_container_without_an_image_reads_kollas_variables() -> None:
    made = service("""
    containers:
      nova_api:
        command: nova-api
        volumes: ["kolla_logs:/var/log/kolla/"]
        healthcheck: "healthcheck_curl http://{{ nova_api_port }}"
    """)
    assert made.section("containers")["nova_api"] == {
        "command": "nova-api",
        "image": "{{ nova_api_image_full }}",
        "volumes": "{{ nova_api_default_volumes + nova_api_extra_volumes }}",
        "dimensions": "{{ nova_api_dimensions }}",
        "healthcheck": "{{ nova_api_healthcheck }}",
    }
    defaults = {name: variable.default for name, variable in made.variables.items()}
    registry = (
        "{{ docker_registry ~ '/' if docker_registry else '' }}{{ docker_namespace }}/{{ docker_image_name_prefix }}"
    )
    assert defaults == {
        "nova_tag": "{{ openstack_tag }}",
        "nova_extra_volumes": "{{ default_extra_volumes }}",
        "nova_api_image": f"{registry}nova-api",
        "nova_api_tag": "{{ nova_tag }}",
        "nova_api_image_full": "{{ nova_api_image }}:{{ nova_api_tag }}",
        "nova_api_dimensions": "{{ default_container_dimensions }}",
        "nova_api_default_volumes": ["kolla_logs:/var/log/kolla/"],
        "nova_api_extra_volumes": "{{ nova_extra_volumes }}",
        "nova_api_enable_healthchecks": "{{ enable_container_healthchecks }}",
        "nova_api_healthcheck_interval": "{{ default_container_healthcheck_interval }}",
        "nova_api_healthcheck_timeout": "{{ default_container_healthcheck_timeout }}",
        "nova_api_healthcheck_retries": "{{ default_container_healthcheck_retries }}",
        "nova_api_healthcheck_start_period": "{{ default_container_healthcheck_start_period }}",
        "nova_api_healthcheck_test": ["CMD-SHELL", "healthcheck_curl http://{{ nova_api_port }}"],
        "nova_api_healthcheck": {
            "test": "{{ nova_api_healthcheck_test if nova_api_enable_healthchecks else ['NONE'] }}",
            "interval": "{{ nova_api_healthcheck_interval }}",
            "timeout": "{{ nova_api_healthcheck_timeout }}",
            "retries": "{{ nova_api_healthcheck_retries }}",
            "start_period": "{{ nova_api_healthcheck_start_period }}",
        },
    }
    assert {variable.schema["type"] for variable in made.variables.values()} == {
        "string", "array", "object", "boolean", "number", "integer",
    }  # fmt: skip


def test_what_a_container_says_are_the_defaults() -> None:
    made = service("""
    containers:
      nova_super_conductor:
        image_name: nova-conductor
        tag: "{{ nova_conductor_tag }}"
        extra_volumes: []
        dimensions: {mem_limit: 1g}
        healthcheck: {test: [CMD, true-ish], interval: 5, enabled: false}
        variables: nova_super
    """)
    defaults = {name: variable.default for name, variable in made.variables.items()}
    assert defaults["nova_super_image"].endswith("}}nova-conductor")
    assert defaults["nova_super_tag"] == "{{ nova_conductor_tag }}"
    assert defaults["nova_super_extra_volumes"] == []
    assert defaults["nova_super_dimensions"] == {"mem_limit": "1g"}
    assert defaults["nova_super_healthcheck_test"] == ["CMD", "true-ish"]
    assert defaults["nova_super_healthcheck_interval"] == 5
    assert defaults["nova_super_enable_healthchecks"] is False
    assert "nova_tag" not in defaults


def test_a_container_of_its_services_name_shares_its_tag_and_nobody_its_volumes() -> None:
    made = service("containers: {nova: {command: a}, nova_ssh: {command: b}}")
    defaults = {name: variable.default for name, variable in made.variables.items()}
    assert defaults["nova_tag"] == "{{ openstack_tag }}"
    assert defaults["nova_image_full"] == "{{ nova_image }}:{{ nova_tag }}"
    assert defaults["nova_extra_volumes"] == defaults["nova_ssh_extra_volumes"] == "{{ default_extra_volumes }}"


def test_a_declared_variable_wins_and_may_be_said_only_once() -> None:
    declared = """
    nova_api_default_volumes: {description: Volumes., type: array, default: ["a:/a"]}
    nova_tag: {description: Tag., type: string, default: x}
    """
    made = service("containers: {nova_api: {command: a}}", declared)
    assert made.variables["nova_api_default_volumes"].default == ["a:/a"]
    assert made.variables["nova_tag"].place.file == "catalogue/nova/variables.yml"
    both = refused("containers: {nova_api: {command: a, volumes: [b:/b]}}", declared)
    assert both == [
        "catalogue/nova/service.yml:2:37: volumes has no effect, because variables.yml declares nova_api_default_volumes"
        " (say it in one of the two)"
    ]


@pytest.mark.parametrize("healthcheck", ["{}", '""', "[]", "{test: [NONE]}", "{test: NONE}", '"{{ mine }}"'])
def test_a_health_check_that_is_none_or_another_variable_is_left_alone(healthcheck: str) -> None:
    made = service(f"containers: {{nova_api: {{command: a, healthcheck: {healthcheck}}}}}")
    assert not [name for name in made.variables if "healthcheck" in name]


def test_an_image_of_its_own_has_no_variables() -> None:
    made = service("containers: {nova_api: {image: x, command: a, volumes: [a:/a], healthcheck: check me}}")
    assert not made.variables
    assert made.section("containers")["nova_api"]["healthcheck"] == {"test": "check me"}
    assert refused("containers: {nova_api: {image: x, tag: y}}") == [
        "catalogue/nova/service.yml:2:35: tag is for a container whose image is a variable, and this one says its `image`"
        " (remove one of the two)"
    ]
    assert refused("containers: {nova_api: {kolla: false}}") == [
        "catalogue/nova/service.yml:2:24: is missing 'image' (only images with Kolla's contract are variables by themselves)"
    ]


def test_two_services_cannot_derive_the_same_variable() -> None:
    files = {
        "nova/service.yml": b"description: x\ncontainers: {nova_api: {command: a}}\n",
        "other/service.yml": b"description: x\ncontainers: {other: {command: a, variables: nova_api}}\n",
    }
    with pytest.raises(SiteInvalid, match=r"other/service.yml:2:21: the variable 'nova_api_\w+' is declared twice"):
        catalogue.load(files, "catalogue")


# --- defaults and shared files -----------------------------------------------------------------------------------

SHARED = """
defaults:
  containers:
    group: all
    image: x
    environment: {A: "1", B: "1"}
    volumes: [a:/a]
  jobs: {container: nova_api, timeout: 30}
  files: {owner: nova, perm: "0640"}
files:
  nova.conf: {template: nova.conf.j2, merge: ini, overrides: [nova.conf, "nova/{container}.conf"], destination: /etc/nova.conf}
  policy: {name: policy.yaml, content: "{}", perm: "0600"}
containers:
  nova_api:
    environment: {B: "2"}
    volumes: [b:/b]
    files: [nova.conf, policy, {use: nova.conf, name: other.conf, owner: root}, {name: own, content: c}]
  nova_compute: {volumes: [c:/c], files: [nova.conf]}
jobs:
  sync: {files: [{name: note, content: n}]}
"""


def test_files_are_written_once_and_defaults_lie_underneath() -> None:
    made = service(SHARED, **{"nova.conf": ""})
    assert made.document.data.keys() == {"description", "containers", "jobs"}
    api = made.section("containers")["nova_api"]
    conf = {
        "name": "nova.conf", "template": "nova.conf.j2", "merge": "ini", "overrides": ["nova.conf", "nova/{container}.conf"],
        "destination": "/etc/nova.conf", "owner": "nova", "perm": "0640",
    }  # fmt: skip
    assert api == {
        "group": "all",
        "image": "x",
        "environment": {"A": "1", "B": "2"},
        "volumes": ["a:/a", "b:/b"],
        "files": [
            conf,
            {"name": "policy.yaml", "content": "{}", "perm": "0600", "owner": "nova"},
            {**conf, "name": "other.conf", "owner": "root"},
            {"name": "own", "content": "c", "owner": "nova", "perm": "0640"},
        ],
    }
    assert made.section("jobs")["sync"] == {
        "container": "nova_api", "timeout": 30, "files": [{"name": "note", "content": "n", "owner": "nova", "perm": "0640"}],
    }  # fmt: skip


def test_an_override_of_a_shared_file_is_known_for_each_of_its_containers() -> None:
    patterns = loaded(SHARED, **{"nova.conf": ""}).override_patterns()
    assert {(one.pattern, one.containers) for one in patterns if "{container}" in one.pattern} == {
        ("nova/{container}.conf", (name,)) for name in ("nova_api", "nova_compute", "sync")
    }


def test_what_was_shared_has_the_place_where_it_was_written() -> None:
    document = service(SHARED, **{"nova.conf": ""}).document
    lines = ("description: Compute\n" + SHARED).splitlines()

    def line(*path: str | int) -> str:
        return lines[document.place(path).line - 1].strip()

    assert line("containers", "nova_api", "files", 0, "template").startswith("nova.conf: {template")
    assert line("containers", "nova_compute", "files", 0, "overrides", 1).startswith("nova.conf: {template")
    assert line("containers", "nova_api", "files", 2, "owner").startswith("files: [nova.conf, policy")
    assert line("containers", "nova_api", "files", 1, "owner") == 'files: {owner: nova, perm: "0640"}'
    assert line("containers", "nova_api", "volumes", 0) == "volumes: [a:/a]"
    assert line("containers", "nova_api", "volumes", 1) == "volumes: [b:/b]"
    assert line("containers", "nova_api", "environment", "A").startswith("environment: {A")
    assert line("containers", "nova_api", "environment", "B") == 'environment: {B: "2"}'
    assert line("jobs", "sync", "timeout").startswith("jobs: {container")


def test_every_service_can_name_a_file_of_common() -> None:
    files = {
        "common/service.yml": "description: Shared\nfiles:\n  ca: {content: c, destination: /ca, perm: '0644'}\n",
        "nova/service.yml": "description: Compute\ndefaults: {files: {owner: nova}}\n"
        "containers: {nova_api: {files: [ca, {use: ca, name: other}]}}\n",
    }
    made = catalogue.load({path: text.encode() for path, text in files.items()}, "catalogue")
    file = {"content": "c", "destination": "/ca", "perm": "0644", "owner": "nova"}
    service = made.services["nova"]
    assert service.section("containers")["nova_api"]["files"] == [{"name": "ca", **file}, {"name": "other", **file}]
    assert service.document.place(("containers", "nova_api", "files", 1, "perm")).line == 3
    own = {"shop/service.yml": b"description: Shop\ncontainers: {shop: {files: [ca]}}\n"}
    problems: list[Problem] = []
    site = read(own, "site", problems, shipped=made)
    assert not problems
    assert site.services["shop"].section("containers")["shop"]["files"][0]["destination"] == "/ca"
    assert "nova" not in site.services


def test_a_problem_of_a_shared_file_is_told_once() -> None:
    assert refused(SHARED) == [
        "catalogue/nova/service.yml:12:25: unknown template 'nova.conf.j2'",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("files: [nova.conf]", "files: [nova.cnf]"),
            "19:43: the service has no file 'nova.cnf' to share (did you mean",
        ),
        (
            ("files: [nova.conf]", "files: [{use: novaconf}]"),
            "the service has no file 'novaconf' to share (did you mean",
        ),
        (("{name: own, content", "{content"), "18:81: is missing 'name'"),
        (
            ("volumes: [b:/b]", 'volumes: "{{ mine }}"'),
            "adds to what `defaults` say, and one of the two is an expression",
        ),
        (("environment: {B", "enviroment: {B"), "unknown key 'enviroment' (did you mean 'environment'?)"),
        (("jobs: {container: nova_api, ", "jobs: {"), "is missing 'container'"),
        (("owner: nova, perm", "ownr: nova, perm"), "unknown key 'ownr' (did you mean 'owner'?)"),
    ],
)
def test_mistakes_are_told_where_they_are(change: tuple[str, str], message: str) -> None:
    assert change[0] in SHARED
    assert any(message in problem for problem in refused(SHARED.replace(*change)))


def test_a_file_that_nothing_uses_is_a_warning() -> None:
    (warning,) = loaded("files: {a: {content: b}}\ncontainers: {x: {image: y, command: z}}").warnings
    assert str(warning) == (
        "catalogue/nova/service.yml:2:9: no container or job has the file 'a' (name it in the files of a container or job, or remove it)"
    )
