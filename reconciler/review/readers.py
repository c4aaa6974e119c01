"""Who can read a site's secrets, who speaks for its hosts, whom its nodes believe: what of that a change gives to others. Pure."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.document import sealed, yaml
from reconciler.document.sealed import CREATION_RULES
from reconciler.errors import SiteInvalid
from reconciler.model import Difference
from reconciler.phrases import count
from reconciler.site import Site, authorities

_SHOWN: Final = 24  # characters of a recipient


def given(before: tuple[Mapping[str, bytes], Site], after: tuple[Mapping[str, bytes], Site]) -> dict[str, str]:
    """File → what of its secrets others can read from now on, of two revisions of a site, each its files and what was made of them."""
    (old_files, old), (new_files, new) = before, after
    found = {}
    for name, recipients in sorted(new.readers.items()):
        if more := [who for who in recipients if not sealed.among(who, old.readers.get(name, ()))]:
            found[name] = f"opened by {_shown(more)}" + (" as well" if name in old.readers else "")
    rules = [_rules(files.get(CREATION_RULES, b"")) for files in (old_files, new_files)]
    if rules[0] != rules[1]:
        known = [*_recipients(rules[0])]
        more = [who for who in dict.fromkeys(_recipients(rules[1])) if not sealed.among(who, known)]
        found[CREATION_RULES] = (
            f"what is encrypted anew is for {_shown(more)} as well" if more else "what is encrypted anew is for others"
        )
    return found


def rekeyed(before: Site, after: Site) -> list[str]:
    """Hosts that are declared to have another key than before."""
    both = [host for host in after.hosts if host in before.hosts]
    return [host for host in both if before.hosts[host].report_key != after.hosts[host].report_key]


def believed(before: Site, after: Site) -> list[Difference]:
    """Whether nodes believe services by other certificates than before."""
    old, new = (authorities.certificates(site) for site in (before, after))
    return [] if old == new else [Difference("config/certificates/ca", _counted(new), _counted(old))]


def _counted(certificates: str) -> str:
    number = certificates.count("-----BEGIN")
    return (
        f"{count(number, 'certificate')} {hashlib.sha256(certificates.encode()).hexdigest()[:12]}"
        if number
        else "(none)"
    )


def _rules(content: bytes) -> Any:
    """The data of a .sops.yaml, or what stands there where that cannot be read."""
    try:
        return yaml.load(content, CREATION_RULES).data
    except SiteInvalid:
        return content


def _recipients(data: Any) -> Iterator[str]:
    """Every recipient that rules name, whatever the key that it stands at."""
    if isinstance(data, dict | list):
        for part in data.values() if isinstance(data, dict) else data:
            yield from _recipients(part)
    elif isinstance(data, str):
        yield from (sealed.bare(part.strip()) for part in data.split(",") if sealed.is_recipient(part.strip()))


def _shown(recipients: list[str]) -> str:
    names = [who if len(who) <= _SHOWN else f"{who[: _SHOWN - 9]}…{who[-8:]}" for who in recipients]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
