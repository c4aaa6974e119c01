"""Certificates and their keys: where they are in the site, when they end, and which key belongs to which. Pure."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from reconciler.catalogue import Catalogue
from reconciler.document.yaml import Place
from reconciler.importer import folder
from reconciler.importer.decide import Decision
from reconciler.importer.types import Assigned, Entry, Fate, Input, Source
from reconciler.phrases import count
from reconciler.secret import Secret
from reconciler.site.inventory import Known
from reconciler.text import decoded

FOLDER: Final = "kolla_certificates_dir"
AUTHORITY: Final = "private"  # what `kolla-ansible certificates` signs with, below the folder
# Variable → the file of the folder that it names by default.
VARIABLES: Final[Mapping[str, str]] = {
    "kolla_external_fqdn_cert": "haproxy.pem",
    "kolla_internal_fqdn_cert": "haproxy-internal.pem",
    "kolla_tls_backend_cert": "backend-cert.pem",
    "kolla_tls_backend_key": "backend-key.pem",
}
# Of these certificate and key are one file there, and one secret here.
_PASSWORDS: Final[Mapping[str, str]] = {
    "kolla_external_fqdn_cert": "haproxy_external_certificate",
    "kolla_internal_fqdn_cert": "haproxy_internal_certificate",
}
# Variable → where in the site what it names is.
TARGETS: Final[Mapping[str, str]] = {
    FOLDER: "config/certificates/",
    **{name: "passwords.yml" if name in _PASSWORDS else f"config/certificates/{file}" for name, file in VARIABLES.items()},
}  # fmt: skip
_ALONE: Final = ("proxysql",)  # of which certificate and key are never those of the whole site
_SOON: Final = timedelta(days=30)
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.{1,20000}?-----END CERTIFICATE-----", re.S)
_KEY: Final = re.compile(r"-----BEGIN (?P<kind>[A-Z ]{0,20}PRIVATE KEY)-----.{1,20000}?-----END (?P=kind)-----", re.S)
_NOT_PEM: Final = "is not PEM: `openssl x509 -inform DER` and `openssl pkey -inform DER` make it that"
_STAYS: Final = "it stays where it is"


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file: texts by path, files to encrypt as a whole by path, secrets of passwords.yml by name."""

    entry: Entry
    files: Mapping[str, str] = field(default_factory=dict)
    sealed: Mapping[str, Secret] = field(default_factory=dict)
    passwords: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(slots=True)
class _Pem:
    """What is in a file. `faults` is what somebody has to look at; `public` and `key` are public keys, of the first certificate and the
    private key, None where they cannot be told."""

    text: str = field(repr=False)
    certificates: int = 0
    private: bool = False
    public: bytes | None = None
    key: bytes | None = None
    ends: str = ""
    faults: list[str] = field(default_factory=list)


def decide(source: Source, said: Assigned, scope: str) -> Decision:
    """What becomes of a variable that names certificates."""
    if scope:
        why = (
            "certificates of one host or group are files here, config/certificates/HOST-cert.pem and HOST-key.pem; those of the "
            "load balancer are secrets, in hosts/HOST.passwords.yml: put them there"
        )
        return Decision(Fate.UNSUPPORTED, why)
    if said.name == FOLDER:
        read = source.certificates_folder
        if FOLDER in source.named:
            return Decision(Fate.RENAMED, f"the files of {read}")
        return Decision(Fate.DIFFERENT, f"is no folder of certificates on this machine, so {read} was looked at")
    if source.named.get(said.name):
        return Decision(Fate.RENAMED, f"the content of {source.named[said.name]}")
    default = f"{source.certificates_folder}/{VARIABLES[said.name]}"
    secret = _PASSWORDS.get(said.name)
    what = f"{secret} of passwords.yml" if secret else f"config/certificates/{VARIABLES[said.name]}"
    if str(said.value).replace(" ", "") == f"{{{{{FOLDER}}}}}/{VARIABLES[said.name]}":
        return Decision(Fate.DEFAULT, f"names {default}, as without it")
    return Decision(
        Fate.UNSUPPORTED,
        f"names no file on this machine: run the import where that file is, or make it {what} yourself",
    )


