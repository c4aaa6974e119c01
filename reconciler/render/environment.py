"""The Jinja environment that every template and every expression of a site runs in.

Jinja parses and compiles; what a compiled template *does* goes through the tables of this package, and nothing else: filters and
tests (`operations`), methods, attributes and functions (`methods`), operators and comparisons (`operators`), literals and printing (here). Only the
statements and expressions in _NODES are compiled. Everything is paid for (`meter`), text that stands in the template too.
What becomes of a text is `compiling`'s.
"""

import math
from collections import ChainMap
from collections.abc import Iterator
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.lexer import Token, TokenStream
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from reconciler.errors import SiteInvalid
from reconciler.render import (  # noqa: F401  # these fill the tables
    addresses,
    ansible,
    filters,
    formatting,
    header,
    identifiers,
    lookups,
    meter,
    methods,
    tokens,
    values,
)
from reconciler.render.faults import FilterError, Refused
from reconciler.render.methods import StrictUndefined
from reconciler.render.operations import FILTERS, TESTS, Table
from reconciler.render.operators import COMPARISONS, OPERATORS

MAX_TOKENS: Final = 10_000  # of one source
_MAX_TAGS: Final = 5_000  # of one source, counted before it is read
_MAX_NESTING: Final = 30  # of brackets
_MAX_DEPTH: Final = 150  # of the syntax tree

_NODES: Final = (
    # statements
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.With, nodes.Assign, nodes.AssignBlock,
    nodes.ExprStmt, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.Break, nodes.Continue, nodes.Scope,
    # expressions
    nodes.Name, nodes.NSRef, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair, nodes.Keyword, nodes.CondExpr,
    nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem, nodes.Getattr, nodes.Slice, nodes.Concat, nodes.Compare,
    nodes.Operand, nodes.BinExpr, nodes.UnaryExpr,
)  # fmt: skip
_LOADING: Final = (nodes.Extends, nodes.Import, nodes.FromImport, nodes.Block)
_ASKING: Final = frozenset(("defined", "undefined", "default", "d"))
_IMPLIED: Final = frozenset(("loop", "caller", "varargs", "kwargs", "omit"))


class LaterError(StrictUndefined):
    """The place of a variable that could not be evaluated: harmless until it is used, then its own error is raised.

    A template looks up all its names before it runs, also those of branches it does not take.
    """

    def _fail_with_undefined_error(self, *args: Any, **kwargs: Any) -> Any:
        error = self._undefined_hint
        assert isinstance(error, Exception)
        raise error

    __iter__ = __str__ = __len__ = __eq__ = __ne__ = __bool__ = __hash__ = __contains__ = _fail_with_undefined_error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._fail_with_undefined_error()


class _Context(Context):
    """A context over a lazy mapping: asking for all of it must not evaluate all of it."""

    def resolve_or_missing(self, key: str) -> Any:
        """The value of a name. A variable that cannot be evaluated gives a LaterError."""
        meter.spend(1)
        if key in self.vars:
            return self.vars[key]
        try:
            return self.parent[key]
        except KeyError:
            return missing
        except SiteInvalid as error:
            return LaterError(error, name=key)  # type: ignore[arg-type]  # the hint carries the error itself

    def get_all(self) -> Any:
        return ChainMap(self.vars, self.parent) if self.vars else self.parent


