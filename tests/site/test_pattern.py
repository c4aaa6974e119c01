"""Regular expressions mean what they mean to `re`, and nothing about them takes long."""

import re
import time

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reconciler.document import pattern

TEXTS = st.text(alphabet="abAB01_ -\n\t.é\u00a0ßЖ", max_size=14)
ASCII = st.text(alphabet="abAB01_ -\n\t.", max_size=14)

_ATOMS = st.sampled_from(
    ["a", "b", "A", "0", ".", "_", " ", r"\n", r"\.", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", "[ab]", "[^a]", r"[\w-]", r"[^\W\d_]", r"[\s\S]",
     r"[^\n]", r"[^\s]", r"[\W0]", "[a-c0-9]", "é", "[à-ÿ]", "^", "$", r"\A", r"\Z", "(?:)"]
)  # fmt: skip


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeated = st.tuples(
        inner.filter(lambda text: not re.search(r"[*+?}]\Z", text)),
        st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}"]),
    )
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join).map("(?:{})".format),
        inner.map("({})".format),
        inner.map("(?i:{})".format),
        inner.map("(?s:{})".format),
        repeated.map(lambda t: f"(?:{t[0]}){t[1]}"),
    )  # fmt: skip


PATTERNS = st.recursive(_ATOMS, _grown, max_leaves=6)


def _expected(source: str, flags: int) -> re.Pattern[str]:
    try:
        return re.compile(source, flags)
    except re.error:
        assume(False)
        raise


@given(PATTERNS, TEXTS, st.sampled_from([0, re.IGNORECASE, re.MULTILINE]))
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_first_match_is_that_of_re(source: str, text: str, flags: int) -> None:
    expected = _expected(source, flags)
    try:
        found = pattern.compile(source, flags)
    except pattern.PatternError as error:
        assume("may be empty is not the last" not in str(error))
        raise
    for mine, theirs in ((found.search(text), expected.search(text)), (found.match(text), expected.match(text))):
        assert (mine.spans[0] if mine else None) == (theirs.span() if theirs else None)
    assert found.groups == expected.groups


@pytest.mark.parametrize("source", ["(?:a?|b)*", "(?:(?:A|(?:)|0))*", "(?:A||0)+", "(x?(a|$|b))*"])
def test_what_re2_would_repeat_otherwise_is_refused(source: str) -> None:
    with pytest.raises(pattern.PatternError, match="put it last"):
        pattern.compile(source)


@pytest.mark.parametrize(
    ("source", "text"), [("(?:a|b?)*", "ab"), ("(?:a?|b){2}", "ab"), ("x(?:|-dev)", "x-dev"), ("(?:A(?:|0))*", "A0A")]
)
def test_what_is_alike_is_not(source: str, text: str) -> None:
    found, expected = pattern.compile(source).match(text), re.match(source, text)
    assert found and expected and found.spans[0] == expected.span()


@given(
    st.lists(
        st.sampled_from(["a", "b+", "[ab]", r"\d+", r"\w", "(a)", "(b|0)", "$", "^", r"\s+"]), min_size=1, max_size=4
    ),
    TEXTS,
)
@settings(max_examples=300, deadline=None)
def test_all_matches_are_those_of_re(parts: list[str], text: str) -> None:
    source = "".join(parts)
    expected = [match.span() for match in re.finditer(source, text)]
    assert [match.spans[0] for match in pattern.compile(source).finditer(text)] == expected


@given(ASCII, st.sampled_from([r"\1-\2", r"\g<one>\g<2>", r"\g<0>\n\t", r"\\1", r"a\.b", r"\0x", r"\101", r"\3"]))
@settings(max_examples=200, deadline=None)
def test_replacements_are_those_of_re(text: str, replacement: str) -> None:
    source = r"(?P<one>[ab])(\d|_)?"
    made = pattern.compile(source)
    try:
        expected = re.sub(source, replacement, text)
        re._parser.parse_template(replacement, re.compile(source))  # type: ignore[attr-defined]  # also without a match
    except re.error:
        with pytest.raises(pattern.PatternError):
            pattern.template(replacement, made)
        return
    pieces, end, result = pattern.template(replacement, made), 0, ""
    for match in made.finditer(text):
        result += text[end : match.spans[0][0]] + pattern.expand(pieces, match)
        end = match.spans[0][1]
    assert result + text[end:] == expected


@pytest.mark.parametrize(
    ("text", "start"), [("a", 0), ("a\n", 0), ("b\na\n", 2), ("a\nb", None), ("a\n\n", None), ("a\nb\na\n", 4)]
)
def test_the_dollar_knows_a_last_line_break(text: str, start: int | None) -> None:
    found = pattern.compile("a$").search(text)
    assert (found.spans[0][0] if found else None) == start == (m.start() if (m := re.search("a$", text)) else None)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("(?=a)", "look-around"), ("(?<!a)b", "look-around"), (r"(a)\1", "a back-reference"), ("(?P<x>a)(?P=x)", "a back-reference"),
        ("(a)?(?(1)b)", "a conditional group"), ("(?>a)", "an atomic group"), ("a++", "a possessive repetition"), ("[", "not valid"),
        ("(", "not valid"), ("a{1001}", "repeats more than"), ("((a{100}){100}){100}", "too large"), ("a" * 1001, "longer than"),
        ("(" * 50 + ")" * 50, "nested too deeply"), ("()" * 61, "more than 60 groups"), ("a{99999999999999999999}", "repeats|not valid"),
        ("(?L)a", "not valid"),
    ],
)  # fmt: skip
def test_what_cannot_be_matched_in_linear_time_is_refused(source: str, words: str) -> None:
    with pytest.raises(pattern.PatternError, match=words):
        pattern.compile(source)


def test_a_word_boundary_is_for_ascii() -> None:
    assert pattern.compile(r"\bb\b").search("a b c")
    with pytest.raises(pattern.PatternError, match="plain ASCII"):
        pattern.compile(r"\bb").search("é b")


@pytest.mark.parametrize(
    ("source", "text"),
    [("(a+)+$", "a" * 60 + "!"), ("^(a|a)*$", "a" * 60 + "!"), ("(.*a){20}b", "a" * 400), (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 90),
     ("(x+x+)+y", "x" * 500), (r"\s*\s*\s*\s*x", " " * 5000)],
)  # fmt: skip
def test_what_made_re_slow_is_quick(source: str, text: str) -> None:
    before = time.process_time()
    assert pattern.compile(source).search(text) is None
    assert time.process_time() - before < 1


def test_too_much_work_is_refused_before_it_is_done() -> None:
    spent: list[int] = []
    with pytest.raises(pattern.PatternError, match="too long for"):
        pattern.compile("(a|b)*a(a|b){300}c").search("ab" * 500_000, spent.append)
    with pytest.raises(pattern.PatternError, match="too long for"):
        list(pattern.compile("x(?:.*y)?").finditer("x" * 50_000, spent.append))
    assert 0 < sum(spent) <= 2 * pattern.MAX_WORK