def take(source: Source, known: Known, catalogue: Catalogue, now: datetime, names: Collection[str]) -> Iterator[Taken]:
    """What becomes of each file of certificates. `names` are those of secrets that are taken already."""
    decided: dict[str, Entry | list[str]] = {}
    read: dict[str, _Pem] = {}
    for path, content in source.certificates.items():
        input_ = Input("file", path, Place(path))
        why = _unread(source, path)
        if why or content is None:
            fate = Fate.DIFFERENT if why else Fate.UNSUPPORTED
            decided[path] = Entry(input_, fate, "", f"{why or 'is a link to a file that is not here'}; {_STAYS}")
            continue
        read[path] = _examine(content, now)
        targets = list(_targets(source, path))
        refused = [_refusal(target, content, read[path], known, catalogue, names) for target in targets]
        kept = [target for target, why in zip(targets, refused, strict=True) if not why]
        if kept:
            decided[path] = kept
            continue
        why = refused[0] if refused else _other(source, path)
        decided[path] = Entry(input_, Fate.UNSUPPORTED if refused else Fate.DIFFERENT, "", f"{why}; {_STAYS}")
    where = {target: read[path] for path, found in decided.items() if isinstance(found, list) for target in found}
    for path, found in decided.items():
        yield _taken(source, path, found, where) if isinstance(found, list) else Taken(found)


def _targets(source: Source, path: str) -> Iterator[str]:
    """Where in the site a file is: names of secrets, and paths below config/."""
    roles = [
        _PASSWORDS.get(variable, f"certificates/{file}")
        for variable, file in VARIABLES.items()
        if source.named.get(variable, f"{source.certificates_folder}/{file}") == path
    ]
    yield from roles
    below = _below(source, path)
    if below and below not in VARIABLES.values() and f"certificates/{below}" not in roles:
        yield f"certificates/{below}"


def _below(source: Source, path: str) -> str:
    """A file's path below the folder; empty when it is outside."""
    base = PurePosixPath(source.certificates_folder)
    return str(PurePosixPath(path).relative_to(base)) if PurePosixPath(path).is_relative_to(base) else ""


def _unread(source: Source, path: str) -> str:
    """Why a file is none that a service has."""
    below = _below(source, path)
    if path in source.named.values():
        return ""
    if below.partition("/")[0] == AUTHORITY:
        return "`kolla-ansible certificates` signs with what is in that folder, and no service reads it: keep it, away from the site"
    if below.endswith((".cnf", ".csr", ".srl")):
        return "`kolla-ansible certificates` works with it, and no service reads it"
    return ""


def _other(source: Source, path: str) -> str:
    """Which variable names another file in the place of one of the folder's own."""
    below = _below(source, path)
    variable = next(name for name, file in VARIABLES.items() if file == below)
    return f"{variable} names {source.named[variable] or 'a file that is not here'}, which counts"


def _refusal(target: str, content: bytes, pem: _Pem, known: Known, catalogue: Catalogue, names: Collection[str]) -> str:
    """Why a file cannot be there; empty when it can."""
    if "/" not in target:
        if target in names:
            return f"passwords.yml says {target}, which counts"
        return "" if pem.certificates or pem.private else _NOT_PEM
    if decoded(content) is None:
        return _NOT_PEM
    service = PurePosixPath(target).name.rpartition("-")[0]
    why = folder.refusal(target, content, known, catalogue, service)
    if not why and target.startswith("certificates/ca/") and pem.private:
        return "holds a private key, and what is below ca/ would be in every container: take the key out of it"
    return why


def _taken(source: Source, path: str, targets: list[str], where: Mapping[str, _Pem]) -> Taken:
    pem = where[targets[0]]
    secrets = [target for target in targets if "/" not in target]
    paths = [f"config/{target}" for target in targets if "/" in target]
    hidden = pem.private or any(target.endswith(("-key.pem", ".key")) for target in paths)
    faults = list(dict.fromkeys(fault for target in targets for fault in _faults(target, where)))
    parts = [f"{' and '.join(secrets)} of passwords.yml"] if secrets else []
    parts += [f"also {also}" for also in paths if secrets or also != paths[0]]
    parts += ["encrypted as a whole"] if hidden and paths else []
    parts += [*([pem.ends] if pem.ends else []), *pem.faults, *faults]
    same = targets == [f"certificates/{_below(source, path)}"]
    entry = Entry(
        Input("file", path, Place(path)),
        Fate.TAKEN if same else Fate.RENAMED,
        "passwords.yml" if secrets else paths[0],
        "; ".join(parts),
        look=bool(pem.faults or faults),
    )
    content = Secret(pem.text)
    return Taken(
        entry,
        files={} if hidden else dict.fromkeys(paths, pem.text),
        sealed=dict.fromkeys(paths, content) if hidden else {},
        # The file that is made of the secret ends its last line itself, and is then the same bytes.
        passwords=dict.fromkeys(secrets, Secret(pem.text.removesuffix("\n"))),
    )


