"""What a stranger may send, by kind: a grammar that makes it, and what the program does with it.

A kind's `make` follows one random source, so a seed, or the bytes of a coverage-guided fuzzer (`guided.py`), give the same input
again. `meet` gives what came of it: `refused: …` or `harmless: …`; whatever it raises is a defect. What is of no harm is no part of
the corpus (`corpus.py`).
"""

import functools
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pygit2

from reconciler import errors
from reconciler.document import pattern
from reconciler.errors import Problem, SiteInvalid
from reconciler.git import tree
from reconciler.render import World, render
from reconciler.render.operations import FILTERS, TESTS
from reconciler.report import signed
from reconciler.review import note as note_of
from reconciler.review import page as page_of
from reconciler.review.types import Review
from reconciler.secrets import sops
from reconciler.source import prepare
from reconciler.web import message
from tests.fuzz import http_requests, test_templates
from tests.fuzz.mutate import BYTES, KEYS, SCALARS
from tests.render.sites import make_site
from tests.review.gitlab_markdown import acted_on
from tests.support import sealed

_LARGEST = 6000  # bytes that an input of the corpus has at most


@dataclass(frozen=True)
class Kind:
    """`make`: an input, of at most some thousand bytes. `meet`: what the program says of it."""

    make: Callable[[Random], bytes]
    meet: Callable[[bytes], str]


