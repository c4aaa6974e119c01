"""A secret may stand in a file or be a password of a registration. Planted anywhere else, it is refused with its place."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from reconciler import data
from reconciler.codec import to_json
from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from reconciler.render import tokens
from tests.render.sites import rendered

SECRET = "{{ app_password }}"
PROVIDERS: dict[str, dict[str, Any]] = {
    "mariadb": {"host": "x"},
    "rabbitmq": {"url": "http://x"},
    "keystone": {"url": "http://x"},
}
SCHEMA = data.schema("service")["$defs"]


def base() -> dict[str, Any]:
    """A service that has something of everything."""
    return {
        "description": "An application",
        "groups": {"app": ["control"]},
        "passwords": {"app_password": {"kind": "random"}},
        "containers": {
            "app": {
                "group": "app",
                "image": "x",
                "command": "run",
                "files": [{"name": "a.conf", "content": "x", "destination": "/a.conf"}],
                "permissions": [{"path": "/a", "owner": "a:a"}],
            },
            "plain": {"group": "app", "image": "x", "kolla": False, "command": ["run"]},
        },
        "jobs": {"app_job": {"container": "app", "command": "once"}},
        "registrations": {
            "mariadb": {
                "databases": [{"name": "app"}],
                "users": [{"name": "app", "password": "p", "grants": [{"database": "app", "privileges": ["ALL"]}]}],
            },
            "rabbitmq": {
                "vhosts": [{"name": "/app"}],
                "users": [{"name": "app", "password": "p", "permissions": [{"vhost": "/app", "configure": ".*"}]}],
            },
            "keystone": {
                "services": [{"name": "app", "type": "app", "endpoints": {"public": "http://x"}}],
                "users": [{"name": "app", "password": "p", "project": "service", "roles": ["admin"]}],
                "projects": [{"name": "service"}],
                "domains": [{"name": "d"}],
                "roles": [{"name": "admin"}],
            },
        },
        "provides": {kind: {**where, "username": "u", "password": "p"} for kind, where in PROVIDERS.items()},
        "checks": {"app": {"command": {"container": "app", "command": "true"}}},
    }


def _places() -> Iterator[tuple[str, ...]]:
    """Every key that the grammar knows, by the path of the mapping that it is planted in."""
    for container in ("app", "plain"):
        yield from (("containers", container, key) for key in SCHEMA["container"]["properties"])
    yield from (("jobs", "app_job", key) for key in SCHEMA["job"]["properties"])
    yield from (("containers", "app", "files", "0", key) for key in SCHEMA["file"]["properties"])
    yield from (("containers", "app", "healthcheck", key) for key in ("test", "interval", "retries"))
    yield from (("containers", "app", "reload", key) for key in ("signal", "command"))
    yield from (("containers", "app", "permissions", "0", key) for key in ("path", "owner", "perm", "exclude"))
    yield from (("checks", "app", key) for key in SCHEMA["check"]["properties"])
    yield from (("checks", "app", "command", key) for key in ("container", "command"))
    for kind in ("mariadb", "rabbitmq", "keystone"):
        for key in (
            "url",
            "host",
            "port",
            "username",
            "password",
            "user_domain",
            "ca_file",
            "verify",
            "region",
            "needs",
        ):
            yield ("provides", kind, key)
        for section, entries in base()["registrations"][kind].items():
            for key in ("name", "host", "password", "tags", "description", "email", "domain", "project", "roles", "collation",
                        "character_set", "type", "endpoints", "domain_roles", "system_roles", "region", "enabled"):  # fmt: skip
                yield ("registrations", kind, section, "0", key)
            for below in ("grants", "permissions"):
                for key in ("database", "vhost", "privileges", "table", "configure", "write", "read"):
                    if below in entries[0]:
                        yield ("registrations", kind, section, "0", below, "0", key)


def _plant(path: tuple[str, ...], shape: Any) -> str:
    whole = base()
    here: Any = whole
    for step, following in itertools.pairwise(path):
        if isinstance(here, list):
            while len(here) <= int(step):
                here.append({})
            here = here[int(step)]
        else:
            if not isinstance(here.get(step), dict | list):
                here[step] = [] if following.isdigit() else {}
            here = here[step]
    if path[0] == "checks" and path[-1] in ("http", "tcp"):
        here.pop("command")
    here[path[-1]] = shape
    return yaml.safe_dump({key: value for key, value in whole.items() if key != "description"}, sort_keys=False)


def shown(desired: Desired) -> set[str]:
    """The secrets of desired state that stand where somebody can see them."""
    state = to_json(desired)
    for file in state["files"]:
        if not file["path"].endswith("config.json"):
            file.pop("content", None)
        file.pop("secrets", None)
    for entry in (*state["registrations"],):
        entry.get("fields", {}).pop("password", None)
    # Of a check, only its name and what went wrong are shown.
    for entry in (*state["registrars"], *(check for check in state.get("checks", ()) if "connection" in check)):
        entry["connection"].pop("password", None)
    state.pop("secrets", None)
    return tokens.held(state)


def test_the_base_is_valid_and_shows_nothing() -> None:
    whole = {key: value for key, value in base().items() if key != "description"}
    assert shown(rendered(yaml.safe_dump(whole), secrets={"app_password": "abc"})) == set()


@pytest.mark.parametrize("path", list(_places()), ids=".".join)
def test_a_secret_is_refused_wherever_it_would_be_seen(path: tuple[str, ...]) -> None:
    refused = 0
    for shape in (f"a {SECRET} b", [SECRET], {"k": SECRET}, "{{ app_password | b64encode }}"):
        body = _plant(path, shape)
        try:
            desired = rendered(body, secrets={"app_password": "abc"})
        except SiteInvalid as error:
            said = [str(problem) for problem in error.problems if "secret" in problem.message]
            refused += 1  # for the secret, or because the grammar knows no such value there
            for text in said:
                assert re.match(r"catalogue/app/service\.yml:\d+:\d+: ", text), text
        else:
            assert shown(desired) == set(), (path, shape)
    allowed = path[-1] in ("password", "content", "inputs", "enabled")
    silent = path[-1] in (
        "merge",
        "template",
        "source",
        "overrides",
        "verbatim",
    )  # of another shape, or read by name only
    assert refused or allowed or silent or path[-1] in NOT_READ, path


# Keys that this base has no use for: nothing of them enters desired state.
NOT_READ = {
    "needs", "host", "tags", "description", "email", "domain", "project", "roles", "collation", "character_set", "type",
    "endpoints", "domain_roles", "system_roles", "region", "container", "group", "expect", "verify",
}  # fmt: skip


def test_a_user_in_an_address_is_refused() -> None:
    for body in (
        _plant(("provides", "rabbitmq", "url"), "http://u:literal@x:15672"),
        _plant(("checks", "app", "http"), "http://u:literal@x/"),
    ):
        with pytest.raises(SiteInvalid) as caught:
            rendered(body, secrets={"app_password": "abc"})
        assert "holds a user or a password" in str(caught.value) and "literal" not in str(caught.value)


def test_a_path_for_everything_is_no_secret() -> None:
    with pytest.raises(SiteInvalid, match="node_config_directory holds a secret") as caught:
        rendered(
            yaml.safe_dump({k: v for k, v in base().items() if k != "description"}),
            {"globals.yml": "node_config_directory: '/etc/{{ app_password }}'\n"},
            secrets={"app_password": "abc"},
            variables="node_config_directory: {description: Root., type: string, default: /etc/kolla}",
        )
    assert str(caught.value).startswith("globals.yml:1:24: ")
