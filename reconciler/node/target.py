"""What a node aims at: the desired state of one commit made concrete; and what the node's own settings allow of it."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciler import secret
from reconciler.model import Desired, File
from reconciler.node import policy
from reconciler.render import bind_tree, digest
from reconciler.report import Graph, graph
from reconciler.settings import Policy as SettingsPolicy
from reconciler.settings import Settings
from reconciler.source.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Target:
    """Desired state made concrete: with the bytes of its files, and the digests planning compares."""

    prepared: Prepared
    contents: Mapping[str, bytes] = field(repr=False)
    files_digest: Mapping[str, str]  # container → digest of the contents of its files
    part_digest: Mapping[str, str]  # container → digest of its whole part, as desired state has it
    graph: Graph  # what rests on what

    @property
    def desired(self) -> Desired:
        return self.prepared.desired


def make_target(prepared: Prepared) -> Target:
    """Bind the secrets into the files and digest what planning compares.

    Raises errors.Terminal: SecretMissing, SecretUnwritable.
    """
    secret.keep(prepared.secrets.values())
    desired = prepared.desired
    contents = bind_tree(desired, prepared.secrets)
    owners: dict[str, list[File]] = {}
    for file in desired.files:
        owners.setdefault(file.container, []).append(file)
    return Target(
        prepared,
        contents,
        files_digest={name: _files_digest(files, contents) for name, files in owners.items()},
        part_digest={c.name: digest.part_digest(desired, c.name) for c in desired.containers},
        graph=graph(desired),
    )


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
    return replace(base, **given, forbidden=tuple(apart))


_GRANTS = tuple(
    field.name for field in dataclasses.fields(SettingsPolicy) if field.name not in ("base", "config_roots")
)