class Choices(Random):
    """A random source that is somebody's bytes; nought when they are used up."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data, self._at = data, 0

    def getrandbits(self, count: int) -> int:
        size = (count + 7) // 8
        found = self._data[self._at : self._at + size].ljust(size, b"\0")
        self._at += size
        return int.from_bytes(found) >> (size * 8 - count)

    def random(self) -> float:
        return self.getrandbits(16) / 65536


def _refused(error: errors.ReconcilerError) -> str:
    if error.reason == "InternalError":
        raise error
    said = "\n".join(map(str, error.problems)) if isinstance(error, SiteInvalid) else str(error)
    return f"refused: {error.reason}: {said}"


# --- YAML -------------------------------------------------------------------------------------------------------------


def _scalar(source: Random) -> str:
    value = source.choice(SCALARS)
    shown = repr(value) if not isinstance(value, str) else value
    return source.choice((shown, json.dumps(shown), f"'{shown}'", f"!!{source.choice(('str', 'int', 'binary', 'python/object:os.system', 'set'))} {shown}", f"&a {shown}", "*a"))  # fmt: skip


def _node(source: Random, depth: int) -> str:
    kind = source.randrange(9 if depth else 4)
    pad = " " * source.choice((0, 1, 2, 2, 2, 4, 8))
    if kind < 4:
        return _scalar(source)
    if kind == 4:
        return "[" + ", ".join(_node(source, depth - 1) for _ in range(source.randrange(5))) + source.choice("]]]]}")
    if kind == 5:
        return "{" + ", ".join(f"{_key(source)}: {_node(source, depth - 1)}" for _ in range(source.randrange(4))) + "}"
    if kind == 6:
        return "".join(f"\n{pad}- {_node(source, depth - 1)}" for _ in range(1 + source.randrange(3)))
    if kind == 7:
        block = "\n".join(pad + _scalar(source) for _ in range(source.randrange(4)))
        return source.choice(("|", ">", "|+", ">-", "|9", "|-2")) + f"\n{block}"
    return "".join(f"\n{pad}{_key(source)}: {_node(source, depth - 1)}" for _ in range(1 + source.randrange(3)))


def _key(source: Random) -> str:
    key = source.choice((*KEYS, "<<", "? a", "!!str a", "&k a", "*k", "[a]", "{a: b}", "enable_web", "site_a"))
    return source.choice((key, json.dumps(key)))


def _yaml(source: Random) -> bytes:
    head = source.choice(
        ("", "", "", "%YAML 1.1\n---\n", "--- ", "---\n...\n---\n", "\ufeff", "%TAG ! tag:x,2000:\n--- ")
    )
    repeat = source.choice((1, 1, 1, 2, 70, 400))
    open_, close = source.choice((("[", "]"), ("{a: ", "}"), ("- ", ""), ("&a [", "]"), ("? ", "")))
    text = head + "".join(f"{_key(source)}: {_node(source, 4)}\n" for _ in range(1 + source.randrange(4)))
    if repeat > 1:
        text += f"deep: {open_ * repeat}{_scalar(source)}{close * repeat}\n"
    data = text.encode("utf-8", "surrogatepass")
    return _bent(data, source)


def _bent(data: bytes, source: Random) -> bytes:
    """Now and then something that no grammar has."""
    for _ in range(source.choice((0, 0, 0, 1, 1, 2))):
        at = source.randrange(len(data) + 1)
        data = data[:at] + source.choice(BYTES) + data[at:]
    return data[:_LARGEST]


def _met_yaml(data: bytes) -> str:
    return _met_site({"globals.yml": data})


SITE = {
    "inventory.yml": b"hosts: {web1: {addresses: {network: 10.0.0.1}, groups: [web]}}\ngroups: {web: {}}\n",
    "globals.yml": b"enable_openstack_core: false\nkolla_internal_vip_address: 10.0.0.250\n",
}


def _met_site(files: dict[str, bytes]) -> str:
    try:
        site = prepare.load({**SITE, **files})
        for host in list(site.hosts)[:2]:
            render(site, host, "0" * 40)
    except errors.ReconcilerError as error:
        return _refused(error)
    return "harmless: a valid site"


# --- Jinja ------------------------------------------------------------------------------------------------------------

_ATTRIBUTES = ("__class__", "__globals__", "__init__", "__mro__", "__subclasses__", "__self__", "__func__", "_world", "mro", "gi_frame", "f_globals", "format", "owner", *test_templates.NAMES)  # fmt: skip
_LARGE = ("9 ** 9 ** 9", "'x' * 99999999", "range(99999999)", "[0] * 9999999", "'%99999999d' % 1", "'{:>99999999}'.format(1)", "2 ** 99999", "'a' | center(99999999)", "([1] * 9999) | join('x' * 9999)")  # fmt: skip


def _expression(source: Random, depth: int) -> str:
    if not depth or source.random() < 0.15:
        return source.choice((*test_templates.ATOMS, *_LARGE))
    a, b = _expression(source, depth - 1), _expression(source, source.randrange(depth))
    kind = source.randrange(12)
    filters, tests = sorted(FILTERS), sorted(t for t in TESTS if t.isidentifier())
    return (
        f"({a}).{source.choice(_ATTRIBUTES)}", f"({a})['{source.choice(_ATTRIBUTES)}']", f"({a} | attr('{source.choice(_ATTRIBUTES)}'))",
        f"({a} | {source.choice(filters)}({b}))", f"({a} | {source.choice(('map', 'select', 'reject', 'sort', 'groupby', 'sum'))}(attribute={b}))",
        f"({a} is {source.choice(tests)}({b}))", f"({a})({b})", f"({a} {source.choice(test_templates.OPERATORS)} {b})", f"({a})[{b}:]",
        f"({a} | {source.choice(('nosuch', 'import', 'pprint', 'shell', 'pipe'))})", f"lookup('{source.choice(('file', 'env', 'pipe', 'url', 'password', 'template'))}', {b})",
        f"({a} | map('{source.choice(filters)}', {b}) | list)",
    )[kind]  # fmt: skip


def _jinja(source: Random) -> bytes:
    a, b = _expression(source, 4), _expression(source, 3)
    text = source.choice((
        f"{{{{ {a} }}}}", f"{{% for x in {a} %}}{{% for y in {b} %}}{{{{ x }}}}{{% endfor %}}{{% endfor %}}", f"{{% set x = {a} %}}{{{{ x ~ x ~ {b} }}}}",
        f"{{% macro m(n) %}}{{{{ m(n) }}}}{{{{ {a} }}}}{{% endmacro %}}{{{{ m({b}) }}}}", f"{{% for x in {a} recursive %}}{{{{ loop({b}) }}}}{{% endfor %}}",
        f"{{% include {a} %}}", f"{{% import {a} as i %}}{{{{ i.x }}}}", f"{{% extends {a} %}}", f"{{% block x %}}{{{{ self.x() }}}}{{{{ {a} }}}}{{% endblock %}}",
        f"{{% call({b}) {a} %}}x{{% endcall %}}", f"{{% if {a} %}}{{{{ {b} }}}}", f"{{{{ {a} }}}}{{% {b} %}}", f"{{% set ns = namespace(a={a}) %}}{{% for i in range(9999) %}}{{% set ns.a = ns.a ~ ns.a %}}{{% endfor %}}",
        "{{ " + source.choice(("-", "not ", "(", "[", "{", "1 + ", "'a' ~ ", "1 if 0 else ")) * source.choice((5, 400, 1500)) + f"{a} }}}}",
        f"{{% do {a} %}}", f"{{% debug %}}{{{{ {a} }}}}", f"{{% trans %}}{{{{ {a} }}}}{{% endtrans %}}", f"{{% autoescape {a} %}}{{% endautoescape %}}",
    ))  # fmt: skip
    return text.encode("utf-8", "surrogatepass")[:_LARGEST]


@functools.cache
def _world() -> World:
    variables = """
    listed: {description: A list., type: array, default: [1, "{{ mapped.a }}", 3]}
    mapped: {description: A mapping., type: object, default: {a: 1}}
    """
    return World(make_site({}, variables=variables))


def _met_jinja(data: bytes) -> str:
    kind, said, _, _ = test_templates.outcome(data.decode(errors="replace"), _world())
    return f"harmless: {len(said)} characters" if kind == "text" else f"refused: {said}"


# --- trees of Git ------------------------------------------------------------------------------------------------------

_BLOB, _TREE = b"B" * 20, b"T" * 20  # stand for objects that are there
_MODES = (b"100644", b"100755", b"40000", b"120000", b"160000", b"100664", b"040000", b"100600", b"104755", b"0", b"", b"100644 ", b"-1", b"\xff", b"777777777777", b"4000", b"020000")  # fmt: skip
_PARTS = (b"globals.yml", b"services", b".git", b".GIT", b"git~1", b"GIT~12", b".git ", b".git.", b".git::$DATA", "\u200c.git".encode(), b"..", b".", b"", b"a/b", b"a\\b", b"C:", b"con", b"x\n", b"\x1b[2J", b"\x7f", b"\xff\xfe", "e\u0301".encode(), "é".encode(), "\u202ex".encode(), b"n" * 256, b"A", b"a", "ａ".encode(), b"-rf", b"inventory.yml", "\ud7ff\uffff".encode())  # fmt: skip


def _tree(source: Random) -> bytes:
    rows = []
    for _ in range(source.choice((1, 2, 2, 3, 8, 60))):
        name = source.choice(_PARTS) + source.choice((b"", b"", b"", b"\0", source.choice(_PARTS), b" ", b"."))
        mode = source.choice((b"100644", b"40000", *_MODES))
        identity = source.choice(
            (_TREE if mode in (b"40000", b"040000") else _BLOB, _BLOB, _TREE, b"\0" * 20, source.randbytes(20))
        )
        rows.append(mode + b" " + name + b"\0" + identity)
    if source.random() < 0.5:
        rows.sort(key=lambda row: row.partition(b" ")[2])
    data = b"".join(rows)
    return data[: source.randrange(len(data) + 1)] if source.random() < 0.15 else _bent(data, source)


@functools.cache
def _repository() -> tuple[Path, Any, bytes, bytes]:
    folder = Path(tempfile.mkdtemp(prefix="reconciler-fuzz-"))
    repo = pygit2.init_repository(folder, bare=True)
    blob = repo.create_blob(b"a: 1\n")
    builder = repo.TreeBuilder()
    builder.insert("x.yml", blob, 0o100644)
    return folder, repo, blob.raw, builder.write().raw


def forget() -> None:
    """Remove what kinds keep on the disk."""
    if _repository.cache_info().currsize:
        import shutil

        shutil.rmtree(_repository()[0], ignore_errors=True)
        _repository.cache_clear()


def _met_tree(data: bytes) -> str:
    folder, repo, blob, whole = _repository()
    top = repo.odb.write(pygit2.enums.ObjectType.TREE, data.replace(_BLOB, blob).replace(_TREE, whole))
    who = b"x <x@example.org> 1700000000 +0000"
    commit = repo.odb.write(
        pygit2.enums.ObjectType.COMMIT, b"tree %s\nauthor %s\ncommitter %s\n\nx\n" % (str(top).encode(), who, who)
    )
    try:
        found = tree.read(folder, str(commit))
    except errors.ReconcilerError as error:
        return _refused(error)
    for name in found:
        assert not {"", ".", "..", ".git"} & {part.lower() for part in name.split("/")}, name
    return "harmless: plain files"


# --- regular expressions -----------------------------------------------------------------------------------------------

_PIECES = ("a", "b", ".", "\\w", "\\d", "\\s", "[a-z]", "[^a]", "(a|b)", "(a|aa)", "(?:a|a?)", "\\b", "^", "$", "(?=a)", "(?!a)", "(?<=a)", "(?<!b)", "(a)\\1", "(?P<n>a)(?P=n)", "(?>a)", "(?(1)a|b)", "\\Z", "\\A", "é", "\\x00", "[[:alpha:]]", "(?i)", "(?x)", "\\p{L}", "(", ")", "[", "\\", "{", "\\N{DIGIT ONE}", "(?#x)", "[a-\\d]", "(?P<1>a)")  # fmt: skip
_REPEATS = (
    "",
    "",
    "*",
    "+",
    "?",
    "*?",
    "+?",
    "*+",
    "++",
    "{1000}",
    "{0,1000}",
    "{99999}",
    "{3,1}",
    "{,}",
    "**",
    "{1000}{1000}",
)


def _regex(source: Random) -> bytes:
    def make(depth: int) -> str:
        parts = [
            (f"({make(depth - 1)})" if depth and source.random() < 0.5 else source.choice(_PIECES))
            + source.choice(_REPEATS)
            for _ in range(1 + source.randrange(4))
        ]
        return source.choice(("", "", "|")).join(parts)

    text = make(source.choice((1, 2, 4, 6)))
    if source.random() < 0.1:
        text = source.choice(("(", "[", "(?:", "a?", "(a*)")) * source.choice((90, 300, 1200)) + text
    return text.encode()[:2000]


def _met_regex(data: bytes) -> str:
    for text in ("a" * 30, "a" * 3000 + "!", "ab" * 20_000, "é\n" * 50):
        try:
            compiled = pattern.compile(data.decode(errors="replace"))
            compiled.search(text)
            sum(1 for _ in compiled.finditer(text))
        except pattern.PatternError as error:
            return f"refused: {error}"
    return "harmless: linear"


# --- what people read: notes and pages ---------------------------------------------------------------------------------

_MARKS = ("/close", "\n/merge\n", "/approve\n", "@all", "@root", "#1", "!1", "~bug", "%x", "$1", "&1", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<!-- reconciler review of x -->", "</code>", "</details>", "</td></tr></table>", "<a href='javascript:x'>", "![x](http://evil.example/x.png)", "[x](javascript:alert(1))", "`", "```", "~~~", "````\n", "|", "\n| a | b |\n|---|---|\n", "\n---\n", "# x", "\n> x", "&lt;", "&#x3c;script&#x3e;", "\u202e", "\u2028", "\x1b[2J", "\x00", "\r", "\t", "\ud800", ":tada:", "[[_TOC_]]", "{{x}}", "GL-1", "deadbeefdeadbeef", "http://evil.example", "www.evil.example", "x@evil.example", "\\", "*", "_", "'", '"', "\" onload=\"x", "<style>*{}</style>", "<svg/onload=x>", "<base href=//x>", "<meta http-equiv=refresh content=0>", "<iframe srcdoc=x>", "${x}", "</script>", "<![CDATA[", "]]>", "%0a/close", "\n\n    /close", "x\n***\n/close")  # fmt: skip


def _marks(source: Random) -> bytes:
    return "".join(source.choice(_MARKS) * source.choice((1, 1, 1, 2, 40)) for _ in range(1 + source.randrange(9))).encode("utf-8", "surrogatepass")[:_LARGEST]  # fmt: skip


def _reviews(data: bytes) -> Sequence[Review]:
    text = data.decode("utf-8", "surrogateescape")
    problem = Problem(text, 1, 1, text, text)
    return (
        Review(site=text, base=text, head=text, problems=(problem,), warnings=(problem,)),
        Review(site=text, base=text, head=text, failure=text, hosts=(text,), path=text),
        Review(site="s", base="b", head="h", hosts=(text,), joined=(text,), left=(text,), rotated={text: (text,)}, lighter={text: (text,)}, upgrades={text: (text,)}, warnings=(problem,), base_problems=(problem,)),
    )  # fmt: skip


def _met_note(data: bytes) -> str:
    for review in _reviews(data):
        shown = note_of(review)
        assert acted_on(shown) == [], acted_on(shown)
        shown.encode()
    return "refused: shown as text"


class _Shape(HTMLParser):
    """Which elements and attributes a page has: the texts in it must not change them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, ...]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs)))
        for name, value in attrs:
            assert not name.startswith("on") and not (name in ("href", "src", "action") and re.match(r"\s*(javascript|data|https?|//)", value or "", re.IGNORECASE)), (tag, name, value)  # fmt: skip

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("/", tag))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment",))


