"""A private authority: what it signs is accepted by OpenSSL for its names, and only that stays which is valid."""

import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_connection, create_server

import pytest

from reconciler.secrets import authority

NOW = datetime.now(UTC).replace(microsecond=0)
NAMES = ("cloud.example", "127.0.0.1", "::1", "ctl-1")


def test_a_client_that_trusts_it_accepts_the_server_by_name_and_address(tmp_path: Path) -> None:
    root = authority.found("lab", NOW, 3650)
    made = authority.sign(root, NAMES, NOW, 397)
    (tmp_path / "root.crt").write_text(root.certificate)
    (tmp_path / "both.pem").write_text(made.together.reveal())
    checked = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", "root.crt", "both.pem"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "both.pem")
    with create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(3):
                connection, _ = listening.accept()
                try:
                    serving.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        trusting = ssl.create_default_context(cafile=str(tmp_path / "root.crt"))
        for name in ("cloud.example", "127.0.0.1"):
            with (
                create_connection(listening.getsockname(), 30) as plain,
                trusting.wrap_socket(plain, server_hostname=name),
            ):
                pass
        with create_connection(listening.getsockname(), 30) as plain, pytest.raises(ssl.SSLCertVerificationError):
            trusting.wrap_socket(plain, server_hostname="another.example")


def test_what_is_valid_stays_and_all_else_has_a_reason() -> None:
    root, other = authority.found("lab", NOW, 3650), authority.found("lab", NOW, 3650)
    made, second = authority.sign(root, NAMES, NOW, 397), authority.sign(root, NAMES, NOW, 397)

    def why(
        one: authority.Made, names: tuple[str, ...] = NAMES, later: int = 0, signer: authority.Authority = root
    ) -> str:
        return authority.lasts(one, signer.certificate, names, NOW + timedelta(days=later), 30)

    assert why(made) == "" and why(made, NAMES[:2]) == ""
    assert why(made, later=370) == "it ends in 27 days" and why(made, later=400) == "it has ended"
    assert why(made, (*NAMES, "10.0.0.1", "new.example")) == "it is not for 10.0.0.1, new.example"
    assert why(made, signer=other) == "it was not signed by this authority"
    assert why(authority.Made("no certificate", made.key)) == "it was not signed by this authority"
    assert why(authority.Made(made.certificate, second.key)) == "its key is another one's"
    assert authority.belongs(root) and not authority.belongs(authority.Authority(root.certificate, other.key))


def test_nothing_outlives_its_authority() -> None:
    root = authority.found("lab", NOW, 100)
    made = authority.sign(root, NAMES, NOW, 397)
    assert authority.ends(made.certificate) <= authority.ends(root.certificate)
