"""The YAML reader: what it takes, what it refuses, and where it says things are."""

import json
import math
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.document import numbers, yaml
from reconciler.errors import SiteInvalid
from reconciler.text import printable


def problems(content: bytes) -> list[str]:
    with pytest.raises(SiteInvalid) as caught:
        yaml.load(content, "f.yml")
    return [str(problem) for problem in caught.value.problems]


# YAML 1.2's core schema, where PyYAML's own reader would say something else for most lines.
SCALARS: list[tuple[str, Any]] = [
    ("yes", "yes"),
    ("no", "no"),
    ("on", "on"),
    ("Off", "Off"),
    ("y", "y"),
    ("true", True),
    ("FALSE", False),
    ("tRue", "tRue"),
    ("22:22", "22:22"),
    ("1:30:00", "1:30:00"),
    ("0777", 777),
    ("0o777", 511),
    ("0xFF", 255),
    ("0b11", "0b11"),
    ("1_000", "1_000"),
    ("+12", 12),
    ("-0", 0),
    ("1e3", 1000.0),
    ("1.", 1.0),
    (".5", 0.5),
    ("1.5E-2", 0.015),
    ("2025.1", 2025.1),
    ("10.0.0.1", "10.0.0.1"),
    ("-", None),  # a list of one empty item
    ("2026-01-31", "2026-01-31"),
    ("~", None),
    ("", None),
    ("Null", None),
    ("none", "none"),
    ("=", "="),
    ("'8080'", "8080"),
    ('"true"', "true"),
    ("|\n  null", "null\n"),
    ("café", "café"),
    ("+", "+"),
    ("-.", "-."),
    ("0x", "0x"),
]


@pytest.mark.parametrize("text, value", SCALARS)
def test_scalars_are_those_of_the_core_schema(text: str, value: Any) -> None:
    data = yaml.load(f"a: {text}\n".encode(), "f.yml").data if text != "-" else {"a": None}
    assert data == {"a": value}
    assert type(numbers.plain(data["a"])) is type(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert str(data["a"]) == f"{data['a']}" == repr(data["a"]) == text


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"---\n", b"\xef\xbb\xbf", b"~"])
def test_empty_is_none(content: bytes) -> None:
    assert yaml.load(content, "f.yml").data is None


def test_byte_order_mark_is_taken() -> None:
    assert yaml.load(b"\xef\xbb\xbfa: 1\n", "f.yml").data == {"a": 1}


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"a: 1\nb: 2\na: 3\n", ["f.yml:3:1: the key 'a' is here twice (first on line 1)"]),
        (b"a: {b: 1, 'b': 2}\n", ["f.yml:1:11: the key 'b' is here twice (first on line 1)"]),
        (b"1: a\ntrue: b\n", [
            "f.yml:1:1: the key '1' is not a text (write \"1\":)",
            "f.yml:2:1: the key 'true' is not a text (write \"true\":)",
        ]),
        (b"a: &x 1\n", ["f.yml:1:4: the anchor &x is not allowed (write the value where it is used)"]),
        (b"a: !!python/object:os.system x\n", [
            "f.yml:1:4: the tag !!python/object:os.system is not allowed (quote a text that begins with !)"
        ]),
        (b"a: !vault x\n", ["f.yml:1:4: the tag !vault is not allowed (quote a text that begins with !)"]),
        (b"a: {{ b }}\n", ["f.yml:1:5: a list or mapping cannot be a key (quote an expression: \"{{ … }}\")"]),
        (b"a: \x07\n", ["f.yml:1:4: the character U+0007 is not allowed in YAML (remove it)"]),
        (b"a:\n  - b\n - c\n", ["f.yml:3:2: not valid YAML: while parsing a block mapping: did not find expected key"
            " (begin it in the column of the lines that it belongs to)"]),
        (b"a: .nan\n", ["f.yml:1:4: .nan is not a number that can be used (quote it if it is text)"]),
        (b"a: 1e999\n", ["f.yml:1:4: 1e999 is not a number that can be used (quote it if it is text)"]),
        (b"a: " + b"9" * 5000, ["f.yml:1:4: a number of so many digits is not allowed (quote it if it is text)"]),
        (b"a: " + b"9" * 21, ["f.yml:1:4: the number 999999999999999999999 is too large (quote it if it is text)"]),
        (b"a: 0x" + b"f" * 17, ["f.yml:1:4: the number 0xfffffffffffffffff is too large (quote it if it is text)"]),
        (b'a: "\\0"', ["f.yml:1:4: a text cannot hold U+0000 or half a surrogate pair (remove it)"]),
        (b'a: "\\ud800"', [
            "f.yml:1:7: not valid YAML: while parsing a quoted scalar: found invalid Unicode character escape code"
        ]),
        (b'"a\\n\\e[31m": 1', [
            "f.yml:1:1: the key 'a\\n\\x1b[31m' holds a character that cannot be seen (rename it)"
        ]),
        ("a\u200b: 1".encode(), ["f.yml:1:1: the key 'a\\u200b' holds a character that cannot be seen (rename it)"]),
        (b'? "' + b"k" * 1001 + b'"\n: 1', [
            f"f.yml:1:3: the key '{'k' * 79}…' is too long (rename it)"
        ]),
        (b"a: 1\n...\n---\nb: 1\n", ["f.yml:3:1: a second document begins here (one document per file)"]),
        ("ä: \"\0\"".encode(), ["f.yml:1:5: the character U+0000 is not allowed in YAML (remove it)"]),
        (b"a: \xff\n", ["f.yml:1:4: is not UTF-8 text (save the file in UTF-8)"]),
        ("a: 1\n".encode("utf-16"), ["f.yml:1:1: is UTF-16 text (save the file in UTF-8)"]),
    ],
)  # fmt: skip
def test_refusals(content: bytes, expected: list[str]) -> None:
    assert problems(content) == expected


