"""Hosts share work only where it makes no difference: the result, and what it cost, are those of a host rendered alone."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from reconciler import catalogue, site
from reconciler.catalogue import Catalogue
from reconciler.document.sameness import same
from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from reconciler.render import Sharing, World, compiling, render
from reconciler.render.evaluate import Variables
from reconciler.render.sharing import Shared
from tests.render.sites import VARIABLES
from tests.services import golden
from tests.support import sealed

compiling.shared()  # sets the recursion limit, which Hypothesis watches

Outcome = tuple[Desired | None, int, int]


def outcome(whole: site.Site, host: str, world: World) -> Outcome:
    """What became of a host, and what it took. Of one with problems only that it has some: variables that need each other are told
    from the end that is asked first."""
    try:
        made = render(whole, host, "r", world)
    except SiteInvalid:
        return None, 0, 0
    return made, world.meter.steps, world.meter.size


def alone(whole: site.Site, host: str, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """As `outcome`, with nothing shared, not within the host either."""
    with monkeypatch.context() as patch:
        patch.setattr(Shared, "unit", lambda self, key, host, meter, work, **_: work())
        return outcome(whole, host, World(whole))


def agree(sites: list[site.Site], monkeypatch: pytest.MonkeyPatch, *, exactly: bool = True) -> None:
    """Every host of every site, in turn, with one sharing for all. `exactly`: they take the same, to the step. A host that asks by
    name for another one's variable may pay for its own of that name, which says the same."""
    sharing = Sharing()
    worlds = [World(whole, sharing) for whole in sites]
    for host in {host: None for whole in sites for host in whole.hosts}:
        for whole, world in zip(sites, worlds, strict=True):
            if host in whole.hosts:
                shared, expected = outcome(whole, host, world), alone(whole, host, monkeypatch)
                assert shared[:1] == expected[:1], host
                assert not exactly or shared == expected, host


_QUICK = ("compute", "three_nodes")


