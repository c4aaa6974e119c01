"""What a variable is where a site says nothing: in kolla-ansible and in the catalogue, compared by what it comes to.

A default is most often an expression over others, so it is evaluated, in several worlds: the site as it is, and again with every switch and
every choice that both know turned to each of its other values, one at a time. Asked is then what depends on it, in either of the two.
"""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from reconciler import catalogue, data
from reconciler.catalogue import Catalogue, Variable
from reconciler.document.grammar import normalise
from reconciler.document.literals import truth
from reconciler.errors import SiteInvalid
from reconciler.importer.decide import fit
from reconciler.render import World, bind, values
from tests.parity import convert, environment, oracle

ROLES = ("haproxy-config", "proxysql-config")  # beside those that are called as services of the catalogue
UNTOLD = "(cannot be told)"
_WORD = re.compile(r"[A-Za-z_]\w*")
# What a site is made of: turned, it is another site.
_NOT_TURNED = ("openstack_release", "kolla_base_distro")


@dataclass(frozen=True, slots=True)
class Difference:
    """A variable that comes to something else. `world` is what was said besides, `NAME=VALUE`, empty for the site as it is."""

    name: str
    world: str
    theirs: str
    ours: str

    def __str__(self) -> str:
        where = f" with {self.world}" if self.world else ""
        return f"{self.name}{where}: {self.theirs} there, {self.ours} here"


@dataclass(frozen=True, slots=True)
class Reason:
    """Differences that may stay: patterns of names, worlds and values, any of which may fit, and why."""

    reason: str
    name: tuple[str, ...]
    world: tuple[str, ...] = ("*",)
    theirs: tuple[str, ...] = ("*",)
    ours: tuple[str, ...] = ("*",)
    releases: tuple[str, ...] = environment.RELEASES

    def fits(self, found: Difference) -> bool:
        """Whether it is about that difference."""
        pairs = (
            (self.name, found.name),
            (self.world, found.world),
            (self.theirs, found.theirs),
            (self.ours, found.ours),
        )
        return all(any(fnmatchcase(text, pattern) for pattern in patterns) for patterns, text in pairs)


def reasons(path: Path, release: str) -> list[Reason]:
    """The reviewed differences of a release. Raises TypeError for a key that there is not."""
    every = [
        Reason(row.pop("reason"), **{key: _listed(value) for key, value in row.items()})
        for row in yaml.safe_load(path.read_text())
    ]
    return [one for one in every if release in one.releases]


