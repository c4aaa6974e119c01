"""What is delivered must be what its name, its format or its merge says: a file of another kind is refused by its name."""

import re
from typing import Any

import pytest

from reconciler.errors import SiteInvalid
from reconciler.render import merge, syntax
from tests.render.sites import file, rendered

BODY = """
groups: {app: [control]}
containers:
  app:
    group: app
    image: app:1
    command: run
    files:
      - {name: app.conf, template: app.conf, merge: ini, overrides: [app.conf], destination: /a}
      - {name: my.cnf, template: app.conf, merge: ini, format: mycnf, overrides: [my.cnf], destination: /m}
      - {name: any.cfg, merge: replace, overrides: [any.cfg], destination: /b, optional: true}
      - {name: page.html, merge: replace, overrides: [page.html], destination: /p, optional: true}
"""
TEMPLATES = {"app.conf": "[token]\nexpiration = 1\n"}
LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
CONFLICT = "a = 1\n<<<<<<< HEAD\nb = 1\n=======\nb = 2\n>>>>>>> topic\n"

# What a tool or an editor leaves, with the line of it and a word of the message.
FOREIGN = {
    "a pointer of Git LFS": (LFS, 1, "pointer of Git LFS"),
    "a web page": ("<!DOCTYPE html>\n<html><body>404</body></html>\n", 1, "web page"),
    "a web page without a doctype": ("\n  <HTML>\n", 1, "web page"),
    "an unresolved merge": (CONFLICT, 2, "middle of a merge"),
    "a zero-width space": ("[token]\n\u200bexpiration = 3600\n", 2, r"U\+200B"),
    "a byte order mark further down": ("[token]\n\ufeffexpiration = 3600\n", 2, r"U\+FEFF"),
    "a text that runs backwards": ("[token]\nexpiration = \u202e3600\n", 2, r"U\+202E"),
    "U+0000": ("[token]\nexpi\0ration = 3600\n", 2, r"U\+0000"),
}


def said(files: dict[str, str], **more: Any) -> str:
    with pytest.raises(SiteInvalid) as caught:
        rendered(BODY, files, templates=TEMPLATES, **more)
    return "\n".join(map(str, caught.value.problems))


@pytest.mark.parametrize("path", ["config/app.conf", "config/any.cfg"])
@pytest.mark.parametrize("text, line, message", FOREIGN.values(), ids=FOREIGN)
def test_what_got_into_the_place_of_a_file_is_told_by_its_name(path: str, text: str, line: int, message: str) -> None:
    found = said({path: text})
    assert found.startswith(f"{path}:{line}:")
    assert re.search(message, found)
    assert "\n" not in found, "once, not once more when it is rendered"


@pytest.mark.parametrize(
    "path", ["globals.yml", "inventory.yml", "services/web/service.yml", "services/web/templates/x"]
)
@pytest.mark.parametrize("text, message", [(LFS, "pointer of Git LFS"), (CONFLICT, "middle of a merge")])
def test_other_files_of_a_site_too(path: str, text: str, message: str) -> None:
    assert f"{path}:" in said({path: text}) and message in said({path: text})


def test_a_page_may_be_a_page() -> None:
    assert file(rendered(BODY, {"config/page.html": "<html></html>\n"}, templates=TEMPLATES), "app/page.html")


@pytest.mark.parametrize(
    "text", ["\ufeff[token]\nexpiration = 2\n", "[token]\r\nexpiration = 2\r\n", "\ufeff[token]\r\nexpiration = 2\r\n"]
)
@pytest.mark.parametrize(
    "path, expected", [("app.conf", "[token]\nexpiration = 2\n\n"), ("any.cfg", "[token]\nexpiration = 2\n")]
)
def test_a_mark_at_the_beginning_goes_and_line_ends_are_lf(path: str, expected: str, text: str) -> None:
    made = rendered(BODY, {f"config/{path}": text}, templates=TEMPLATES)
    assert file(made, f"app/{path}").content == expected


@pytest.mark.parametrize(
    "kind, text, line",
    [
        ("ini", "[token]\nexpiration 3600\n", 2),
        ("ini", "[token]\nexpiration\n", 2),
        ("ini", "expiration = 1\n[token]\n", 1),
        ("ini", "token]\nexpiration = 1\n", 1),
        ("ini", "[token\nexpiration = 1\n", 1),
        ("ini", "{'token': {'expiration': 1}}\n", 1),
        ("ini", "[token]\n<a href = x>\n", 2),
        ("ini", '{"token": 1}\n', 1),
        ("mycnf", "[mysqld]\nmax_connections 500\n", 2),
        ("mycnf", "max_connections = 500\n", 1),
    ],
)  # fmt: skip
def test_what_is_merged_as_ini_is_ini(kind: str, text: str, line: int) -> None:
    name = {"ini": "app.conf", "mycnf": "my.cnf"}[kind]
    assert said({f"config/{name}": text}).startswith(f"config/{name}:{line}:1: ")


