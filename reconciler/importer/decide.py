"""What becomes of one variable. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.catalogue import Catalogue
from reconciler.document.grammar import Grammar, normalise
from reconciler.document.literals import URL, looks_secret, truth
from reconciler.document.words import show, suggest
from reconciler.document.yaml import Document
from reconciler.importer.known import understood
from reconciler.importer.types import Assigned, Fate
from reconciler.secret import Secret
from reconciler.site.later import KOLLA_SERVICES
from reconciler.site.variables import OWN_PREFIX

# Words at the beginning of a variable's name that belong to a service of another name.
_OF: Final[Mapping[str, str]] = {
    "tunnel": "neutron", "dns": "designate", "ceph": "cinder", "libvirt": "nova", "haproxy": "loadbalancer",
    "keepalived": "loadbalancer", "ovsdb": "openvswitch", "kibana": "opensearch", "elasticsearch": "opensearch",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """`value` is what the site says, where it is taken; `secret` values go where they are encrypted."""

    fate: Fate
    reason: str = ""
    value: Any = None
    secret: bool = False


class Judge:
    """Knows the catalogue; `decide` is a function of the variable alone."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.passwords = catalogue.passwords()
        self._grammars: dict[str, Grammar] = {}

    def decide(self, said: Assigned, whole_site: bool) -> Decision:
        """`whole_site`: nothing outside of it says the variable, so that what equals the default can be left out."""
        name, value = said.name, said.value
        if name in self.passwords:
            return self.password(value)
        variable = self._catalogue.variables.get(name)
        if is_secret(value):
            return Decision(Fate.UNKNOWN if variable is None else Fate.UNSUPPORTED, _hidden(variable), value, True)
        if variable is not None:
            return self._variable(
                name, value, variable.schema, None if variable.required else variable.default, whole_site
            )
        if looks_secret(name) and value not in (None, "") and truth(value) is None:
            if name.startswith("ansible_") and (found := understood(name, value)):
                return Decision(*found, value, True)
            refusal = self._catalogue.refusal(name)
            fate = Fate.UNSUPPORTED if refusal else Fate.UNKNOWN
            return Decision(fate, refusal or "no service here has a password of this name", value, True)
        if found := understood(name, value):
            return Decision(*found)
        if name.startswith(OWN_PREFIX):
            return Decision(Fate.TAKEN, value=value)
        if value in (None, ""):
            return Decision(Fate.DEFAULT, "left empty")
        if refusal := self._catalogue.refusal(name):
            return Decision(Fate.UNSUPPORTED, refusal)
        return self._stranger(name, value)

    def password(self, value: Any) -> Decision:
        """A password that a service here uses."""
        if value in (None, ""):
            return Decision(Fate.DEFAULT, "left empty; `reconciler secrets generate` fills it where a service needs it")
        if any("{{" in leaf for leaf in leaves(value)):
            return Decision(
                Fate.UNSUPPORTED, "is an expression; a password here is its value: put that in", value, True
            )
        return Decision(Fate.TAKEN, value=value, secret=True)

    def _variable(self, name: str, value: Any, schema: Mapping[str, Any], default: Any, whole_site: bool) -> Decision:
        kinds = schema.get("type", [])
        fitted = fit(value, [kinds] if isinstance(kinds, str) else kinds, schema.get("enum", ()))
        fitted = normalise(fitted, schema)
        if name not in self._grammars:
            self._grammars[name] = Grammar(schema, expressions=True)
        problems = self._grammars[name].check(Document("", {name: fitted}), (name,), fitted)
        literal = looks_secret(name) and isinstance(fitted, str) and fitted and "{{" not in fitted
        if literal or any(URL.search(leaf) for leaf in leaves(fitted)):
            reason = "holds a secret in the clear: name one of passwords.yml in it, as {{ name }}"
            return Decision(Fate.UNSUPPORTED, reason, value, True)
        if problems and value in (None, ""):
            return Decision(Fate.DEFAULT, "left empty")
        if problems:
            instead = (
                "upgrade with kolla-ansible first: this site is"
                if name == "openstack_release"
                else "the site has its default,"
            )
            return Decision(Fate.UNSUPPORTED, f"{problems[0].text}; {instead} {show(default)}")
        if (
            whole_site
            and default is not None
            and fitted == normalise(default, schema)
            and type(fitted) is type(default)
        ):
            return Decision(Fate.DEFAULT, "the default", fitted)
        return Decision(Fate.TAKEN, value=fitted)

    def _stranger(self, name: str, value: Any) -> Decision:
        service = name.removeprefix("enable_").partition("_")[0]
        service = _OF.get(service, service)
        away = service in KOLLA_SERVICES - self._catalogue.services.keys()
        if away and truth(value) is False:
            return Decision(Fate.DEFAULT, "it is not there, so it is off")
        if away:
            what = f"{service} is not in the catalogue yet: kolla-ansible goes on running it, or bring it as a service of your own"
            return Decision(Fate.UNSUPPORTED, what)
        if name.startswith("enable_"):
            return Decision(Fate.UNSUPPORTED, "the catalogue has nothing that this would switch on")
        near = suggest(name, self._catalogue.variables)
        return Decision(
            Fate.UNKNOWN,
            f"nobody reads it{f'; {near}' if near else ''}: a variable of your own is called {OWN_PREFIX}{name} here, also where it is used",
        )


def _hidden(variable: Any) -> str:
    if variable is None:
        return "was encrypted; no service here has a password of this name"
    return "was encrypted, and a variable stands in the clear here: name a secret of passwords.yml in it, as {{ name }}"


def fit(value: Any, kinds: list[str], allowed: Sequence[Any] = ()) -> Any:
    """A value in the type that is wanted, as Ansible's templates would have made it; `no` as a word where that is one of those allowed."""
    word = ("no", "yes")[value] if isinstance(value, bool) else None
    if word in allowed:
        return word
    if value is None and "null" not in kinds and "string" in kinds:
        return ""
    if "boolean" in kinds and "string" not in kinds and not isinstance(value, bool) and truth(value) is not None:
        return truth(value)
    if "string" in kinds and isinstance(value, bool | int | float):
        kind = "boolean" if isinstance(value, bool) else "integer" if isinstance(value, int) else "number"
        return value if kind in kinds or (kind == "integer" and "number" in kinds) else str(value)
    return value


def is_secret(value: Any) -> bool:
    """Whether any part of a value is a Secret."""
    if isinstance(value, dict):
        return any(map(is_secret, value.values()))
    if isinstance(value, list):
        return any(map(is_secret, value))
    return isinstance(value, Secret)


def leaves(value: Any) -> list[str]:
    """The texts in a value, secret ones too."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    if isinstance(value, Secret):
        return [value.reveal()]
    return [] if value is None else [str(value)]


def secret_texts(value: Any) -> Any:
    """A value with every leaf a Secret that holds the text Ansible would have made of it (`0123` is 83 there, and stays it)."""
    if isinstance(value, dict):
        return {key: secret_texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [secret_texts(item) for item in value]
    return value if value is None or isinstance(value, Secret) else Secret(str(value))
