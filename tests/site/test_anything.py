"""Whatever a site holds, it is valid or it has problems with places; nothing else comes out, and nothing is slow."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler import catalogue, data, site
from reconciler.errors import SiteInvalid
from reconciler.site.editor import composed_schemas
from reconciler.site.reference import reference_markdown
from tests.support import sealed

WORDS = st.sampled_from(
    [
        "a",
        "ctl1",
        "rack1",
        "control",
        "keystone",
        "web",
        "all",
        "yes",
        "no",
        "8080",
        "10.0.0.1",
        "{{x}}",
        "{%x%}",
        "ENC[x]",
        "sops",
        "30s",
        "*.conf",
        "../x",
        "{host}",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers(-5, 70000) | st.floats(0, 9) | WORDS
# Valid files that have something of everything; a test puts something else in the place of some part.
VALID: dict[str, Any] = {
    "inventory.yml": {
        "hosts": {
            "ctl1": {
                "addresses": {"network": "10.0.0.1"},
                "interfaces": {"network": "eth1"},
                "groups": ["control"],
                "facts": {"vcpus": 8},
                "variables": {"enable_keystone": True},
            },
            "cmp1": {},
        },
        "groups": {"rack1": {"hosts": ["ctl1"], "children": ["rack2"]}, "rack2": {}},
    },
    "globals.yml": {
        "enable_keystone": "yes",
        "keystone_ports": {"a": 1},
        "keystone_domains": ["a"],
        "site_x": [{"a": 1}],
    },
    "hosts/ctl1.yml": {"keystone_ratio": 0.5, "site_x": None},
    "passwords.yml": {
        "keystone_admin_password": sealed.cipher("a"),
        "keystone_ssh_key": {"private_key": sealed.cipher("b")},
        "sops": sealed.metadata(),
    },
    "reconciler.yml": {
        "drift": {"mode": "heal", "services": {"keystone": "report"}, "fields": {"image": "ignore"}},
        "prune": {"max": 3},
        "reporting": {"mode": "aggregate", "threshold": 5},
        "windows": [{"name": "a", "days": ["mon"], "from": "22:00", "to": "23:00"}],
    },
    "services/web/service.yml": {
        "description": "Web",
        "requires": ["keystone"],
        "groups": {"web": ["control"]},
        "passwords": {"web_password": {"kind": "random"}},
        "containers": {
            "web": {
                "image": "x",
                "group": "web",
                "depends_on": ["keystone"],
                "environment": {"A": 1},
                "healthcheck": {"test": ["NONE"]},
                "files": [
                    {"name": "a", "template": "a.j2", "overrides": ["web.conf", "{host}/web.conf"], "merge": "ini"}
                ],
            }
        },
        "jobs": {"sync": {"container": "web", "before": ["web"], "after": ["keystone"], "files": [{"name": "b"}]}},
        "provides": {"mariadb": {"needs": ["web"]}},
        "frontends": {"web": {"mode": "http", "port": 80, "group": "web"}},
        "logs": {"web": {"paths": ["/x"]}},
        "checks": {"web": {"http": "http://x", "expect": [200]}},
    },
    "services/web/variables.yml": {
        "web_a": {"description": "A.", "type": "integer", "minimum": 1, "default": 1, "examples": [2]},
        "web_b": {
            "description": "B.",
            "type": ["object", "null"],
            "properties": {"a": {"type": "array", "items": {"type": "string", "pattern": "x"}}},
            "additionalProperties": {"anyOf": [{"type": "string", "format": "ip"}, {"type": "null"}]},
            "default": {"a": ["x"]},
        },
        "web_c": {"description": "C.", "type": "string", "required": True},
    },
}
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)


def parts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a value, itself first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from parts(item, (*path, key))


def changed(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """A copy of a value with something else at a path."""
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], other)
    return copy


def site_of(contents: Mapping[str, Any]) -> dict[str, bytes]:
    files = {path: json.dumps(content).encode() for path, content in contents.items()}
    return files | {"services/web/templates/a.j2": b"", "config/web.conf": b"", "config/ctl1/web.conf": b""}


def test_the_files_to_change_are_valid(shipped: catalogue.Catalogue) -> None:
    assert site.load(site_of(VALID), shipped).warnings == ()


@pytest.mark.parametrize("path", VALID)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_is_judged(path: str, data: st.DataObject, shipped: catalogue.Catalogue) -> None:
    where = data.draw(st.sampled_from(list(parts(VALID[path]))))
    files = site_of(VALID | {path: changed(VALID[path], where, data.draw(ANYTHING))})
    try:
        loaded = site.load(files, shipped)
    except SiteInvalid as error:
        assert any(problem.severity == "error" for problem in error.problems)
        for problem in error.problems:
            assert problem.file in files or problem.file == "services/web"
            assert problem.line <= 1
            assert problem.message
    else:
        assert all(loaded.layers(host) for host in loaded.hosts)
        assert reference_markdown(loaded.catalogue)
        assert composed_schemas(loaded.catalogue)


def test_shipped_catalogue_has_nothing_to_warn_of() -> None:
    assert catalogue.load(data.services(), "catalogue").warnings == ()
