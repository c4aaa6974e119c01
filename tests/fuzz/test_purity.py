"""Rendering depends on the commit and the host alone: not on hash seeds, time zones, users, arguments or the order of hosts."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.test_hostile_templates import CORPUS, files, refused
from tests.support.paths import CHECKOUT

HARMLESS = """\
{% set d = {'b': 1, 'a': [2, none], 'ü': {'z': true}} %}{% for k in d %}{{ k }}{% endfor %} {{ d }} {{ d.keys() }} {{ d.values() }}
{{ d.items() }} {{ d | dictsort }} {{ d | to_json }} {{ d | to_nice_yaml }} {{ d | to_yaml(sort_keys=false) }} {{ d | list }}
{{ ['b', 'a', 'b', 'C'] | unique }} {{ ['x', 'y', 'z'] | union(['y', 'q']) }} {{ ['x', 'y'] | intersect(['y', 'x']) }}
{{ ['x', 'y', 'z'] | difference(['y']) }} {{ [{'a': 'n'}, {'a': 'm'}, {'a': 'n'}] | groupby('a') }} {{ 'x y z'.split() | map('hash') | list }}
{{ hostvars | list }} {{ groups }} {{ group_names }} {{ hostvars['web1'] | list }} {{ 'naïve Straße' | upper | wordwrap(4) }} {{ 1.1 + 2.2 }}
{{ {'k': web_password, 'a': 1} | to_json }} {{ 10 ** 20 }} {{ 1e300 }} {{ 'İ' | lower }} {{ 'abc' | regex_findall('[a-z]') }}
"""

_WORK = """
import hashlib, json, sys
from pathlib import Path
from reconciler.source import prepare
from reconciler.codec import to_json
from reconciler.render import render
from reconciler.errors import SiteInvalid
from tests.fuzz.test_purity import sites
result = {}
for name, content in sites():
    whole = prepare.load(content)
    for host in whole.hosts:
        try:
            made = json.dumps(to_json(render(whole, host, "0" * 40)))
        except SiteInvalid as error:
            made = "\\n".join(map(str, error.problems))
        result[f"{name} {host}"] = hashlib.sha256(made.encode()).hexdigest()
json.dump(result, sys.stdout)
"""


def sites():  # type: ignore[no-untyped-def]
    """The example, the sites whose renderings are kept, and one with every harmless habit, as (name, files)."""
    from reconciler.git import worktree
    from tests.review.sites import example

    yield "example", {path: text if isinstance(text, bytes) else text.encode() for path, text in example().items()}
    for folder in sorted((CHECKOUT / "tests/services").glob("*/site")):
        yield folder.parent.name, worktree.read(folder)
    yield "harmless", {path: text.encode() for path, text in files(HARMLESS).items()}


ENVIRONMENTS = [
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "HOME": "/nonexistent", "LANG": "C.UTF-8"},
    {"PYTHONHASHSEED": "4711", "TZ": "Pacific/Kiritimati", "HOME": "/tmp", "LANG": "tr_TR.UTF-8", "USER": "somebody", "COLUMNS": "20"},
]  # fmt: skip


def test_two_surroundings_give_the_same_bytes() -> None:
    answers = []
    for number, environment in enumerate(ENVIRONMENTS):
        command = [sys.executable, "-c", _WORK, *["another argument"] * number]
        kept = {**environment, "PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}
        # Another user where we may be one: whoever runs this as root renders as nobody, too.
        other = 65534 if number and os.geteuid() == 0 and _readable_by_all() else None
        done = subprocess.run(
            command, env=kept, cwd=CHECKOUT, capture_output=True, check=True, umask=0o077 * number, user=other
        )
        answers.append(json.loads(done.stdout))
    assert answers[0] == answers[1]
    assert any(name.startswith("harmless") for name in answers[0])


def _readable_by_all() -> bool:
    return all(path.stat().st_mode & 0o001 for path in [*Path(sys.executable).resolve().parents, *CHECKOUT.parents])


def test_the_harmless_habits_are_no_errors() -> None:
    assert refused(HARMLESS) == ""


@pytest.mark.parametrize("seed", ["1", "99"])
def test_refusals_are_the_same_words_everywhere(seed: str) -> None:
    names = [name for name in CORPUS if name.startswith(("print-", "json-of", "compared", "width", "join", "attr"))]
    work = (
        "import json, sys; from tests.fuzz.test_hostile_templates import CORPUS, refused; "
        f"json.dump([refused(CORPUS[name][1]) for name in {names!r}], sys.stdout)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run([sys.executable, "-c", work], env=environment, cwd=CHECKOUT, capture_output=True, check=True)
    expected = hashlib.sha256(json.dumps([refused(CORPUS[name][1]) for name in names]).encode()).hexdigest()
    assert hashlib.sha256(done.stdout).hexdigest() == expected


def test_what_a_host_takes_does_not_depend_on_who_was_rendered_before() -> None:
    from reconciler.render import World, render
    from reconciler.source import prepare

    content = {path: text.encode() for path, text in files(HARMLESS + "{{ hostvars['web2'].web_greeting }}\n").items()}
    whole = prepare.load(content)
    alone, shared = World(whole), World(whole)
    render(whole, "web1", "0" * 40, alone)
    for host in ("web2", "web1"):
        render(whole, host, "0" * 40, shared)
    assert (alone.meter.steps, alone.meter.size) == (shared.meter.steps, shared.meter.size)
