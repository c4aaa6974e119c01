"""One table of options: the grammar, the reading, the requests and what is read back all follow from its rows."""

import dataclasses
import json
from typing import Any

import pytest

from reconciler import data
from reconciler.codec import from_json, to_json
from reconciler.model import Container, Mount, Ulimit
from reconciler.options import inspected, requests
from reconciler.options.normal import digest, normal
from reconciler.options.table import REFUSED, TABLE, Change, Kind, Options
from tests.engine.test_options import CASES
from tests.render.sites import container, rendered
from tests.render.test_build import problems
from tests.support import grammar

SERVICE = """
    containers:
      app:
        kolla: false
        image: registry.example/app:1
        network_mode: bridge
"""


def test_the_grammar_is_the_table_s() -> None:
    found = data.schema("service")
    assert found == grammar.wanted(found), "`make docs` writes it anew"  # type: ignore[arg-type]


def test_every_field_is_an_option_or_the_name() -> None:
    assert {field.name for field in dataclasses.fields(Options)} == {*TABLE, "name"}
    assert all(row.doc and row.at for row in TABLE.values())
    assert len({row.key for row in TABLE.values()}) == len(TABLE)
    own = [name for name, row in TABLE.items() if row.kind is Kind.OWN]
    assert all(TABLE[name].schema and TABLE[name].form for name in own)


def test_what_lifts_a_limit_reads_back_as_no_limit() -> None:
    """An update that takes a limit away must not show as a difference in the pass after it."""
    for row in TABLE.values():
        if row.change is Change.UPDATE and row.lift:
            lifted = row.lift(Container("c", "i"), 4)
            if row.name not in ("cpuset_cpus",):  # which only the engine's number of CPUs tells
                made = normal(dataclasses.replace(Container("c", "i"), **{row.name: lifted}))
                assert getattr(made, row.name) == row.default, row.name


def inspect_json(body: dict[str, Any]) -> dict[str, Any]:
    """What the engine would report of a container that was made with this body, when it changes nothing."""
    config = {name: value for name, value in body.items() if name != "HostConfig"}
    return {"Id": "f" * 64, "Config": config, "HostConfig": body["HostConfig"]}


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"empty entrypoint", "stop, the defaults spelt out"}))
def test_what_is_sent_is_what_is_read(case: str) -> None:
    """Without an engine, as far as no image has a say; tests/engine/test_options.py asks a real one the same."""
    asked = normal(Container("c", "image", **CASES[case]))
    found = inspected.options(inspect_json(json.loads(json.dumps(requests.create(asked)))), {}, {})
    assert normal(Container("c", **found)) == dataclasses.replace(
        asked, service="", kolla=False, depends_on=(), data_plane=False
    )


# Every option that its kind alone says how to read, as a site writes it.
WRITTEN: dict[str, tuple[str, Any]] = {
    "dns_search": ("[example.org]", ("example.org",)),
    "dns_opt": ("['ndots:2']", ("ndots:2",)),
    "tty": ("true", True),
    "stdin_open": ("true", True),
    "oom_score_adj": ("-500", -500),
    "sysctls": ("{net.core.somaxconn: 512}", {"net.core.somaxconn": "512"}),
    "shm_size": ("32m", 32 << 20),
    "pids_limit": ("100", 100),
    "user": ("'42'", "42"),
    "dimensions": ("{mem_limit: 64m, cpuset_cpus: '0', ulimits: {nofile: {soft: 1, hard: 2}}}", None),
}


@pytest.mark.parametrize("key", WRITTEN)
def test_how_a_site_writes_it(key: str) -> None:
    text, expected = WRITTEN[key]
    made = container(rendered(f"{SERVICE}        {key}: {text}\n"), "app")
    if expected is None:
        assert (made.mem_limit, made.cpuset_cpus, made.ulimits) == (64 << 20, "0", (Ulimit("nofile", 1, 2),))
    else:
        assert getattr(made, key) == expected
    assert from_json(Container, json.loads(json.dumps(to_json(made)))) == made


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dns_search: ['a b']", "'a b' is not a domain"),
        ("dns_opt: ['ndots: 2']", "is not an option of the resolver"),
        ("oom_score_adj: 2000", "2000"),
        ("tty: perhaps", "must be a boolean"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(line: str, words: str) -> None:
    found = problems(f"{SERVICE}        {line}\n")
    assert len(found) == 1 and words in found[0] and "app/service.yml:8:" in found[0]


@pytest.mark.parametrize("word", REFUSED)
def test_words_of_other_tools_are_refused_with_what_to_do_instead(word: str) -> None:
    (found,) = problems(f"{SERVICE}        {word}: x\n")
    assert f"unknown key '{word}'" in found and REFUSED[word] in found
    assert word not in TABLE


def test_the_advice_names_options_and_settings_that_exist() -> None:
    keys = {row.key.rpartition(".")[2] for row in TABLE.values()} | {"dimensions", "enabled"}
    settings = json.dumps(data.schema("settings"))
    for text in REFUSED.values():
        for word in text.replace(":", " ").replace(",", " ").split():
            if "_" in word:
                assert word in keys, text
            if word.startswith("engine."):
                assert f'"{word.partition(".")[2]}"' in settings


def test_the_digest_on_containers_that_run_stays() -> None:
    """It is compared with labels that an older program wrote."""
    assert digest(Container("a", "b")) == "43bf9e7862831f17cb0f86acfd8931353f1149e9970c7380c6c7220e12572385"
    full = Container(
        "a", "b", command=("x",), environment={"A": "1"}, mounts=(Mount("/a", "/b", "ro"), Mount("v", "/c")),
        ulimits=(Ulimit("nofile", 1, 2),), mem_limit=1 << 30, network_mode="bridge", labels={"l": "1"}, cap_add=("net_admin",),
    )  # fmt: skip
    assert digest(full) == "26fae4717a1bcd83362dc916808bb02e1890095281c38b4bb46b4d2fa62b409d"


def test_the_host_may_deny_what_the_table_says_it_may() -> None:
    """The settings that rows name are the host policy's own."""
    policy = data.schema("settings")["properties"]["policy"]["properties"]
    named = {name for row in TABLE.values() for name in row.granted_by}
    assert named - policy.keys() == {"read_only"}, "single paths of /etc, which only the strict base has"
