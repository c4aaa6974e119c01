"""`certificates`: a private authority of the site, and what it signs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler import errors
from reconciler.cli import output
from reconciler.cli.options import json_option, key_options, site_argument
from reconciler.cli.recipients import AUTHORITY_KEY
from reconciler.cli.secrets import FILE
from reconciler.cli.site import in_child, source
from reconciler.document import sealed
from reconciler.reasons import Reason
from reconciler.secret import Secret

if TYPE_CHECKING:
    from reconciler.secrets import sops
    from reconciler.secrets.authority import Authority, Made

ROOT = "config/certificates/ca/root.crt"
_BACKEND, _BACKEND_KEY = "config/certificates/backend-cert.pem", "config/certificates/backend-key.pem"
_YEARS = 3650


@dataclass(frozen=True, slots=True)
class Tls:
    """What `children.tls` answers; `keys` are the hosts' own ssh keys."""

    site: str
    values: dict[str, Any]
    hosts: dict[str, list[str]]
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A certificate: for which names, and where it is: a secret of passwords.yml, or two files."""

    what: str
    names: tuple[str, ...]
    secret: str = ""


@click.command()
@site_argument
@click.option(
    "--days", type=click.IntRange(1, 825), default=397, show_default=True, help="How long a certificate is valid."
)
@click.option("--renew-before", type=click.IntRange(0, 800), default=30, show_default=True, help="Days before its end.")
@click.option("--renew", is_flag=True, help="Sign all of them anew.")
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    help="Who may read the authority's key; default: the operators of passwords.yml.",
)
@key_options
@json_option
def certificates(
    site: Path,
    days: int,
    renew_before: int,
    renew: bool,
    recipients: tuple[str, ...],
    ssh_key_file: Path | None,
    age_key_file: Path | None,
    json_: bool,
) -> None:
    """Sign the site's certificates with an authority of its own.

    What is switched on in globals.yml (kolla_enable_tls_external, _internal, _backend, rabbitmq_enable_tls) and lacks a certificate, or
    has one that ends soon, gets one; what is valid stays as it is. The authority is made at the first time: its certificate is
    config/certificates/ca/root.crt, its key .authority/root.key, encrypted for operators only. Certificates of anybody else are left alone.
    """
    from reconciler.secrets import authority, in_place, sops

    answer = in_child("tls", {"source": source(site)}, Tls)
    wanted = _wanted(answer)
    if elsewhere := answer.values["letsencrypt_managed_certs"].replace(",", " and "):
        output.line(
            f"letsencrypt_lego gets the certificate of the {elsewhere} endpoints, so it is not signed here", err=json_
        )
    if not wanted:
        if elsewhere:
            return
        output.line(
            "no TLS is switched on, so there is nothing to sign (kolla_enable_tls_internal, _external or _backend, or rabbitmq_enable_tls, in "
            "globals.yml)",
            "warn",
            err=json_,
        )
        return
    keys, now = sops.Keys(age_key_file, ssh_key_file), datetime.now(UTC)
    with in_place.locked(site.absolute()):
        signer, readers = _authority(site, answer, keys, now, recipients)
        present = _present(site, wanted, keys)
        whys = {
            one.what: "there was none"
            if one.what not in present
            else authority.lasts(present[one.what], signer.certificate, one.names, now, renew_before)
            or ("as asked" if renew else "")
            for one in wanted
        }
        foreign = [what for what, one in present.items() if not authority.signed(one, signer.certificate)]
        if foreign:
            raise errors.Terminal(
                f"the certificate for {', '.join(foreign)} is another authority's, and is not replaced (remove it first, if this one is to sign)",
                reason=Reason.NotOwned,
            )
        made = {one.what: authority.sign(signer, one.names, now, days) for one in wanted if whys[one.what]}
        _write(site, signer, readers, [one for one in wanted if one.what in made], made, keys)
    _tell(wanted, {**present, **made}, whys, signer, now, bool(readers), json_)


def _tell(
    wanted: "Sequence[_Wanted]",
    all_: "Mapping[str, Made]",
    whys: Mapping[str, str],
    signer: "Authority",
    now: datetime,
    is_new: bool,
    json_: bool,
) -> None:
    from reconciler.secrets import authority

    end = authority.ends(signer.certificate)
    if json_:
        rows = [
            {
                "for": one.what,
                "names": one.names,
                "ends": authority.ends(all_[one.what].certificate).isoformat(),
                "renewed": whys[one.what],
            }
            for one in wanted
        ]
        output.as_json({"authority": {"ends": end.isoformat(), "new": is_new}, "certificates": rows})
        return
    table = [
        [
            one.what,
            f"{authority.ends(all_[one.what].certificate):%Y-%m-%d}",
            f"signed: {whys[one.what]}" if whys[one.what] else "stays",
            ", ".join(one.names),
        ]
        for one in wanted
    ]
    output.table(["FOR", "ENDS", "", "NAMES"], table)
    if is_new:
        output.line(
            f"the authority is new: {ROOT} is its certificate, for everybody; {AUTHORITY_KEY} its key, which only operators can read"
        )
        output.line(
            "so that services trust it, say in globals.yml `kolla_copy_ca_into_containers: yes` and `openstack_cacert: "
            "/etc/ssl/certs/ca-certificates.crt` (with images of Rocky or CentOS /etc/pki/tls/certs/ca-bundle.crt)"
        )
    if (end - now).days < 2 * 397:
        output.line(f"the authority itself ends on {end:%Y-%m-%d}", "warn")
    if any(whys.values()):
        output.line(
            "commit and push it: the load balancer takes a new certificate by a reload, and drops no connection"
        )


def _wanted(answer: Tls) -> list[_Wanted]:
    said = answer.values
    every = tuple(dict.fromkeys(name for names in answer.hosts.values() for name in names))
    made = []
    for side in ("external", "internal"):
        names = tuple(dict.fromkeys(str(said[f"kolla_{side}_{part}"]) for part in ("fqdn", "vip_address")))
        if said[f"kolla_enable_tls_{side}"] and side not in said["letsencrypt_managed_certs"]:
            made.append(_Wanted(f"the {side} endpoints", names, f"haproxy_{side}_certificate"))
    if said["kolla_enable_tls_backend"] or said["rabbitmq_enable_tls"]:
        inner = tuple(
            dict.fromkeys((str(said["kolla_internal_fqdn"]), str(said["kolla_internal_vip_address"]), *every))
        )
        made.append(_Wanted("what is behind the load balancer", inner))
    return made


def _authority(
    site: Path, answer: Tls, keys: "sops.Keys", now: datetime, recipients: Sequence[str]
) -> "tuple[Authority, tuple[str, ...]]":
    """The site's authority; and of a new one for whom its key is to be encrypted, of one that is there nobody. Raises errors.Terminal."""
    from reconciler.secrets import authority, sops

    root, key = site / ROOT, site / AUTHORITY_KEY
    if not root.exists() and not key.exists():
        readers = _operators(site, answer, recipients)
        return authority.found(answer.site, now, _YEARS), readers
    if not root.exists() or not key.exists():
        there, lacking = (root, key) if root.exists() else (key, root)
        raise errors.Terminal(
            f"{there} is there and {lacking} is not: the authority is somebody else's, or a file was lost (restore it from history; or remove "
            "the other one, for a new authority that everybody has to trust anew)",
            reason=Reason.SecretIncomplete,
        )
    opened = sops.decrypt_whole(key.read_bytes(), name=AUTHORITY_KEY, keys=keys)
    found = authority.Authority(root.read_text(errors="replace"), opened)
    try:
        belongs = authority.belongs(found)
    except ValueError:
        belongs = False
    if not belongs:
        raise errors.Terminal(
            f"{AUTHORITY_KEY} is not the key of {ROOT} (restore both from history)", reason=Reason.SecretIncomplete
        )
    if (end := authority.ends(found.certificate)) <= now:
        raise errors.Terminal(
            f"the authority ended on {end:%Y-%m-%d}, and nobody accepts what it signs: a new one is needed, which everybody has to trust "
            f"anew (remove {ROOT} and {AUTHORITY_KEY}, and what it signed: {_BACKEND}, {_BACKEND_KEY}, and with `sops edit {FILE}` "
            "haproxy_external_certificate and haproxy_internal_certificate; then run this again)",
            reason=Reason.SecretIncomplete,
        )
    return found, ()


