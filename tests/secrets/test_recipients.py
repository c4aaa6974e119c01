"""Who can read a site's files: put in and taken out with the real sops, all files or none, comments and values as they were."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors, secret
from reconciler.document import edit
from reconciler.reasons import Reason
from reconciler.secrets import creation_rules, in_place, recipients, sops
from reconciler.secrets.passwords import PasswordSpec
from reconciler.secrets.recipients import File
from reconciler.system import run
from tests.secrets.conftest import Key

SPECS = [PasswordSpec("database_password"), PasswordSpec("osprofiler_secret", "hmac"), PasswordSpec("nobodys_password")]
ALL = [File("passwords.yml"), File("hosts/ctl1.passwords.yml"), File("config/haproxy/tls.key", whole=True)]
TEXTS = {
    "passwords.yml": "# Chosen in 2019, in the vendor's console too\ndatabase_password: 'Zq7 from hand'  # no, really\n\n"
    "# hmac\nosprofiler_secret: Zq7osprofiler\nkolla_ssh_key:\n  private_key: |\n    p\n    q\n  public_key: q\nempty:\nlist: [a, b]\n"
    "vendor_password: \"with a last line end\\n\"\n",
    "hosts/ctl1.passwords.yml": "# of one host\ndatabase_password: 'Zq7 from hand'\nmetadata_secret: m\n",
}  # fmt: skip
WHOLE = b"\x00\xff no text\r\n"


@pytest.fixture
def site(tmp_path: Path, ssh_key: Key, age_key: Key) -> Path:
    """Three encrypted files and a .sops.yaml with all ways to name recipients."""
    (tmp_path / ".sops.yaml").write_text(
        f"""\
# Who reads what. Keep it in step with the inventory.
creation_rules:
  - path_regex: ^hosts/ctl1\\.   # its own
    age: >-
      {ssh_key.recipient} root@ctl1,
      {age_key.recipient}
  # everybody's
  - path_regex: passwords\\.yml$
    age:
      - {ssh_key.recipient} root@ctl1  # ctl1
      # the operator
      - {age_key.recipient}
  - {{path_regex: ^config/, age: "{ssh_key.recipient},{age_key.recipient}"}}
