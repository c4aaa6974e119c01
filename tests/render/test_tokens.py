"""Secret tokens: what templates may do with one, and that binding gives what the filter would have given."""

import base64
import hashlib
import json
import re
import shlex
from urllib.parse import quote

import bcrypt
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import SiteInvalid, Terminal
from reconciler.render import merge, tokens
from reconciler.render.ansible import to_json
from reconciler.render.faults import Refused
from reconciler.secret import Secret
from tests.render.sites import file, rendered

values = st.text(max_size=60).filter(lambda text: "<<" not in text)
# What YAML can hold at all; a password has no lone surrogates, since it comes out of a UTF-8 file.
names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)


@given(names, values, st.text(max_size=20), st.text(max_size=20))
@settings(max_examples=40)
def test_binding_replaces_every_token(name: str, value: str, before: str, after: str) -> None:
    if "<<" in before or "<<" in after:
        return
    text = f"{before}<<secret:{name}>>{after}"
    assert tokens.names(text) == {name}
    assert tokens.bind(text, {name: value}) == before + value + after


@given(values)
@settings(max_examples=40)
def test_filters_apply_to_the_value(value: str) -> None:
    inner = "u:" + tokens.SecretRef("pw") + "@h"
    bound = "u:" + value + "@h"
    expected = {
        "b64encode": base64.b64encode(bound.encode()).decode(),
        "urlencode": quote(bound, safe="/"),
        "quote": shlex.quote(bound),
        "hash-sha256": hashlib.sha256(bound.encode()).hexdigest(),
        "hash-md5": hashlib.md5(bound.encode()).hexdigest(),
    }
    for operation, result in expected.items():
        token = tokens.apply(operation, inner)
        assert tokens.names(token) == {"pw"}
        assert tokens.bind(token, {"pw": value}) == result


@given(values)
@settings(max_examples=40)
def test_filters_nest(value: str) -> None:
    token = tokens.apply("to_json", tokens.apply("b64encode", tokens.SecretRef("pw")))
    assert json.loads(tokens.bind(token, {"pw": value})) == base64.b64encode(value.encode()).decode()


@given(values, values)
@settings(max_examples=40)
def test_any_secret_is_safe_in_json(first: str, second: str) -> None:
    data = {"a": tokens.SecretRef("x"), "b": ["pre " + tokens.SecretRef("y") + '"post', None, 1], "c": 'plain " text'}
    bound = tokens.bind(to_json(data), {"x": first, "y": second})
    assert json.loads(bound) == {"a": first, "b": ["pre " + second + '"post', None, 1], "c": 'plain " text'}


@given(values, values)
@settings(max_examples=40)
def test_any_secret_is_safe_in_yaml(first: str, second: str) -> None:
    data = {
        "a": tokens.SecretRef("x"),
        "b": ["pre " + tokens.SecretRef("y"), {"c": [tokens.SecretRef("x")]}],
        "n": None,
    }
    bound = tokens.bind(merge.dump(data), {"x": first, "y": second})
    assert yaml.safe_load(bound) == {"a": first, "b": ["pre " + second, {"c": [first]}], "n": None}


@given(values)
@settings(max_examples=40)
def test_a_token_survives_a_yaml_merge(value: str) -> None:
    text = merge.yaml_text([("a", "user: {password: <<secret:pw>>, name: x}\n"), ("b", "user: {name: y}\n")])
    assert yaml.safe_load(tokens.bind(text, {"pw": value})) == {"user": {"password": value, "name": "y"}}


def test_a_part_of_a_secret_and_nested_mappings() -> None:
    ref = tokens.SecretRef("ssh_key").part("private_key")
    assert ref == "<<secret:ssh_key.private_key>>"
    assert tokens.bind(ref, {"ssh_key": {"private_key": Secret("KEY")}}) == "KEY"
    assert tokens.bind(ref, {"ssh_key.private_key": "KEY"}) == "KEY"


def test_a_value_that_looks_like_a_token_is_not_looked_into() -> None:
    assert tokens.bind("<<secret:a>>", {"a": "<<secret:b>>", "b": "no"}) == "<<secret:b>>"


def test_a_missing_secret_is_named() -> None:
    with pytest.raises(Terminal, match="secret pw") as caught:
        tokens.bind(tokens.apply("b64encode", tokens.SecretRef("pw")), {})
    assert caught.value.reason == "SecretMissing"
    with pytest.raises(Terminal, match=r"name a key of it: key\."):
        tokens.bind("<<secret:key>>", {"key": {"private_key": "x"}})


