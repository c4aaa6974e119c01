"""The page that says which containers have run speaks of containers of the catalogue, of each once, and of all that the demo starts."""

import re
from collections import Counter

import yaml

from tests.demo_cloud import site
from tests.support.paths import CHECKOUT

ROWS = re.findall(r"^\| (`[^|]+) \| ([^|]+) \|", (CHECKOUT / "docs/what-has-run.md").read_text(), re.MULTILINE)


def test_a_container_is_spoken_of_once_and_is_one() -> None:
    told = Counter(name for names, _ in ROWS for name in re.findall(r"`(\w+)`", names))
    known = {
        name
        for path in (CHECKOUT / "services").glob("*/service.yml")
        for name in yaml.safe_load(path.read_text()).get("containers", {})
    }
    assert told.keys() <= known
    assert [name for name, count in told.items() if count > 1] == []


def test_what_the_demo_starts_has_run() -> None:
    ran = {name for names, how in ROWS if how != "compared" for name in re.findall(r"`(\w+)`", names)}
    assert {*site.CONTAINERS, *site.WATCHING} <= ran
