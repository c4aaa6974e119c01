"""From a commit to what one host should be: read, validate, decrypt, render. Runs in a limited child process.

The functions whose names end in `_child` take and give plain JSON, for `run.python`; nothing else of the program
touches what a stranger wrote into a repository. What only the child needs is imported there: the daemon stays small.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler import data, errors, run, sops
from reconciler.git import tree
from reconciler.model import Desired, from_json, to_json
from reconciler.secret import Secret

if TYPE_CHECKING:
    from reconciler.catalogue import Catalogue
    from reconciler.site import Site

LIMITS = run.Limits(seconds=120.0, cpu_seconds=100, memory=2 << 30)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Desired state of a host, and the values of the secrets it uses, by the names its tokens have."""

    desired: Desired
    secrets: Mapping[str, Secret]
    warnings: tuple[str, ...] = ()


def prepare(repository: Path, commit: str, path: str, host: str, keys: sops.Keys) -> Prepared:
    """Read the site at `commit`, and make the desired state of `host`, in a limited child.

    Raises errors.SiteInvalid with all problems, errors.Terminal (HostUnknown, LimitExceeded, Sops…), errors.Transient
    (DeadlineExceeded).
    """
    argument = {"repository": str(repository), "commit": commit, "path": path, "host": host, "keys": keys.to_json()}
    answer = run.python("reconciler.prepare:prepare_child", argument, limits=LIMITS)
    secrets = {name: Secret(value) for name, value in answer["secrets"].items()}
    return Prepared(from_json(Desired, answer["desired"]), secrets, tuple(answer["warnings"]))


def prepare_child(argument: Mapping[str, Any]) -> dict[str, Any]:
    """The child's side of `prepare`."""
    from reconciler.render import render

    content = tree.read(Path(argument["repository"]), argument["commit"], argument["path"])
    whole = load(content)
    host = argument["host"]
    if host not in whole.hosts:
        known = ", ".join(sorted(whole.hosts)[:8])
        raise errors.Terminal(
            f"this host is {host!r}, which inventory.yml does not know (it has {known}): nothing is changed. Add it there, or "
            "set `host` in the node's settings",
            reason="HostUnknown",
        )
    desired = render(whole, host, argument["commit"])
    secrets = decrypt(whole, content, host, desired, sops.Keys.from_json(argument["keys"]))
    return {
        "desired": to_json(desired),
        "secrets": secrets,
        "warnings": [str(warning) for warning in whole.warnings],
    }


@cache
def shipped() -> "Catalogue":
    """The catalogue that ships with the program, parsed once per process."""
    from reconciler import catalogue

    return catalogue.load(data.services(), "catalogue")


def load(content: Mapping[str, bytes]) -> "Site":
    """Validate a site's files against the shipped catalogue. Raises errors.SiteInvalid."""
    from reconciler import site

    return site.load(content, shipped())


def decrypt(
    whole: "Site", content: Mapping[str, bytes], host: str, desired: Desired, keys: sops.Keys
) -> dict[str, str]:
    """The values of the secrets that `desired` uses. Only password files that concern this host are decrypted."""
    if not desired.secrets:
        return {}
    values: dict[str, str] = {}
    for name in whole.recipients(host):
        values.update(_flat(sops.decrypt(content[name], name=name, keys=keys)))
    used = {name.partition(".")[0] for name in desired.secrets}
    return {name: value for name, value in values.items() if name.partition(".")[0] in used}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings (key pairs) by dotted names."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        elif value is not None:
            flat[prefix + name] = value.reveal()
    return flat