def _listed(value: Any) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def compare(given: oracle.Site, host: str) -> list[Difference]:
    """Every difference at one host of a site; of a world only those that are not there without it."""
    scratch = Path(tempfile.mkdtemp(prefix="parity-"))
    try:
        return list(_Both(given, host, scratch).differences())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Both:
    def __init__(self, given: oracle.Site, host: str, scratch: Path) -> None:
        self._given, self._host, self._scratch = given, host, scratch
        self._folder, self._plays = environment.prepare(given.release)
        inputs = oracle._inputs(given, self._folder, self._plays, scratch)
        self._render = oracle.Render(inputs["inventory"], frozenset(inputs["known"]), {}, (), inputs["passwords"])
        said = {
            "CONFIG_DIR": "/etc/kolla",
            "node_custom_config": "/etc/kolla/config",
            "kolla_certificates_dir": "/etc/kolla/certificates",
        }
        (scratch / "given.json").write_text(json.dumps(said))
        self._shipped: Catalogue = catalogue.load(data.services(), "catalogue")
        self._roles = [*self._shipped.services, *ROLES]
        theirs = self._defaults()
        self._variables: dict[str, Variable] = {
            name: one
            for name, one in self._shipped.variables.items()
            if name in theirs and not one.absent(given.release)
        }
        ours = {name: one.default for name, one in self._shipped.variables.items() if not one.required}
        self._needs = (_needs(theirs), _needs(ours))

    def differences(self) -> Iterator[Difference]:
        """See compare."""
        worlds: list[tuple[dict[str, Any], list[str]]] = [({}, sorted(self._variables))]
        worlds += [({name: value}, self._resting_on(name)) for name, value in self._turned()]
        here = [self._ours(said, ask) for said, ask in worlds]
        there = self._theirs([world for world, answer in zip(worlds, here, strict=True) if answer is not None])
        plain: set[tuple[str, str, str]] = set()
        for (said, ask), ours in zip(worlds, here, strict=True):
            if ours is None:
                continue  # no site of ours
            theirs = next(there)
            for name in ask:
                found = (name, self._text(name, theirs.get(name)), self._text(name, ours.get(name)))
                if found[1] != found[2] and found not in plain:
                    yield Difference(found[0], ",".join(f"{key}={value}" for key, value in said.items()), *found[1:])
                    plain |= set() if said else {found}

    # --- what is asked -------------------------------------------------------------------------------------------------

    def _turned(self) -> Iterator[tuple[str, Any]]:
        """Every switch and every choice with each value that it has not."""
        is_ = self._ours({}, sorted(self._variables))
        assert is_ is not None
        for name, variable in self._variables.items():
            if name in _NOT_TURNED:
                continue
            if variable.schema.get("type") == "boolean":
                yield name, "no" if is_[name].get("value") else "yes"
            yield from (
                (name, value) for value in variable.schema.get("enum", ()) if value not in ("", is_[name].get("value"))
            )

    def _resting_on(self, name: str) -> list[str]:
        """What depends on a variable, in either of the two."""
        found: set[str] = set()
        for needs in self._needs:
            left = [name]
            reached: set[str] = set()
            while left:
                new = needs.get(left.pop(), set()) - reached
                reached |= new
                left += new
            found |= reached
        return sorted((found & self._variables.keys()) - {name})

    def _defaults(self) -> dict[str, Any]:
        """kolla-ansible's, as they are written."""
        files = [self._plays / "roles" / role / "defaults" / "main.yml" for role in self._roles]
        files += [*self._plays.glob("group_vars/all.yml"), *self._plays.glob("group_vars/all/*.yml")]
        found: dict[str, Any] = {}
        for path in files:
            if path.exists():
                found |= yaml.safe_load(path.read_text()) or {}
        return found

    # --- what is answered ----------------------------------------------------------------------------------------------

    def _theirs(self, worlds: Sequence[tuple[Mapping[str, Any], Sequence[str]]]) -> Iterator[dict[str, dict[str, Any]]]:
        question = {
            "host": self._host,
            "roles": self._roles,
            "worlds": [{"set": said, "ask": ask} for said, ask in worlds],
        }
        argv = [self._folder / "bin" / "python", environment.HERE / "inside" / "defaults.py", self._plays]
        done = subprocess.run(
            [str(word) for word in argv],
            input=json.dumps(question),
            env=oracle._environment(self._folder, self._scratch),
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise environment.OracleError(done.stderr[-2000:])
        return map(json.loads, done.stdout.splitlines())

    def _ours(self, said: Mapping[str, Any], ask: Sequence[str]) -> dict[str, dict[str, Any]] | None:
        """None where a site that says that is refused."""
        given = _Saying(self._given.name, self._given.folder, self._given.release, said)
        try:
            converted = convert.convert(given, self._render, self._shipped)
        except SiteInvalid:
            return None
        variables = World(converted.site).variables(self._host)
        found: dict[str, dict[str, Any]] = {}
        for name in ask:
            try:
                found[name] = {"value": _bound(values.plain(variables[name]), converted.secrets)}
            except SiteInvalid as error:
                found[name] = {"error": str(error)}
        return found

    def _text(self, name: str, answer: Mapping[str, Any] | None) -> str:
        return UNTOLD if answer is None or "error" in answer else spelled(self._variables[name].schema, answer["value"])


def spelled(schema: Mapping[str, Any], value: Any) -> str:
    """A value of a variable in the one spelling that both have."""
    kinds = schema.get("type", [])
    read = normalise(fit(value, [kinds] if isinstance(kinds, str) else kinds, schema.get("enum", ())), schema)
    return json.dumps(_spelled(read), sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class _Saying(oracle.Site):
    """A site whose globals.yml says more."""

    said: Mapping[str, Any] = field(default_factory=dict)

    def read(self, name: str) -> Any:
        return {**super().read(name), **(self.said if name == "globals.yml" else {})}


def _needs(defaults: Mapping[str, Any]) -> dict[str, set[str]]:
    """Name → the names whose defaults have it in them."""
    found: dict[str, set[str]] = {}
    for name, default in defaults.items():
        for word in set(_WORD.findall(json.dumps(default, default=str))) & defaults.keys() - {name}:
            found.setdefault(word, set()).add(name)
    return found


def _bound(value: Any, secrets: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _bound(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_bound(item, secrets) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else bind(str(value), secrets)


def _spelled(value: Any) -> Any:
    """Without what means nothing: members that are empty or switched off, blanks at the ends, how numbers and truths are written, what is empty."""
    if isinstance(value, Mapping):
        return {str(key): _spelled(item) for key, item in value.items() if key != "enabled" and not _off(item)} or ""
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value if item not in ("", None) and not _off(item)] or ""
    if isinstance(value, bool):
        return str(value).lower()
    text = "" if value is None else " ".join(str(value).split())
    return text.lower() if text in ("True", "False") else text


def _off(item: Any) -> bool:
    if isinstance(item, Mapping):
        return truth(item.get("enabled", True)) is False
    return isinstance(item, str) and item.startswith("__omit_place_holder__")