def _met_page(data: bytes) -> str:
    for review, plain in zip(_reviews(data), _reviews(b"x"), strict=True):
        shown = page_of(review)
        shown.encode()
        assert set(_Shape(shown).found) <= set(_Shape(page_of(plain)).found) | _OURS, set(_Shape(shown).found) - set(
            _Shape(page_of(plain)).found
        )
    return "refused: shown as text"


_OURS: set[tuple[str, ...]] = {("br",), ("wbr",)}


# --- names ------------------------------------------------------------------------------------------------------------

_NAMES = ("", ".", "..", "a/b", "../x", "/etc", "-x", "--help", "a b", "a\nb", "a\0b", "\x1b[2J", "\u202ex", "é", "e\u0301", "ａ", "x" * 300, "x\ty", "a'b", 'a"b', "a`b", "$(id)", "{{ x }}", "{% x %}", "<b>", "@all", "all", "*", "%s", "~", "null", "1", "1.5", "yes", "CON", ".git", "a:b", "a,b", "a=b", "a;b", "a|b", "a&b", "\ufeff", "\ud7ff", "localhost", "web1.", "WEB1", "web1")  # fmt: skip


def _names(source: Random) -> bytes:
    def name() -> str:
        return source.choice(_NAMES) + source.choice(("", "", "", source.choice(_NAMES), "x"))

    where = source.choice(("host", "group", "member", "file", "service", "container", "variable", "network", "password", "override", "window", "label"))  # fmt: skip
    return json.dumps([where, name(), name()]).encode()


