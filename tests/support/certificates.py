"""An authority of a test's own, and certificates that it signed."""

import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def authority(folder: Path, *names: str, address: str = "127.0.0.1", says_its_use: bool = True) -> None:
    """ca.pem, and for each name NAME.pem and NAME.key for an address, below `folder`. `says_its_use` False: as `openssl req -x509` makes one."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the test's own authority")])
    known = x509.SubjectKeyIdentifier.from_public_key(
        key.public_key()
    )  # two authorities of one name are told apart by it
    root = _builder(issuer, issuer, key.public_key()).add_extension(x509.BasicConstraints(True, None), True)
    if says_its_use:
        signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        root = root.add_extension(signs, True)
    _write(folder / "ca.pem", root.add_extension(known, False).sign(key, hashes.SHA256()))
    for name in names:
        own = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        made = _builder(subject, issuer, own.public_key()).add_extension(alternative, False)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known), False)
        _write(folder / f"{name}.pem", made.sign(key, hashes.SHA256()))
        pem = own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.key").write_bytes(pem)
        (folder / f"{name}.key").chmod(0o600)


def root() -> str:
    """The certificate of an authority, in PEM."""
    with tempfile.TemporaryDirectory() as folder:
        authority(Path(folder))
        return (Path(folder) / "ca.pem").read_text()


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
