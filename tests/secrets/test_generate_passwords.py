"""Filling passwords.yml: only what is missing, the rest byte for byte, and never a moment without the file."""

import base64
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import signal
import stat
import string
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from reconciler import errors, secret
from reconciler.secrets import sops
from reconciler.secrets.passwords import KINDS, PasswordSpec, generate, make, rotate
from reconciler.system import files
from tests.secrets.conftest import Key

CHEAP = [
    PasswordSpec("database_password"),
    PasswordSpec("designate_pool_id", "uuid"),
    PasswordSpec("barbican_crypto_key", "fernet"),
    PasswordSpec("osprofiler_secret", "hmac"),
    PasswordSpec("prometheus_bcrypt_salt", "bcrypt_salt"),
    PasswordSpec("docker_registry_password", "blank"),
]
FILLED = [spec.name for spec in CHEAP if spec.kind != "blank"]


def _plain(path: Path, key: Key) -> dict[str, object]:
    plain = secret.reveal(sops.decrypt(path.read_bytes(), name=path.name, keys=key.keys))
    assert isinstance(plain, dict)
    return plain


def _identity(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced, and not when it is read."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_mode


def _data_lines(content: bytes) -> list[bytes]:
    """The lines of the values: what is above sops' own part."""
    return content.partition(b"\nsops:\n")[0].splitlines()


def _write(path: Path, yaml_text: str, key: Key) -> bytes:
    """A file as an operator's `sops encrypt` makes it, comments included."""
    command = [str(sops.find_program()), "encrypt", "--input-type", "yaml", "--output-type", "yaml"]
    command += ["--filename-override", "passwords.yml", "--age", key.recipient]
    done = subprocess.run(command, input=yaml_text.encode(), capture_output=True, check=True, cwd="/")
    path.write_bytes(done.stdout)
    return done.stdout


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (PasswordSpec("x"), r"[A-Za-z0-9]{40}"),
        (PasswordSpec("x", length=16), r"[A-Za-z0-9]{16}"),
        (PasswordSpec("x", "hmac"), r"[0-9a-f]{32}"),
        (PasswordSpec("x", "bcrypt_salt"), r"[A-Za-z0-9./]{21}[.Oeu]"),
        (PasswordSpec("x", "uuid"), r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        (PasswordSpec("x", "fernet"), r"[A-Za-z0-9_-]{43}="),
    ],
)
def test_the_kinds(spec: PasswordSpec, shape: str) -> None:
    made = {make(spec).reveal() for _ in range(20)}
    assert len(made) == 20
    assert not [value for value in made if not re.fullmatch(shape, value)]


def test_the_kinds_are_what_their_users_take() -> None:
    assert Fernet(make(PasswordSpec("x", "fernet")).reveal()).decrypt
    assert uuid.UUID(make(PasswordSpec("x", "uuid")).reveal()).version == 4
    assert hmac.new(base64.b64decode(make(PasswordSpec("x", "hmac")).reveal()), b"", hashlib.md5).digest()
    assert make(PasswordSpec("x", "blank")) is None
    letters = "".join(make(PasswordSpec("x", length=1000)).reveal() for _ in range(5))
    assert set(letters) == set(string.ascii_letters + string.digits)
    assert set(KINDS) == {"random", "uuid", "ssh_key", "fernet", "hmac", "bcrypt_salt", "blank"}


@pytest.mark.parametrize(
    "words", [("a b",), ("",), ("sops",), ("a.b",), ("x", "random", 3), ("x", "md5"), ('a"]["b',), ("1x",)]
)
def test_odd_specs_are_refused(words: Sequence[object]) -> None:
    with pytest.raises(ValueError, match=r"password|length"):
        PasswordSpec(*words)  # type: ignore[arg-type]


def test_a_file_that_does_not_exist_is_made(tmp_path: Path, ssh_key: Key, age_key: Key) -> None:
    path = tmp_path / "passwords.yml"
    steps: list[tuple[int, int]] = []
    wanted = [*CHEAP, PasswordSpec("nova_ssh_key", "ssh_key"), CHEAP[0]]
    to = [ssh_key.recipient, age_key.recipient]
    filled = generate(path, wanted, to, on_progress=lambda done, total: steps.append((done, total)))
    assert filled == [*FILLED, "nova_ssh_key"]
    assert steps == [(number, 6) for number in range(1, 7)]
    assert sops.recipients(path.read_bytes()) == to
    plain = _plain(path, age_key)
    assert list(plain) == filled
    pair = plain["nova_ssh_key"]
    assert isinstance(pair, dict)
    private = load_pem_private_key(pair["private_key"].encode(), password=None)
    assert private.key_size == 4096  # type: ignore[union-attr]
    assert private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() == pair["public_key"]
    assert os.listdir(tmp_path) == ["passwords.yml"] and stat.S_IMODE(path.stat().st_mode) == 0o644
    # Everything is there now: no key is needed, and nothing is written.
    before = _identity(path)
    assert generate(path, wanted, to) == []
    assert _identity(path) == before


