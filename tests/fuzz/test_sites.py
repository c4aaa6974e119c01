"""Whatever a site holds: an answer with problems or a success, in every format, within bounds; never another exception.

python -m tests.fuzz.test_sites SECONDS [SEED]     looks for longer, and prints what it found, each kind once
"""

import json
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from types import FrameType
from typing import Any
from xml.etree import ElementTree

import pytest

from reconciler import catalogue, review
from reconciler.cli import problems as formats
from reconciler.cli.children import representatives
from reconciler.codec import from_json, to_json
from reconciler.engine import options
from reconciler.errors import ReconcilerError, SiteInvalid
from reconciler.gates import windows
from reconciler.model import Actual, Desired, Memory
from reconciler.node.admission import Admission
from reconciler.node.policy import HostPolicy
from reconciler.node.target import make_target
from reconciler.plan import Basis, diff
from reconciler.render import World, explain, render
from reconciler.report.text import plan_text
from reconciler.review import ci, ci_child
from reconciler.review import text as review_text
from reconciler.secret import Secret
from reconciler.site import Site
from reconciler.site import load as load_site
from reconciler.site.editor import composed_schemas
from reconciler.site.reference import reference_markdown
from reconciler.source import prepare
from reconciler.source.prepare import Prepared
from reconciler.text import json_text, printable
from tests.cli.conftest import SITE as SMALL
from tests.fuzz.full import FULL
from tests.fuzz.mutate import Files, damaged
from tests.site import archive, conftest, generate, test_anything
from tests.support import sealed
from tests.support.paths import CHECKOUT

SECONDS = 8.0  # of the default run
LONG = 600.0
ONE = 5.0  # seconds of processor time that one site may take, on a slow machine


@dataclass(frozen=True)
class Good:
    """A site without a problem, and the catalogue that it is for."""

    name: str
    files: Mapping[str, bytes]
    catalogue: catalogue.Catalogue

    def load(self, files: Mapping[str, bytes]) -> Site:
        return load_site(files, self.catalogue)


@cache
def good_sites() -> tuple[Good, ...]:
    shipped = prepare.shipped()
    _, texts = archive.split(conftest.CATALOGUE)
    texts["keystone/service.yml"] = texts["keystone/service.yml"].replace("    image:", "    command: run\n    image:")
    own = catalogue.load(archive.encode(texts), "catalogue")
    example = CHECKOUT / "site-example"
    found = {
        path.relative_to(example).as_posix(): path.read_bytes() for path in sorted(example.rglob("*")) if path.is_file()
    }
    quick = b"enable_openstack_core: false\nkolla_internal_vip_address: 10.0.0.250\n"
    _, full = archive.split(FULL)
    return (
        Good("full", archive.encode(full), own),
        Good("anything", test_anything.site_of(test_anything.VALID), own),
        Good("small", {path: text.encode() for path, text in SMALL.items()}, own),
        Good("example", _complete(found, shipped), shipped),
        Good("generated", _complete({**generate.make_site(12), "hosts/cmp0001.yml": quick}, shipped), shipped),
    )


def _complete(files: Files, shipped: catalogue.Catalogue) -> Files:
    """With passwords, which only their names matter of here."""
    values: dict[str, Any] = {name: name for name in (*shipped.passwords(), "site_token")}
    values |= {name: {"private_key": name, "public_key": f"{name}.pub"} for name in values if "ssh" in name}
    return {**files, "passwords.yml": sealed.text(values).encode()}


def check(good: Good, files: Files) -> None:
    """Everything that answers questions about a site, in every format."""
    try:
        site = good.load(files)
    except SiteInvalid as error:
        assert any(problem.severity == "error" for problem in error.problems)
        _judge([*error.problems], 0)
        _reviewed(ci_child._Child(_argument()), error)
        return
    found = set(site.warnings)
    hosts = representatives(site)[:3]
    world = World(site)
    for host in hosts:
        try:
            desired = render(site, host, "0" * 40, world)
        except SiteInvalid as error:
            found.update(error.problems)
        else:
            assert from_json(Desired, json.loads(json.dumps(to_json(desired)))) == desired
            _on_the_node(desired)
        for name in list(site.layers(host))[:3]:
            explain(site, host, name)
    _judge(sorted(found), len(site.hosts))
    composed_schemas(site.catalogue)
    reference_markdown(site.catalogue).encode()
    _compared(good, site, hosts)


def _on_the_node(desired: Desired) -> None:
    """What a node makes of it before it asks its engine: bound secrets, digests, its own policy, the engine's options, a plan."""
    secrets = {name: Secret("x" * 12) for name in desired.secrets}
    target = make_target(Prepared(desired, secrets))
    Admission.of(desired, HostPolicy(), {}, local=False).denied(desired)
    for spec in (*desired.containers, *(job.container for job in desired.jobs)):
        json.dumps(options.create(spec, owner="site/host"))
    for moment in (datetime(2026, 3, 29, 1, 30, tzinfo=UTC), datetime(2026, 12, 24, tzinfo=UTC)):
        windows.closed(desired.policy, moment)
    basis = Basis(target.contents, files_digest=target.files_digest, part_digest=target.part_digest)
    _whole(plan_text(diff(desired, Actual({}, {}, {}), Memory(), basis)))


