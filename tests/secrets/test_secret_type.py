"""A Secret leaves through reveal() and through nothing else."""

import base64
import copy
import dataclasses
import html
import io
import json
import logging
import pickle
import pprint
import secrets
import shlex
import time
import traceback
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import jinja2
import pytest
import structlog
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.traceback import Traceback

from reconciler.secret import MASK, Redactor, Secret, conceal, leaves, redact, reveal

TEXT = secrets.token_hex(20)


@dataclasses.dataclass(frozen=True)
class Holder:
    name: str
    password: Secret


def _logged(secret: Secret) -> str:
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning("%s %r", secret, {"password": secret})
    return stream.getvalue()


def _structlogged(secret: Secret) -> str:
    lines = []
    for renderer in (structlog.processors.JSONRenderer(), structlog.dev.ConsoleRenderer(colors=False)):
        event = {"event": "login", "password": secret, "nested": {"p": [secret]}}
        lines.append(str(renderer(None, "info", event)))
    return "\n".join(lines)


def _traceback(secret: Secret) -> str:
    try:
        raise ValueError(f"cannot log in with {secret}", secret)
    except ValueError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        console = Console(file=io.StringIO(), width=200)
        console.print(Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True))
        assert isinstance(console.file, io.StringIO)
        return "".join(told.format()) + console.file.getvalue()


def _in_jinja(secret: Secret) -> str:
    template = jinja2.Environment(autoescape=True).from_string("{{ s }} {{ s ~ 'x' }} {{ s | string }} {{ [s] }}")
    return template.render(s=secret)


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        lambda s: f"{s} {s!r} {s:>20}",
        lambda s: "%s %r" % (s, s),  # noqa: UP031 - this way of formatting is what is tested
        lambda s: "{} {!s:^9}".format(s, s),  # noqa: UP032
        lambda s: repr({"p": [s], s: (s,)}),
        lambda s: pprint.pformat(Holder("x", s)),
        lambda s: repr(dataclasses.asdict(Holder("x", s))),
        lambda s: repr(copy.deepcopy({"p": [s]})) + repr(copy.copy(s)),
        lambda s: json.dumps({"p": s}, default=repr),
        _logged,
        _structlogged,
        _traceback,
        _in_jinja,
    ],
)
def test_text_made_of_a_secret_is_a_mask(show: Callable[[Secret], str]) -> None:
    shown = show(Secret(TEXT))
    assert TEXT not in shown
    assert MASK in shown


@pytest.mark.parametrize(
    "leave",
    [
        json.dumps,
        pickle.dumps,
        lambda s: pickle.dumps(Holder("x", s), protocol=2),
        lambda s: s.__reduce__(),
        lambda s: s.__getstate__(),
        yaml.safe_dump,
        yaml.dump,
        lambda s: "mysql://root:" + s,
        lambda s: s + "@host",
        lambda s: "".join(["a", s]),
        lambda s: b"x" + s,
        bytes,
        list,
        len,
        lambda s: s[0],
        lambda s: "a" in s,
        lambda s: sorted([s, Secret("b")]),
        lambda s: base64.b64encode(s),
        vars,
    ],
)
def test_what_would_let_a_secret_out_raises(leave: Callable[[Secret], object]) -> None:
    with pytest.raises((TypeError, yaml.YAMLError, AttributeError)) as caught:
        leave(Secret(TEXT))
    assert TEXT not in "".join(traceback.format_exception(caught.value))


def test_a_secret_is_a_value() -> None:
    one, same, other = Secret(TEXT), Secret(TEXT), Secret(TEXT + "x")
    assert one == same and hash(one) == hash(same) and len({one, same, other}) == 2
    assert one != other and one != TEXT
    assert copy.deepcopy(one) is one and copy.copy(one) is one
    assert one.reveal() == TEXT
    assert bool(one) and not bool(Secret(""))
    with pytest.raises(AttributeError):
        one.x = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        one._Secret__value = "y"  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="not int"):
        Secret(5)  # type: ignore[arg-type]


def test_conceal_and_reveal_keep_the_shape() -> None:
    plain = {"a": "x", "pair": {"private_key": "p", "public_key": None}, "list": ["1", "2"]}
    hidden = conceal(plain)
    assert [secret.reveal() for secret in leaves(hidden)] == ["x", "p", "1", "2"]
    assert hidden["pair"]["public_key"] is None
    assert reveal(hidden) == plain
    assert reveal(conceal({"n": 5, "t": True})) == {"n": "5", "t": "true"}


SPELLINGS: list[Callable[[str], str]] = [
    str,
    lambda s: f"mysql+pymysql://root:{quote(s, safe='')}@192.0.2.1/db",
    lambda s: f"?password={quote_plus(s)}&x=1",
    lambda s: json.dumps({"password": s}),
    lambda s: json.dumps({"password": s}, ensure_ascii=False),
    lambda s: repr(("password", s)),
    lambda s: html.escape(f"<p>{s}</p>"),
    lambda s: base64.b64encode(s.encode()).decode(),
    lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    lambda s: s.encode().hex(),
]


# What is quoted as the programs do that write it down.
QUOTINGS: list[Callable[[str], str]] = [
    *SPELLINGS[3:],
    shlex.quote,
    lambda s: json.dumps(json.dumps(s)),
    lambda s: "'" + s.replace("'", "''") + "'",
    lambda s: "'" + s.replace("\\", "\\\\").replace("'", "\\'") + "'",
    lambda s: '"' + s.replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'") + '"',
    lambda s: yaml.safe_dump(s, default_style='"', width=2**30).strip(),
    lambda s: s.encode().hex().upper(),
    lambda s: repr(s.encode()),
    lambda s: s.replace("$", "$$"),
]


