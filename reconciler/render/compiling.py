"""Texts with expressions, compiled: kept for the life of the process by their source, and taken as they were made beforehand."""

import marshal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import jinja2
from jinja2 import nodes

from reconciler.render import header, lookups, meter, values
from reconciler.render.environment import Environment
from reconciler.render.faults import UnheardError

# Frames: more than all the bounds here, in `environment`, `meter` and `values` together can need.
_RECURSION: Final = 4_000


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled text. `expression`: it is one whole `{{ … }}`, whose value keeps its type. `size`: its words and signs."""

    source: str
    template: jinja2.Template
    expression: bool
    size: int
    asked: tuple[tuple[str, int], ...] = ()  # names of which it asks whether they are defined, each with its line

    def run(self, names: Mapping[str, Any], payer: meter.Meter) -> Any:
        """The text, or the value of the expression. `names` answers every name.

        Raises what evaluating raises: jinja2.TemplateError and its like, SiteInvalid of a variable, meter.Exhausted.
        """
        payer.source(self.source, self.size)
        for name, line in self.asked:
            payer.spend(1)
            if name not in names and (hint := cast(lookups.Sources, names).unheard(name)) is not None:
                raise UnheardError(name, line, hint)
        context = self.template.new_context(names, shared=True)  # type: ignore[arg-type]  # any mapping will do
        with meter.Running(meter.Run(payer, names)):
            if self.expression:
                for _ in self.template.root_render_func(context):
                    pass
                return values.plain(context.vars["result"])
            size = 0
            pieces = []
            for piece in self.template.root_render_func(context):
                size += len(piece)
                values.bound(size)
                pieces.append(piece)
            return values.limited("".join(pieces))


def is_template(text: str) -> bool:
    """Whether `text` holds anything for Jinja to do."""
    return "{{" in text or "{%" in text or "{#" in text


def compiled(source: str, native: bool, options: header.Options = ()) -> Compiled:
    """`source` compiled with Jinja's `options`, kept by its text. With `native`, one whole expression keeps the type of its value.

    Raises jinja2.TemplateSyntaxError (with `lineno`).
    """
    made = _compiled(source, native, options)
    if isinstance(made, jinja2.TemplateSyntaxError):
        raise made.with_traceback(None)
    return made


@lru_cache(maxsize=8192)
def _compiled(source: str, native: bool, options: header.Options) -> Compiled | jinja2.TemplateSyntaxError:
    try:
        return _compile(source, native, options)
    except jinja2.TemplateSyntaxError as error:
        return error
    except (RecursionError, MemoryError, SyntaxError, ValueError) as error:  # of Python, which compiles what Jinja made
        what = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply or too large"
        return jinja2.TemplateSyntaxError(what, 1)


def _compile(source: str, native: bool, options: header.Options) -> Compiled:
    environment = _with(options)
    made = _beforehand.get((source, native, options)) or translated(source, native, options)
    code = marshal.loads(made.code)  # noqa: S302  # of `translated`, here or when the program was installed
    template = environment.template_class.from_code(environment, code, {})  # `names` of `run` knows the functions
    return Compiled(source, template, made.expression, made.size, made.asked)


def _with(options: header.Options) -> Environment:
    return shared().overlay(**dict(options)) if options else shared()


class Translated(NamedTuple):
    """What becomes of a text before it belongs to an environment: marshalled byte code, and what `Compiled` says of it."""

    code: bytes
    expression: bool
    size: int
    asked: tuple[tuple[str, int], ...]


Key = tuple[str, bool, header.Options]  # what `compiled` is asked for

# A text is found by all of it, so that no other one ever gets its code.
_beforehand: dict[Key, Translated] = {}


def take(beforehand: Mapping[Key, Translated]) -> None:
    """From now on, use what this very compiler made of texts beforehand. It is run, so it must come from where the program comes from."""
    _beforehand.clear()
    _beforehand.update(beforehand)
    _compiled.cache_clear()


def translated(source: str, native: bool, options: header.Options) -> Translated:
    """A text as `compiled` needs it, translated now. Raises jinja2.TemplateSyntaxError, and what Python's compiler raises."""
    environment = _with(options)
    whole = native and source.lstrip().startswith("{{") and source.rstrip().endswith("}}")
    found = environment.survey(source.strip() if whole else source)
    body = found.tree.body
    output = body[0] if whole and len(body) == 1 else None
    expression = output.nodes[0] if isinstance(output, nodes.Output) and len(output.nodes) == 1 else None
    if expression is None or isinstance(expression, nodes.TemplateData):
        tree = environment.survey(source).tree if whole else found.tree
        return Translated(marshal.dumps(environment.compile(tree)), False, found.size, found.asked)
    made: dict[str, Any] = {"lineno": expression.lineno, "environment": environment}
    assigned = nodes.Assign(nodes.Name("result", "store", **made), expression, **made)
    tree = nodes.Template([assigned], lineno=1, environment=environment)
    return Translated(marshal.dumps(environment.compile(tree)), True, found.size, found.asked)


@lru_cache(maxsize=1)
def shared() -> Environment:
    """The one environment of the process."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _RECURSION))
    return Environment()
