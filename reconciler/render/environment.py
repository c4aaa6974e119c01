"""The Jinja environment that every template and every expression of a site runs in.

It is strict (undefined names are errors), sandboxed (no attribute that starts with `_`, no change of data, nothing of the
machine) and bounded: what would make a huge text, list or number is refused before it is made, loops have a budget.
Compiled templates are kept for the life of the process by their source.
"""

import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from reconciler.errors import SiteInvalid
from reconciler.render import filters, tokens
from reconciler.render.filters import MAX_ITEMS, MAX_TEXT, Refused

MAX_LOOPS: Final = 1_000_000  # iterations in one rendering
_MAX_BITS: Final = 4096  # of a number

_SIZED_METHODS: Final = frozenset(("ljust", "rjust", "center", "zfill", "expandtabs"))
_CONVERSION: Final = re.compile(r"%(?:\([^)]*\))?[-#0 +]*(\*|\d+)?(?:\.(\*|\d+))?")


class StrictUndefined(jinja2.StrictUndefined):
    """An undefined name whose message suggests a neighbour where the object it was looked up in is known."""

    @property
    def _undefined_message(self) -> str:
        message = super()._undefined_message
        where = self._undefined_obj
        if isinstance(where, Mapping) and isinstance(self._undefined_name, str):
            close = get_close_matches(self._undefined_name, [str(key) for key in where], 1)
            if close:
                message += f"; did you mean {close[0]!r}?"
        return message


class LaterError(StrictUndefined):
    """The place of a variable that could not be evaluated: harmless until it is used, then its own error is raised.

    A template looks up all its names before it runs, also those of branches it does not take.
    """

    def fail(self) -> None:
        """Raise the error that evaluating the variable gave."""
        error = self._undefined_hint
        assert isinstance(error, Exception)
        raise error

    def _fail_with_undefined_error(self, *args: Any, **kwargs: Any) -> Any:
        self.fail()

    __iter__ = __str__ = __len__ = __eq__ = __ne__ = __bool__ = __hash__ = _fail_with_undefined_error
    __contains__ = __call__ = __getitem__ = __add__ = __radd__ = __mod__ = __lt__ = __gt__ = _fail_with_undefined_error
    __le__ = __ge__ = __int__ = __float__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _fail_with_undefined_error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.fail()


class _Context(Context):
    """A context over a lazy mapping: asking for all of it must not evaluate all of it."""

    def resolve_or_missing(self, key: str) -> Any:
        """The value of a name. A variable that cannot be evaluated gives a LaterError."""
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
    """Sends `~` and slices through the environment: Jinja leaves both to Python."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concatenate(")
        for argument in node.nodes:
            self.visit(argument, frame)
            self.write(", ")
        self.write(")")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.getitem(")
        self.visit(node.node, frame)
        self.write(", slice(")
        for part in (node.arg.start, node.arg.stop, node.arg.step):
            self.visit(part if part is not None else nodes.Const(None), frame)
            self.write(", ")
        self.write("))")


class Environment(ImmutableSandboxedEnvironment):
    """See the module. Use `compiled` to get templates out of it."""

    code_generator_class = _Generator
    context_class = _Context
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
            cache_size=0,
            finalize=_finalize,
            extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
        )
        del self.globals["lipsum"]  # random
        self.globals["range"] = _range
        for name in filters.REMOVED:
            del self.filters[name]
        self.filters.update(filters.FILTERS)
        self.filters = {name: filters.guarded(name, function) for name, function in self.filters.items()}
        self.filters["_counted"] = _counted
        self.filters["default"] = self.filters["d"] = _guard_later(self.filters["default"])
        self.tests.update(filters.TESTS)
        self.tests = {name: filters.needs_value(test) for name, test in dict[str, Any](self.tests).items()}
        self.tests["defined"] = _defined
        self.tests["undefined"] = lambda value: not _defined(value)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The syntax tree, with every loop counted."""
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
            loop.set_environment(self)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return not attr.startswith("_") and super().is_safe_attribute(obj, attr, value)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, tokens.SecretRef):
            return self._part(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, tokens.SecretRef):
            return self._part(obj, argument)
        if tokens.is_held(obj):
            raise Refused("a part of a text that holds a secret cannot be taken, because its value is not known here")
        return super().getitem(obj, argument)

    def _part(self, secret: tokens.SecretRef, key: Any) -> Any:
        try:
            return secret.part(key) if isinstance(key, str) and not key.startswith("_") else self._look(secret)
        except ValueError:
            return self._look(secret)

    def _look(self, secret: tokens.SecretRef) -> Any:
        raise Refused(f"the value of the secret {secret.name} is not known here, so it cannot be looked into")

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if isinstance(obj, tokens.SecretRef):
            self._look(obj)
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps `format`
        owner = getattr(method, "__self__", None)
        name = getattr(method, "__name__", "")
        if isinstance(owner, str):
            if tokens.is_held(owner) and name not in ("format", "join"):
                raise Refused(
                    f"{name}() cannot look at a text that holds a secret, because its value is not known here"
                )
            if name in _SIZED_METHODS and any(isinstance(argument, int) and argument > MAX_ITEMS for argument in args):
                raise Refused(f"{name}() would make a text longer than {MAX_ITEMS} characters")
            if name == "replace" and len(args) >= 2:
                _bounded(len(owner) * (1 + len(str(args[1]))) if len(str(args[1])) > len(str(args[0])) else 0)
            if name == "join" and args:
                args = (filters.bounded_list(args[0]), *args[1:])
                _bounded(sum(len(str(item)) + len(owner) for item in args[0]))
            filters.measure([*args, *kwargs.values()])
            if name in ("format", "format_map"):
                _check_fields(owner)
        result = super().call(context, obj, *args, **kwargs)
        if isinstance(result, str):
            _bounded(len(result))
        return result

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for sequence, count in ((left, right), (right, left)):
                if isinstance(sequence, str | list | tuple | bytes) and isinstance(count, int):
                    _bounded(len(sequence) * count, MAX_TEXT if isinstance(sequence, str) else MAX_ITEMS)
            if isinstance(left, int) and isinstance(right, int):
                _bounded(left.bit_length() + right.bit_length(), _MAX_BITS)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _bounded(left.bit_length() * abs(right), _MAX_BITS)
        elif operator == "%" and isinstance(left, str):
            _check_conversions(left)
            filters.measure(right)
        elif operator == "+":
            if isinstance(left, str) and isinstance(right, str):
                _bounded(len(left) + len(right))
            elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
                _bounded(len(left) + len(right), MAX_ITEMS)
        return super().call_binop(context, operator, left, right)

    def get_template(self, name: Any, parent: str | None = None, globals: Any = None) -> jinja2.Template:
        raise Refused("include, import and extends are not available: a template stands for itself")

    def concatenate(self, *values: Any) -> str:
        """The `~` operator."""
        filters.measure(values)
        texts = [str(value) for value in values]
        _bounded(sum(map(len, texts)))
        return "".join(texts)


