"""Finds the verb, turns errors into messages and exit codes.

Exit codes: 0 done; 1 an error, with one line about what is wrong and what to do; 130 interrupted, 143 terminated. Verbs that answer a
question say in their help what 1 and 2 mean there. Errors of ours never show a traceback; `--debug` shows one, and never
with the values of local variables.
"""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from reconciler import __version__, errors
from reconciler.cli import output, token
from reconciler.phrases import count
from reconciler.system import run

# Verb → where it is. Found only when used: a verb does not wait for what others import.
_VERBS = {
    "init": "init:init",
    "import": "importing:import_",
    "validate": "site:validate",
    "explain": "site:explain",
    "render": "site:render",
    "desired": "plan:desired",
    "plan": "plan:plan",
    "diff": "ci:diff",
    "ci": "ci:ci",
    "secrets": "secrets:secrets",
    "certificates": "certificates:certificates",
    "images": "images:images",
    "upgrade-site": "upgrading:upgrade_site",
    "schema": "schema:schema",
    "services": "services:services",
    "run": "node:run",
    "reconcile": "node:reconcile",
    "status": "status:status",
    "drift": "plan:drift",
    "history": "history:history",
    "events": "status:events",
    "suspend": "operator:suspend",
    "resume": "operator:resume",
    "retry": "operator:retry",
    "anchor": "operator:anchor",
    "owner": "operator:owner",
    "fleet": "fleet:fleet",
    "drain": "draining:drain",
    "reporter": "reporter:reporter",
    "precheck": "precheck:precheck",
    "backup": "backup:backup",
    "recover": "recover:recover",
    "doctor": "doctor:doctor",
    "facts": "facts:facts",
    "node": "install:node",
    "version": "version:version",
}
# What a verb exits with when it could not do its work, where that is not 1.
_COULD_NOT = {"validate": 2}


class Program(click.Group):
    """The group of all verbs, in the order of the table."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        module, _, attribute = _VERBS[name].partition(":")
        command = getattr(import_module(f"reconciler.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in words or bool(os.environ.get("RECONCILER_DEBUG"))
        extra["standalone_mode"] = False
        extra.setdefault("prog_name", "reconciler")
        sys.exit(self._guarded(words, rest, extra, debug))

    def _guarded(self, words: list[str], rest: tuple[Any, ...], extra: dict[str, Any], debug: bool) -> int:
        verb = next((word for word in words if not word.startswith("-")), "")
        failed = _COULD_NOT.get(verb, 1)
        try:
            code = super().main(words, *rest, **extra)
            return code if isinstance(code, int) else 0
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return failed
        except click.UsageError as error:
            error.show()
            return failed
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            return 130
        except BrokenPipeError:
            # Whoever read our output has enough; nothing more may be written, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return failed
        except errors.ReconcilerError as error:
            _show(error)
            if debug:
                traceback.print_exc()
            return failed
        except OSError as error:
            root = " (run it as root)" if isinstance(error, PermissionError) and os.geteuid() else ""
            name = f"{error.filename}: " if error.filename else ""
            output.line(f"error: {name}{error.strerror or error}{root} [{type(error).__name__}]", err=True)
            if debug:
                traceback.print_exc()
            return failed
        except Exception as error:
            output.line(f"error: {errors.defect(error, verb or 'the program')} [InternalError]", err=True)
            output.line("  what to do: run it again with --debug, and add what it prints to the report", err=True)
            if debug:
                traceback.print_exc()
            return failed


def _show(error: errors.ReconcilerError) -> None:
    if isinstance(error, errors.SiteInvalid):
        for problem in error.problems:
            output.line(str(problem), err=True)
        output.line(f"error: the site has {count(len(error.problems), 'problem')} (SiteInvalid)", err=True)
        return
    again = " Trying again may help." if isinstance(error, errors.Transient) else ""
    output.line(f"error: {error} [{error.reason}]{again}", err=True)


_EPILOG = """\b
Exit codes: 0 done; 1 an error, with what to do about it; 130 interrupted, 143 terminated. What else a verb answers with its
exit code (validate, plan, drift, status, doctor) is in its own --help."""


@click.command(
    epilog=_EPILOG, cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option("--config", type=click.Path(path_type=Path), envvar="RECONCILER_CONFIG", help="The node's settings file.")
@click.option("--debug", is_flag=True, help="Show tracebacks (never with values of variables).")
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def program(context: click.Context, config: Path | None, debug: bool) -> None:
    """Keeps this node, or any Docker host, in the state that a Git repository describes.

    For a site repository: init, import, validate, explain, render, desired, plan, diff, ci, secrets, certificates,
    upgrade-site, schema, services. On a node: the others.
    """
    context.obj = {"config": config, "debug": debug}


def main() -> None:
    """The entry point of the installed program."""
    token.leave_environment()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    program.main()


def _end(number: int, _: object) -> NoReturn:
    """End as any error ends: contexts are left, and with them goes what was temporary. Nothing waits for a child."""
    run.end_all()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