@pytest.mark.parametrize("text", ["cat <<EOF", "1 << 2 >> 3", "<<secret:>>", "<<nosuch:YQ>>", "<<secret:a b>>"])
def test_other_text_is_no_token(text: str) -> None:
    assert not tokens.is_held(text)
    assert tokens.bind(text, {}) == text


@pytest.mark.parametrize("name", ["", "a b", "a>>b", "ü", "a."])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        tokens.SecretRef(name)


def test_a_hand_made_token_binds_or_fails_cleanly() -> None:
    assert tokens.bind("<<b64encode:_w>>", {}) == base64.b64encode(b"_w").decode()  # not UTF-8 inside: taken as it is
    deep = "<<secret:x>>"
    for _ in range(8):
        deep = tokens.wrap("b64encode", deep)
    assert base64.b64decode(tokens.bind(deep, {"x": "1"}))
    with pytest.raises(Refused, match="at most 8 filters"):
        tokens.wrap("b64encode", deep)
    by_hand = "<<b64encode:" + base64.urlsafe_b64encode(deep.encode()).decode().rstrip("=") + ">>"
    with pytest.raises(Refused, match="nested deeper"):
        tokens.bound_size(by_hand, {})
    with pytest.raises(Terminal, match="nested deeper"):
        tokens.bind(by_hand, {"x": "1"})


# --- bcrypt ------------------------------------------------------------------------------------------------------


def hashed(template: str, **secrets: str) -> str:
    """What a node writes for a template of a site."""
    body = "passwords: {pw: {kind: random}, salt: {kind: bcrypt_salt}}\ncontainers: {app: {image: x, command: y, files: [{name: f, template: t}]}}"
    desired = rendered(body, secrets={"pw": "x", "salt": "y"}, templates={"t": template})
    return tokens.bind(file(desired, "app/f").content, secrets)


def test_bcrypt_is_made_when_the_file_is_written() -> None:
    text = hashed("{{ pw | password_hash('bcrypt', salt=salt, rounds=4) }}", pw="wörd", salt="gVsVnZYBUrHyDmCQrXvXQu")
    assert text.startswith("$2b$04$gVsVnZYBUrHyDmCQrXvXQu")
    assert bcrypt.checkpw("wörd".encode(), text.encode())
    assert not bcrypt.checkpw(b"word", text.encode())
    long = hashed(
        "{{ pw | password_hash('bcrypt', salt=salt, rounds=4) }}", pw="x" * 100, salt="gVsVnZYBUrHyDmCQrXvXQu"
    )
    assert bcrypt.checkpw(b"x" * 72, long.encode())


def test_a_salt_that_is_none_is_told_when_it_is_known() -> None:
    with pytest.raises(Terminal, match="bcrypt needs 4 to 12 rounds and a salt of 22 letters"):
        hashed("{{ pw | password_hash('bcrypt', salt=salt) }}", pw="x", salt="short")
    with pytest.raises(Terminal, match=r"the last of them one of \. O e u"):
        hashed("{{ pw | password_hash('bcrypt', salt=salt) }}", pw="x", salt="gVsVnZYBUrHyDmCQrXvXQz")
    with pytest.raises(Terminal, match="bcrypt needs 4 to 12 rounds"):
        tokens.bind(tokens.wrap("bcrypt", "31$gVsVnZYBUrHyDmCQrXvXQu$<<secret:pw>>"), {"pw": "x"})


@pytest.mark.parametrize("operation", sorted(tokens._OPERATIONS))
def test_a_plan_without_values_goes_through_every_operation(operation: str) -> None:
    text = tokens.wrap(operation, "12$<<secret:salt>>$<<secret:pw>>")
    found = [tokens.stand_in(f"is {text}", {"salt": "<<salt@1>>", "pw": f"<<pw@{version}>>"}) for version in "112"]
    assert found[0] == found[1] != found[2] and found[0].startswith("is ")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ pw | password_hash('bcrypt') }}", "the filter password_hash: needs salt="),
        ("{{ pw | password_hash('sha512', salt=salt) }}", "makes bcrypt only, not 'sha512'"),
        ("{{ pw | password_hash('bcrypt', salt=salt, rounds=20) }}", "takes 4 to 12 rounds, not 20"),
        ("{% for i in range(30) %}{{ (pw ~ i) | password_hash('bcrypt', salt=salt) }}\n{% endfor %}", "steps"),
    ],
)
def test_what_bcrypt_cannot_do_is_told_without_the_secret(template: str, message: str) -> None:
    with pytest.raises(SiteInvalid, match=re.escape(message)):
        hashed(template)