def _finalize(value: Any) -> Any:
    """What is printed: nothing for None, as in Ansible; a list or mapping only when all of it is defined."""
    if value is None:
        return ""
    if isinstance(value, list | tuple | dict):
        filters.measure(value)
    return value


def _bounded(size: int, limit: int = MAX_TEXT) -> None:
    if size > limit:
        raise Refused(f"the result would be larger than the limit of {limit}")


def _check_conversions(text: str) -> None:
    for match in _CONVERSION.finditer(text):
        if "*" in match.groups() or any(len(part) > 3 for part in match.groups() if part):
            raise Refused(f"the conversion {match[0]!r} would make a text of unbounded width")


def _check_fields(text: str) -> None:
    if re.search(r"\{[^{}]*:[^{}]*(\d{4}|\{)", text):
        raise Refused("a format field of unbounded width is not allowed")


def _range(*arguments: int) -> range:
    numbers = range(*arguments)
    if numbers and abs(numbers[-1] - numbers[0]) // abs(numbers.step) >= MAX_ITEMS:
        raise Refused(f"a range may have at most {MAX_ITEMS} items")
    return numbers


def _defined(value: Any) -> bool:
    if isinstance(value, LaterError):
        value.fail()
    return not isinstance(value, jinja2.Undefined)


def _guard_later(function: Callable[..., Any]) -> Callable[..., Any]:
    def default(value: Any, *args: Any, **kwargs: Any) -> Any:
        _defined(value)
        return function(value, *args, **kwargs)

    return default


@jinja2.pass_context
def _counted(context: Context, items: Iterable[Any]) -> Iterable[Any]:
    """The iterable of a loop, its items counted against the budget of the rendering."""
    budget = getattr(context.parent, "budget", None)
    if budget is None:
        return items
    if isinstance(items, list | tuple | range | dict | str):
        # Known size: pay at once and keep `loop.length` cheap.
        budget.spend(len(items))
        return items
    return _paying(items, budget)


def _paying(items: Iterable[Any], budget: "Budget") -> Iterator[Any]:
    for item in items:
        budget.spend(1)
        yield item


class Budget:
    """What one rendering may spend on loops."""

    __slots__ = ("left",)

    def __init__(self, iterations: int = MAX_LOOPS) -> None:
        self.left = iterations

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Refused(f"the loops of this template go round more than {MAX_LOOPS} times")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled text. `expression`: it is one whole `{{ … }}`, whose value keeps its type."""

    template: jinja2.Template
    expression: bool

    def run(self, parent: Mapping[str, Any]) -> Any:
        """The text, or the value of the expression. `parent` answers every name; it may have a `budget`.

        Raises what evaluating raises: jinja2.TemplateError, FilterError, TypeError, ValueError and the like.
        """
        context = self.template.new_context(parent, shared=True)  # type: ignore[arg-type]  # any mapping will do
        if self.expression:
            for _ in self.template.root_render_func(context):
                pass
            return context.vars["result"]
        size = 0
        pieces = []
        for piece in self.template.root_render_func(context):
            size += len(piece)
            _bounded(size)
            pieces.append(piece)
        return "".join(pieces)


def is_template(text: str) -> bool:
    """Whether `text` holds anything for Jinja to do."""
    return "{{" in text or "{%" in text or "{#" in text


@lru_cache(maxsize=8192)
def compiled(source: str, native: bool) -> Compiled:
    """`source` compiled, kept by its text. With `native`, one whole expression keeps the type of its value.

    Raises jinja2.TemplateSyntaxError (with `lineno`).
    """
    environment = shared()
    if not (native and source.lstrip().startswith("{{") and source.rstrip().endswith("}}")):
        return Compiled(environment.from_string(source), False)
    tree = environment.parse(source.strip())
    output = tree.body[0] if len(tree.body) == 1 else None
    if (
        not isinstance(output, nodes.Output)
        or len(output.nodes) != 1
        or isinstance(output.nodes[0], nodes.TemplateData)
    ):
        return Compiled(environment.from_string(source), False)
    expression = output.nodes[0]
    target = nodes.Name("result", "store", lineno=expression.lineno)
    body = nodes.Template([nodes.Assign(target, expression, lineno=expression.lineno)], lineno=1)
    body.set_environment(environment)
    return Compiled(environment.from_string(body), True)


@lru_cache(maxsize=1)
def shared() -> Environment:
    """The one environment of the process."""
    return Environment()