def test_made_for_whom_the_creation_rules_say(tmp_path: Path, ssh_key: Key) -> None:
    with pytest.raises(errors.Terminal) as caught:
        generate(tmp_path / "passwords.yml", CHEAP)
    assert caught.value.reason == "SopsNoRecipients" and os.listdir(tmp_path) == []
    (tmp_path / ".sops.yaml").write_text(
        f"creation_rules:\n  - path_regex: passwords\\.yml$\n    age: {ssh_key.recipient}\n"
    )
    assert generate(tmp_path / "passwords.yml", CHEAP) == FILLED
    assert sops.recipients((tmp_path / "passwords.yml").read_bytes()) == [ssh_key.recipient]


def test_only_what_is_missing_or_empty(tmp_path: Path, ssh_key: Key) -> None:
    path = tmp_path / "passwords.yml"
    text = (
        "# Chosen in 2019, in the vendor's console too\nkeystone_admin_password: 'ours'\nvmware_password: hand made\n\n"
        "database_password:\ndesignate_pool_id: \"\"\ndocker_registry_password:\nport: '017'\nratio: '1.50'\nyes_no: 'true'\n"
        "kolla_ssh_key:\n  private_key: p\n  public_key: q\nosprofiler_secret: kept\nlist: [a, b]\n"
    )
    before = _write(path, text, ssh_key)
    path.chmod(0o640)
    wanted = [*CHEAP, PasswordSpec("kolla_ssh_key", "ssh_key")]
    old = _plain(path, ssh_key)
    filled = generate(path, wanted, keys=ssh_key.keys)
    after = path.read_bytes()
    assert filled == ["database_password", "designate_pool_id", "barbican_crypto_key", "prometheus_bcrypt_salt"]
    lines, new = _data_lines(before), _data_lines(after)
    empty = [line for line in lines if line.startswith((b"database_password", b"designate_pool_id"))]
    kept = [line for line in lines if line not in empty]
    assert len(empty) == 2
    assert [line for line in new if line in kept] == kept
    assert len(new) == len(kept) + 4
    plain = _plain(path, ssh_key)
    assert {name: plain[name] for name in old if name not in filled} == {
        n: v for n, v in old.items() if n not in filled
    }
    assert all(plain[name] for name in filled) and plain["docker_registry_password"] is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and os.listdir(tmp_path) == ["passwords.yml"]


def test_an_empty_pair_is_filled_and_half_a_pair_is_an_error(tmp_path: Path, ssh_key: Key) -> None:
    path = tmp_path / "passwords.yml"
    half = _write(path, "nova_ssh_key:\n  private_key: p\n  public_key:\n", ssh_key)
    with pytest.raises(errors.Terminal, match="nova_ssh_key has no public_key") as caught:
        generate(path, [PasswordSpec("nova_ssh_key", "ssh_key")], keys=ssh_key.keys)
    assert caught.value.reason == "SecretIncomplete" and path.read_bytes() == half
    _write(path, "a: b\nnova_ssh_key:\n  private_key:\n  public_key: ''\n", ssh_key)
    assert generate(path, [PasswordSpec("nova_ssh_key", "ssh_key")], keys=ssh_key.keys) == ["nova_ssh_key"]
    pair = _plain(path, ssh_key)["nova_ssh_key"]
    assert isinstance(pair, dict) and pair["public_key"].startswith("ssh-rsa ")


