"""Which passwords the services of a site want."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.cli.site import in_child, source

if TYPE_CHECKING:
    from reconciler.secrets.passwords import PasswordSpec


def wanted_passwords(site: Path, services: Sequence[str] = ()) -> list["PasswordSpec"]:
    """The passwords of all services, or of `services`, the site's own included. Raises errors.SiteInvalid, errors.Terminal."""
    return specs(password_rows(site, services))


def password_rows(site: Path, services: Sequence[str] = ()) -> tuple[dict[str, Any], ...]:
    """What `children.passwords` answers. Raises as `wanted_passwords`."""
    return in_child("passwords", {"source": source(site), "services": list(services)}, tuple[dict[str, Any], ...])


def fixed_passwords(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Secrets that a commit cannot change → what to do instead."""
    return {row["name"]: " ".join(row["fixed"].split()) for row in rows if row.get("fixed")}


def specs(rows: Iterable[Mapping[str, Any]]) -> list["PasswordSpec"]:
    """The passwords in `rows`, once each."""
    from reconciler.secrets.passwords import PasswordSpec

    fields = ("name", "kind", "length")
    return list(dict.fromkeys(PasswordSpec(**{f: row[f] for f in fields if f in row}) for row in rows))
