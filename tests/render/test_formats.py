"""Secrets with everything that means something in a file, read back by the programs that the files are for."""

import base64
import functools
import json
import re
import shlex
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oslo_config import cfg

from reconciler.document import yaml as strict
from reconciler.errors import Terminal
from reconciler.model import File
from reconciler.render import formats, tokens
from reconciler.render.formats import FORMATS, NAMES, write
from reconciler.secret import leaves, reveal
from reconciler.secrets.passwords import KINDS, PasswordSpec, make
from tests.services import golden

NASTY = [
    "abc#def", "abc def", 'a"b', "a'b", "\"a\"", "'a'", '"', "'", "a\\b", "a\\", "\\$x", "\\\\$x", "$x", "$$", "${x}", "%(x)s", "%s",
    "a$", " a", "a ", "a=b", "a:b", ": x", "- x", "#a", ";a", "[a]", "{a}", "a\tb", "!a", "&a", "*a", "@a", "`id`", "$(id)", "~", "~a",
    "null", "true", "yes", "on", "0123", "1e5", "12345678", "0x1F", "1_000", "2024-01-02", "1:30", "=", "<<", "a,b", "a\u00e4\u20ac",
    "\\n", "a\\nb", "x" * 300, "", "a\"'b#c\\d$e", "|", ">", "?", "a: b", "a #b", "1.5", ".5", "0o17", ".inf", "~null", "-", "--", "---",
    "a;b", "%YAML", "0b1", "12e03", "190:20:30", "\u00a0a", "a\u3000",
]  # fmt: skip
BROKEN = ["s3\nauth_url = x", "a\r\nb", "a\x00b", "a\x1bb", "a\u2028b", "a\x85b"]
VALUES = st.sampled_from([*NASTY, *BROKEN]) | st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0"),  # type: ignore[arg-type]
    max_size=30,  # type: ignore[arg-type]
)


def made(text: str, value: str, kind: str) -> str | None:
    """`text` with the value in the place of S; None when the format says that it has no spelling for it."""
    content = text.replace("S", str(tokens.SecretRef("pw")))
    try:
        return write(File("app/a.conf", content, format=kind), {"pw": value})
    except Terminal as error:
        assert error.reason == "SecretUnwritable"
        assert str(error).startswith("the secret pw cannot be written into app/a.conf") and "line " in str(error)
        assert len(value) < 8 or value not in str(error)
        return None


def oslo(text: str) -> str:
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt("password"), cfg.StrOpt("x", default="INTERPOLATED"), cfg.StrOpt("after")])
    namespace = cfg._Namespace(conf)
    cfg.ConfigParser._parse_file(_file(text), namespace)
    conf._namespace = namespace
    assert conf.after == "kept", text
    return str(conf.password)


_folder: list[Path] = []


def _file(text: str) -> str:
    path = _folder[0] / "a.conf"
    path.write_text(text, newline="")
    return str(path)


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    _folder[:] = [tmp_path_factory.mktemp("formats")]


def sh(text: str) -> str:
    return subprocess.run(["bash", "-c", text], capture_output=True, check=True).stdout.decode()


# Format, a file around the value, and the value as its program reads it.
READERS: dict[str, tuple[str, str, Callable[[str], str]]] = {
    "ini": ("ini", "[DEFAULT]\npassword = S\nafter = kept\n", oslo),
    "ini-part": ("ini", "[DEFAULT]\npassword = u:S@h\nafter = kept\n", lambda text: oslo(text)[2:-2]),
    "ini-end": ("ini", "[DEFAULT]\npassword = u:S\nafter = kept\n", lambda text: oslo(text)[2:]),
    "ini-tight": ("ini", "[DEFAULT]\npassword=S\nafter=kept\n", oslo),
    "json": ("json", '{"a": "S", "b": 1}', lambda text: json.loads(text)["a"]),
    "json-part": ("json", '{"a": "uSh"}', lambda text: json.loads(text)["a"][1:-1]),
    "yaml": ("yaml", "a: S\nb: 1\n", lambda text: both(text)["a"]),
    "yaml-list": ("yaml", "a:\n  - S\n  - b\n", lambda text: both(text)["a"][0]),
    "yaml-double": ("yaml", 'a: "u S h"\n', lambda text: both(text)["a"][2:-2]),
    "yaml-single": ("yaml", "a: 'u S h'\n", lambda text: both(text)["a"][2:-2]),
    "shell": ("shell", "printf %s S", sh),
    "shell-word": ("shell", "printf %s --pw=S", lambda text: sh(text)[5:]),
    "shell-double": ("shell", 'printf %s "u S h"', lambda text: sh(text)[2:-2]),
    "shell-single": ("shell", "printf %s 'u S h'", lambda text: sh(text)[2:-2]),
    "text": ("text", "S", str),
    "none": ("", "S\n", lambda text: text[:-1]),
}


