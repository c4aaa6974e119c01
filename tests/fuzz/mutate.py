"""Good sites, damaged: by their structure (types, names, nesting) and by their bytes. Everything follows from one random source."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconciler.document import yaml
from reconciler.errors import SiteInvalid
from tests.support import sealed

Files = dict[str, bytes]
Path = tuple[Any, ...]

# What people mistype, what languages read differently, and what breaks programs.
SCALARS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 80, 65536, 2**31, 2**63, -(2**63), 2**64, 10**30, 10**4200, 0.5, -0.0, 1e308, 5e-324,
    "", " ", "x", "all", "no", "yes", "null", "~", "-", "0", "08", "1e999", ".nan", ".inf", "1_000", "0x1F", "1:30",
    "2026-01-31", "2026-02-30", "2026-13-45", "24:00", "25:99", "00:00", "Europe/Nowhere", "UTC", "mon", "30s", "9" * 400 + "s", "1.5.5h",
    "10.0.0.1", "10.0.0.999", "::1", "fe80::1%eth0", "10.0.0.0/33", "10.0.0.0/0", "host:port", "http://[", "http://x:99999/", "tcp://x",
    "../x", "/etc/passwd", "/", ".", "..", "a/../b", "//", "x" * 300, "a.b.c", "A", "name with spaces", "-dash", "{host}", "{container}", "*", "[", "(", "(?P<a>", "\\", "%(x)s", "%s",
    "\0", "\x1b[31m", "a\nb", "\r", "\t", "\x85", "\u2028", "\u202e", "\u200b", "\ufeff", "\ufffe", "é", "e\u0301", "名前", "\U0001f600", "<b>&amp;", "`", "]]>", "| a | b |", "@all", "/close",
    "ENC[x]", "ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]", sealed.cipher("x"), sealed.cipher("x", "int"), sealed.cipher("x", "comment"), "sops", "<<", "<<secret:x>>", "<<secret:../x>>", "<<hash-md5:x>>", "*alias", "&anchor", "!!python/none", "CMD", "NONE",
    "{{", "{%", "{#", "{{ x }}", "{{ x", "{{ 1 // 0 }}", "{{ [] }}", "{{ {} }}", "{{ none }}", "{{ true }}", "{{ 10 ** 30 }}", "{{ 10.0 ** 300 * 10.0 ** 300 }}", "{{ '\\ud800' }}", "{{ '\\u0000' }}", "{{ '\\x1b' }}",
    "{{ hostvars }}", "{{ hostvars['x'] }}", "{{ groups }}", "{{ groups['all'][99] }}", "{{ range(9) }}", "{{ range }}", "{{ {1: 2} }}", "{{ {none: 2} }}", "{{ [[[]]] }}", "{{ 'x' | int }}", "{{ 'x' | nothing }}",
    "{{ ansible_facts }}", "{{ inventory_hostname }}", "{{ frontends }}", "{{ lookup('x') }}", "{{ undefined.x.y }}", "{% for a in 1 %}{% endfor %}", "{% endfor %}", "{% include 'x' %}", "{% set x = x %}{{ x }}",
)  # fmt: skip
# Expressions that can be evaluated, to values of every type: where a file may hold any, the schema cannot tell.
VALUES = (
    "{{ [] }}", "{{ {} }}", "{{ none }}", "{{ true }}", "{{ 0 }}", "{{ -1 }}", "{{ 1.5 }}", "{{ 10 ** 30 }}", "{{ 2 ** 4000 }}", "{{ 10.0 ** 300 * 10.0 ** 300 }}", "{{ '' }}", "{{ ' ' }}", "{{ 'x' }}",
    "{{ [none] }}", "{{ [[]] }}", "{{ [{}] }}", "{{ [1, 'a', none, [2], {'a': 1}] }}", "{{ {'a': none} }}", "{{ {'a': []} }}", "{{ {1: 2} }}", "{{ {none: 1} }}", "{{ {'': 1} }}", "{{ {(1, 2): 1} }}", "{{ {'name': [], 'template': {}} }}",
    "{{ '\ud800' }}", "{{ ['\ud800'] }}", "{{ {'\ud800': 1} }}", "{{ '\u0000' }}", "{{ 'a\nb' }}", "{{ '\x1b[31m' }}", "{{ '\u202e' }}", "{{ {'a\nb': '\n'} }}", "{{ 'x' * 5000 }}", "{{ ['x'] * 500 }}",
    "{{ 'all' }}", "{{ 'nobody' }}", "{{ '../x' }}", "{{ '/x' }}", "{{ '.' }}", "{{ '9' * 400 }}", "{{ '9' * 400 + 's' }}", "{{ '1' * 5000 }}", "{{ 'nan' }}", "{{ 'inf' }}", "{{ 'nan' | float }}", "{{ '١' }}", "{{ '²' }}",
    "{{ range(3) }}", "{{ groups }}", "{{ groups['all'] }}", "{{ site_nested }}", "{{ web_password }}", "{{ web_pair }}", "{{ [web_password] }}", "{{ {web_password: 1} }}", "{{ web_password | b64encode }}", "{{ 'x=%s' % 'y' }}", "{{ cycler('a') }}", "{{ namespace(a=1) }}", "{{ joiner }}", "{{ (1, 2) }}", "{{ 1 == 1 }}", "{{ undefined_name }}",
)  # fmt: skip
KEYS = (
    "", " ", "x", "all", "name", "enabled", "group", "image", "files", "sops", "<<", "null", "1", "a.b", "a/b", "../x", "{{ x }}", "x" * 300,
    "e\u0301", "\u202e", "a\nb", "hosts", "groups", "children", "default", "type", "description", "required", "items", "pattern", "kolla", "template",
)  # fmt: skip
BYTES = (
    b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\r", b"\n", b"\n\n", b"\t", b": ", b"- ", b"{", b"}", b"[", b"]",
    b"'", b'"', b"#", b"&a ", b"*a", b"!!x ", b"---\n", b"...\n", b"%YAML 1.1\n---\n", b"? ", b"|\n", b">\n", b"<<: {}\n", b"{{", b"}}", b"{%", b"%}", b"\xe2\x80\xa8", b"\x85", b"\x1b[2J", b"@", b"`",
)  # fmt: skip
PATHS = (
    "inventory.yml", "globals.yml", "passwords.yml", "reconciler.yml", "hosts/x.yml", "groups/x.yml", "hosts/x.passwords.yml", "passwords/x.yml",
    "hosts/.yml", "groups/a/b.yml", "services/x", "services/x/service.yml", "services/x/variables.yml", "services/X Y/service.yml", "services//service.yml", "services/x/templates/a.j2",
    "config/global.conf", "config/x", "config/x/y/z", "config/keystone/{host}.conf", "inventory.yaml", "x", "x/y", ".hidden", "README", "docs/x", "hosts/a\nb.yml", "config/\u202e.conf",
    "inventory.yml/x", "services/x/service.yml/y",
)  # fmt: skip


def damaged(files: Mapping[str, bytes], source: random.Random) -> Files:
    """The files of a good site with one to four things done to them."""
    result = dict(files)
    for _ in range(source.choice((1, 1, 1, 2, 2, 3, 4))):
        source.choice(_KINDS)(result, source)
    return result


def _structure(files: Files, source: random.Random) -> None:
    path = source.choice(_documents(files))
    try:
        content = yaml.load(files[path], path).data
    except SiteInvalid:
        return
    where = source.choice(list(_places(content)))
    files[path] = _written(_changed(content, where, source.choice(_CHANGES), source))


def _expression(files: Files, source: random.Random) -> None:
    """An expression in the place of some value: the schema lets it pass, and everything after it has to cope."""
    path = source.choice([name for name in _documents(files) if name.startswith("services/")] or _documents(files))
    try:
        content = yaml.load(files[path], path).data
    except SiteInvalid:
        return
    places = list(_places(content))
    where = source.choice(places[1:] or places)
    files[path] = _written(_changed(content, where, lambda value, source: source.choice(VALUES), source))


def _template(files: Files, source: random.Random) -> None:
    path = source.choice(
        [name for name in sorted(files) if name.startswith("config/") or "/templates/" in name] or sorted(files)
    )
    lines = files[path].split(b"\n")
    lines.insert(
        source.randrange(len(lines) + 1), str(source.choice((*VALUES, *SCALARS))).encode("utf-8", "surrogatepass")
    )
    files[path] = b"\n".join(lines)


def _bytes(files: Files, source: random.Random) -> None:
    path = source.choice(sorted(files))
    content = files[path]
    at, end = sorted(source.randrange(len(content) + 1) for _ in range(2))
    middle = source.choice((b"", source.choice(BYTES), content[at : at + 40] * 3, source.choice(BYTES) * 50))
    files[path] = source.choice(
        (content[:at] + middle + content[at:], content[:at] + middle + content[end:], content[:at])
    )


def _file(files: Files, source: random.Random) -> None:
    path = source.choice(sorted(files))
    kind = source.randrange(5)
    if kind == 0:
        del files[path]
        files.setdefault("inventory.yml", b"")
    elif kind == 1:
        files[source.choice(PATHS)] = source.choice((b"", b"{}", b"[]", b"1", b"x: 1\n", files[path]))
    elif kind == 2:
        files[path] = source.choice(
            (b"", b"\n", b"null", b"[]", b"3", b"text", b"---\n---\n", b"\xff", "{}".encode("utf-16"), b"# nothing")
        )
    elif kind == 3:
        files[path] = files[source.choice(sorted(files))]
    else:
        files[source.choice(PATHS)] = files.pop(path)


_KINDS: tuple[Callable[[Files, random.Random], None], ...] = (
    *[_structure] * 6,
    *[_expression] * 6,
    _template,
    _bytes,
    _bytes,
    _file,
)


def _documents(files: Files) -> list[str]:
    return sorted(path for path in files if path.endswith(".yml")) or sorted(files)


def _places(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _changed(value: Any, path: Path, change: Callable[[Any, random.Random], Any], source: random.Random) -> Any:
    if not path:
        return change(value, source)
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _changed(value[path[0]], path[1:], change, source)
    return copy


def _scalar(value: Any, source: random.Random) -> Any:
    return source.choice(source.choice((SCALARS, VALUES)))


def _wrap(value: Any, source: random.Random) -> Any:
    return source.choice(([value], {source.choice(KEYS): value}, [[value, value]], [], {}, [None], {"": value}))


def _deep(value: Any, source: random.Random) -> Any:
    for _ in range(source.choice((3, 20, 40, 55, 80))):
        value = source.choice(([value], {source.choice(KEYS): value}))
    return value


def _part(value: Any, source: random.Random) -> Any:
    """Something done to what is below a value: an item deleted, doubled, renamed, moved, added."""
    if isinstance(value, dict) and value:
        key, other = source.choice(sorted(value)), source.choice((source.choice(KEYS), source.choice(sorted(value))))
        kind = source.randrange(5)
        rest = {name: item for name, item in value.items() if name != key}
        return (
            rest,
            {**rest, other: value[key]},
            {**value, other: value[key]},
            {**value, source.choice(KEYS): source.choice(SCALARS)},
            {**value, key: value.get(other)},
        )[kind]
    if isinstance(value, list) and value:
        item = source.choice(value)
        return source.choice((value + value, value[1:], [*value, source.choice(SCALARS)], [item] * 30, value[::-1]))
    return source.choice(SCALARS)


def _text(value: Any, source: random.Random) -> Any:
    if not isinstance(value, str):
        return str(value) if value is not None else "None"
    odd = str(source.choice(SCALARS))
    at = source.randrange(len(value) + 1)
    return source.choice((value[:at] + odd + value[at:], value * 30, value.upper(), value[:at], f"{{{{ {value} }}}}"))


_CHANGES: tuple[Callable[[Any, random.Random], Any], ...] = (
    *[_scalar] * 4,
    _wrap,
    _wrap,
    _deep,
    *[_part] * 4,
    _text,
    _text,
)


def _written(value: Any) -> bytes:
    """As JSON with explicit keys, which YAML reads however long they are."""
    return "".join(_json(value)).encode("utf-8", "surrogatepass")


def _json(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for key, item in value.items():
            yield f"? {json.dumps(key, ensure_ascii=False)}\n: "
            yield from _json(item)
            yield ","
        yield "}"
    elif isinstance(value, list):
        yield "["
        for item in value:
            yield from _json(item)
            yield ","
        yield "]"
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    else:
        yield json.dumps(value, ensure_ascii=False)