def test_what_cannot_be_read_is_not_written(tmp_path: Path, ssh_key: Key, other_ssh_key: Key) -> None:
    path = tmp_path / "passwords.yml"
    good = _write(path, "a: b\nc: d\n", ssh_key)
    cases = [
        (good, other_ssh_key, "SopsNoKey"),
        (re.sub(rb"(?m)^a: .*\n", b"", good), ssh_key, "SopsMacMismatch"),
        (good.replace(b"a: ", b"x: "), ssh_key, "SopsTampered"),
        (good.replace(b"\nsops:\n", b"\nsops:\n    kms: [{arn: x, enc: y}]\n"), ssh_key, "SopsRemoteKey"),
        (b"database_password: plain\n", ssh_key, "SopsNotEncrypted"),
        (b"database_password:\n", ssh_key, "SopsNotEncrypted"),
        (b"", ssh_key, "SopsNotEncrypted"),
        (b"{\n", ssh_key, "SopsFailed"),
    ]
    for content, key, reason in cases:
        path.write_bytes(content)
        before = _identity(path)
        with pytest.raises(errors.Terminal) as caught:
            generate(path, CHEAP, [ssh_key.recipient], keys=key.keys)
        assert caught.value.reason == reason
        assert path.read_bytes() == content and _identity(path) == before and os.listdir(tmp_path) == ["passwords.yml"]