def both(text: str) -> dict[str, str]:
    """What readers of YAML 1.1 and of 1.2 agree on."""
    old = yaml.safe_load(text)
    first = old["a"][0] if isinstance(old["a"], list) else old["a"]
    # A site may not hold U+0000, so its own reader has no say about that one.
    assert "\0" in first or strict.load(text.encode(), "a.yml").data == old, text
    return dict(old)


@pytest.mark.parametrize("which", READERS)
@settings(max_examples=80, deadline=None)
@given(value=VALUES)
@example(value="\\$x")
def test_what_is_written_is_what_is_read(which: str, value: str) -> None:
    kind, text, reader = READERS[which]
    if kind == "shell" and not value.isascii():
        value = value.encode("ascii", "replace").decode()
    found = made(text, value, kind)
    assert found is None or reader(found) == value, found


@pytest.mark.parametrize("which", READERS)
def test_most_values_can_be_written(which: str) -> None:
    kind, text, reader = READERS[which]
    for value in NASTY:
        found = made(text, value, kind)
        if found is not None:
            assert reader(found) == value, found
    assert sum(made(text, value, kind) is not None for value in NASTY) >= (0.85 * len(NASTY))


@pytest.mark.parametrize("kind", NAMES)
def test_a_line_end_forges_nothing(kind: str) -> None:
    for text in ("password = S\n", "password: u:S@h\n", "a S b", '"S"', "'S'"):
        for value in BROKEN[:2]:
            found = made(text, value, kind)
            if found is not None and kind not in ("shell",):
                assert found.count("\n") == text.count("\n") and "\r" not in found, (kind, found)


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in ("blank", "ssh_key")])
@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_generated_is_written_as_it_is(kind: str, format_: str) -> None:
    """The generators' letters are in no format's way: one list of what needs no quoting, and every generator keeps to it."""
    for _ in range(20):
        (secret,) = leaves(make(PasswordSpec("x", kind)))  # type: ignore[arg-type]
        value = secret.reveal()
        assert formats.PLAIN.fullmatch(value)
        for text in ("password = S\n", "a u:S b\n", '"S"', "'S'", "a:S\n"):
            found = made(text, value, format_)
            bare = format_ in ("json", "erlang") and '"' not in text  # values stand in quotes there
            number = format_ == "yaml" and re.fullmatch(r"[0-9][0-9a-f]*", value)
            assert found == text.replace("S", value) or bare or number, (format_, text, found)


def test_a_generated_key_pair_stands_alone_on_its_lines() -> None:
    pair = reveal(make(PasswordSpec("x", "ssh_key")))
    for kind in ("", "text"):
        assert made("S\n", pair["private_key"], kind) == pair["private_key"] + "\n"
    assert made("key = S\n", pair["private_key"], "") is None


def test_filters_and_formats_agree() -> None:
    value = 'a"b c$d\\'
    token = tokens.SecretRef("pw")

    def written(text: str, kind: str) -> str:
        return write(File("a", text, format=kind), {"pw": value})

    assert json.loads(written('{{"a": {}}}'.format(tokens.wrap("to_json", token)), "json")) == {"a": value}
    assert both(written(f"a: {tokens.wrap('to_json', token)}\n", "yaml")) == {"a": value}
    assert sh(written(f"printf %s {tokens.wrap('quote', token)}", "shell")) == value
    assert oslo(written(f"[DEFAULT]\npassword = x://u:{tokens.wrap('urlencode', token)}@h\nafter = kept\n", "ini")) == (
        "x://u:a%22b%20c%24d%5C@h"
    )
    encoded = base64.b64encode(value.encode()).decode()
    assert written(f"a {tokens.wrap('b64encode', token)} b", "") == f"a {encoded} b"
    for text, kind in (('{"a": "%s"}', "json"), ("'%s'", "shell")):
        with pytest.raises(Terminal, match="take them away"):
            written(text % tokens.wrap("to_json" if kind == "json" else "quote", token), kind)