@pytest.mark.parametrize(
    "case", [case if case in _QUICK else pytest.param(case, marks=pytest.mark.slow) for case in sorted(golden.CASES)]
)
def test_golden_sites_and_a_change_of_each(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = golden.HERE / case / "site"
    files = golden.read(folder)
    changed = files["globals.yml"] + b"\nopenstack_service_workers: 3\nrabbitmq_user: somebody\n"
    sites = [golden.load(folder), golden.load(folder, {"globals.yml": changed})]
    # Hosts of several cells ask by name for variables of the first of each.
    agree(sites, monkeypatch, exactly=case != "cells")


def test_what_is_alike_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the rest would prove nothing."""
    whole = golden.load(golden.HERE / "three_nodes" / "site")
    asked: list[str] = []
    evaluated = Variables._checked

    def counted(self: Variables, name: str, *more: object) -> object:
        asked.append(name)
        return evaluated(self, name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Variables, "_checked", counted)
    world = World(whole)
    counts = []
    for host in ("ctl-a", "ctl-b"):
        asked.clear()
        render(whole, host, "r", world)
        counts.append(len(asked))
    assert counts[1] < counts[0] / 4


# --- made sites ------------------------------------------------------------------------------------------------------

_INVENTORY = """
hosts:
  a: {addresses: {network: 10.0.0.1}, groups: [one]}
  b: {addresses: {network: 10.0.0.2}, groups: [one], facts: {processor_vcpus: 8}}
  c: {addresses: {network: 10.0.0.3, tunnel: 10.1.0.3}, groups: [two]}
"""
_SERVICE = """
groups: {one: [], two: []}
passwords: {app_secret: {kind: random}, app_blank: {kind: blank}}
containers:
  app:
    image: x
    command: "{{ app_b }} run"
    environment: {A: "{{ app_a }}"}
    files:
      - {name: f, template: t, overrides: ["app/{host}/f", app/f], merge: replace, reads: [app/x], destination: /f}
      - {name: "g.{{ item }}", each: "{{ app_list }}", content: "{{ item }} {{ app_c }}", destination: /g}
contributes: {things: {mine: {value: "{{ app_a }}", group: one}}}
collects: {things: {description: Things., entry: {type: object}}}
"""
_SAID = (
    "{{ inventory_hostname }}", "{{ 'one' in group_names }}", "{{ app_b }}", "{{ app_c }}", "{{ app_a }}", "plain", "7", "'7'", "1.0", "[1, 2]",
    "{{ hostvars['a'].app_b }}", "{{ hostvars[groups['one'] | last].app_c }}", "{{ hostvars[inventory_hostname].app_c }}",
    "{{ things | map(attribute='value') | join(' ') }}", "{{ first_override('app/x') }}", "{{ override('app/x') }}", "{{ app_secret }}",
    "{{ app_blank is defined }}", "{{ 'tunnel' | kolla_address }}", "{{ ansible_facts.processor_vcpus }}", "{{ site_own | default('none') }}",
    "{{ api_interface_address }}", "{{ site_own is defined }}", "{{ hostvars | length }}", "{{ groups['two'] }}",
)  # fmt: skip
_LAYERS = ("globals.yml", "hosts/a.yml", "hosts/b.yml", "groups/one.yml")
_FILES = ("config/app/f", "config/app/b/f", "config/app/x")
_NAMES = ("app_a", "app_b", "app_c")

_PASSWORDS = ("passwords.yml", "passwords/one.yml", "hosts/b.passwords.yml")

said = st.dictionaries(st.sampled_from(_NAMES), st.sampled_from(_SAID), max_size=3)
kept = st.dictionaries(st.sampled_from(("app_secret", "app_blank")), st.sampled_from(("x", "y")))


Layers = Mapping[str, Mapping[str, str]]


def catalogue_of(template: list[str]) -> Catalogue:
    variables = "".join(
        f"{name}: {{description: d, type: [string, number, boolean, array], default: {name}}}\n" for name in _NAMES
    )
    files = {
        "base/variables.yml": VARIABLES,
        "app/service.yml": f"description: An application\n{_SERVICE}",
        "app/variables.yml": f"{variables}app_list: {{description: d, type: array, default: [x, y]}}\n",
        "app/templates/t": "\n".join((*template, "{{ app_a }}", "")),
    }
    return catalogue.load({path: text.encode() for path, text in files.items()}, "catalogue")


def made(shipped: Catalogue, layers: Layers, files: Mapping[str, str], secrets: Layers) -> site.Site:
    texts = {"inventory.yml": _INVENTORY, **files}
    for path in _PASSWORDS:
        values = {**({} if "/" in path else {"app_secret": "x"}), **secrets.get(path, {})}
        texts |= {path: sealed.text(values)} if values else {}
    for path, layer in layers.items():
        lines = [f"{name}: {value if value[:1] in '[17' else json.dumps(value)}\n" for name, value in layer.items()]
        texts[path] = "".join([*lines, "site_own: x\n" if path == "hosts/b.yml" else ""])
    return site.load({path: text.encode() for path, text in texts.items()}, shipped)


@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    layers=st.lists(st.dictionaries(st.sampled_from(_LAYERS), said), min_size=2, max_size=2),
    files=st.lists(st.dictionaries(st.sampled_from(_FILES), st.sampled_from(_SAID)), min_size=2, max_size=2),
    secrets=st.lists(st.dictionaries(st.sampled_from(_PASSWORDS), kept), min_size=2, max_size=2),
    template=st.lists(st.sampled_from(_SAID), max_size=3),
)
def test_sites_of_any_words(
    layers: list[Layers],
    files: list[Mapping[str, str]],
    secrets: list[Layers],
    template: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped = catalogue_of(template)
    sites = [made(shipped, layers[index], files[index], secrets[index]) for index in (0, 1)]
    agree(sites, monkeypatch, exactly=False)


_X = "config/app/x"


@pytest.mark.parametrize(
    ("word", "files", "layers", "secrets"),
    [
        ("{{ override('app/x') }}", ({_X: "1"}, {_X: "2"}), ({}, {}), ({}, {})),
        ("{{ first_override('app/x') }}", ({}, {_X: "2"}), ({}, {}), ({}, {})),
        ("{{ hostvars['a'].app_b }}", ({}, {}), ({"hosts/a.yml": {"app_b": "1"}}, {"hosts/a.yml": {"app_b": "2"}}), ({}, {})),
        ("{{ app_blank is defined }}", ({}, {}), ({}, {}), ({}, {"passwords.yml": {"app_blank": "x"}})),
        ("{{ app_blank is defined }}", ({}, {}), ({}, {}), ({}, {"hosts/b.passwords.yml": {"app_blank": "x"}})),
    ],
)  # fmt: skip
def test_what_differs_between_revisions_is_seen(
    word: str,
    files: tuple[Mapping[str, str], ...],
    layers: tuple[Layers, ...],
    secrets: tuple[Layers, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file below config/, another host's variable, a secret that is there or not: each alone, and looked at through a variable."""
    shipped = catalogue_of([])
    everywhere = {"globals.yml": {"app_a": word}}
    sites = [made(shipped, {**everywhere, **layers[index]}, files[index], secrets[index]) for index in (0, 1)]
    assert len({str([render(whole, host, "r") for host in whole.hosts]) for whole in sites}) == 2
    agree(sites, monkeypatch, exactly=False)


def test_a_host_of_which_nothing_changes_is_not_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the other revision, although other hosts and other variables differ; what does differ makes it anew."""
    shipped = catalogue_of(["{{ app_b }}"])
    one, other = {"hosts/b.yml": {"app_b": "1"}}, {"hosts/b.yml": {"app_b": "2"}, "hosts/a.yml": {"app_c": "2"}}
    sites = [made(shipped, layers, {}, {}) for layers in (one, other)]
    worked: list[object] = []
    work = Shared._work

    def counted(self: Shared, key: object, *more: object, **named: object) -> object:
        worked.append(key)
        return work(self, key, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Shared, "_work", counted)
    sharing = Sharing()
    worlds = [World(whole, sharing) for whole in sites]
    for host, again in (("a", True), ("b", True), ("c", False)):
        render(sites[0], host, "r", worlds[0])
        worked.clear()
        render(sites[1], host, "r", worlds[1])
        assert bool(worked) == again, host


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), ("1", 1), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([1], (1,)), (0.0, -0.0), ([True], [1]), ({1: "x"}, {True: "x"})],
)  # fmt: skip
def test_values_that_a_template_can_tell_apart_are_not_the_same(one: object, other: object) -> None:
    assert not same(one, other) and same(one, one)
