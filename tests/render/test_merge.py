"""Merging as kolla-ansible does. Each case: the sources in order, and the whole text that comes out."""

from textwrap import dedent

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.errors import SiteInvalid
from reconciler.render import merge

INI = {
    "a later file replaces a key's whole list": (
        ["[DEFAULT]\na = 1\na = 2\nb = 3\n", "[DEFAULT]\na = 9\n"],
        "[DEFAULT]\na = 9\nb = 3\n\n",
    ),
    "repeats inside one file survive": (
        ["[s]\na = 1\n", "[s]\na = 2\na = 3\n"],
        "[s]\na = 2\na = 3\n\n",
    ),
    "an empty value stays empty": (
        ["[s]\na = 1\n", "[s]\na =\n"],
        "[s]\na =\n\n",
    ),
    "continuation lines stay under their value": (
        ["[s]\nkey = one\n  two\n\tthree\nother = 1\n"],
        "[s]\nkey = one\n      two\n      three\nother = 1\n\n",
    ),
    "a first line that is empty keeps its continuation": (
        ["[s]\nkey =\n  two\n"],
        "[s]\nkey = \n      two\n\n",
    ),
    "repeated sections merge": (
        ["[a]\nx = 1\n[b]\ny = 1\n[a]\nz = 1\n"],
        "[a]\nx = 1\nz = 1\n\n[b]\ny = 1\n\n",
    ),
    "new keys at the end of their section, new sections at the end": (
        ["[a]\nx = 1\n[b]\ny = 1\n", "[c]\nn = 1\n[a]\nw = 1\n"],
        "[a]\nx = 1\nw = 1\n\n[b]\ny = 1\n\n[c]\nn = 1\n\n",
    ),
    "a key keeps its place when it is replaced": (
        ["[a]\nx = 1\ny = 1\n", "[a]\nx = 2\n"],
        "[a]\nx = 2\ny = 1\n\n",
    ),
    "a key without a value": (
        ["[mysqld]\nskip-log-bin\nport = 1\n", "[mysqld]\nskip-name-resolve\n"],
        "[mysqld]\nskip-log-bin\nport = 1\nskip-name-resolve\n\n",
    ),
    "a key without a value may get one": (
        ["[mysqld]\nskip-log-bin\n", "[mysqld]\nskip-log-bin = 0\n"],
        "[mysqld]\nskip-log-bin = 0\n\n",
    ),
    "options before any section, also from a later file": (
        ["a = 1\n[s]\nb = 1\n", "c = 2\n"],
        "a = 1\nc = 2\n\n[s]\nb = 1\n\n",
    ),
    "options before any section only in the later file": (
        ["[s]\nb = 1\n", "c = 2\n"],
        "c = 2\n\n[s]\nb = 1\n\n",
    ),
    "comments and blank lines go": (
        ["# first\n[s] \n; second\na = 1\n\n\n#a = 2\n"],
        "[s]\na = 1\n\n",
    ),
    "a blank line ends a value": (
        ["[s]\na = 1\n\nb = 2\n"],
        "[s]\na = 1\nb = 2\n\n",
    ),
    "quotes around a value go, a colon assigns, the first sign counts": (
        ['[s]\na = "x y"\nb: 1\nc = k:v\nurl: a=b\n'],
        "[s]\na = x y\nb = 1\nc = k:v\nurl = a=b\n\n",
    ),
    "an empty section stays": (["[a]\n[b]\nx = 1\n"], "[a]\n\n[b]\nx = 1\n\n"),
    "case counts": (["[S]\nKey = 1\n[s]\nkey = 2\n"], "[S]\nKey = 1\n\n[s]\nkey = 2\n\n"),
    "Windows line ends": (["[s]\r\na = 1\r\n"], "[s]\na = 1\n\n"),
    "secret tokens pass": (
        ["[s]\nc = mysql://u:<<secret:pw>>@h/db\n", "[s]\nd = <<urlencode:YQ>>\n"],
        "[s]\nc = mysql://u:<<secret:pw>>@h/db\nd = <<urlencode:YQ>>\n\n",
    ),
    "nothing": ([""], ""),
}


