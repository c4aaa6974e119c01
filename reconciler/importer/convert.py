"""Source → site and report. Every input is decided here, once. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from reconciler.catalogue import Catalogue
from reconciler.document.yaml import Place
from reconciler.importer import certificates, federation, folder, machines
from reconciler.importer.decide import Decision, Judge, secret_texts
from reconciler.importer.machines import INTERFACES, NAME, Node
from reconciler.importer.types import Assigned, Entry, Fate, File, Input, Missing, Result, Source
from reconciler.importer.writing import Text, assignment, scalar
from reconciler.phrases import few
from reconciler.site.inventory import Known

ASIDE: Final = ".kolla-ansible/passwords.yml"  # hidden: no service reads it
PASSWORDS: Final = "passwords.yml"
_BEFORE: Final = datetime.min.replace(tzinfo=UTC)  # nothing has ended
_DEPLOYMENT: Final = "deployment"  # kolla's group for the host that Ansible runs on


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator says beside the source: the site's name, (host, network) → address, for whom to encrypt; the time, by which
    certificates have ended; and what validation refused of an earlier try, with its words."""

    name: str
    recipients: tuple[str, ...]
    addresses: Mapping[tuple[str, str], str] = field(default_factory=dict)
    refused: Mapping[Input, str] = field(default_factory=dict)
    now: datetime = _BEFORE


def inputs(source: Source) -> Iterator[Input]:
    """Every input of a source, in its order."""
    for scope, kind, files in _files(source):
        for file in files:
            for said in file.variables:
                yield Input("password" if kind == "password" else "variable", said.name, said.place, scope)
    for machine in source.tree.hosts.values():
        yield Input("host", machine.name, machine.place)
        for said in machine.variables:
            yield Input("variable", said.name, said.place, f"host:{machine.name}")
    for group in source.tree.groups.values():
        yield Input("group", group.name, group.place)
        for said in group.variables:
            yield Input("variable", said.name, said.place, f"group:{group.name}")
    for path in source.config:
        yield Input("file", path, source.place(path))
    for path in source.written:
        yield Input("folder", path, Place(f"{path}/config.json"))
    for path in (*source.certificates, *source.others):
        yield Input("file", path, Place(path))


def _files(source: Source) -> Iterator[tuple[str, str, tuple[File, ...]]]:
    yield "", "variable", source.globals
    yield "", "password", source.passwords
    for name, files in source.groups.items():
        yield f"group:{name}", "variable", files
    for name, files in source.hosts.items():
        yield f"host:{name}", "variable", files


def convert(source: Source, catalogue: Catalogue, options: Options) -> Result:
    """The site that a source makes."""
    return _Conversion(source, catalogue, options).result()