@pytest.mark.parametrize(
    ("content", "place", "hint"),
    [
        (b"a: 1\nb:true\n", "2:1", "write `name: value`, with a space behind the colon"),
        (b"a: 1\nb:true\nc: 2\n", "2:1", "write `name: value`, with a space behind the colon"),
        (b"a:\n b: 1\n  c: 2\n", "3:4", "begin it in the column of the lines that it belongs to, or end the line above it with ':'"),
        (b"hosts\n  a: 1\n", "2:4", "begin it in the column of the lines that it belongs to, or end the line above it with ':'"),
        (b"- a\nb: 1\n", "2:1", "begin it in the column of the lines that it belongs to"),
        (b"a: x: y\n", "1:5", "quote a text that holds ': '"),
        (b'a: "{{ lookup("env") }}"\n', "1:16", "a text in quotes ends before this: use the other quotes inside it"),
        (b"a: - b\n", "1:4", "begin a list on a line of its own"),
        (b"a: {b: 1\nc: 2\n", "2:2", "close what line 1 opens with {"),
        (b"x: 1\na: 'b\nc: 1\n", "4:1", "close the quote of line 2"),
        (b"a: @b\n", "1:4", "quote a text that begins with @"),
        (b"a:\n\t- b\n", "2:1", "indent with spaces"),
        (b"a: *\n", "1:5", ""),
    ],
)  # fmt: skip
def test_errors_of_syntax_say_what_to_change(content: bytes, place: str, hint: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        yaml.load(content, "f.yml")
    (only,) = caught.value.problems
    assert (f"{only.line}:{only.column}", only.hint) == (place, hint)


def test_bombs_are_refused_quickly() -> None:
    laughs = b"a: &a [x, x]\n" + b"".join(
        b"%c: &%c [*%c, *%c]\n" % (name, name, name - 1, name - 1) for name in range(ord("b"), ord("z"))
    )
    assert any("alias" in problem for problem in problems(laughs))
    assert problems(b"[" * 100_000) == ["f.yml:1:60: is nested deeper than 60 levels"]
    assert problems(b"{a: " * 100_000) == ["f.yml:1:237: is nested deeper than 60 levels"]
    assert problems(b"a: '" + b"x" * yaml.MAX_BYTES + b"'") == ["f.yml:1:1: is larger than 8 MiB (split it)"]


def test_what_is_too_much_is_refused_where_it_is() -> None:
    assert problems(b"- 1\n" * 100_000) == ["f.yml:100000:3: has more than 100000 values (split the file)"]
    assert yaml.load(b"- 1\n" * 99_999, "f.yml").values == 100_000


TOO_DEEP = ["f.yml:1:60: is nested deeper than 60 levels"]


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"[" * 59 + b"1" + b"]" * 59, None),
        (b"[" * 60 + b"1" + b"]" * 60, TOO_DEEP),
        # The parser looks ahead, so what it meets there must not be told instead.
        (b"[" * 70 + b"@", TOO_DEEP),
        (b"[" * 70 + b"'abc", TOO_DEEP),
        (b"[" * 2_000 + b'"\\q"', TOO_DEEP),
        (b"[" * 1_000_000, TOO_DEEP),
        (b"[" * 50 + b"@", [
            "f.yml:1:51: not valid YAML: while scanning for the next token: found character that cannot start any token "
            "(quote a text that begins with @)"
        ]),
        (b"[\n" * 2_000, ["f.yml:60:1: is nested deeper than 60 levels"]),
        (b"- " * 2_000, ["f.yml:1:119: is nested deeper than 60 levels"]),
        (b"? " * 2_000, ["f.yml:1:119: is nested deeper than 60 levels"]),
        (b"".join(b" " * depth + b"a:\n" for depth in range(2_000)), ["f.yml:60:60: is nested deeper than 60 levels"]),
        (b"'" + b"[" * 100 + b"'", None),
        (b"# " + b"[" * 100, None),
    ],
)  # fmt: skip
def test_depth_is_bounded_before_the_parser_bounds_it(content: bytes, expected: list[str] | None) -> None:
    if expected is None:
        yaml.load(content, "f.yml")
    else:
        assert problems(content) == expected


