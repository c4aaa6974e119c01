"""Sites that are small and slow, or just too much: each refused, or done with, for little processor time and memory.

Everything is counted: the program and its children. Time is processor time, so that a busy machine changes little; the bound is
above the goal of 2 seconds by what a slower machine needs.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.document import budget
from reconciler.source import prepare
from tests.site.generate import make_site

SECONDS = 5.0
MEMORY = 256 << 20

INVENTORY = "hosts: {web1: {addresses: {network: 10.0.0.1}, groups: [web]}}\ngroups: {web: {}}\n"
SITE = {
    "inventory.yml": INVENTORY,
    "globals.yml": "enable_openstack_core: false\nkolla_internal_vip_address: 10.0.0.250\n",
    "services/hello/service.yml": "description: x\n",
    "services/hello/variables.yml": "{}\n",
}


def variable(**fragment: Any) -> dict[str, str]:
    return {"services/hello/variables.yml": json.dumps({"hello_x": {"description": "x", **fragment}})}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"anyOf": [schema, schema]}
    return schema


def hosts(count: int, name: str = "h", more: str = "") -> str:
    return "hosts:\n" + "".join(
        f"  {name}{n}: {{addresses: {{network: 10.{n >> 16}.{n >> 8 & 255}.{n & 255}}}{more}}}\n" for n in range(count)
    )


# Name → what is in the files, and a part of what is answered.
BOMBS: Mapping[str, tuple[Mapping[str, str], str]] = {
    "uniqueItems": (variable(type="array", uniqueItems=True, default=[{"a": n} for n in range(30_000)]), "valid"),
    "enum of thousands": (
        variable(type="array", items={"enum": [f"w{n}" for n in range(30_000)]}, default=["z"] * 30_000),
        "takes too long to be checked",
    ),
    "enum of mappings": (
        variable(type="array", items={"enum": [{"a": [n]} for n in range(9000)]}, default=[{"a": [1]}] * 9000),
        "takes too long to be checked",
    ),
    "anyOf in anyOf": (variable(type="array", items=nested(13), default=list(range(100))), "takes too long"),
    "oneOf of many": (
        variable(type="array", items={"oneOf": [{"required": [f"a{n}"]} for n in range(2000)]}, default=[{"x": 1}] * 2000),
        "takes too long",
    ),
    "patternProperties": (
        variable(type="object", patternProperties={f"^a{n}": {} for n in range(2000)}, default={f"b{n}": 1 for n in range(20_000)}),
        "takes too long",
    ),
    "unknown keys": ({"globals.yml": "".join(f"enable_keystne_{n}: 1\n" for n in range(20_000))}, "more problems than these"),
    "keys": ({"globals.yml": "".join(f"site_{n}: 1\n" for n in range(200_000))}, "more than 100000 values"),
    "problems": ({"inventory.yml": hosts(10_000, more=", groups: [nope]")}, "more problems than these"),
    "files of unknown hosts": ({f"hosts/{'h' * 40}{n}.yml": "{}" for n in range(3000)}, "more problems than these"),
    "values in many files": ({f"groups/g{n}.yml": "site_a: [" + "1," * 90_000 + "]\n" for n in range(6)}, "more than 300000 values"),
    "names alike": (
        {"inventory.yml": hosts(5000, "a" * 50) + "groups: {x: {hosts: [" + ",".join(f"{'a' * 49}b{n}" for n in range(3000)) + "]}}"},
        "more problems than these",
    ),
    "a long text": ({"globals.yml": f"site_a: '{'x' * 3_900_000}'\n"}, "valid"),
    "a long key": ({"globals.yml": f"? site_{'x' * 3_900_000}\n: 1\n"}, "is too long"),
    "deep flow": ({"globals.yml": "site_a: " + "[" * 100_000}, "nested deeper than 60"),
    "deep blocks": ({"globals.yml": "site_a:\n" + "".join(" " * n + "a:\n" for n in range(1, 1500))}, "nested deeper than 60"),
    "a key twice": ({"globals.yml": "site_a: 1\n" * 90_000}, "here twice"),
    "a chain of groups": (
        {"inventory.yml": "hosts: {web1: {addresses: {network: 10.0.0.1}}}\ngroups:\n" + "".join(f"  g{n}: {{children: [g{n + 1}]}}\n" for n in range(2000)) + "  g2000: {hosts: [web1]}\n"},
        "valid",
    ),
    "a circle of groups": (
        {"inventory.yml": "hosts: {web1: {addresses: {network: 10.0.0.1}}}\ngroups:\n" + "".join(f"  g{n}: {{children: [g{(n + 1) % 3000}]}}\n" for n in range(3000))},
        "groups contain each other",
    ),
    "groups in groups": (
        {"inventory.yml": "hosts: {web1: {addresses: {network: 10.0.0.1}}}\ngroups:\n" + "".join(f"  g{n}: {{children: [{','.join(f'g{m}' for m in range(n + 1, min(n + 60, 500)))}]}}\n" for n in range(500))},
        "valid",
    ),
    "hosts times groups": (
        {"inventory.yml": hosts(4000, more=", groups: [g999]") + "groups:\n" + "".join(f"  g{n}: {{children: [g{n + 1}]}}\n" for n in range(999)) + "  g999: {}\n"},
        "more than 500000 hosts",
    ),
    "containers": (
        {"services/hello/service.yml": "description: x\ngroups: {web: []}\ncontainers:\n" + "".join(f"  c{n}: {{group: web, image: x, command: x, depends_on: [c{n + 1}]}}\n" for n in range(4000)) + "  c4000: {group: web, image: x, command: x}\n"},
        "more than 2000 containers",
    ),
    "services": ({f"services/s{n}/service.yml": "description: x\n" for n in range(1500)}, "1000 are the limit"),
    "windows": ({"reconciler.yml": "windows: [" + ",".join(f"{{name: a, from: '22:00', to: '23:00', time_zone: Europe/Berlni{n}}}" for n in range(9000)) + "]\n"}, "more problems"),
    "files of a container": (
        {"services/hello/service.yml": "description: x\ngroups: {web: []}\ncontainers: {c: {group: web, image: x, command: x, files: [" + ",".join(f"{{name: f{n}, content: x, destination: /f{n}}}" for n in range(9000)) + "]}}\n"},
        "valid",
    ),
    "hosts times hosts that left": (
        {"inventory.yml": hosts(4500) + "groups: {web: {}}\nleft:\n" + "".join(f"  l{n}: {{since: 2026-01-01, groups: [web], addresses: {{network: 10.9.{n >> 8}.{n & 255}}}}}\n" for n in range(4500))},
        "valid",
    ),
    "passwords": ({"passwords.yml": "".join(f"p{n}: x\n" for n in range(40_000))}, "is not encrypted"),
}  # fmt: skip
# Those that stand for a kind each; the others run in the long run.
QUICK = (
    "hosts times hosts that left",
    "enum of mappings",
    "anyOf in anyOf",
    "unknown keys",
    "keys",
    "names alike",
    "a chain of groups",
    "containers",
)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in {**SITE, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def measured(site: Path) -> tuple[int, str, float, int]:
    """Exit code, what was said, seconds of processor time, and the largest process in bytes, of `validate SITE`."""
    script = "import resource,subprocess,sys;d=subprocess.run(sys.argv[1:]);u=resource.getrusage(resource.RUSAGE_CHILDREN);print();print(d.returncode,u.ru_utime+u.ru_stime,u.ru_maxrss)"
    words = [sys.executable, "-c", script, sys.executable, "-m", "reconciler", "validate", str(site)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    said, _, last = done.stdout.rstrip("\n").rpartition("\n")
    code, seconds, largest = last.split()
    return int(code), said + done.stderr, float(seconds), int(largest) * 1024


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BOMBS]
)
def test_a_bomb_is_refused_or_done_with(name: str, tmp_path: Path) -> None:
    files, expected = BOMBS[name]
    code, said, seconds, largest = measured(write(tmp_path, files))
    assert expected in said and code in (0, 1)
    assert seconds < SECONDS and largest < MEMORY
    assert len(said.splitlines()) < 1100 and "Traceback" not in said


def test_a_large_good_site_is_in_the_budget() -> None:
    with budget.opened() as spent:
        prepare.load(make_site(1000))
    assert spent.checks > budget.CHECKS * 0.7