def named(data: bytes) -> dict[str, bytes]:
    """The files of a site that has the names of an input in a place that it says."""
    where, name, other = json.loads(data)
    quoted, second = json.dumps(name), json.dumps(other)
    service = "services/own/service.yml"
    files = {
        "host": {"inventory.yml": f"hosts: {{{quoted}: {{addresses: {{network: 10.0.0.1}}}}, {second}: {{addresses: {{network: 10.0.0.2}}}}}}\n"},
        "group": {"inventory.yml": f"hosts: {{web1: {{addresses: {{network: 10.0.0.1}}, groups: [{quoted}]}}}}\ngroups: {{{quoted}: {{children: [{second}]}}, {second}: {{}}}}\n"},
        "member": {"inventory.yml": f"hosts: {{web1: {{addresses: {{network: 10.0.0.1}}, groups: [{quoted}]}}}}\ngroups: {{web: {{hosts: [{second}]}}}}\n"},
        "file": {f"hosts/{name}.yml": "site_a: 1\n", f"config/{other}": "x"},
        "service": {f"services/{name}/service.yml": f"description: {second}\nrequires: [{second}]\n"},
        "container": {service: f"description: x\ngroups: {{own: []}}\ncontainers: {{{quoted}: {{group: own, image: {second}, command: x}}}}\n"},
        "variable": {service: "description: x\n", "services/own/variables.yml": f"{{{quoted}: {{description: x, type: string, default: {second}}}}}\n", "globals.yml": f"{quoted}: {second}\n"},
        "network": {"inventory.yml": f"hosts: {{web1: {{addresses: {{{quoted}: {second}}}}}}}\n"},
        "password": {service: f"description: x\npasswords: {{{quoted}: {{kind: {second}}}}}\n"},
        "override": {service: f"description: x\ngroups: {{own: []}}\ncontainers: {{own: {{group: own, image: x, command: x, files: [{{name: {quoted}, content: x, destination: {second}, overrides: [{quoted}]}}]}}}}\n"},
        "window": {"reconciler.yml": f"name: {quoted}\nwindows: [{{name: {quoted}, from: {second}, to: '04:00', time_zone: {second}}}]\n"},
        "label": {service: f"description: x\ngroups: {{own: []}}\ncontainers: {{own: {{group: own, image: x, command: x, labels: {{{quoted}: {second}}}, environment: {{{quoted}: {second}}}}}}}\n"},
    }[where]  # fmt: skip
    return {path: text.encode("utf-8", "surrogatepass") for path, text in files.items()}