class _Generator(CodeGenerator):
    """Sends through the environment what Jinja leaves to Python, and computes nothing while it compiles."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self._send("concatenate", node.nodes, frame)

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._send("make_list", node.items, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "load":
            self._send("make_tuple", node.items, frame)
        else:
            super().visit_Tuple(node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self._send("make_dict", [part for pair in node.items for part in (pair.key, pair.value)], frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if isinstance(node.arg, nodes.Slice):
            ends = (node.arg.start, node.arg.stop, node.arg.step)
            self._send("cut", [node.node, *(nodes.Const(None) if end is None else end for end in ends)], frame)
        else:
            self._send("getitem", [node.node, node.arg], frame)

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        operators = tuple(operand.op for operand in node.ops)
        self.write(f"environment.compare({operators!r}, ")
        for part in (node.expr, *(operand.expr for operand in node.ops)):
            self.visit(part, frame)
            self.write(", ")
        self.write(")")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        self.write("environment.call(context, ")
        self.visit(node.node, frame)
        self.signature(node, frame, {"caller": "caller"} if forward_caller else None)
        self.write(")")

    def start_write(self, frame: Frame, node: nodes.Node | None = None) -> None:
        super().start_write(frame, node)
        self.write(
            "environment.finalize(context, "
        )  # what a filter block or call block gives is printed like anything else

    def end_write(self, frame: Frame) -> None:
        self.write(")")
        super().end_write(frame)

    def _output_child_to_const(self, node: nodes.Expr, frame: Frame, finalize: Any) -> str:
        raise nodes.Impossible

    def _send(self, method: str, parts: list[nodes.Expr], frame: Frame) -> None:
        self.write(f"environment.{method}(")
        for part in parts:
            self.visit(part, frame)
            self.write(", ")
        self.write(")")


class Environment(ImmutableSandboxedEnvironment):
    """See the module. Use `compiled` to get templates out of it."""

    code_generator_class = _Generator
    context_class = _Context
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))
    intercepted_unops = frozenset(("+", "-"))

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
            optimized=False,
            cache_size=0,
            finalize=_finalize,
            extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
        )
        self.globals = dict(methods.FUNCTIONS)
        self.filters: dict[str, Any] = {**FILTERS, "_rows": methods.rows, "_row": methods.row}
        self.tests: dict[str, Any] = {**TESTS}

    # --- compiling ---------------------------------------------------------------------------------------------------

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        stream = super()._tokenize(source, name, filename, state)
        return TokenStream(_counted(stream, name, filename), name, filename)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return self.survey(source).tree

    def survey(self, source: str) -> "Survey":
        """The syntax tree of a text, looked through. Raises jinja2.TemplateSyntaxError."""
        if sum(source.count(mark) for mark in self._marks() if mark) > _MAX_TAGS:
            raise jinja2.TemplateSyntaxError(f"a template has at most {_MAX_TAGS} expressions and statements", 1)
        return Survey(self, super()._parse(source, None, None))

    def _marks(self) -> tuple[str | None, ...]:
        """What begins an expression, a statement or a comment."""
        starts = (self.variable_start_string, self.block_start_string, self.comment_start_string)
        return (*starts, self.line_statement_prefix, self.line_comment_prefix)

    def get_template(self, name: Any, parent: str | None = None, globals: Any = None) -> jinja2.Template:
        raise Refused(_ALONE)

    # --- what compiled templates call --------------------------------------------------------------------------------

    def getattr(self, obj: Any, attribute: str) -> Any:
        meter.spend(1)
        return methods.look(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        meter.spend(1)
        return methods.subscript(obj, argument)

    def cut(self, obj: Any, start: Any, stop: Any, step: Any) -> Any:
        """A slice."""
        return values.cut(obj, start, stop, step)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        return methods.call(obj, args, kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return OPERATORS[operator](values.demand(left), values.demand(right))

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        if not isinstance(values.demand(arg), int | float):
            raise FilterError(f"{operator} takes a number, not {values.kind(arg)}")
        meter.spend(1, 32)
        return -arg if operator == "-" else +arg

    def concatenate(self, *parts: Any) -> str:
        """The `~` operator."""
        return methods.join(parts, "")

    def make_list(self, *items: Any) -> list[Any]:
        """A list as it is written in a template."""
        values.listed(len(items))
        return list(items)

    def make_tuple(self, *items: Any) -> tuple[Any, ...]:
        """A tuple as it is written in a template."""
        values.listed(len(items))
        return items

    def make_dict(self, *parts: Any) -> dict[Any, Any]:
        """A mapping as it is written in a template: its keys and values in turn."""
        values.listed(len(parts))
        meter.spend(1, 200 + 100 * len(parts))
        return {values.key(name): value for name, value in zip(parts[::2], parts[1::2], strict=True)}

    def compare(self, operators: tuple[str, ...], left: Any, *others: Any) -> bool:
        """`left < other <= another`: each with its neighbour."""
        for operator, right in zip(operators, others, strict=True):
            if not COMPARISONS[operator](left, right):
                return False
            left = right
        return True


_ALONE: Final = "import, extends and block are not available: include a template of the same service, or write it out"


class Survey:
    """One walk over a syntax tree, which takes as long as parsing: all of it is allowed, every loop and every unpacking is led
    through `methods`, `{% include name %}` is `{{ template(name) }}`. `size` counts the nodes, `asked` is that of `Compiled`.

    Raises jinja2.TemplateSyntaxError for what is not in the tables.
    """

    def __init__(self, environment: jinja2.Environment, tree: nodes.Template) -> None:
        self.environment = environment
        self.tree = tree
        self.size = 0
        self._asking: tuple[dict[str, int], dict[str, int]] = ({}, {})  # tests, filters
        self._made: set[str] = set()
        self._walk()

    @property
    def asked(self) -> tuple[tuple[str, int], ...]:
        """The names of which a text asks whether they are defined, or what to take instead, and that it does not make itself."""
        asking = self._asking[0] | self._asking[1]
        return tuple((name, line) for name, line in asking.items() if name not in self._made and name not in _IMPLIED)

    def _walk(self) -> None:
        waiting: list[tuple[nodes.Node, int]] = [(self.tree, 0)]
        unpacked: list[nodes.Node] = []
        while waiting:
            node, depth = waiting.pop()
            self.size += 1
            if depth > _MAX_DEPTH:
                raise jinja2.TemplateSyntaxError("it is nested too deeply", node.lineno)
            if problem := _problem(node):
                raise jinja2.TemplateSyntaxError(problem, node.lineno)
            if isinstance(node, _UNPACKING):
                unpacked.append(node)
            self._note(node)
            below: list[tuple[nodes.Node, int]] = []
            for name in node.fields:
                value = getattr(node, name, None)
                if isinstance(value, list):
                    if any(isinstance(item, nodes.Include) for item in value):
                        value = [self._included(item) for item in value]
                        setattr(node, name, value)
                    below += [(item, depth + 1) for item in value if isinstance(item, nodes.Node)]
                elif isinstance(value, nodes.Node):
                    below.append((value, depth + 1))
            waiting += reversed(below)  # in the order of the text
        for node in unpacked:
            self._lead(node)

    def _note(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Name):
            if node.ctx != "load":
                self._made.add(node.name)
        elif isinstance(node, nodes.Test | nodes.Filter) and node.name in _ASKING and isinstance(node.node, nodes.Name):
            self._asking[isinstance(node, nodes.Filter)][node.node.name] = node.lineno

    def _lead(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.For):
            node.iter = self._through("_rows", node.iter, node.target)
        elif isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Tuple):
            node.node = self._through("_row", node.node, node.target)
        elif isinstance(node, nodes.With):
            node.values = [
                self._through("_row", value, target) if isinstance(target, nodes.Tuple) else value
                for target, value in zip(node.targets, node.values, strict=True)
            ]

    def _through(self, name: str, node: Any, target: nodes.Node) -> nodes.Filter:
        count = nodes.Const(len(target.items) if isinstance(target, nodes.Tuple) else 0, environment=self.environment)
        self.size += 2
        return nodes.Filter(node, name, [count], [], None, None, lineno=node.lineno, environment=self.environment)

    def _included(self, node: Any) -> Any:
        if not isinstance(node, nodes.Include):
            return node
        if node.ignore_missing or not node.with_context:
            what = "ignore missing" if node.ignore_missing else "without context"
            raise jinja2.TemplateSyntaxError(f"include has no `{what}` here", node.lineno)
        made: dict[str, Any] = {"lineno": node.lineno, "environment": self.environment}
        call = nodes.Call(nodes.Name("template", "load", **made), [node.template], [], None, None, **made)
        return nodes.Output([call], **made)


_UNPACKING: Final = (nodes.For, nodes.Assign, nodes.With)


def _problem(node: nodes.Node) -> str:
    """What is wrong with one node of a syntax tree, or the empty text."""
    if isinstance(node, _LOADING):
        return _ALONE
    if not isinstance(node, _NODES):
        return f"{type(node).__name__} is not available here"
    if isinstance(node, nodes.Filter):
        return _unknown(FILTERS, node.name)
    if isinstance(node, nodes.Test):
        return _unknown(TESTS, node.name)
    if isinstance(node, nodes.Const) and isinstance(node.value, int) and node.value.bit_length() > values.MAX_BITS:
        return f"a number has at most {values.MAX_BITS} bits"
    if isinstance(node, nodes.Const) and isinstance(node.value, float) and not math.isfinite(node.value):
        return "a number is too large"
    if isinstance(node, nodes.Name) and node.name == "self":
        return "self is not available: a template has no blocks"
    return ""


def _unknown(table: Table, name: str) -> str:
    try:
        table.find(name)
    except FilterError as error:
        return str(error)
    return ""


def _counted(stream: TokenStream, name: str | None, filename: str | None) -> Iterator[Token]:
    depth = 0
    for count, token in enumerate(stream):
        depth += (token.type in ("lparen", "lbracket", "lbrace")) - (token.type in ("rparen", "rbracket", "rbrace"))
        if count >= MAX_TOKENS:
            message = f"a template has at most {MAX_TOKENS} words and signs"
            raise jinja2.TemplateSyntaxError(message, token.lineno, name, filename)
        if depth > _MAX_NESTING:
            message = f"brackets are nested at most {_MAX_NESTING} deep"
            raise jinja2.TemplateSyntaxError(message, token.lineno, name, filename)
        yield token


@jinja2.pass_context
def _finalize(context: Context, value: Any) -> str:
    """What is printed: nothing for None, as in Ansible; a list or mapping only when all of it is defined."""
    if type(value) is str:
        meter.spend(1 + (len(value) >> 8), 50 + (len(value) if value.isascii() else 4 * len(value)))
        return value
    if value is None:
        return ""
    if isinstance(value, jinja2.Undefined):
        return str(value)
    if not values.is_value(value):
        raise FilterError(f"{values.kind(value)} cannot be printed: call it, or name one of its attributes")
    return values.text_of(value)
