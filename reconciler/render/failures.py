"""What an error that a template raised means to whoever wrote the template: where, what, and what to do."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NoReturn, Protocol

import jinja2

from reconciler.catalogue.load import PREFIX
from reconciler.document.words import suggest
from reconciler.errors import Problem, SiteInvalid
from reconciler.render.faults import FilterError, Refused, UnheardError
from reconciler.site import Site
from reconciler.site.layout import GLOBALS

_UNDEFINED: Final = re.compile(r"'(\w+)' is undefined")


class Names(Protocol):
    """`evaluate.Scope`, as far as an explanation asks it."""

    def __iter__(self) -> Iterator[str]: ...
    @property
    def variables(self) -> "_Variables": ...


class _Variables(Protocol):
    def site(self) -> Site: ...
    def declared(self) -> Mapping[str, object]: ...


def refuse(error: Exception, scope: Names, file: str, first_line: int, column: int) -> NoReturn:
    """Raise `error` as SiteInvalid with its place in the text that begins at `first_line` of `file`. MemoryError stays what it is."""
    if isinstance(error, MemoryError):  # of the process and not of the text, which was only the next to ask
        raise error
    line, message, hint = line_of(error), str(error), ""
    if isinstance(error, UnheardError):
        hint = error.hint
    elif isinstance(error, jinja2.UndefinedError):
        match = _UNDEFINED.fullmatch(message)
        if match:
            message, hint = _not_defined(match[1], scope)
            if file.startswith(f"{PREFIX['catalogue']}/") and _is_required(match[1], scope):
                user = f"{file}:{first_line + line - 1}"
                raise SiteInvalid([Problem(GLOBALS, 0, 0, message, f"set it here; {user} needs it")]) from None
    elif isinstance(error, jinja2.TemplateSyntaxError):
        message = f"not valid Jinja2: {error.message}"
    elif isinstance(error, RecursionError):
        message = "expressions are nested too deeply"
    elif not isinstance(error, jinja2.TemplateError | Refused | FilterError):
        message = f"{message.rstrip('.')} ({type(error).__name__})"
    problem = Problem(file, first_line + line - 1, column if line == 1 else 1, message[:500], hint)
    raise SiteInvalid([problem]) from None


def _is_required(name: str, scope: Names) -> bool:
    """Whether the site has to set a variable, and did not: that is said once, where it belongs, whoever asks for it first."""
    variables = scope.variables
    return name in variables.declared() and name not in variables.site().catalogue.passwords()


def _not_defined(name: str, scope: Names) -> tuple[str, str]:
    if name in scope.variables.site().catalogue.passwords():
        return f"the secret {name!r} has no value on this host", f"write `{name}: …` with `sops edit passwords.yml`"
    if name in scope.variables.declared():
        return f"the variable {name!r} has no default and no value", "set it in globals.yml"
    refusal = scope.variables.site().catalogue.refusal(name)
    return f"the variable {name!r} is not defined", refusal or suggest(name, scope)


def line_of(error: Exception) -> int:
    """The line of the innermost template that an error came through, counted from 1."""
    if isinstance(error, jinja2.TemplateSyntaxError | UnheardError):
        return error.lineno
    line = 1
    trace = error.__traceback__
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, jinja2.Template):
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line


def used_by(error: SiteInvalid, name: str) -> SiteInvalid:
    problems = [
        Problem(item.file, item.line, item.column, item.message, item.hint or f"{name} needs it")
        for item in error.problems
    ]
    return SiteInvalid(problems)