def test_a_relative_path(tmp_path: Path, ssh_key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in (Path("site/passwords.yml"), Path("passwords.yml")):
        assert generate(path, CHEAP[:1], [ssh_key.recipient]) == FILLED[:1]
        assert generate(path, CHEAP, keys=ssh_key.keys) == FILLED[1:]
        assert list(_plain(path, ssh_key)) == FILLED


def test_links_and_missing_directories(tmp_path: Path, ssh_key: Key) -> None:
    (tmp_path / "real.yml").touch()
    (tmp_path / "passwords.yml").symlink_to("real.yml")
    for path, reason in (
        (tmp_path / "passwords.yml", "FileUnsafe"),
        (tmp_path / "none/passwords.yml", "FileReadFailed"),
    ):
        with pytest.raises(errors.Terminal) as caught:
            generate(path, CHEAP, [ssh_key.recipient])
        assert caught.value.reason == reason
    assert (tmp_path / "real.yml").read_bytes() == b""


def test_services_that_disagree(tmp_path: Path, ssh_key: Key) -> None:
    with pytest.raises(errors.Terminal, match="as random and as uuid"):
        generate(tmp_path / "p.yml", [PasswordSpec("x"), PasswordSpec("x", "uuid")], [ssh_key.recipient])


def test_rotate_changes_one(tmp_path: Path, ssh_key: Key) -> None:
    path = tmp_path / "passwords.yml"
    _write(path, "# why\na: old\nb: kept\n", ssh_key)
    before, old = sops.ciphertexts(path.read_bytes()), _data_lines(path.read_bytes())
    rotate(path, "a", PasswordSpec("a"), keys=ssh_key.keys)
    after = sops.ciphertexts(path.read_bytes())
    assert {name for name in before if before[name] != after[name]} == {"a"} and after.keys() == before.keys()
    assert [line for line in _data_lines(path.read_bytes()) if not line.startswith(b"a:")] == [old[0], old[2]]
    assert re.fullmatch(r"[A-Za-z0-9]{40}", str(_plain(path, ssh_key)["a"]))
    for name, spec in (("c", PasswordSpec("c")), ("a", PasswordSpec("b")), ("a", PasswordSpec("a", "blank"))):
        with pytest.raises(errors.Terminal) as caught:
            rotate(path, name, spec, keys=ssh_key.keys)
        assert caught.value.reason == "SecretUnknown"
    with pytest.raises(errors.Terminal, match="does not exist"):
        rotate(tmp_path / "none.yml", "a", PasswordSpec("a"))


def test_a_program_that_changes_more_is_noticed(tmp_path: Path, ssh_key: Key, other_ssh_key: Key) -> None:
    """Another sops might encrypt everything anew: `rotate` after `set` does just that."""
    path, program = tmp_path / "passwords.yml", tmp_path / "bin"
    real = sops.find_program()
    program.write_text(
        f'#!/bin/sh\n{real} "$@" || exit\n[ "$3" = set ] || exit 0\n'
        f'eval file=\\${{$(($# - 1))}}\nexec {real} rotate --in-place --input-type yaml --output-type yaml "$file"\n'
    )
    program.chmod(0o755)
    before = _write(path, "a: old\n", ssh_key)
    keys = sops.Keys(ssh_key_file=ssh_key.file, program=program)
    with pytest.raises(errors.Terminal, match="changed more") as caught:
        generate(path, CHEAP[:1], keys=keys)
    assert caught.value.reason == "SopsFailed" and path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["bin", "passwords.yml"]


def test_a_file_edited_meanwhile_is_not_overwritten(tmp_path: Path, ssh_key: Key) -> None:
    path = tmp_path / "passwords.yml"
    _write(path, "a: old\n", ssh_key)
    other = _write(tmp_path / "other.yml", "a: edited\n", ssh_key)
    with pytest.raises(errors.Transient) as caught:
        generate(path, CHEAP, keys=ssh_key.keys, on_progress=lambda *_: path.write_bytes(other) and None)  # type: ignore[arg-type]
    assert caught.value.reason == "FileChanged" and path.read_bytes() == other


def test_two_at_once_take_turns(tmp_path: Path, ssh_key: Key) -> None:
    path = tmp_path / "passwords.yml"
    _write(path, "a: old\n", ssh_key)
    results: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: results.append(generate(path, CHEAP, keys=ssh_key.keys))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [[], [], FILLED]


def test_a_held_lock_is_an_error_in_the_end(tmp_path: Path, ssh_key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.secrets.in_place._LOCK_SECONDS", 0.1)
    holder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(errors.Transient) as caught:
            generate(tmp_path / "passwords.yml", CHEAP, [ssh_key.recipient])
        assert caught.value.reason == "FileBusy"
    finally:
        os.close(holder)
    assert generate(tmp_path / "passwords.yml", CHEAP, [ssh_key.recipient]) == FILLED


GENERATE = """
import json, sys
from pathlib import Path
from reconciler.secrets import passwords, sops
names, path, key, recipient = json.loads(sys.argv[1])
def progress(done, total):
    print(done, flush=True)
specs = [passwords.PasswordSpec(name) for name in names]
print("go", flush=True)
passwords.generate(Path(path), specs, [recipient], keys=sops.Keys(ssh_key_file=Path(key)), on_progress=progress)
"""


def _kill_generate(names: Sequence[str], path: Path, key: Key, after: int) -> None:
    """Starts a generate and kills it up to 60 ms after it has said "go" and `after` numbers; its sops may live on."""
    argument = json.dumps([names, str(path), str(key.file), key.recipient])
    command = [sys.executable, "-c", GENERATE, argument]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        for expected in ["go", *range(1, after + 1)]:
            assert child.stdout.readline().strip() == str(expected).encode()
        time.sleep(secrets.randbelow(60) / 1000)
        os.killpg(child.pid, signal.SIGKILL)


@pytest.mark.parametrize("present", [True, False])
def test_killed_at_any_moment(tmp_path: Path, ssh_key: Key, present: bool) -> None:
    path = tmp_path / "passwords.yml"
    names = [f"password_{number}" for number in range(8)]
    original = _write(path, "# why\nkept: old\nalso_kept: old\n", ssh_key) if present else b""
    leftovers = unfinished = 0
    for after in (0, 0, 1, 3, 5, 7, 8, 8, 8, 8):
        _kill_generate(names, path, ssh_key, after)
        leftovers += len([name for name in os.listdir(tmp_path) if files.is_leftover(name)])
        assert path.exists() or not present
        if not path.exists() or path.read_bytes() == original:
            unfinished += 1
            continue
        plain = _plain(path, ssh_key)
        assert set(names) <= plain.keys()
        assert not present or (plain["kept"], plain["also_kept"]) == ("old", "old")
        path.unlink()
        if present:
            path.write_bytes(original)
    assert unfinished > 0 and (leftovers > 0 or not present)  # else no kill hit the work, and this shows nothing
    # The next run ends the work; it, or the one after an orphaned sops has ended, cleans up.
    for _ in range(2):
        generate(path, [PasswordSpec(name) for name in names], [ssh_key.recipient], keys=ssh_key.keys)
    assert os.listdir(tmp_path) == ["passwords.yml"]
    assert sops.names(path.read_bytes()) >= set(names)


def test_one_value_costs_one_short_run(tmp_path: Path, ssh_key: Key) -> None:
    """The passwords of a whole site are made in one run of sops; what is added later costs one run each."""
    path = tmp_path / "passwords.yml"
    first = [PasswordSpec(f"first_{number}") for number in range(100)]
    later = [PasswordSpec(f"later_{number}") for number in range(20)]
    assert len(generate(path, first, [ssh_key.recipient])) == 100
    started = time.monotonic()
    assert len(generate(path, first + later, keys=ssh_key.keys)) == 20
    assert time.monotonic() - started < 20 * 2.0  # usually 0.03 to 0.06 s each