def _operators(site: Path, answer: Tls, recipients: Sequence[str]) -> tuple[str, ...]:
    """For whom the authority's key is encrypted. Raises errors.Terminal (SopsNoRecipients)."""
    from reconciler.secrets import sops

    if recipients:
        return tuple(recipients)
    every = sops.recipients((site / FILE).read_bytes(), name=FILE) if (site / FILE).exists() else []
    found = tuple(one for one in every if not sealed.among(one, answer.keys))
    own = [one for one in found if not sealed.is_ssh(one)] or list(found)
    if not own:
        raise errors.Terminal(
            f"{FILE} names no operator among its recipients, and hosts are not to read the authority's key (name one with --recipient age1…)",
            reason=Reason.SopsNoRecipients,
        )
    return tuple(own)


def _present(site: Path, wanted: "Sequence[_Wanted]", keys: "sops.Keys") -> "dict[str, Made]":
    """The certificates that are there, with their keys."""
    from reconciler.secrets import sops
    from reconciler.secrets.authority import Made

    values = sops.decrypt((site / FILE).read_bytes(), name=FILE, keys=keys) if (site / FILE).exists() else {}
    found = {}
    for one in wanted:
        if one.secret:
            value = values.get(one.secret)
            if value is not None:
                certificate, mark, key = value.reveal().partition("-----BEGIN PRIVATE KEY-----")
                found[one.what] = Made(certificate, Secret(mark + key))
        elif (site / _BACKEND).exists():
            key = Secret("")
            if (site / _BACKEND_KEY).exists():
                key = sops.decrypt_whole((site / _BACKEND_KEY).read_bytes(), name=_BACKEND_KEY, keys=keys)
            found[one.what] = Made((site / _BACKEND).read_text(errors="replace"), key)
    return found