def _met_names(data: bytes) -> str:
    return _met_site(named(data))


# --- HTTP -------------------------------------------------------------------------------------------------------------


def _http(source: Random) -> bytes:
    return http_requests.request(source)[:_LARGEST]


def _met_http(data: bytes) -> str:
    try:
        end = message.head_end(data)
        if end is None:
            return "harmless: it is waited for"
        found = message.parse(data[:end])
    except message.Refused as refused:
        return f"refused: {refused.answer.code}"
    assert all(c >= " " or c == "\t" for value in found.headers.values() for c in value)
    return "harmless: a request"


# --- reports of hosts ---------------------------------------------------------------------------------------------------

_FIELDS = (
    "kind",
    "version",
    "site",
    "host",
    "at",
    "commit",
    "reason",
    "statuses",
    "program",
    "catalogue",
    "busy",
    "interruptions",
    "nosuch",
)
_RAW = ("NaN", "Infinity", "-Infinity", "1e999", "-1", "9" * 400, "[" * 900 + "]" * 900, '{"a":' * 400 + "1" + "}" * 400, "null", "true", "[]", "{}", "[null]", '"' + "x" * 5000 + '"', '"\\ud800"', '"a\\nb"', '"\\u0000"', "[[]]", '{"commit": []}', '[{"commit": "HEAD", "state": "owned", "description": "x", "key": "k"}]', '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"', '"../../etc"', "1.5", "'x'", "", "01", "{'a': 1}", "[1,]")  # fmt: skip