# --- what is in a file -----------------------------------------------------------------------------------------------


def _examine(content: bytes, now: datetime) -> _Pem:
    try:
        pem = _Pem(content.decode())
    except UnicodeDecodeError:
        return _Pem("")  # refused wherever it goes
    ends = []
    for number, block in enumerate(_CERTIFICATE.findall(pem.text)):
        pem.certificates += 1
        try:
            certificate = x509.load_pem_x509_certificate(block.encode())
            ends.append(certificate.not_valid_after_utc)
            if number == 0:
                pem.public = _der(certificate.public_key())
        except (ValueError, UnsupportedAlgorithm):
            pem.faults.append("a certificate in it cannot be read, so that nothing is known of it")
    if ends:
        what = "ends" if len(ends) == 1 else f"the first of its {count(len(ends), 'certificate')} ends"
        day = f"{min(ends):%Y-%m-%d}"
        if min(ends) <= now:
            pem.faults.append(f"{what.replace('ends', 'ended')} on {day}")
        elif min(ends) - now < _SOON:
            pem.faults.append(f"{what} on {day}, in {count((min(ends) - now).days, 'day')}")
        else:
            pem.ends = f"{what} on {day}"
    if block := _KEY.search(pem.text):
        pem.private = True
        _examine_key(pem, block[0])
    return pem


def _examine_key(pem: _Pem, block: str) -> None:
    try:
        pem.key = _der(load_pem_private_key(block.encode(), None).public_key())
    except TypeError:
        pem.faults.append("its private key has a passphrase, which no service knows")
    except (ValueError, UnsupportedAlgorithm):
        # Also `Proc-Type: 4,ENCRYPTED` with a cipher that is not known.
        pem.faults.append("its private key cannot be read, so that it was compared with no certificate")


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# --- what belongs together -------------------------------------------------------------------------------------------


def _faults(target: str, where: Mapping[str, _Pem]) -> Iterator[str]:
    """What is wrong with a file in its place. `where` is what is in each place."""
    pem = where[target]
    below = target.removeprefix("certificates/")
    needs_key, needs_certificate = "/" not in target or below.endswith("-key.pem"), not below.endswith("-key.pem")
    if needs_certificate and not pem.certificates:
        yield "holds no certificate"
    if needs_key and not pem.private:
        yield "holds no private key"
    if "/" not in target:
        if _differ(pem.public, pem.key):
            yield "its private key does not belong to its first certificate"
    elif below.endswith("-key.pem"):
        found = _partner(below.removesuffix("-key.pem"), "-cert.pem", where)
        if not found:
            yield "no certificate goes with it"
        elif _differ(where[found].public, pem.key):
            yield f"does not belong to {found}: who gets both does not start"
    elif below.endswith("-cert.pem"):
        stem = below.removesuffix("-cert.pem")
        found = _partner(stem, "-key.pem", where)
        if not found:
            yield "no private key goes with it"
        elif found != f"certificates/{stem}-key.pem" and _differ(pem.public, where[found].key):
            yield f"goes with {found}, which does not belong to it: who gets both does not start"


def _differ(one: bytes | None, other: bytes | None) -> bool:
    return one is not None and other is not None and one != other


def _partner(stem: str, ending: str, where: Mapping[str, _Pem]) -> str:
    """The file that services have beside that of `stem`: of the service on the host, the host, the service, the site."""
    host, _, service = stem.rpartition("/")
    stems = [stem, *((host, service) if host else ()), *(() if stem in _ALONE else ("backend",))]
    return next((path for one in stems if (path := f"certificates/{one}{ending}") in where), "")