def _write(
    site: Path,
    signer: "Authority",
    readers: Sequence[str],
    wanted: "Sequence[_Wanted]",
    made: "Mapping[str, Made]",
    keys: "sops.Keys",
) -> None:
    """Everything encrypted first, then each file at once; the secrets last. `readers`: of the key of a new authority."""
    from reconciler.secrets import creation_rules, in_place, sops

    files: list[tuple[str, bytes]] = []
    if readers:
        files.append((AUTHORITY_KEY, sops.encrypt_whole(signer.key, readers, name="root.key")))
        files.append((ROOT, signer.certificate.encode()))
    values = {one.secret: made[one.what].together for one in wanted if one.secret}
    for one in wanted:
        if not one.secret:
            key = sops.encrypt_whole(made[one.what].key, _readers(site, _BACKEND_KEY), name="backend-key.pem")
            files.append((_BACKEND_KEY, key))
            files.append((_BACKEND, made[one.what].certificate.encode()))
    path, replacements = site / FILE, []
    if values and path.exists():
        before, indent = path.read_bytes(), creation_rules.find(site).indent
        with in_place.copy(path, before) as copy:
            for name, value in values.items():
                sops.set_value(copy, name, value, keys=keys, name=FILE, indent=indent)
            replacements.append(in_place.Replacement(path, before, copy.read_bytes()))
    elif values:
        files.append((FILE, sops.encrypt(values, None, site=site, name=FILE, program=keys.program)))
    _put(site, files)
    in_place.replace(replacements)


def _readers(site: Path, name: str) -> Sequence[str]:
    """For whom a file of the site is encrypted: as its own .sops.yaml says, else as passwords.yml is. Raises errors.Terminal (SopsNoRecipients)."""
    from reconciler.secrets import creation_rules, sops

    rules = creation_rules.find(site)
    index = creation_rules.governing(rules, name)
    if index is not None:
        return rules.rules[index][1]
    if (site / FILE).exists():
        return sops.recipients((site / FILE).read_bytes(), name=FILE)
    raise errors.Terminal(
        f"no rule of the site's .sops.yaml says for whom to encrypt {name}, and there is no {FILE} (write one, or make {FILE} first: "
        f"`reconciler secrets generate {site}`)",
        reason=Reason.SopsNoRecipients,
    )


def _put(site: Path, files: Sequence[tuple[str, bytes]]) -> None:
    from reconciler.system import files as disk

    for name, content in files:
        if folder := name.rpartition("/")[0]:
            disk.make_dirs(site, folder, 0o755)
        disk.write_under(site, name, content, mode=0o644)