def test_an_undeclared_format_asks_for_one() -> None:
    with pytest.raises(Terminal) as caught:
        write(File("app/a.conf", "password <<secret:pw>>\n"), {"pw": "abc#def"})
    assert "format: text" in str(caught.value) and caught.value.reason == "SecretUnwritable"
    assert (
        write(File("app/a.conf", "password <<secret:pw>>\n", format="text"), {"pw": "abc#def"}) == "password abc#def\n"
    )


# --- the files that ship ----------------------------------------------------------------------------------------------


@functools.cache
def _shipped() -> list[File]:
    hosts = [
        golden.desired("one_node", "aio"),
        golden.desired("three_nodes", "lb-2"),
        golden.desired("three_nodes", "ctl-a"),
    ]
    return [file for desired in hosts for file in desired.files if file.secrets]


def test_every_shipped_file_with_a_secret_says_how_it_quotes() -> None:
    for file in _shipped():
        for line in file.content.split("\n"):
            assert file.format or not tokens.names(line) or tokens.TOKEN.fullmatch(line.strip()), (file.path, line)


@pytest.mark.parametrize("value", NASTY)
def test_shipped_ini_and_json_hold_any_value(value: str) -> None:
    for file in _shipped():
        if file.format not in ("ini", "json"):
            continue
        try:
            text = write(file, dict.fromkeys(file.secrets, value))
        except Terminal as error:
            assert error.reason == "SecretUnwritable", file.path
            continue
        if file.format == "json":
            assert value in [user["password"] for user in json.loads(text)["users"]]
            continue
        conf = cfg.ConfigOpts()
        namespace = cfg._Namespace(conf)
        cfg.ConfigParser._parse_file(_file(text), namespace)
        conf._namespace = namespace
        conf.register_opt(cfg.StrOpt("password"), group="keystone_authtoken")
        conf.register_opt(cfg.StrOpt("connection"), group="database")
        if conf.keystone_authtoken.password is not None:
            assert conf.keystone_authtoken.password == value
        if conf.database.connection is not None:
            secret = re.search(r"://[^:]*:(.*)@", conf.database.connection)
            assert secret is not None and urllib.parse.unquote(secret[1]) == value


@pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")
def test_a_real_haproxy_takes_the_password_and_no_part_of_it(tmp_path: Path) -> None:
    """Every value a listener and a user of its own; the right password is let in, its beginning is not."""
    values = [
        value
        for value in NASTY
        if made("stats auth u:S", value, "haproxy") is not None and value.strip() and value.isascii()
    ]
    assert len(values) > 50
    text = "defaults\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n mode http\n"
    for number, value in enumerate(values):
        text += f"listen l{number}\n bind unix@{tmp_path}/{number}\n stats enable\n stats uri /\n"
        text += f" {made('stats auth u:S', value, 'haproxy')}\n"
    (tmp_path / "h.cfg").write_text(text)
    with subprocess.Popen(["haproxy", "-db", "-f", tmp_path / "h.cfg"]) as process:
        try:
            for number, value in enumerate(values):
                assert _login(tmp_path / str(number), value) == 200, value
                assert _login(tmp_path / str(number), value[:-1] or "x") == 401, value
        finally:
            process.terminate()


def _login(path: Path, password: str) -> int:
    token = base64.b64encode(f"u:{password}".encode()).decode()
    for _ in range(300):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            try:
                client.connect(str(path))
            except OSError:
                time.sleep(0.1)
                continue
            client.sendall(f"GET / HTTP/1.0\r\nAuthorization: Basic {token}\r\n\r\n".encode())
            return int(client.makefile("rb").readline().split()[1])
    raise AssertionError("haproxy did not start")


def test_shell_words_of_the_tests_are_what_bash_reads() -> None:
    assert sh("printf %s " + shlex.quote("a'b")) == "a'b"


def test_one_place_lists_the_letters_of_secrets() -> None:
    """A second list of what is allowed in a password would disagree with the first one day."""
    root = Path(formats.__file__).parents[2]
    lists = re.compile(r"ascii_letters|ascii_lowercase|abcdefghij|string\.printable|pwgen|(?i:letters and digits only)")
    sources = [
        *(root / "reconciler").rglob("*.py"),
        *(root / "services").rglob("*"),
        *(root / "site-example").rglob("*"),
    ]
    found = {
        path.relative_to(root).as_posix()
        for path in sources
        if path.is_file() and lists.search(path.read_text(errors="replace"))
    }
    assert found == {"reconciler/secrets/passwords.py"}