"""
    )
    for name, text in TEXTS.items():
        _encrypt(tmp_path / name, text.encode(), "yaml", [ssh_key, age_key])
    _encrypt(tmp_path / "config/haproxy/tls.key", WHOLE, "binary", [ssh_key, age_key])
    return tmp_path


def _encrypt(path: Path, content: bytes, kind: str, to: list[Key]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [str(sops.find_program()), "--config", os.devnull, "encrypt", "--input-type", kind, "--output-type", kind]
    command += ["--filename-override", path.name, "--age", ",".join(key.recipient for key in to)]
    path.write_bytes(subprocess.run(command, input=content, capture_output=True, check=True, cwd="/").stdout)


def _clear(path: Path, key: Key, kind: str = "yaml") -> bytes:
    """As `sops decrypt` shows it, comments included."""
    command = [str(sops.find_program()), "--config", os.devnull, "decrypt", "--input-type", kind, "--output-type", kind]
    name = "SOPS_AGE_SSH_PRIVATE_KEY_FILE" if key.keys.ssh_key_file else "SOPS_AGE_KEY_FILE"
    done = subprocess.run([*command, str(path)], capture_output=True, env={name: str(key.file)}, check=False)
    return done.stdout if done.returncode == 0 else b""


def _cleared(site: Path, key: Key) -> dict[str, bytes]:
    return {file.name: _clear(site / file.name, key, "binary" if file.whole else "yaml") for file in ALL}


def _contents(site: Path) -> dict[str, bytes]:
    return {str(path.relative_to(site)): path.read_bytes() for path in sorted(site.rglob("*")) if path.is_file()}


def test_put_in_everywhere(site: Path, age_key: Key, other_ssh_key: Key) -> None:
    before, clear, rules = _contents(site), _cleared(site, age_key), (site / ".sops.yaml").read_text()
    done = recipients.add(site, other_ssh_key.recipient, ALL, note="cmp1", keys=age_key.keys)
    assert set(done.files) == {file.name for file in ALL} and done.rules == site / ".sops.yaml" and not done.unruled
    assert (
        _cleared(site, other_ssh_key) == clear == _cleared(site, age_key) and clear["config/haproxy/tls.key"] == WHOLE
    )
    for file in ALL:
        old, new = before[file.name], (site / file.name).read_bytes()
        assert sops.ciphertexts(old) == sops.ciphertexts(new), "no value has another ciphertext"
    new_rules = (site / ".sops.yaml").read_text()
    assert f"      - {other_ssh_key.recipient}  # cmp1\n" in new_rules
    # What it holds beside the recipient is as it was, byte for byte.
    for spelled in (
        f"      - {other_ssh_key.recipient}  # cmp1\n",
        f",{other_ssh_key.recipient}",
        f",\n      {other_ssh_key.recipient}",
    ):
        new_rules = new_rules.replace(spelled, "")
    assert new_rules == rules
    after = _contents(site)
    done = recipients.add(site, other_ssh_key.recipient, ALL, keys=sops.Keys())
    assert done == recipients.Done() and _contents(site) == after, "put in twice is put in once, and needs no key"


def test_a_host_gets_what_it_reads_and_no_more(site: Path, age_key: Key, other_ssh_key: Key) -> None:
    reads = ["passwords.yml", "passwords/compute.yml", "hosts/cmp1.passwords.yml"]
    done = recipients.add(site, other_ssh_key.recipient, ALL, reads=reads, keys=age_key.keys)
    assert done.files == ("passwords.yml",)
    found = _cleared(site, other_ssh_key)
    assert found["passwords.yml"] and not found["hosts/ctl1.passwords.yml"] and not found["config/haproxy/tls.key"]
    rules = creation_rules.find(site).rules
    assert [other_ssh_key.recipient in to for _, to in rules] == [False, True, False]


def test_taken_out_with_new_data_keys(site: Path, ssh_key: Key, age_key: Key) -> None:
    before, clear = _contents(site), _cleared(site, age_key)
    done = recipients.remove(site, ssh_key.recipient, ALL, keys=age_key.keys)
    assert set(done.files) == {file.name for file in ALL} and done.rotated == ()
    assert done.readable["passwords.yml"] == (
        "database_password",
        "osprofiler_secret",
        "kolla_ssh_key",
        "list",
        "vendor_password",
    )
    assert done.readable["config/haproxy/tls.key"] == ("config/haproxy/tls.key",)
    assert _cleared(site, age_key) == clear, "values and comments"
    assert not any(_cleared(site, ssh_key).values())
    for file in ALL:
        old, new = sops.ciphertexts(before[file.name]), sops.ciphertexts((site / file.name).read_bytes())
        assert not [name for name in old if old[name] and old[name] == new[name]], "its old data key opens nothing"
    text = (site / ".sops.yaml").read_text()
    assert ssh_key.recipient not in text and "# the operator" in text and "# everybody's" in text
    assert [to for _, to in creation_rules.find(site).rules] == [(age_key.recipient,)] * 3
    with pytest.raises(errors.Terminal, match="is no recipient of any file or rule") as caught:
        recipients.remove(site, ssh_key.recipient, ALL, keys=age_key.keys)
    assert caught.value.reason == "SopsNoRecipients"


def test_what_it_could_read_gets_fresh_values(site: Path, ssh_key: Key, age_key: Key) -> None:
    def values(name: str) -> Any:
        return secret.reveal(sops.decrypt((site / name).read_bytes(), name=name, keys=age_key.keys))

    names = ("passwords.yml", "hosts/ctl1.passwords.yml")
    before = [values(name) for name in names]
    done = recipients.remove(site, ssh_key.recipient, ALL, rotate=SPECS, keys=age_key.keys)
    assert done.rotated == ("database_password", "osprofiler_secret")
    after = [values(name) for name in names]
    assert after[0]["database_password"] == after[1]["database_password"] != "Zq7 from hand", "one value in both"
    assert len(after[0]["osprofiler_secret"]) == 32
    for old, new in zip(before, after, strict=True):
        assert {k: v for k, v in old.items() if k not in done.rotated} == {
            k: v for k, v in new.items() if k not in done.rotated
        }
    assert b"# Chosen in 2019" in _clear(site / "passwords.yml", age_key)


def test_all_files_or_none(
    site: Path, ssh_key: Key, age_key: Key, other_ssh_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _contents(site)
    who, words = other_ssh_key.recipient, {"keys": age_key.keys}

    # One file does not open.
    _encrypt(site / "hosts/ctl1.passwords.yml", b"a: b\n", "yaml", [ssh_key])
    broken = _contents(site)
    with pytest.raises(errors.Terminal) as caught:
        recipients.add(site, who, ALL, **words)  # type: ignore[arg-type]
    assert caught.value.reason == "SopsNoKey" and "hosts/ctl1.passwords.yml" in str(caught.value), caught.value
    assert _contents(site) == broken
    (site / "hosts/ctl1.passwords.yml").write_bytes(before["hosts/ctl1.passwords.yml"])

    # The disk fills up at the third of four writes.
    real, written = in_place._write, list[Path]()

    def write(path: Path, content: bytes, like: os.stat_result) -> None:
        written.append(path)
        if len(written) == 3:
            raise errors.Transient("disk full", reason=Reason.DiskFull)
        real(path, content, like)

    monkeypatch.setattr(in_place, "_write", write)
    with pytest.raises(errors.Transient, match="disk full"):
        recipients.add(site, who, ALL, **words)  # type: ignore[arg-type]
    monkeypatch.undo()
    assert _contents(site) == before

    # Somebody else writes meanwhile.
    set_recipients = sops.set_recipients

    def meanwhile(path: Path, *args: Any, **more: Any) -> None:
        set_recipients(path, *args, **more)
        (site / "passwords.yml").write_bytes(before["passwords.yml"] + b"\n")

    monkeypatch.setattr(sops, "set_recipients", meanwhile)
    with pytest.raises(errors.Transient, match="changed meanwhile"):
        recipients.add(site, who, ALL, **words)  # type: ignore[arg-type]
    assert _contents(site) == {**before, "passwords.yml": before["passwords.yml"] + b"\n"}


def test_nobody_locks_himself_out(site: Path, ssh_key: Key, age_key: Key) -> None:
    before = _contents(site)
    for key in (age_key, ssh_key):
        with pytest.raises(errors.Terminal, match="is the one to shut out") as caught:
            recipients.remove(site, key.recipient, ALL, keys=key.keys)
        assert caught.value.reason == "SopsNoKey"
    _encrypt(site / "hosts/ctl1.passwords.yml", b"a: b\n", "yaml", [ssh_key])
    alone = _contents(site)
    with pytest.raises(errors.Terminal, match=r"hosts/ctl1.passwords.yml: .* only recipient"):
        recipients.remove(site, ssh_key.recipient, ALL, keys=age_key.keys)
    assert _contents(site) == alone and before.keys() == alone.keys()


def test_files_follow_what_was_written_by_hand(site: Path, ssh_key: Key, age_key: Key, other_ssh_key: Key) -> None:
    clear = _cleared(site, age_key)
    text = (site / ".sops.yaml").read_text()
    (site / ".sops.yaml").write_text(text.replace(ssh_key.recipient, other_ssh_key.recipient))
    now, said = recipients.state(site, ALL)
    assert now["passwords.yml"] == (ssh_key.recipient, age_key.recipient)
    assert said["passwords.yml"] == (other_ssh_key.recipient, age_key.recipient)
    rules = (site / ".sops.yaml").read_bytes()
    done = recipients.follow(site, ALL, keys=age_key.keys)
    assert (
        set(done.files) == set(done.readable) == {file.name for file in ALL}
        and (site / ".sops.yaml").read_bytes() == rules
    )
    assert _cleared(site, other_ssh_key) == clear == _cleared(site, age_key) and not any(
        _cleared(site, ssh_key).values()
    )
    assert recipients.follow(site, ALL, keys=sops.Keys()) == recipients.Done()


def test_a_kill_between_two_files_is_put_right_by_the_same_request(
    site: Path, age_key: Key, other_ssh_key: Key
) -> None:
    recipients.add(site, other_ssh_key.recipient, ALL[:1], reads=[], keys=age_key.keys)
    recipients.add(site, other_ssh_key.recipient, ALL[:1], reads=["passwords.yml"], keys=age_key.keys)
    done = recipients.add(site, other_ssh_key.recipient, ALL, keys=age_key.keys)
    assert set(done.files) == {file.name for file in ALL[1:]} and done.rules
    assert all(_cleared(site, other_ssh_key).values())


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("age: a,b", "age: a,b,c"),
        ("age: a", "age: a,c"),
        ("age: 'a, b' # both", "age: 'a,b,c' # both"),
        ("other: 1\nage: >-\n  a,\n  b\n# end\nmore: 2", "other: 1\nage: >-\n  a,\n  b,\n  c\n# end\nmore: 2"),
        ("age: |\n  a\nmore: 2\n", "age: |\n  a,\n  c\nmore: 2\n"),
        ("age:\n- a # one\n\n- b", "age:\n- a # one\n\n- b\n- c  # new\n"),
        ("age:\n    - a\n    - 'b'  # two\n\n# end\nx: 1\n", "age:\n    - a\n    - 'b'  # two\n    - c  # new\n\n# end\nx: 1\n"),
        ("age: [a, b]", 'age: ["a", "b", "c"]'),
        ("{age: a}", '{age: "a,c"}'),
    ],
)  # fmt: skip
def test_lists_are_edited_where_they_stand(text: str, after: str) -> None:
    made = edit.edit_list(text.encode(), ("age",), {"c": "new"}, lambda _: False)
    assert made.decode() == after
    back = edit.edit_list(made, ("age",), {}, lambda item: item == "c").decode()
    assert back.replace('"', "").replace(" ", "").strip() == text.replace("'a, b'", "'a,b'").replace(" ", "").strip()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("age: {a: b}", "no list of texts"),
        ("more: 1", "not there"),
        ("age: [a, # one\n  b]", "comments within"),
        ("age:\n  -\n    a", "dashes on lines of their own"),
        ("age: [[a]]", "no list of texts"),
    ],
)
def test_what_cannot_be_edited_is_refused(text: str, why: str) -> None:
    with pytest.raises(edit.EditError, match=why):
        edit.edit_list(text.encode(), ("age",), {"c": ""}, lambda _: False)


def test_a_rule_for_nobody_is_refused(site: Path, ssh_key: Key, age_key: Key) -> None:
    text = f"creation_rules:\n  - path_regex: nothing/\n    age: {ssh_key.recipient}\n  - age: {age_key.recipient}\n"
    (site / ".sops.yaml").write_text(text)
    before = _contents(site)
    with pytest.raises(errors.Terminal, match=r"rule 1 would be empty .*nothing was changed"):
        recipients.remove(site, ssh_key.recipient, ALL, keys=age_key.keys)
    assert _contents(site) == before


def test_values_never_reach_the_disk(site: Path, ssh_key: Key, age_key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """What every program that was run got written, and what lay in the folder while it ran."""
    seen: list[bytes] = []
    real: Callable[..., Any] = run.program

    def watched(argv: Any, **more: Any) -> Any:
        seen.append(" ".join(map(str, argv)).encode())
        done = real(argv, **more)
        seen.extend(path.read_bytes() for path in site.rglob("*") if path.is_file())
        return done

    monkeypatch.setattr(run, "program", watched)
    recipients.remove(site, ssh_key.recipient, ALL, rotate=SPECS, keys=age_key.keys)
    monkeypatch.undo()
    value = secret.reveal(sops.decrypt((site / "passwords.yml").read_bytes(), name="p", keys=age_key.keys))
    assert len(seen) > 10 and not [
        one for one in seen if b"Zq7 from hand" in one or value["database_password"].encode() in one
    ]
