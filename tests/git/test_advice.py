"""What is said about the settings of a repository helps when it is followed: each row makes the mistake, and then does what it says."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler import errors
from reconciler.git import remote
from tests.git import servers
from tests.git.servers import HttpServer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HttpServer, str, str]]:
    """A server over https, the token that it wants, and the commit that its branch is at."""
    root, token = tmp_path_factory.mktemp("advice"), secrets.token_hex(16)
    head = servers.commit(servers.make_repo(root / "site.git"), {"a": b"1"}, "first")
    with servers.http_server(root, token=token) as server:
        yield server, token, head


def polled(url: str, token_file: Path, ca_file: Path | None) -> str:
    """Where the branch is, or what is said."""
    try:
        return remote.poll(remote.Remote(url, token_file=token_file, ca_file=ca_file))["refs/heads/main"]
    except errors.ReconcilerError as error:
        return f"{error.reason}: {error}"


def test_a_token_in_the_url_goes_into_its_file(place: tuple[HttpServer, str, str], tmp_path: Path) -> None:
    server, token, head = place
    url, file = server.url("site.git"), tmp_path / "token"
    parts = urlsplit(url)
    said = polled(parts._replace(netloc=f"oauth2:{token}@{parts.netloc}").geturl(), file, server.ca_file)
    assert "GitRemoteInvalid" in said and "put the token in token_file" in said and token not in said
    file.write_text(f"{token}\n")
    assert polled(url, file, server.ca_file) == head


def test_a_token_file_gets_one_line(place: tuple[HttpServer, str, str], tmp_path: Path) -> None:
    server, token, head = place
    file = tmp_path / "token"
    for content in ("", f"{token}\nanother\n", f"token = {token}\n"):
        file.write_text(content)
        said = polled(server.url("site.git"), file, server.ca_file)
        assert f"token_file {file} does not hold one line with a token" in said and token not in said
    file.write_text(f"{token}\n")
    assert polled(server.url("site.git"), file, server.ca_file) == head


def test_a_token_that_was_revoked_is_exchanged(place: tuple[HttpServer, str, str], tmp_path: Path) -> None:
    server, token, head = place
    file = tmp_path / "token"
    file.write_text(secrets.token_hex(16))
    assert polled(server.url("site.git"), file, server.ca_file).startswith("GitAuthFailed")
    file.write_text(token)
    assert polled(server.url("site.git"), file, server.ca_file) == head


def test_an_authority_that_is_not_known_is_given(place: tuple[HttpServer, str, str], tmp_path: Path) -> None:
    server, token, head = place
    file, ca_file = tmp_path / "token", tmp_path / "ca.pem"
    file.write_text(token)
    said = polled(server.url("site.git"), file, None)
    assert said.startswith("GitCertificateInvalid") and "ca_file" in said, said
    assert f"ca_file {ca_file}: No such file" in polled(server.url("site.git"), file, ca_file)
    assert server.ca_file is not None
    ca_file.write_bytes(server.ca_file.read_bytes())
    assert polled(server.url("site.git"), file, ca_file) == head
