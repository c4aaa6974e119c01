"""MariaDB's grants as sets of words, read from SHOW GRANTS."""

import re
from collections.abc import Iterable
from typing import Final

ALL: Final = "ALL PRIVILEGES"
OPTION: Final = "GRANT OPTION"
_NOTHING: Final = "USAGE"

# Other words for what SHOW GRANTS calls so.
_SAME: Final = {
    "ALL": ALL,
    "GRANT": OPTION,
    "WITH GRANT OPTION": OPTION,
    "REPLICATION CLIENT": "BINLOG MONITOR",
    "REPLICATION REPLICA": "REPLICATION SLAVE",
    "REPLICATION REPLICA ADMIN": "REPLICATION SLAVE ADMIN",
    "REPLICA MONITOR": "SLAVE MONITOR",
    "DELETE VERSIONING ROWS": "DELETE HISTORY",
    "CREATE TEMPORARY TABLE": "CREATE TEMPORARY TABLES",
}

# Lines on single tables, columns, routines and roles do not match: they are not ours to judge.
_LINE: Final = re.compile(
    r"GRANT (?P<words>[A-Z ,]+) ON (?P<scope>\*|`(?:[^`]|``)*`)\.\* TO (?:`(?:[^`]|``)*`|'(?:[^']|'')*')@"
    r"(?:`(?:[^`]|``)*`|'(?:[^']|'')*')(?P<rest>.*)",
    re.DOTALL,
)


def normal(words: Iterable[str]) -> frozenset[str]:
    """Privileges in one spelling; none for USAGE."""
    spelt = (" ".join(word.upper().split()) for word in words)
    return frozenset(_SAME.get(word, word) for word in spelt) - {_NOTHING, ""}


def quoted(name: str) -> str:
    """A name as an identifier."""
    return "`" + name.replace("`", "``") + "`"


def scope(database: str) -> str:
    """The scope of a grant on all tables of exactly this database. `_`, `%` and `\\` stand for themselves."""
    if database == "*":
        return "*.*"
    return quoted(re.sub(r"([_%\\])", r"\\\1", database)) + ".*"


def stored(scope_text: str) -> str:
    """The database part of a scope as the server's tables hold it."""
    return scope_text.removesuffix(".*")[1:-1].replace("``", "`")


def on_database(lines: Iterable[str], database: str) -> dict[str, frozenset[str]]:
    """The scopes that mean this database in the lines of SHOW GRANTS, with what is granted there.

    kolla-ansible writes `nova_api`, in which `_` stands for any character; that counts as the same database.
    """
    found: dict[str, frozenset[str]] = {}
    loose = database if database == "*" else quoted(database)
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None or match["scope"] + ".*" not in (scope(database), loose + ".*"):
            continue
        option = {OPTION} if " WITH GRANT OPTION" in match["rest"] else set()
        words = normal(match["words"].split(",")) | option
        if words:
            found[match["scope"] + ".*"] = words
    return found


def missing(have: frozenset[str], asked: frozenset[str]) -> frozenset[str]:
    """What is asked and not there; ALL holds everything but the right to pass it on."""
    if ALL in have:
        return asked - have & {OPTION}
    return asked - have


def same(one: frozenset[str], other: frozenset[str]) -> bool:
    return one == other or (ALL in one and ALL in other)