def _report(source: Random) -> bytes:
    status = '[{"commit": "%s", "state": "success", "description": "3 containers", "key": "converged"}]' % ("a" * 40)
    good = {"kind": '"reconciler-report"', "version": "1", "site": '"north"', "host": '"n1"', "at": '"2026-11-03T03:00:00+00:00"', "commit": f'"{"a" * 40}"', "reason": '"Converged"', "statuses": status}  # fmt: skip
    rows = list(good.items())
    for _ in range(1 + source.randrange(3)):
        name, value = source.choice(_FIELDS), source.choice(_RAW)
        rows = [row for row in rows if row[0] != name or source.random() < 0.2]
        rows.insert(source.randrange(len(rows) + 1), (name, value))
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in rows) + "}"
    return _bent(text.encode("utf-8", "surrogatepass"), source)


def _met_report(data: bytes) -> str:
    try:
        found = signed.decode(data + b"\n")
    except errors.ReconcilerError as error:
        return _refused(error)
    signed.encode(found)
    return "harmless: a statement"


# --- sops files --------------------------------------------------------------------------------------------------------

_EXTRA = ("kms", "gcp_kms", "azure_kv", "hc_vault", "pgp", "key_groups", "shamir_threshold", "age", "mac", "lastmodified", "version", "encrypted_regex", "unencrypted_regex", "unencrypted_suffix", "encrypted_suffix", "encrypted_comment_regex", "mac_only_encrypted", "nosuch")  # fmt: skip
_GIVEN: tuple[Any, ...] = (None, "", 0, 1, True, [], {}, [{}], [None], "x", "age1yubikey1x", "AGE-PLUGIN-X", [{"arn": "arn:aws:kms:x"}], [{"vault_address": "http://127.0.0.1:1"}], [{"fp": "x"}], [{"recipient": "age1x", "enc": "x"}], [{"recipient": "ssh-rsa AAAA", "enc": "-----BEGIN AGE ENCRYPTED FILE-----"}], ".*", "^$", "(a+)+$", "2026-13-45T00:00:00Z", "ENC[x]", "0.0.0", "9" * 400)  # fmt: skip
_VALUES = ("plain", 1, True, None, "", "ENC[]", "ENC[AES256_GCM,data:,iv:,tag:,type:str]", "ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]", "ENC[AES128,data:eA==,iv:eA==,tag:eA==,type:str]", ["plain"], {"a": "plain"}, "<<secret:x>>", "*a")  # fmt: skip


