"""The search for secrets finds them: in every spelling, wherever one is put."""

import base64
import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tests.support import certificates
from tests.support.canaries import Canaries, spellings

SECRET = "aB$'/\"<x y>" + os.urandom(12).hex()


@pytest.fixture
def canaries(tmp_path: Path) -> Canaries:
    made = Canaries(tmp_path, "unix:///nonexistent", "x=y")
    made.learn(
        {
            "private": {"deep": [SECRET]},
            "pair": {"public_key": "ssh-ed25519 public-not-secret", "private_key": "x" * 30},
        }
    )
    return made


@pytest.mark.parametrize("spelling", sorted(spellings(SECRET)))
def test_every_spelling_is_found(canaries: Canaries, spelling: str) -> None:
    canaries.saw("somewhere", b"before it " + spellings(SECRET)[spelling] + b" after it")
    (found,) = canaries.found()
    assert found.startswith("somewhere: ") and SECRET not in found


def test_what_is_no_secret_is_not_found(canaries: Canaries) -> None:
    canaries.saw("somewhere", f"{SECRET[:8]} public-not-secret {'x' * 12} {SECRET[10:25]}")
    assert canaries.found() == [] and canaries.count == 2


def test_the_public_half_of_a_private_key_is_no_secret(canaries: Canaries, tmp_path: Path) -> None:
    certificates.authority(tmp_path / "tls", "server")
    key, certificate = ((tmp_path / "tls" / f"server.{end}").read_text() for end in ("key", "pem"))
    canaries.learn(key)
    assert canaries.count > 2
    for shift in range(3):  # a longer name moves the key within the certificate
        own = serialization.load_pem_private_key(key.encode(), None).public_key()
        whole = own.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        canaries.saw("a certificate", base64.encodebytes(b"x" * shift + whole))
    canaries.saw("a certificate", certificate)
    assert canaries.found() == []
    canaries.saw("a file", key)
    assert canaries.found() != []


def test_files_are_searched_but_where_secrets_belong(canaries: Canaries, tmp_path: Path) -> None:
    for place in ("state/report.json", "state/old.json.gz", "etc-kolla/web/web.conf", "state/rollback/web.conf"):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b"packed " + SECRET.encode()) if path.suffix == ".gz" else SECRET.encode())
    (tmp_path / "state" / ("x" * 30)).touch()
    canaries.look_at_files()
    assert sorted(found.partition(": ")[0] for found in canaries.found()) == [
        str(tmp_path / "state/old.json.gz"),
        str(tmp_path / "state/report.json"),
        f"the name of {tmp_path}/state/{'x' * 30}",
    ]


@pytest.mark.engine
@pytest.mark.parametrize("where", ["argument", "environment"])
def test_a_program_of_a_moment_is_seen(tmp_path: Path, engine_url: str, where: str) -> None:
    with Canaries(tmp_path, engine_url, "x=y") as canaries:
        canaries.learn(SECRET)
        argument, extra = (SECRET, "") if where == "argument" else ("", SECRET)
        subprocess.run([sys.executable, "-c", "", argument], env={**os.environ, "X": extra}, check=True)
    place = {"argument": "the command line of a program", "environment": "the environment of a program"}[where]
    assert any(found.startswith(f"{place}: ") for found in canaries.found())