@pytest.mark.parametrize("case", INI)
def test_ini(case: str) -> None:
    sources, expected = INI[case]
    assert merge.ini([(f"f{index}", text) for index, text in enumerate(sources)]) == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[s]\n[unfinished\n", 2, "does not end with"),
        ("[]\n", 1, "no name"),
        ("\n\n = 1\n", 3, "continues the option above"),
        ("[s]\n= 1\n", 2, "no name before"),
    ],
)
def test_ini_that_is_none(text: str, line: int, message: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        merge.ini([("config/x.conf", text)])
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("config/x.conf", line)
    assert message in problem.message


word = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
value = st.from_regex(r"|[A-Za-z0-9/:=,%{}$ ]{0,12}[A-Za-z0-9]", fullmatch=True).map(str.strip)
section = st.dictionaries(word, st.lists(value, min_size=1, max_size=3), max_size=4)
ini_file = st.dictionaries(word, section, max_size=4)


def write(content: dict[str, dict[str, list[str]]]) -> str:
    lines = []
    for name, options in content.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {text}" for key, texts in options.items() for text in texts]
    return "\n".join([*lines, ""])


@given(st.lists(ini_file, min_size=1, max_size=4))
@settings(max_examples=40)
def test_ini_properties(contents: list[dict[str, dict[str, list[str]]]]) -> None:
    sources = [(str(index), write(content)) for index, content in enumerate(contents)]
    merged = merge.ini(sources)
    assert merge.ini([("m", merged)]) == merged, "merging is idempotent"
    assert merge.ini([*sources, sources[-1]]) == merged, "the last one again changes nothing"
    wanted: dict[str, dict[str, list[str]]] = {}
    for content in contents:
        for name, options in content.items():
            wanted.setdefault(name, {}).update(options)
    assert read(merged) == wanted


def read(text: str) -> dict[str, dict[str, list[str]]]:
    result: dict[str, dict[str, list[str]]] = {}
    options: dict[str, list[str]] = {}
    for line in filter(None, text.split("\n")):
        if line.startswith("["):
            options = result.setdefault(line[1:-1], {})
        else:
            key, _, found = line.partition(" =")
            options.setdefault(key, []).append(found.removeprefix(" "))
    return result


YAML = {
    "mappings merge, lists are replaced": (
        ["a: {b: 1, l: [1, 2]}\nc: 1\n", "a: {l: [3], d: 4}\n"],
        {"a": {"b": 1, "l": [3], "d": 4}, "c": 1},
    ),
    "a mapping replaces a scalar and the other way round": (
        ["a: 1\nb: {x: 1}\n", "a: {x: 1}\nb: 2\n"],
        {"a": {"x": 1}, "b": 2},
    ),
    "an empty file adds nothing": (["a: 1\n", "# nothing\n"], {"a": 1}),
    "null replaces": (["a: {x: 1}\n", "a: null\n"], {"a": None}),
    "YAML 1.1, as the programs read it": (["a: yes\nb: 'yes'\nc: 0755\n"], {"a": True, "b": "yes", "c": 493}),
}


@pytest.mark.parametrize("case", YAML)
def test_yaml(case: str) -> None:
    sources, expected = YAML[case]
    text = merge.yaml_text([(f"f{index}", source) for index, source in enumerate(sources)])
    assert yaml.safe_load(text) == expected


def test_yaml_text_is_block_style_with_sorted_keys() -> None:
    text = merge.yaml_text([("a", "z: [1, {b: 2, a: 1}]\na: |\n  one\n  two\nlong: " + "word " * 60 + "\n")])
    assert text == dedent(f"""\
        a: |
          one
          two
        long: {("word " * 60).strip()}
        z:
        - 1
        - a: 1
          b: 2
        """)


def test_lists_can_be_extended() -> None:
    text = merge.yaml_text([("a", "l: [1]\n"), ("b", "l: [2]\n")], extend_lists=True)
    assert yaml.safe_load(text) == {"l": [1, 2]}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: [\n", 3, "not valid YAML"),
        ("- 1\n", 1, "not a YAML mapping"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is here twice"),
        ("a: &x [1]\nb: *x\n", 2, "aliases are not allowed"),
        ("a: !!python/object:os.system {}\n", 1, "constructor"),
        ("a: 1\nb: " + "[" * 1_000_000 + "]" * 1_000_000, 2, "nested deeper than 60 levels"),
    ],
)
def test_yaml_that_cannot_be_merged(text: str, line: int, message: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        merge.yaml_text([("config/good.yml", "a: 1\n"), ("config/x.yml", text)])
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("config/x.yml", line)
    assert message in problem.message


leaf = st.none() | st.booleans() | st.integers() | st.text("abc: #-'\"\n{", max_size=8)
tree = st.dictionaries(
    word, st.recursive(leaf, lambda t: st.lists(t, max_size=3) | st.dictionaries(word, t, max_size=3), max_leaves=6)
)


@given(tree, tree)
@settings(max_examples=40)
def test_yaml_properties(first: dict[str, object], second: dict[str, object]) -> None:
    sources = [("a", yaml.safe_dump(first)), ("b", yaml.safe_dump(second))]
    text = merge.yaml_text(sources)
    assert merge.yaml_text([("m", text)]) == text
    assert merge.yaml_text([*sources, sources[1]]) == text

    def merged(below: object, above: object) -> object:
        if isinstance(above, dict):
            base = below if isinstance(below, dict) else {}
            return {**base, **{key: merged(base.get(key), item) for key, item in above.items()}}
        return above

    assert yaml.safe_load(text) == merged(first, second)


_SIGNS = st.text(st.sampled_from(" -:#'\"{}[],&*!|>%@`?~=.\\/ab01\ty\n\u00e9\u2028\U0001f600"), max_size=14)
_WORDS = st.sampled_from(
    ["yes", "null", "~", "0o7", "012", "1e3", "2020-01-01", "<<secret:a>>", "x: <<secret:a>>", "a" * 200, "- " * 60]
)
_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _SIGNS | _WORDS,
    lambda part: st.lists(part, max_size=4) | st.dictionaries(_SIGNS | _WORDS, part, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(data=_DATA, sort=st.booleans())
@example(data={"": 1}, sort=True)
@example(data={"a": "\n"}, sort=True)
@example(data={"x" * 61: {"y" * 60: "z"}}, sort=False)
def test_nobody_sees_which_program_wrote_the_yaml(data: object, sort: bool) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(merge, "_Quick", merge._Dumper)
        expected = merge.dump(data, sort)
    assert merge.dump(data, sort) == expected


@settings(max_examples=100)
@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["a:", "b", "1", "0644", "1.10", "yes", "~", "null", "-", "[]", "{}", "'c'", "0x1f", "1_000"]
            ),
            max_size=4,
        ).map(" ".join),
        max_size=5,
    )
)
def test_what_a_file_says_is_spelled_the_same_by_both(words: list[str]) -> None:
    text = "".join(f"key{number}: {word}\n" for number, word in enumerate(words))
    try:
        found = merge.yaml_text([("x.yml", text)])
    except SiteInvalid:
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(merge, "_Quick", merge._Dumper)
        assert merge.yaml_text([("x.yml", text)]) == found