@pytest.mark.parametrize("spell", SPELLINGS)
@pytest.mark.parametrize("text", [TEXT, "pä$$ w/ö&r=d+\"'\\<x>\t%", "aaaaaa", "abcabcabc"])
def test_every_spelling_is_found(spell: Callable[[str], str], text: str) -> None:
    spelled = spell(text)
    shown = redact(f"before {spelled} after", [Secret(text)])
    assert shown.startswith("before ") and shown.endswith(" after") and MASK in shown
    assert text not in shown
    for encoded in (quote(text, safe=""), base64.b64encode(text.encode()).decode(), json.dumps(text)[1:-1]):
        assert encoded not in shown


@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=9, max_size=60),
    user=st.text(max_size=9),
)
def test_a_basic_authorization_header_gives_nothing_away(secret: str, user: str) -> None:
    header = base64.b64encode(f"{user}:{secret}".encode()).decode()
    shown = redact(f"Authorization: Basic {header}", [Secret(secret)])
    left = shown.partition("Basic ")[2].replace(MASK, "")
    # What stays is the user and at most the characters that hold bits of both neighbours.
    assert MASK in shown and len(left) <= len(base64.b64encode(f"{user}:".encode())) + 4


@given(st.lists(st.text(min_size=6, max_size=30), max_size=8), st.lists(st.text(max_size=12), max_size=8), st.randoms())
@example(["x***yz", "abcdef"], ["x", "yz"], None)
@example(["******", "abcdef"], ["***"], None)
@example(["abcdef", "defghi"], ["abcdefghi"], None)
def test_no_secret_survives(values: list[str], others: list[str], random: object) -> None:
    pieces = [*values, *others, *others[:1], *values[:1]]
    if random is not None:
        random.shuffle(pieces)  # type: ignore[attr-defined]
    else:
        pieces = [*others[:1], *values[1:], *others[1:]]
    text = "".join(pieces)
    shown = redact(text, [Secret(value) for value in values])
    assert not [value for value in values if value in shown]
    if not any(value in text for value in values):
        assert len(shown) <= len(text)


@given(st.text(max_size=200), st.lists(st.text(max_size=2), max_size=5))
def test_the_shortest_secrets_and_foreign_texts_stay(text: str, short: list[str]) -> None:
    assert redact(text, [Secret(value) for value in short]) == text
    assert redact(text, []) == text


def test_a_short_secret_is_found_as_a_word_of_its_own() -> None:
    short = [Secret("pin"), Secret("ab-12"), Secret("***")]
    shown = redact("spinning pin: 'pin' (ab-12) ab-123 xab-12 *** p=pin&x", short)
    assert shown == "spinning ***: '***' (***) ab-123 xab-12 *** p=***&x"


def test_a_secret_that_is_cut_short_is_found() -> None:
    value = secrets.token_urlsafe(30)
    for end in ("", "…", "'", "...", "\n"):
        assert redact(f"near '{value[:20]}{end}", [Secret(value)]) == f"near '{MASK}{end}"
    assert value[:20] in redact(f"near '{value[:20]}{'x' * 9}", [Secret(value)])  # another word that begins alike


@given(st.text([*map(chr, range(32, 127)), "ä", "ß"], min_size=6, max_size=40), st.sampled_from(QUOTINGS))
def test_a_secret_is_found_however_programs_quote_it(value: str, quote: Callable[[str], str]) -> None:
    try:
        written = quote(value)
    except ValueError:
        return
    shown = redact(f"<{written}>", [Secret(value)])
    assert written.strip("'\"") not in shown or written.strip("'\"").strip() == "" or len(value.strip()) < 6


def test_lines_of_a_private_key_are_found_alone() -> None:
    lines = [secrets.token_urlsafe(48) for _ in range(4)]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])
    shown = redact(f"line 3: {lines[2]}\n-----BEGIN PRIVATE KEY-----", [Secret(key)])
    assert shown == f"line 3: {MASK}\n-----BEGIN PRIVATE KEY-----"


def test_parts_of_secrets_in_a_row_are_found_at_once() -> None:
    """Where one is cut short at what is masked itself, it is one, too."""
    value, other = f"K{secrets.token_hex(20)}", secrets.token_hex(20)
    assert redact(f"{value[:-1] * 5}{other}!", [Secret(value), Secret(other)]) == f"{MASK}!"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (f"K{TEXT}", f"K{TEXT}"[:-1]),
        (f"K{TEXT}", f"K{TEXT}"[:13]),
        ("a" * 3000, "a" * 2999 + "b"),
        ("x***x***", "x***"),
        ("pin", "pin***"),
    ],
)
def test_a_text_that_is_made_of_parts_costs_little(value: str, text: str) -> None:
    redactor, whole = Redactor([Secret(value)]), text * ((1 << 20) // len(text))
    started = time.process_time()
    shown = redactor(whole)
    assert time.process_time() - started < 2.0
    assert value[:13] not in shown and redactor(shown) == shown


def test_two_hundred_secrets_cost_milliseconds() -> None:
    values = [Secret(secrets.token_hex(20)) for _ in range(200)]
    redactor = Redactor(values)
    text = "a log line without any of them, of a usual length\n" * 200 + values[77].reveal()
    started = time.process_time()
    shown = redactor(text)
    assert time.process_time() - started < 0.25
    assert shown.endswith(MASK)