def test_mariadb_has_options_that_are_on_by_standing_there() -> None:
    text = "[mysqld]\nskip-log-bin\nmax_connections: 5\n"
    assert "skip-log-bin\n" in file(rendered(BODY, {"config/my.cnf": text}, templates=TEMPLATES), "app/my.cnf").content
    assert merge.ini([("a", "root = 1\n"), ("b", "[x]\ny = 1\n")], "ini"), (
        "where the template has options of no section"
    )


WRONG = [
    ("json", '{"a": 1,}', 1), ("json", "users: []", 1), ("json", '{"a":\n "b', 2), ("json", "[" * 100_000, 1), ("json", "NaN}", 1),
    ("yaml", "a: b: c", 1), ("yaml", "a: 1\n\tb: 2", 2), ("yaml", "a: [1, 2", 2), ("yaml", "[" * 100, 1), ("yaml", 'a: "b', 1),
    ("haproxy", "mode tcp\nlisten x", 1), ("haproxy", "# x\nfrontent x", 2), ("haproxy", 'listen x\n  acl y path "/z', 2),
    ("haproxy", "[token]\na = 1", 1), ("haproxy", "listen x\n  acl 'y", 2), ("haproxy", '{"listen": 1}', 1),
    ("erlang", "[{a, b}]", 1), ("erlang", "[\n{a, b].", 2), ("erlang", "[{a, \"b}].", 1), ("erlang", "[{a, b}}].", 1),
    ("erlang", "[a.\nb]", 1), ("erlang", "% nothing else\nkey = value", 2), ("erlang", "[{a, 'b}].", 1),
    ("apache", "<VirtualHost *:80>\nListen 1", 1), ("apache", "</VirtualHost>", 1), ("apache", "<A>\n<B>\n</A>\n</B>", 3),
    ("apache", "<Directory /x\n</Directory>", 1), ("apache", 'ErrorLog "x', 1), ("apache", "[token]\na = 1", 1), ("apache", "{}", 1),
    ("keepalived", "vrrp_instance x {\n  state BACKUP\n", 1), ("keepalived", "vrrp_instance x\n}", 2),
    ("keepalived", 'vrrp_script x {\n script "a\n}', 2),
    ("mycnf", "max_connections = 1\n[mysqld]", 1), ("mycnf", "[mysqld\na = 1", 1), ("mycnf", "[mysqld]\nmax connections = 1", 2),
    ("mycnf", "<a>", 1),
]  # fmt: skip


@pytest.mark.parametrize("kind, text, line", WRONG, ids=str)
def test_a_file_that_cannot_be_of_its_format_is_refused(kind: str, text: str, line: int) -> None:
    with pytest.raises(SiteInvalid) as caught:
        syntax.check(kind, text, "config/x")
    assert str(caught.value).startswith(f"config/x:{line}:1: is not ")


RIGHT = [
    ("json", '{"a": <<to_json:YQ>>, "b": "<<secret:a>>"}'), ("json", "[]"), ("json", "\n"),
    ("yaml", "a: 1\n---\nb: {c: '{{ x }}'}\n"), ("yaml", "a: <<to_json:YQ>>\n"), ("yaml", "# nothing\n"),
    ("haproxy", "# a\n.if defined(X)\nlisten x\n  # it's\n  http-request set-header X \"a # b\" if { path -i '/\"' }\n.endif\n"),
    ("haproxy", "listen x\n  bind *:1 # don't\n  acl a path_beg \\\"x\n"), ("haproxy", "userlist u\n  user a password <<secret:a>>\n"),
    ("erlang", "[{rabbit, [{a, \"it's \\\" ]\"}, {'q u', <<\"b\">>}, {c, 1.5}, $., $\\n]}]. % ]\n"), ("erlang", "{a, b}.\n{c, d}.\n"),
    ("apache", "# <x>\n<IfModule !x>\n  Header set A \"b \\\" c\" \\\n    env=X\n  <Directory \"/a>b\">\n  </directory>\n</IfModule>\n"),
    ("apache", "SetEnvIf Host it's x\n"),
    ("keepalived", "! it's {\nvrrp_instance x {\n  a { # }\n  }\n  script \"b {\"\n}\n"), ("keepalived", "auth_pass <<secret:a>>\n"),
    ("mycnf", "# a\n!includedir /x\n[mysqld] # b\nskip-log-bin\na=1\n\n[client-server]\nb = '[x'\n"),
    ("ini", "anything"), ("text", "{"), ("", "{"), ("shell", "'"),
]  # fmt: skip


@pytest.mark.parametrize("kind, text", RIGHT, ids=str)
def test_what_its_program_reads_is_let_through(kind: str, text: str) -> None:
    syntax.check(kind, text, "config/x")


def test_a_replaced_file_is_looked_at_with_its_place() -> None:
    body = BODY.replace("any.cfg, merge", "any.cfg, format: haproxy, merge")
    with pytest.raises(
        SiteInvalid, match=r"config/any\.cfg:2:1: is not a configuration of HAProxy: it begins with 'mode'"
    ):
        rendered(body, {"config/any.cfg": "# {{ inventory_hostname }}\nmode tcp\n"}, templates=TEMPLATES)
