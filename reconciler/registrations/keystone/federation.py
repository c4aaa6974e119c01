"""Keystone's federation: identity providers, what they speak, and how what they say of somebody becomes a user with roles."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from reconciler.model import Registration
from reconciler.registrations.failures import not_yet, refused
from reconciler.registrations.keys import name as name_of
from reconciler.registrations.keystone import keys, spelled
from reconciler.registrations.keystone.api import Api, Item
from reconciler.registrations.protocol import Observed

_ROOT: Final = "/OS-FEDERATION"
_COLLECTION: Final[Mapping[str, str]] = {"identity_provider": "identity_providers", "mapping": "mappings"}
TYPES: Final = frozenset((*_COLLECTION, "protocol"))


class Federation:
    """Part of the back end `keystone`. What there is of a type has the name that it is registered under as its identifier. `domain`
    finds one by its name."""

    def __init__(self, api: Api, domain: Callable[[str], Item | None]) -> None:
        self._api = api
        self._domain = domain

    def observed(self, wanted: Registration) -> Observed:
        """Its fields as they are."""
        found = self._find(wanted)
        if found is None:
            return None
        if wanted.type == "mapping":
            return {"rules": spelled(found.get("rules"))}
        if wanted.type == "protocol":
            return {"mapping": found.get("mapping_id") or ""}
        return {
            "description": found.get("description") or "",
            "domain": self._domain_of(wanted, found),
            "remote_ids": sorted(found.get("remote_ids") or ()),
        }

    def converge(self, wanted: Registration) -> None:
        """See Backend. The domain of an identity provider cannot be changed once it is there."""
        found = self.observed(wanted)
        wrong = {key: value for key, value in wanted.fields.items() if found and found.get(key, value) != value}
        if found is not None and not wrong:
            return
        if "domain" in wrong:
            why = (
                f"the identity provider {wanted.key!r} is in the domain {found and found['domain']!r} instead of {wrong['domain']!r}, "
                "which cannot be changed (say the domain it has, or give the provider another name)"
            )
            raise refused(self._api.target, why)
        write = self._api.put if found is None else self._api.patch
        write(_path(wanted), {wanted.type: self._body(wanted, wanted.fields if found is None else wrong)})

    def withdraw(self, wanted: Registration) -> str:
        """Remove it; the accounts that a provider brought go with it. Says why it stays, if it does."""
        if wanted.type == "mapping":
            users = [item["id"] for item in self._list("identity_providers") if self._uses(item["id"], name_of(wanted))]
            if users:
                return f"the identity provider {users[0]} uses it"
        self._api.delete(_path(wanted))
        return ""

    def _find(self, wanted: Registration) -> Item | None:
        if wanted.type == "protocol":
            provider, name = keys.protocol(wanted)
            there = _pick(self._list("identity_providers"), provider)
            return _pick(self._protocols(provider), name) if there else None
        return _pick(self._list(_COLLECTION[wanted.type]), name_of(wanted))

    def _body(self, wanted: Registration, fields: Mapping[str, Any]) -> Item:
        if wanted.type == "mapping":
            return {"rules": json.loads(fields["rules"])}
        if wanted.type == "protocol":
            mapping, (provider, _) = str(fields["mapping"]), keys.protocol(wanted)
            for type_, name in (("identity_provider", provider), ("mapping", mapping)):
                if not _pick(self._list(_COLLECTION[type_]), name):
                    what = type_.replace("_", " ")
                    raise not_yet(self._api.target, f"the {what} {name!r} of {wanted.key!r} does not exist yet")
            return {"mapping_id": mapping}
        body = {key: fields[key] for key in ("description", "remote_ids") if key in fields}
        if "domain" in fields:
            where = self._domain(str(fields["domain"]))
            if where is None:
                raise not_yet(self._api.target, f"the domain {fields['domain']!r} of {wanted.key!r} does not exist yet")
            body |= {"domain_id": where["id"], "enabled": True}
        return body

    def _domain_of(self, wanted: Registration, found: Item) -> str:
        """By the name that is wanted, where it is that one."""
        name, id_ = str(wanted.fields.get("domain") or ""), found.get("domain_id")
        meant = self._domain(name) if name else None
        if meant and meant["id"] == id_:
            return name
        return next((str(item["name"]) for item in self._api.list("domains") if item["id"] == id_), str(id_ or ""))

    def _uses(self, provider: str, mapping: str) -> bool:
        return any(item.get("mapping_id") == mapping for item in self._protocols(provider))

    def _protocols(self, provider: str) -> list[Item]:
        return self._list("protocols", f"/identity_providers/{quote(provider, safe='')}")

    def _list(self, collection: str, below: str = "") -> list[Item]:
        return self._api.list(collection, f"{_ROOT}{below}/{collection}")


def _path(wanted: Registration) -> str:
    if wanted.type == "protocol":
        provider, name = (quote(part, safe="") for part in keys.protocol(wanted))
        return f"{_ROOT}/identity_providers/{provider}/protocols/{name}"
    return f"{_ROOT}/{_COLLECTION[wanted.type]}/{quote(name_of(wanted), safe='')}"


def _pick(items: list[Item], id_: str) -> Item | None:
    return next((item for item in items if item["id"] == id_), None)
