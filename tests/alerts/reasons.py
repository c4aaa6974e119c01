"""Every reason word in the program, collected from its source: nothing an operator can see may be undocumented."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.support.paths import CHECKOUT

PROGRAM = CHECKOUT / "reconciler"
_WORD = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)*")
_SEVERAL = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+")
# Words in that spelling which no operator sees as a reason: what other programs call their things.
_FOREIGN_FILES = {
    "engine/options.py": "fields of Docker's API",
    "engine/parse.py": "fields of Docker's API",
    "daemon/watch.py": "classes of watchdog",
    "registrations/http.py": "words in other libraries' errors",
}
_FOREIGN = {
    "RegionOne": "a region's name",
    "RedHat": "a distribution's family",
    "BadStatusLine": "a class of http.client",
    "RemoteDisconnected": "a class of http.client",
    "SourceReady": "a condition's type",
}


def collect(root: Path = PROGRAM) -> dict[str, set[str]]:
    """Reason → files that use it."""
    trees = {
        path.relative_to(root).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(root.rglob("*.py"))
    }
    places = _places(trees.values())
    foreign = {word for name in _FOREIGN_FILES for word in _spelt(trees[name], whole=True)} | _FOREIGN.keys()
    found: dict[str, set[str]] = {}
    for name, tree in trees.items():
        words = _spelt(tree) - foreign | set(_named(tree, places))
        for word in words - _FOREIGN.keys():
            found.setdefault(word, set()).add(name)
    return found


def _spelt(tree: ast.AST, *, whole: bool = False) -> set[str]:
    """Words of several capitals, wherever they are, but for keys, names and types (`whole`: those too)."""
    ignored = set() if whole else {id(node) for node in _no_reasons(tree)}
    constants = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in ignored)
    return {n.value for n in constants if isinstance(n.value, str) and _SEVERAL.fullmatch(n.value)}


def _places(trees: Iterable[ast.AST]) -> dict[str, set[int]]:
    """Function or class → where among its positional arguments the reason is."""
    places: dict[str, set[int]] = {}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef):
            positional = [*node.args.posonlyargs, *node.args.args]
            names = [argument.arg for argument in positional if argument.arg not in ("self", "cls")]
        elif isinstance(node, ast.ClassDef):
            names = [f.target.id for f in node.body if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)]
        else:
            continue
        for word in ("reason", "fallback"):
            if word in names:
                places.setdefault(node.name, set()).add(names.index(word))
    return places


def _named(tree: ast.AST, places: Mapping[str, set[int]]) -> Iterator[str]:
    """Words that are given as a reason: `reason=…`, its place in a call, a default of such a parameter, a readiness."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("reason", "fallback"):
            yield from _constants(node.value)
        elif isinstance(node, ast.keyword) and node.arg in ("hold", "wait") and isinstance(node.value, ast.Tuple):
            yield from _constants(node.value.elts[0])
        elif isinstance(node, ast.arguments):
            named = [*node.posonlyargs, *node.args]
            optional = named[len(named) - len(node.defaults) :]
            pairs = [*zip(optional, node.defaults, strict=True), *zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            for argument, default in pairs:
                if argument.arg in ("reason", "fallback") and default is not None:
                    yield from _constants(default)
        elif isinstance(node, ast.Call):
            for place in places.get(_name(node.func), ()):
                yield from _constants(node.args[place]) if place < len(node.args) else ()
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) > 2:
            yield from _constants(node.value.elts[1])


def _constants(node: ast.expr) -> Iterator[str]:
    """A word itself, or the words that an expression chooses from."""
    if isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _constants(value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _WORD.fullmatch(node.value):
        yield node.value


def _no_reasons(tree: ast.AST) -> Iterator[ast.AST]:
    """Constants that are keys of other programs' answers, exported names, or types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            yield node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            yield from node.args[:1]
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            yield from ast.walk(node)
        elif isinstance(node, (ast.AnnAssign, ast.arg)) and node.annotation is not None:
            yield from ast.walk(node.annotation)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            yield from ast.walk(node.returns)
        elif isinstance(node, ast.Call) and _name(node.func) in ("cast", "TypeVar"):
            yield from node.args[:1]
        elif isinstance(node, ast.Compare) and any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
            yield node.left


def _name(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
