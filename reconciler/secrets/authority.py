"""A private authority of the site, and the certificates that it signs. Keys are Secrets; nothing is read or written here."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from reconciler.secret import Secret

_EARLIER: Final = timedelta(hours=1)  # clocks differ
_LONGEST_NAME: Final = 64  # of a common name, by RFC 5280
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate (PEM) and the key that signs with it."""

    certificate: str
    key: Secret


@dataclass(frozen=True, slots=True)
class Made:
    """A server's certificate (PEM), and its key."""

    certificate: str
    key: Secret

    @property
    def together(self) -> Secret:
        """As haproxy reads it: certificate and key in one file."""
        return Secret(self.certificate + self.key.reveal())


def found(site: str, now: datetime, days: int) -> Authority:
    """A new authority. `days` is how long its certificate is valid."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{site} authority"[:_LONGEST_NAME])])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        _builder(name, name, key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(_pem(made), _private(key))


def sign(authority: Authority, names: Sequence[str], now: datetime, days: int) -> Made:
    """A certificate for a server that is reached by `names` (DNS names or addresses), valid no longer than the authority's own."""
    root, signer = x509.load_pem_x509_certificate(authority.certificate.encode()), _key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_LONGEST_NAME])])
    days = min(days, (root.not_valid_after_utc - now).days)
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    uses = [
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ]  # members of a cluster are each other's clients
    made = (
        _builder(subject, root.subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(by, critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Made(_pem(made), _private(key))


def belongs(authority: Authority) -> bool:
    """Whether the key is the certificate's."""
    root = x509.load_pem_x509_certificate(authority.certificate.encode())
    return _public(_key(authority.key).public_key()) == _public(root.public_key())


def signed(made: Made, root: str) -> bool:
    """Whether it is a certificate that `root` signed."""
    try:
        found, signer = (x509.load_pem_x509_certificate(text.encode()) for text in (made.certificate, root))
        found.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def lasts(made: Made, root: str, names: Sequence[str], now: datetime, days: int) -> str:
    """Why a certificate has to be made anew; "" when `root` signed it, the key is its own, it is for `names`, and valid for so many
    days more."""
    if not signed(made, root):
        return "it was not signed by this authority"
    found = x509.load_pem_x509_certificate(made.certificate.encode())
    try:
        own = _public(_key(made.key).public_key()) == _public(found.public_key())
    except ValueError:
        own = False
    if not own:
        return "its key is another one's"
    left = (found.not_valid_after_utc - now).days
    if left < days:
        return f"it ends in {left} days" if left >= 0 else "it has ended"
    try:
        named = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "it names nobody"
    lacking = [name for name in names if _general(name) not in named]
    return f"it is not for {', '.join(lacking)}" if lacking else ""


def ends(certificate: str) -> datetime:
    """When it ends. Raises ValueError for what is no certificate."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, now: datetime, days: int) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    return builder.not_valid_before(now - _EARLIER).not_valid_after(now + timedelta(days=days))


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)


def _key(secret: Secret) -> Key:
    """Raises ValueError for another kind of key than is made here."""
    key = load_pem_private_key(secret.reveal().encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("is no key of an elliptic curve")
    return key


def _private(key: Key) -> Secret:
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def _public(key: object) -> bytes:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
