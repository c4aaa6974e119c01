"""What a node aims at: the desired state of one commit made concrete; and what the node's own settings allow of it."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler import plan, secret
from reconciler.model import Actual, Desired, File
from reconciler.node import policy
from reconciler.render import bind_tree, digest, tokens
from reconciler.report import Graph, graph
from reconciler.settings import Policy as SettingsPolicy
from reconciler.settings import Settings
from reconciler.source.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Target:
    """Desired state made concrete: with the bytes of its files, and the digests planning compares."""

    prepared: Prepared
    contents: Mapping[str, bytes] = field(repr=False)  # of the files that can be written
    files_digest: Mapping[str, str]  # container → digest of the contents of its files, where all of them can be written
    part_digest: Mapping[str, str]  # container → digest of its whole part, as desired state has it
    graph: Graph  # what rests on what
    identifiers: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # path → registrations whose identifiers it holds

    @property
    def desired(self) -> Desired:
        return self.prepared.desired

    def bound(self, actual: Actual) -> "Target":
        """With the files that hold identifiers, as far as these are known, and with those that stay as they are on the host. Raises as
        `make_target`."""
        known, stay = actual.identifiers, plan.staying(self.desired, actual.files)
        held = {file.path: self.identifiers.get(file.path, ()) for file in self.desired.files}
        ready = [file for file in self.desired.files if held[file.path] and known.keys() >= {*held[file.path]}]
        if not ready and all(self.contents.get(path) == content for path, content in stay.items()):
            return self
        values = {**self.prepared.secrets, **tokens.identified(known)}
        contents = {**self.contents, **bind_tree(replace(self.desired, files=tuple(ready)), values), **stay}
        return replace(self, contents=contents, files_digest=_digests(self.desired, contents))


def make_target(prepared: Prepared) -> Target:
    """Bind the secrets into the files and digest what planning compares.

    Raises errors.Terminal: SecretMissing, SecretUnwritable.
    """
    secret.keep(prepared.secrets.values())
    desired = prepared.desired
    held = {file.path: sorted(tokens.identifiers(file.content)) for file in desired.files}
    identifiers = {path: tuple(names) for path, names in held.items() if names}
    some = tokens.identified({name: "0" for names in identifiers.values() for name in names})
    contents = bind_tree(desired, {**prepared.secrets, **some})  # so that secrets without a value are told at once
    contents = {path: content for path, content in contents.items() if path not in identifiers}
    return Target(
        prepared,
        contents,
        files_digest=_digests(desired, contents),
        part_digest={c.name: digest.part_digest(desired, c.name) for c in desired.containers},
        graph=graph(desired),
        identifiers=identifiers,
    )


def _digests(desired: Desired, contents: Mapping[str, bytes]) -> dict[str, str]:
    owners: dict[str, list[File]] = {}
    for file in desired.files:
        owners.setdefault(file.container, []).append(file)
    return {
        name: _files_digest(files, contents)
        for name, files in owners.items()
        if all(file.path in contents for file in files)
    }


def _files_digest(files: Iterable[File], contents: Mapping[str, bytes]) -> str:
    """Of the files whose change asks for a restart, a dot, of those whose change asks for a reload."""
    # Kept on the node only, in a directory that only root reads, beside the files themselves.
    parts = {"restart": hashlib.sha256(), "reload": hashlib.sha256()}
    for file in sorted(files, key=lambda f: f.path):
        if file.on_change != "none":
            content = contents[file.path]
            parts[file.on_change].update(f"{file.path}\0{len(content)}\0".encode() + content)
    return ".".join(part.hexdigest() for part in parts.values())


def host_policy(settings: Settings) -> policy.HostPolicy:
    """What the node's settings allow a commit to ask for.

    A setting replaces everything of its kind. Without a base, a host that takes anything away has everything else taken
    away as well, save the host's network, which is every container's default: one privilege is as good as another.
    """
    own = settings.policy
    given = {name: value for name in _GRANTS if (value := getattr(own, name)) is not None}
    if isinstance(devices := given.get("devices"), bool):
        given["devices"] = policy.KOLLA.devices if devices else ()
    if "binds" in given:
        given = {"exact": (), "read_only": (), **given}
    if own.base:
        base = policy.STRICT if own.base == "strict" else policy.KOLLA
    elif any(value != getattr(policy.KOLLA, name) for name, value in given.items() if name != "registries"):
        base = replace(policy.STRICT, networks=("host", *policy.STRICT.networks))
    else:
        base = policy.KOLLA
    apart = dict.fromkeys((*base.forbidden, *(str(path) for path in settings.kept_apart())))
    return replace(base, **given, forbidden=tuple(apart), config_roots=own.config_roots)


_GRANTS = tuple(
    field.name for field in dataclasses.fields(SettingsPolicy) if field.name not in ("base", "config_roots")
)
