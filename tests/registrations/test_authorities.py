"""Registrars and checks believe the authorities of the site, beside the usual ones."""

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest
import requests

from reconciler import errors
from reconciler.model import Check
from reconciler.node import probe
from reconciler.registrations import http as registrar
from reconciler.registrations.failures import untrusted
from reconciler.registrations.protocol import Connection
from reconciler.registrations.registry import Registry
from tests.render.sites import rendered
from tests.support import certificates

BODY = "containers:\n  web: {image: x, command: y, files: [{name: ca, overrides: ['certificates/ca/*'], verbatim: true, optional: true}]}\n"
GARBAGE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, of which the first has signed the server's certificate."""
    found = tmp_path_factory.mktemp("authorities")
    certificates.authority(found / "own", "server", says_its_use=False)
    certificates.authority(found / "other", "server")
    return found


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own/server.pem", folder / "own/server.key")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


def ask(url: str, **values: Any) -> str:
    """What a registrar's session says; "": it was answered."""
    with registrar.session(Connection(values)) as session:
        try:
            return "" if session.get(url).status_code == 204 else "another answer"
        except requests.RequestException as error:
            return str(registrar.failure("it", error))


def test_a_registrar_believes_the_sites_authorities(folder: Path, url: str) -> None:
    own, other = ((folder / name / "ca.pem").read_text() for name in ("own", "other"))
    assert ask(url, authorities=own) == ask(url, authorities=other + GARBAGE + own) == ""
    assert ask(url, ca_file=str(folder / "own/ca.pem"), authorities=other) == "", (
        "what the connection names counts as well"
    )
    for believed in ("", other, GARBAGE):
        assert "config/certificates/ca" in ask(url, authorities=believed)
    assert ask(url, authorities=other, verify=False) == ask(url, verify=False) == ""


def test_a_check_believes_them_too(folder: Path, url: str) -> None:
    def made(authorities: str) -> str:
        with Registry([], str, authorities=authorities) as doors:
            (found,) = probe.make([Check("page", http=url)], cast(Any, None), doors, patience=0.0, stop=Event())
        return found.message

    assert made((folder / "own/ca.pem").read_text()) == ""
    assert "certificate is not accepted" in made("") and "certificate is not accepted" in made(
        (folder / "other/ca.pem").read_text()
    )


def test_why_it_is_not_believed_is_said(url: str) -> None:
    assert ask(url).startswith(
        "it refuses: its certificate is not trusted: unable to get local issuer certificate (the "
    )
    assert untrusted("certificate verify failed").startswith("its certificate is not trusted (the ")


def test_they_are_what_lies_in_the_folder_of_the_sites_authorities(folder: Path) -> None:
    own, other = ((folder / name / "ca.pem").read_text() for name in ("own", "other"))
    more = {
        "config/certificates/ca/root.crt": f"the first\n{own}",
        "config/certificates/ca/second.pem": other,
        "config/certificates/ca/words.txt": "no certificate\n",
    }
    assert rendered(BODY, files=more).authorities == own + other
    assert rendered(BODY).authorities == ""


@pytest.mark.parametrize("damaged", [GARBAGE, "-----BEGIN CERTIFICATE-----\nMIIB\n", GARBAGE.replace("AAAA", "A=!A")])
def test_one_that_cannot_be_read_refuses_the_site(folder: Path, damaged: str) -> None:
    own = (folder / "own/ca.pem").read_text()
    with pytest.raises(errors.SiteInvalid) as refused:
        rendered(BODY, files={"config/certificates/ca/root.crt": f"{own}\n{damaged}{GARBAGE}"})
    (problem,) = (found for found in refused.value.problems if found.file.startswith("config/"))
    assert (problem.file, problem.line) == ("config/certificates/ca/root.crt", own.count("\n") + 2)
    assert problem.message == "the certificate that begins here cannot be read"