def test_a_host_writes_a_few_of_them_and_no_token_by_hand_goes_round_that() -> None:
    token = tokens.wrap("bcrypt", "12$gVsVnZYBUrHyDmCQrXvXQu$<<secret:pw>>")
    with pytest.raises(SiteInvalid, match="steps"):
        hashed("\n".join([token] * 30))


# --- what mutants of this module showed to be untested ------------------------------------------------------------


def test_bytes_that_are_no_text_are_refused_by_name_wherever_they_come_to() -> None:
    raw = b"\xff\x00".decode(errors=tokens.ESCAPED)
    for text in ("a <<secret:pw>>", tokens.wrap("to_json", "<<secret:pw>>"), tokens.wrap("quote", "<<secret:pw>>")):
        with pytest.raises(Terminal) as caught:
            tokens.bind(text, {"pw": raw})
        assert str(caught.value).startswith("the secret pw is no text") and caught.value.reason == "SecretUnwritable"
    assert tokens.bind("a <<secret:pw>>", {"pw": raw}, binary=True) == f"a {raw}"
    assert tokens.bind(tokens.wrap("b64encode", "<<secret:pw>>"), {"pw": raw}) == base64.b64encode(b"\xff\x00").decode()
    for operation in ("to_json", "quote", "bcrypt"):  # which make a text of it, whatever becomes of that
        with pytest.raises(Terminal, match="the secret pw, qw is no text"):
            tokens.bind(tokens.wrap(operation, "<<secret:qw>><<secret:pw>>"), {"pw": raw, "qw": "a"}, binary=True)


def test_a_dollar_in_a_password_belongs_to_it_and_each_password_has_its_own_hash() -> None:
    salt, found = "gVsVnZYBUrHyDmCQrXvXQu", []
    for word in ("a$b", "a", "b", "a$b"):
        found.append(tokens.bind(tokens.wrap("bcrypt", f"4${salt}$<<secret:pw>>"), {"pw": word}))
        assert bcrypt.checkpw(word.encode(), found[-1].encode())
    assert found[0] == found[3] and len(set(found)) == 3


def test_only_so_many_hashes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_HASHED", kept := dict[bytes, str]())
    monkeypatch.setattr(tokens, "_MOST_HASHED", 2)
    for number in range(5):
        tokens.bind(tokens.wrap("bcrypt", "4$gVsVnZYBUrHyDmCQrXvXQu$<<secret:pw>>"), {"pw": str(number)})
        assert 1 <= len(kept) <= 2


@pytest.mark.parametrize("text", ["4$gVsVnZYBUrHyDmCQrXvXQu", "3$gVsVnZYBUrHyDmCQrXvXQu$x", "13$gVsVnZYBUrHyDmCQrXvXQu$x", "four$gVsVnZYBUrHyDmCQrXvXQu$x"])  # fmt: skip
def test_what_is_no_bcrypt_is_refused(text: str) -> None:
    with pytest.raises(Terminal) as caught:
        tokens.bind(tokens.wrap("bcrypt", text + "<<secret:pw>>"), {"pw": ""})
    assert caught.value.reason == "SecretUnwritable"


def test_what_filters_make_on_the_way_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_BOUND", 1000)
    assert len(tokens.bind("<<secret:pw>>" * 2, {"pw": "x" * 1000})) == 2000
    with pytest.raises(Terminal) as caught:
        tokens.bind("<<secret:pw>>" * 3, {"pw": "x" * 1000})
    assert caught.value.reason == "LimitExceeded"
    with pytest.raises(Terminal, match="larger than"):  # small in the end, and large in between
        tokens.bind(tokens.wrap("hash-md5", "<<secret:pw>>" * 3), {"pw": "x" * 1000})


def test_an_identifier_that_cannot_be_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match=f"^'{'y' * 80}' is not how a registration is called"):
        tokens.identifier("y" * 100)