class _Conversion:
    def __init__(self, source: Source, catalogue: Catalogue, options: Options) -> None:
        self._source, self._catalogue, self._options = source, catalogue, options
        self._judge = Judge(catalogue)
        self._entries: list[Entry] = []
        self._files: dict[str, str] = {}
        self._binary: dict[str, bytes] = {}
        self._lines: dict[str, Mapping[int, Input]] = {}
        self._secrets: dict[str, dict[str, Any]] = {}
        self._sealed: dict[str, Any] = {}
        # -e @globals.yml and -e @passwords.yml: what they say counts on every host, whatever the inventory says.
        self._everywhere = {said.name for file in (*source.globals, *source.passwords) for said in file.variables}
        self._elsewhere = {
            said.name for scope, _, files in _files(source) if scope for file in files for said in file.variables
        }
        self._gone = self._deployment_hosts()
        self._hosts = [name for name in source.tree.hosts if name not in self._gone and NAME.fullmatch(name)]
        self._nodes = {name: machines.node(source, name, options.addresses) for name in self._hosts}

    def result(self) -> Result:
        source = self._source
        self._passwords()
        self._variables("", "globals.yml", source.globals, ())
        for name in dict.fromkeys((*source.tree.groups, *source.groups)):
            own = source.tree.groups[name].variables if name in source.tree.groups else []
            self._variables(f"group:{name}", f"groups/{name}.yml", source.groups.get(name, ()), own)
        for name in dict.fromkeys((*source.tree.hosts, *source.hosts)):
            inline = source.tree.hosts[name].variables if name in source.tree.hosts else []
            self._variables(f"host:{name}", f"hosts/{name}.yml", source.hosts.get(name, ()), inline)
        self._inventory()
        groups = tuple(dict.fromkeys((*source.tree.groups, *self._catalogue.groups())))
        known = Known(tuple(self._hosts), groups)
        self._config(known)
        self._certificates(known)
        self._others()
        self._files["reconciler.yml"] = _POLICY.format(name=scalar(self._options.name))
        self._files[".sops.yaml"] = _RULES.format(recipients=",\n      ".join(self._options.recipients))
        missing: tuple[Missing, ...] = tuple(what for node in self._nodes.values() for what in node.missing)
        secrets = {path: content for path, content in self._secrets.items() if content}
        return Result(tuple(self._entries), self._files, secrets, self._sealed, self._lines, missing, self._binary)

    # --- variables ---------------------------------------------------------------------------------------------------

    def _variables(self, scope: str, path: str, files: tuple[File, ...], inline: Iterable[Assigned]) -> None:
        """One file of the site from the inventory's own lines and files, the later of which counts."""
        text = Text(_HEADS[path.partition("/")[0]])
        parts = [File("", tuple(inline)), *files]
        last = {said.name: said for file in parts for said in file.variables}
        for file in parts:
            if file.name and len(parts) > 2:
                text.comment(f"\n# --- {file.name}\n")
            for said in file.variables:
                text.comment(said.gap)
                counts = last[said.name]
                moved = federation.here(said, self._source)
                self._variable(scope, path, moved, moved if said is counts else counts, text)
            text.comment(file.tail)
        if any(file.variables or file.tail for file in parts) and self._is_there(scope):
            self._files[path], self._lines[path] = str(text), text.lines

    def _is_there(self, scope: str) -> bool:
        kind, _, name = scope.partition(":")
        if kind == "host":
            return name in self._nodes
        return (
            kind != "group" or name == "all" or (name in self._source.tree.groups and NAME.fullmatch(name) is not None)
        )

    def _variable(self, scope: str, path: str, said: Assigned, last: Assigned, text: Text) -> None:
        source = Input("variable", said.name, said.place, scope)
        decision = self._decision(scope, said, last, source)
        target = ""
        if decision.secret:
            target = self._keep(scope, said, decision)
        elif decision.fate is Fate.TAKEN:
            variable = self._catalogue.variables.get(said.name)
            line = assignment(said, decision.value, variable.schema if variable else {})
            if line:
                text.assign(source, said, line)
                self._note(source, decision, path)
                return
            decision = Decision(Fate.UNSUPPORTED, "cannot be written as strict YAML (control characters, or too large)")
        elif decision.fate is Fate.RENAMED:
            target = "config/" if said.name == "node_custom_config" else "inventory.yml"
            target = certificates.TARGETS.get(said.name, target)
        text.leave(said, decision, target)
        self._note(source, decision, target)

    def _decision(self, scope: str, said: Assigned, last: Assigned, source: Input) -> Decision:
        if not self._is_there(scope):
            why = "is said of a host or group that the inventory does not have, or that is not part of the site"
            return Decision(Fate.DIFFERENT, why, said.value, self._judge.decide(said, False).secret)
        if said is not last:
            decision = self._judge.decide(said, False)
            return Decision(Fate.DIFFERENT, f"is said again at {_at(last)}, which counts", said.value, decision.secret)
        if scope and said.name in self._everywhere:
            why = "globals.yml or passwords.yml says it, too, and wins in kolla-ansible; here the host would win, so it is left out"
            return Decision(Fate.DIFFERENT, why, said.value, self._judge.decide(said, False).secret)
        if not scope and said.name in {one.name for file in self._source.passwords for one in file.variables}:
            return Decision(Fate.DIFFERENT, "passwords.yml says it, too, and wins", said.value, True)
        decision = self._judge.decide(said, not scope and said.name not in self._elsewhere)
        if source in self._options.refused:
            return Decision(Fate.UNSUPPORTED, self._options.refused[source], said.value, decision.secret)
        network = INTERFACES.get(said.name)
        if network and decision.fate in (Fate.TAKEN, Fate.UNKNOWN, Fate.UNSUPPORTED):
            return self._interface(scope, said, network, decision)
        if said.name == "node_custom_config":
            return self._custom_config(said)
        if said.name in certificates.TARGETS:
            return certificates.decide(self._source, said, scope)
        if said.name == "ansible_host" and scope.startswith("host:"):
            return self._ansible_host(self._nodes[scope[5:]])
        return decision

    def _interface(self, scope: str, said: Assigned, network: str, decision: Decision) -> Decision:
        """A host's interface stands in the inventory; so do a group's and everybody's where the catalogue has no such variable."""
        if said.name in self._catalogue.variables and not scope.startswith("host:"):
            return decision
        if "{{" in str(said.value):
            return (
                Decision(Fate.DEFAULT, "falls back on another network's interface")
                if self._falls_back(network)
                else decision
            )
        for name in self._members(scope):
            node = self._nodes[name]
            if str(machines.effective(self._source, name)[said.name].value) == str(said.value):
                node.interfaces[network] = str(said.value)
        return Decision(Fate.RENAMED, f"interfaces: {{{network}: …}} of the host")

    def _custom_config(self, said: Assigned) -> Decision:
        folder = self._source.config_folder
        if str(said.value) == folder or "{{" in str(said.value):
            return Decision(Fate.RENAMED, f"the files of {folder}")
        return Decision(Fate.DIFFERENT, f"is no folder on this machine, so {folder} was read")

    def _falls_back(self, network: str) -> bool:
        return all(network not in node.addresses for node in self._nodes.values())

    def _members(self, scope: str) -> list[str]:
        kind, _, name = scope.partition(":")
        if kind == "host":
            return [name]
        return [host for host in self._source.tree.members(name or "all") if host in self._nodes]

    def _ansible_host(self, node: Node) -> Decision:
        if node.assumed == "ansible_host":
            why = "its address in the management network, for want of facts: compare it with the address on network_interface"
            return Decision(Fate.RENAMED, why)
        return Decision(Fate.DIFFERENT, "says where Ansible logs in; addresses are those of the networks")

    # --- secrets -----------------------------------------------------------------------------------------------------

    def _passwords(self) -> None:
        last = {said.name: said for file in self._source.passwords for said in file.variables}
        for file in self._source.passwords:
            for said in file.variables:
                source = Input("password", said.name, said.place)
                if said is not last[said.name]:
                    self._note(
                        source, Decision(Fate.DIFFERENT, f"is said again at {_at(last[said.name])}, which counts"), ""
                    )
                    continue
                if said.name in self._judge.passwords:
                    decision = self._judge.password(said.value)
                elif said.value in (None, ""):
                    decision = Decision(Fate.DEFAULT, "left empty")
                else:
                    decision = Decision(Fate.UNKNOWN, "no service here uses it yet; kept, encrypted", said.value, True)
                target = self._keep("", said, decision) if decision.secret else ""
                self._note(source, decision, target)

    def _keep(self, scope: str, said: Assigned, decision: Decision) -> str:
        """Put a secret where it is encrypted; the file's name."""
        kind, _, name = scope.partition(":")
        taken = decision.fate is Fate.TAKEN
        path = (
            {"": PASSWORDS, "group": f"passwords/{name}.yml", "host": f"hosts/{name}.passwords.yml"}[kind]
            if taken
            else ASIDE
        )
        content = self._secrets.setdefault(path, {})
        key = said.name
        while not taken and key in content:
            key = f"{key}_{name or 'earlier'}".replace("-", "_").replace(".", "_")
        content[key] = secret_texts(said.value)
        return path

    # --- inventory, config/, the rest --------------------------------------------------------------------------------

    def _deployment_hosts(self) -> frozenset[str]:
        """Hosts that only Ansible runs on."""
        tree = self._source.tree
        own = {
            name for name, group in tree.groups.items() for name in group.hosts if name and group.name == _DEPLOYMENT
        }
        used = {
            host
            for group in tree.groups.values()
            if group.name not in (_DEPLOYMENT, "all", "ungrouped")
            for host in group.hosts
        }
        return frozenset(own - used)

    def _inventory(self) -> None:
        tree = self._source.tree
        for machine in tree.hosts.values():
            source = Input("host", machine.name, machine.place)
            if machine.name in self._gone:
                self._note(
                    source,
                    Decision(Fate.DIFFERENT, "Ansible runs there and no service: every node converges by itself"),
                    "",
                )
            elif machine.name not in self._nodes:
                why = "cannot be a host's name here (letters, digits, -, _ and ., at most 63): rename it"
                self._note(source, Decision(Fate.UNSUPPORTED, why), "")
            else:
                self._note(source, Decision(Fate.TAKEN), "inventory.yml")
        shipped = self._catalogue.groups()
        groups = {}
        for name, group in tree.groups.items():
            source = Input("group", name, group.place)
            hosts = [host for host in group.hosts if host in self._nodes]
            children = [child for child in group.children if child in tree.groups and NAME.fullmatch(child)]
            if name in ("all", "ungrouped"):
                self._note(source, Decision(Fate.DEFAULT, "every site has it" if name == "all" else "no group"), "")
            elif not NAME.fullmatch(name):
                why = "cannot be a group's name here (letters, digits, -, _ and ., at most 63): rename it"
                self._note(source, Decision(Fate.UNSUPPORTED, why), "")
            elif name in shipped and not hosts and children and list(shipped[name]) == children:
                self._note(source, Decision(Fate.DEFAULT, "has these hosts by default"), "")
            else:
                groups[name] = (hosts, children)
                self._note(source, Decision(Fate.TAKEN), "inventory.yml")
        self._files["inventory.yml"] = machines.inventory_text(list(self._nodes.values()), groups)

    def _config(self, known: Known) -> None:
        for path, content in self._source.config.items():
            source = Input("file", path, self._source.place(path))
            names = self._secrets.setdefault(PASSWORDS, {})
            if path.startswith("certificates/"):
                why = f"kolla-ansible reads certificates of {self._source.certificates_folder}, and here they would be read: it stays where it is"
                self._note(source, Decision(Fate.DIFFERENT, why), "")
                continue
            vaulted = self._source.vaulted.get(path)
            if vaulted:
                self._note(source, Decision(Fate.UNSUPPORTED, f"{vaulted}; it stays where it is"), "")
                continue
            take = folder.take if vaulted is None else folder.take_opened
            taken = take(path, content, known, self._catalogue, names)
            refused = self._options.refused.get(source, "") or taken.refused
            if refused:
                self._note(source, Decision(Fate.UNSUPPORTED, f"{refused}; it stays where it is"), "")
                continue
            target = f"config/{path}"
            if taken.whole is not None:
                self._sealed[target] = taken.whole
                self._note(source, Decision(Fate.TAKEN, "encrypted as a whole"), target)
                continue
            if taken.binary is not None:
                self._binary[target] = taken.binary
                self._note(source, Decision(Fate.TAKEN), target)
                continue
            names.update(taken.secrets)
            self._files[target] = taken.text
            kept = few(list(taken.secrets)) if vaulted == "" else ", ".join(taken.secrets)
            what = "its values, which were encrypted" if vaulted == "" else "what was in the clear"
            why = f"with {kept} of passwords.yml in the place of {what}" if taken.secrets else ""
            self._note(source, Decision(Fate.RENAMED if taken.secrets else Fate.TAKEN, why), target)

    def _certificates(self, known: Known) -> None:
        names = self._secrets.setdefault(PASSWORDS, {})
        for one in certificates.take(self._source, known, self._catalogue, self._options.now, names):
            if refused := self._options.refused.get(one.entry.input):
                self._note(one.entry.input, Decision(Fate.UNSUPPORTED, f"{refused}; it stays where it is"), "")
                continue
            self._entries.append(one.entry)
            self._files |= one.files
            self._sealed |= one.sealed
            names |= one.passwords

    def _others(self) -> None:
        for path in self._source.written:
            why = "what kolla-ansible wrote for a container, made of the rest"
            self._note(Input("folder", path, Place(f"{path}/config.json")), Decision(Fate.DEFAULT, why), "")
        for path in self._source.others:
            name = path.rpartition("/")[2]
            if "/octavia-certificates/" in path:
                why = "`kolla-ansible octavia-certificates` works there; what it made for services is read in config/octavia/"
                source = Input("file", path, Place(path))
                self._note(source, Decision(Fate.DIFFERENT, f"{why}. It stays where it is"), "")
                continue
            if name == "kolla-build.conf":
                why = (
                    "images are named by docker_registry, docker_namespace and openstack_tag, not by how they are built"
                )
            else:
                why = "kolla-ansible's roles read nothing of this name"
                self._note(Input("file", path, Place(path)), Decision(Fate.UNKNOWN, f"{why}; it stays where it is"), "")
                continue
            self._note(Input("file", path, Place(path)), Decision(Fate.UNSUPPORTED, f"{why}; it stays where it is"), "")

    def _note(self, source: Input, decision: Decision, target: str) -> None:
        self._entries.append(Entry(source, decision.fate, target, decision.reason))


def _at(said: Assigned) -> str:
    return f"{said.place.file}:{said.place.line}"


_HEADS: Final[Mapping[str, str]] = {
    "globals.yml": "# Variables of the whole cloud, from kolla-ansible's globals.yml. What is commented out says why.\n",
    "groups": "# Variables of a group, from kolla-ansible's inventory. What is commented out says why.\n",
    "hosts": "# Variables of one host, from kolla-ansible's inventory. What is commented out says why.\n",
}
_POLICY: Final = """\
# How nodes treat this site. It came from kolla-ansible: differences are reported, and nothing is healed before somebody looked.
name: {name}
drift:
  mode: report
# What runs is taken over as it is, with the files that it was started with. A change of the site makes what it reaches as the site says.
adoption: as-made
"""
_RULES: Final = """\
# Who can read the passwords. To let somebody in: `reconciler secrets recipients add HOST|KEY`.
creation_rules:
  - age: >-
      {recipients}
"""
