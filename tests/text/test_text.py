"""What leaves the program: nothing that cannot be seen, whatever came in."""

import json
import unicodedata
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.text import encodable, json_text, printable

# Any code point at all, lone surrogates among them, with the harmful ones more often.
HARMFUL = "\n\r\t\0\x07\x08\x1b\x7f\x85\x9b\xad\u061c\u200b\u200d\u200e\u202e\u2028\u2029\u2066\ufeff\ufffe\uffff\ud800\udfff\ue000\U000e0001\U0010ffff\u3164\ufe0f"
texts = st.lists(
    st.one_of(
        st.sampled_from(HARMFUL),
        st.integers(0, 0x10FFFF).map(chr),
        st.sampled_from(["\x1b[31m", "\r\n", "é", "名", "\\"]),
    )
).map("".join)


def raw(text: str, allowed: str = "") -> list[str]:
    """The characters of a text that a screen would not show as themselves."""
    return [
        c for c in text if c not in allowed and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode 名前 ☂", "plain text, ünïcode 名前 ☂"),
        ("no-break\u00a0space and\u3000another", "no-break\u00a0space and\u3000another"),
        ("a\nb\r\nc\td", r"a\nb\r\nc\td"),
        ("\x1b[2J\x07\x9b", r"\x1b[2J\x07\x9b"),
        ("\ud800 and \udcff", r"\ud800 and \udcff"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("filler\u3164", r"filler\u3164"),
        ("blank\u2800", r"blank\u2800"),
        ("private\ue000 \uffff", r"private\ue000 \uffff"),
        (r"C:\new", r"C:\new"),
        ("", ""),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_lines_where_asked_for() -> None:
    assert printable("a\r\n\tb\x1b", keep_newlines=True) == "a\\r\n\tb\\x1b"


def test_a_limit_cuts_and_says_so() -> None:
    assert printable("abcdef", limit=6) == "abcdef"
    assert printable("abcdefg", limit=6) == "abcde…"
    assert printable("\x1b\x1b\x1b", limit=6) == r"\x1b\…"
    assert printable("abc", limit=1) == "…"


@given(texts)
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_shown_anywhere(text: str) -> None:
    line, block = printable(text), printable(text, keep_newlines=True)
    assert not raw(line) and len(line.splitlines()) <= 1
    assert not raw(block, "\n\t") and block.count("\n") == text.count("\n")
    assert printable(line) == line and printable(block, keep_newlines=True) == block
    assert len(printable(text, limit=20)) <= 20
    element = ElementTree.Element("case", name=line)
    element.text = block
    back = ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8"))
    assert back.get("name") == line and (back.text or "") == block


@given(texts)
@settings(max_examples=300, deadline=None)
def test_json_gives_every_text_back_that_utf8_can_hold(text: str) -> None:
    value = {"key " + text: [text, {"deep": text}], "n": 1}
    for indent in (None, 2):
        written = json_text(value, indent=indent)
        assert not raw(written, "\n") and (indent or "\n" not in written)
        back = json.loads(written.encode("utf-8"))
        if encodable(text):
            assert back == value
        else:
            assert encodable(back["key " + "".join(_out(c) for c in text)][0])


def _out(char: str) -> str:
    return f"\\u{ord(char):04x}" if unicodedata.category(char) == "Cs" else char


def test_json_without_numbers_that_json_has_not() -> None:
    assert json_text({"a": float("inf"), "b": [float("nan")], 3: (1,)}) == '{"a": "inf", "b": ["nan"], "3": [1]}'
    assert json_text({("a", 1): object}).startswith('{"(\'a\', 1)": "<class')


def test_encodable() -> None:
    assert encodable("plain") and encodable("\U0001f600") and not encodable("a\ud83d")