def test_no_more_problems_than_anybody_reads() -> None:
    assert len(problems(b"a: &x 1\n" + b"".join(b"k%d: *x\n" % number for number in range(1000)))) == yaml.MAX_PROBLEMS


def test_places_are_those_of_the_text() -> None:
    document = yaml.load(b"a:\n  b: [1, {c: two}]\n\nd: |\n  text\n'e f': 3\n", "f.yml")
    places = {
        (): (1, 1),
        ("a",): (2, 3),
        ("a", "b"): (2, 6),
        ("a", "b", 0): (2, 7),
        ("a", "b", 1, "c"): (2, 14),
        ("d",): (4, 4),
        ("e f",): (6, 8),
        ("a", "b", 1, "missing", "deeper"): (2, 10),
        ("a", "b", 7): (2, 6),
    }
    for path, (line, column) in places.items():
        assert document.place(path) == yaml.Place("f.yml", line, column), path
    assert document.place(("a",), key=True) == yaml.Place("f.yml", 1, 1)
    assert document.place(("a", "b", 1, "c"), key=True) == yaml.Place("f.yml", 2, 11)
    assert document.place(("e f",), key=True) == yaml.Place("f.yml", 6, 1)
    assert str(document.place(("d",))) == "f.yml:4:4"


def test_columns_count_characters_not_bytes() -> None:
    assert yaml.load("{ä: 1, b: 2}\n".encode(), "f.yml").place(("b",)).column == 11


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
names = texts.map(printable)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(names, children, max_size=4),
    max_leaves=20,
)


class Dumper(pyyaml.SafeDumper):
    """PyYAML's writer without anchors, and with quotes round every text: its plain scalars are YAML 1.1."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@given(plain)
def test_what_is_written_is_read_again(value: Any) -> None:
    text = pyyaml.dump(value, Dumper=Dumper, allow_unicode=True, sort_keys=False)
    result = yaml.load(text.encode(), "f.yml").data
    assert result == value
    # JSON tells integers from floats, and writes both without their spelling.
    assert json.dumps(result).replace("-0.0", "0.0") == json.dumps(value).replace("-0.0", "0.0")


@given(st.dictionaries(names, st.integers(0, 9), min_size=1, max_size=5), st.data())
def test_a_key_is_never_taken_twice(mapping: dict[str, int], data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(sorted(mapping)))
    text = "".join(
        pyyaml.dump({key: value}, Dumper=Dumper, allow_unicode=True) for key, value in [*mapping.items(), (again, 0)]
    )
    assert [problem for problem in problems(text.encode()) if "is here twice" in problem]


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_anything_is_read_or_refused(content: bytes) -> None:
    try:
        data = yaml.load(content, "f.yml").data
    except SiteInvalid as error:
        assert error.problems
    else:
        assert not isinstance(data, float) or math.isfinite(data)