def _sops(source: Random) -> bytes:
    content: dict[str, Any] = {f"p{n}": sealed.cipher(str(n)) for n in range(source.randrange(3))}
    kinds = ("str", "int", "float", "bool", "comment", "bytes", "nosuch")
    for _ in range(source.randrange(3)):
        value = source.choice((*_VALUES, sealed.cipher("x", source.choice(kinds))))
        content[source.choice((*KEYS, "a", "a_unencrypted"))] = value
    metadata = sealed.metadata()
    for _ in range(source.randrange(3)):
        metadata[source.choice(_EXTRA)] = source.choice(_GIVEN)
    if source.random() < 0.2:
        metadata.pop(source.choice(sorted(metadata)))
    content["sops"] = source.choice((metadata, metadata, metadata, metadata, None, [], "x", [metadata]))
    if source.random() < 0.1:
        content.pop("sops")
    text = json.dumps(content, indent=source.choice((None, 1)))
    if source.random() < 0.2:
        text = text.replace('"p0"', source.choice(('"p0": 1, "p0"', "&a p0", "<<", "? p0")))
    return _bent(text.encode("utf-8", "surrogatepass"), source)


def _met_sops(data: bytes) -> str:
    try:
        sops.examine(data, name="passwords.yml")
    except errors.ReconcilerError as error:
        return _refused(error)
    return "harmless: as sops writes it"


KINDS: dict[str, Kind] = {
    "yaml": Kind(_yaml, _met_yaml),
    "jinja": Kind(_jinja, _met_jinja),
    "tree": Kind(_tree, _met_tree),
    "regex": Kind(_regex, _met_regex),
    "note": Kind(_marks, _met_note),
    "page": Kind(_marks, _met_page),
    "name": Kind(_names, _met_names),
    "http": Kind(_http, _met_http),
    "report": Kind(_report, _met_report),
    "sops": Kind(_sops, _met_sops),
}
