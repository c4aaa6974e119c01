"""From a commit to what one host should be: read, validated and rendered in a sealed child, then decrypted by sops.

Nothing else of the program touches what a stranger wrote into a repository, and what reads it holds no key: the child
(`prepare_child`) answers with tokens and ciphertext, which is handed on to sops without being looked at.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler import __version__, data, errors
from reconciler.git import content
from reconciler.model import Desired
from reconciler.reasons import Reason
from reconciler.rollout.policy import Rollout
from reconciler.secret import Secret
from reconciler.secrets.locked import Locked
from reconciler.source import child
from reconciler.text import encodable

if TYPE_CHECKING:
    from reconciler.catalogue import Catalogue
    from reconciler.secrets import sops
    from reconciler.site import Site

# Processor seconds on the machine that budgets are measured on (docs/performance.md), of which good sites take a fifth: to
# validate a site of ordinary size, to render a host. The first controller of a whole cloud, all its templates compiled, takes 0.7.
LOAD_SECONDS = 1.0
HOST_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """Desired state of a host, and the values of the secrets it uses, by the names its tokens have; `locked` is what they are in."""

    desired: Desired
    secrets: Mapping[str, Secret]
    warnings: tuple[str, ...] = ()
    locked: tuple[Locked, ...] = ()
    rollout: Rollout | None = None  # when this host may act; None: nobody asks


@dataclass(frozen=True, slots=True)
class Answer:
    """What the child answers; `locked` in the order in which later values win."""

    desired: Desired
    locked: tuple[Locked, ...] = ()
    warnings: tuple[str, ...] = ()
    rollout: Rollout | None = None


def prepare(repository: Path, commit: str, path: str, host: str, keys: "sops.Keys") -> Prepared:
    """Read the site at `commit`, and make the desired state of `host`, in a sealed child.

    Raises errors.SiteInvalid with all problems, errors.Terminal (HostUnknown, LimitExceeded, WallMissing, Sops…),
    errors.Transient (DeadlineExceeded).
    """
    return prepare_source(content.Source(repository, commit, path).to_json(), commit, host, keys)


def prepare_source(source: content.Given, revision: str, host: str, keys: "sops.Keys") -> Prepared:
    """As `prepare`, of any source (`git.content`); `revision` is how desired state calls it."""
    argument = {"source": source, "host": host, "revision": revision}
    answer = child.ask("reconciler.source.prepare_child:desired", argument, Answer)
    if answer.desired.host != host or answer.desired.revision != revision:
        raise errors.Terminal("the child process answers for another host or revision", reason=Reason.ChildFailed)
    return Prepared(
        answer.desired, unlock(answer.locked, answer.desired, keys), answer.warnings, answer.locked, answer.rollout
    )


def unlock(locked: Iterable[Locked], desired: Desired, keys: "sops.Keys") -> dict[str, Secret]:
    """The values of the secrets that `desired` uses. Raises errors.Terminal (Sops…), errors.Transient (DeadlineExceeded)."""
    from reconciler.secrets import sops

    values: dict[str, Secret] = {}
    for file in locked:
        try:
            ciphertext = base64.b64decode(file.content, validate=True)
        except (binascii.Error, ValueError):
            raise errors.Terminal(
                f"the child process answers no bytes for {file.name!r}", reason=Reason.ChildFailed
            ) from None
        if file.whole:
            values[file.whole] = sops.unlock_whole(ciphertext, name=file.name, recipients=file.recipients, keys=keys)
        else:
            values.update(_flat(sops.unlock(ciphertext, name=file.name, recipients=file.recipients, keys=keys)))
    used = {name.partition(".")[0] for name in desired.secrets}
    return {name: value for name, value in values.items() if name.partition(".")[0] in used}


@cache
def shipped() -> "Catalogue":
    """The catalogue that ships with the program, read once per process, or beforehand."""
    from reconciler import catalogue
    from reconciler.source import beforehand

    services = data.services()
    return beforehand.catalogue(services) or catalogue.load(
        services, "catalogue", trusted=True
    )  # tests hold it to its grammars


def stamped(desired: Desired) -> Desired:
    """With what made it, besides the commit: this program, and the catalogue that ships with it."""
    return replace(desired, program=__version__, catalogue=data.catalogue_digest())


def load(content: Mapping[str, bytes]) -> "Site":
    """Validate a site's files against the shipped catalogue. Raises errors.SiteInvalid."""
    from reconciler import site

    return site.load(content, shipped())


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Secret]:
    """Nested mappings (key pairs) by dotted names."""
    flat: dict[str, Secret] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        elif value is not None:
            secret = value if isinstance(value, Secret) else Secret(str(value))
            if not encodable(secret.reveal()) or "\0" in secret.reveal():
                what = f"the secret {prefix + name} holds U+0000 or half a surrogate pair, which no file can hold"
                raise errors.SiteInvalid([errors.Problem("passwords.yml", 0, 0, what, "choose another value")])
            flat[prefix + name] = secret
    return flat