def _argument() -> dict[str, Any]:
    return {"hosts": [], "host_seconds": 60, "head": {"commit": "1" * 40}, "base": {"commit": "0" * 40}}


def _compared(good: Good, site: Site, hosts: list[str]) -> None:
    """The review of going from the good site to this one, and back."""
    base = good.load(good.files)
    for before, after in ((base, site), (site, base)):
        child = ci_child._Child(_argument())
        child.base, child.head = before, after
        for host in hosts:
            if host in after.hosts:
                child._host(host)
        _reviewed(child)


def _reviewed(child: ci_child._Child, error: SiteInvalid | None = None) -> None:
    child.problems += error.problems if error else []
    answer = from_json(ci._Answer, json.loads(json.dumps(child.answer())))
    answer = replace(answer, groups=answer.groups if answer.hosts else ())
    found = ci._joined([answer], None, ci.Source(CHECKOUT, "1" * 40))
    for text in (review.note(found), review.page(found), review_text.groups_text(found)):
        _whole(text)
    json.loads(json_text(review.as_json(found)))
    for group in found.groups:
        _whole(plan_text(group.plan))
        assert all(len(action.line.splitlines()) == 1 for action in group.plan.actions)


def _judge(found: list[Any], hosts: int) -> None:
    text = formats.text(found, hosts)
    _whole(text)
    assert len(text.splitlines()) == len(found) + 1
    ElementTree.fromstring(formats.junit(found).encode())
    assert all(
        printable(row["description"]) == row["description"] for row in json.loads(formats.code_quality(found, ""))
    )
    json.loads(json_text(formats.as_json(found, hosts, [])).encode())


def _whole(text: str) -> None:
    """A text that any screen can show. The mark of a grave risk is the program's own."""
    text = text.replace("⚠\ufe0f", "")
    for line in text.split("\n"):
        assert printable(line.replace("\t", "")) == line.replace("\t", "")


def attempts(seed: int) -> Iterator[tuple[int, Good, Files]]:
    """Damaged sites for ever, each with the number that makes it again."""
    sites = good_sites()
    while True:
        source = random.Random(seed)
        good = sites[0] if source.random() < 0.4 else source.choice(sites)
        yield seed, good, damaged(good.files, source)
        seed += 1


def _slow(number: int, _: FrameType | None) -> None:
    raise TimeoutError(f"one site takes more than {ONE} s")


def look(seconds: float, seed: int) -> tuple[int, dict[str, list[str]]]:
    """How many sites were tried, and what went wrong: kind → its trace and seed."""
    ends = time.monotonic() + seconds
    kinds: dict[str, list[str]] = {}
    count = 0
    before = signal.signal(signal.SIGVTALRM, _slow)
    try:
        for number, good, files in attempts(seed):
            if time.monotonic() > ends:
                return count, kinds
            count += 1
            signal.setitimer(signal.ITIMER_VIRTUAL, ONE)
            try:
                check(good, files)
            except ReconcilerError as error:
                if error.reason == "InternalError":
                    raise
            except Exception as error:
                frames = traceback.extract_tb(error.__traceback__)
                ours = isinstance(error, AssertionError)
                last = next(
                    (f for f in reversed(frames) if not ours and "/reconciler/" in f.filename), frames[-1 - ours]
                )
                kind = f"{type(error).__name__} at {last.filename.rpartition('/')[2]}:{last.lineno} {last.name}"
                kinds.setdefault(kind, [f"site {good.name}, seed {number}", traceback.format_exc(limit=-6)])
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)
    return count, kinds


@pytest.mark.parametrize("number", range(5))
def test_good_sites_are_good(number: int) -> None:
    good = good_sites()[number]
    site = good.load(good.files)
    for host in representatives(site):
        assert good.name == "anything" or render(site, host, "0" * 40).host == host
    check(good, dict(good.files))


def test_any_site_is_answered() -> None:
    count, kinds = look(SECONDS, seed=1)
    assert not kinds, "\n".join(f"{kind}: {' '.join(what)}" for kind, what in kinds.items())
    assert count > 5


@pytest.mark.slow
def test_any_site_is_answered_for_long() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    count, kinds = look(LONG, seed)
    assert not kinds, "\n".join(f"{kind}: {' '.join(what)}" for kind, what in kinds.items())
    assert count > 1000


if __name__ == "__main__":
    tried, wrong = look(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    for found_kind, what in wrong.items():
        print(f"--- {found_kind}\n" + "\n".join(what))
    print(f"{tried} sites tried, {len(wrong)} kinds of failure")
