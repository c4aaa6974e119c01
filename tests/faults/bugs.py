"""Bugs that somebody might write, each a small edit of the program's source, to prove that the harness finds them.

python -m tests.faults.bugs [NAME…]     which of them are found, by how many schedules
"""

import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from types import CodeType
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.faults.points import NAMES
from tests.faults.schedule import schedules
from tests.faults.search import check
from tests.faults.tour import CALM, tour

TOURS: Final = 60  # of failpoints near the bug first
SCHEDULES: Final = 60  # after them, that nobody chose
TURNS: Final = 8  # operations of a kind: a tour comes to the container whose files come and go at the eighth


@dataclass(frozen=True)
class Bug:
    """In the function `place` (`module:name`) `old` stands once, and is `new` instead."""

    name: str
    place: str
    old: str
    new: str
    near: str = "engine"  # whose failpoints come first


BUGS: Final = (
    Bug("the old one still runs while the new one starts", "reconciler.apply.swap:Swap.replace", "if has_old:", "if False:"),
    Bug("a replace that was interrupted begins anew", "reconciler.apply.swap:Swap.replace", "resumed = self._engine.exists(spare)", "resumed = False", near="engine.start"),
    Bug("the files of before are not put back", "reconciler.apply.swap:Swap._put_back", "self._rollback.restore(container.name)", "None", near="engine.healthy"),
    Bug("the files of before are not kept", "reconciler.apply.writing:Writing._keep", "self._rollback.keep(action.container, changing)", "pass", near="engine.healthy"),
    Bug("files that are kept are kept anew", "reconciler.apply.rollback:Rollback._keep", "set(paths) - manifest.keys()", "set(paths)", near="engine.healthy"),
    Bug("what was absent before is not removed when going back", "reconciler.apply.rollback:Rollback.restore", "if kept is None:", "if kept is None:\n            continue", near="engine.healthy"),
    Bug("a refused reload counts as done", "reconciler.apply.proof:Proof.attempt", "return Health(False, error.reason, str(error))", "return Health(True)", near="engine.signal"),
    Bug("no answer counts as done", "reconciler.apply.proof:Proof.attempt", "if error.reason in NO_VERDICT:\n            raise", "if error.reason in NO_VERDICT:\n            return Health(True)", near="engine.st"),
    Bug("a job counts as run before it has", "reconciler.apply.actions:Actions._run", "code, output = ", "self._store.job_done(job.name, JobResult(job.inputs, True, datetime.now(UTC), ''))\n    code, output = ", near="engine.run"),
    Bug("a registration is noted after it was made", "reconciler.apply.actions:Actions._register", "self._store.registered(registration)\n", "self._registry.converge(registration)\n    self._store.registered(registration)\n", near="registrar.converge"),
    Bug("a registration is forgotten before it is withdrawn", "reconciler.apply.actions:Actions._unregister", "self._registry.withdraw(self._basis.registered[action.target])\n    self._store.unregistered(action.target)", "self._store.unregistered(action.target)\n    self._registry.withdraw(self._basis.registered[action.target])", near="registrar.withdraw"),
    Bug("a setting of the host is noted after it was set", "reconciler.apply.actions:Actions._set", "    # Noted first", "    self._host.put(setting)\n    # Noted first", near="host.put"),
    Bug("a setting is forgotten before it is put back", "reconciler.apply.actions:Actions._reset", "refused = self._host", "self._store.host_reset(action.target)\n    refused = self._host", near="host.back"),
    Bug("a defect of one action ends them all", "reconciler.apply.walk:_guarded", "except errors.ReconcilerError as error:", "except errors.SiteInvalid as error:", near="config."),
    Bug("a folder that cannot be listed is empty", "reconciler.node.host:_read_folder", "unknown[f\"{folder}/\"] = error.strerror or str(error)", "pass", near="config.list"),
    Bug("what is not ours is taken for ours", "reconciler.node.observing:Observer.observe", "if running.id in adopted else running", "if True else running", near="clock"),
    Bug("a suspension is not heard", "reconciler.node.aims:Aims.holds", "suspension.reason if suspension else None", "None", near="clock"),
    Bug("the anchor follows a rewritten branch", "reconciler.git.trust:advance", "descends = clone.is_ancestor(repository, anchor, head)", "descends = True", near="git.poll"),
    Bug("write(2) is asked once", "reconciler.system.files:_write_all", "while rest:", "if rest:", near="state.write"),
    Bug("a file is written in place", "reconciler.system.files:_replacing", "temporary = f\".{secrets.token_hex(8)}{LEFTOVER_SUFFIX}\"", "temporary = name\n    if name in os.listdir(directory): os.unlink(name, dir_fd=directory)", near="state."),
    Bug("the verdict does not count what is unknown", "reconciler.report.verdict:_symptoms", "if not held.reason.harmless and", "if not held.reason.harmless and held.reason != Reason.Unknown and", near="engine.i"),
    Bug("what was applied is compared with nothing", "reconciler.plan.recall:staleness", "applied.files == wanted", "applied.files == ''", near="clock"),
    Bug("a state file is kept in memory only", "reconciler.state.documents:Documents.write", "files.write_atomic(self._folder / name, json.dumps(stamped, indent=1).encode(), mode=0o600)", "self._parsed[name] = (self._identity(name), None)", near="state."),
    Bug("a registration is only forgotten", "reconciler.apply.actions:Actions._unregister", "self._registry.withdraw(self._basis.registered[action.target])", "pass"),
    Bug("a file that is to go stays", "reconciler.apply.writing:Writing.delete", "files.remove(self._root, action.target, only=self._basis.written.get(action.target, ()))", "pass"),
    Bug("an alert is noted once it was told", "reconciler.alerts.notifier:Notifier._tell", "self._save(announced)", "pass", near="alert"),
    Bug("without an answer of etcd a host goes", "reconciler.rollout.decide:step", "not own.changes else UNAVAILABLE", "not own.changes else Go()", near="etcd"),
)  # fmt: skip


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The program has the bug within, whoever imported the function from wherever."""
    module, _, path = bug.place.partition(":")
    found: Any = reduce(getattr, path.split("."), importlib.import_module(module))
    function: Any = found.fget if isinstance(found, property) else inspect.unwrap(found)
    source = textwrap.dedent(inspect.getsource(function))
    old, new = (textwrap.dedent(text) for text in (bug.old, bug.new))
    source = source[source.index("def ") :]
    assert source.count(old) == 1, f"{bug.name}: {old!r} stands {source.count(old)} times in {bug.place}"
    names: dict[str, Any] = {}
    exec(compile(source.replace(old, new), f"<{bug.name}>", "exec"), function.__globals__, names)
    before, function.__code__ = function.__code__, _like(names[function.__name__].__code__, function.__code__)
    try:
        yield
    finally:
        function.__code__ = before


def _like(code: CodeType, before: CodeType) -> CodeType:
    assert code.co_freevars == before.co_freevars, "a function within another one cannot be exchanged"
    return code


def found(bug: Bug) -> tuple[int, str]:
    """How many schedules it took, and what they broke; (0, "") when none did."""
    played = 0

    def tried(schedule: Any) -> None:
        nonlocal played
        played += 1
        check(schedule)

    with planted(bug):
        try:
            tried(CALM)
            for name, turn in first(bug.near):
                tried(tour(name, turn))
            _search(tried)
        except Exception as error:  # whatever the harness does not let pass
            return played, f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}"
    return 0, ""


def first(near: str) -> list[tuple[str, int]]:
    """Tours: the failpoints of one port, at each operation of a tour in its turn, then those of all."""
    own = [(name, turn) for turn in range(1, TURNS + 1) for name in NAMES if name.startswith(near)]
    mixed = sorted(NAMES, key=lambda name: (sum(map(ord, name)) * 7919) % 997)
    return [*own, *((name, 1) for name in mixed)][:TOURS]


def _search(tried: Callable[[Any], None]) -> None:
    searching = given(schedules())(tried)
    quiet = settings(
        max_examples=SCHEDULES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    seed(1)(quiet(searching))()


if __name__ == "__main__":
    for bug in BUGS:
        if not sys.argv[1:] or any(word in bug.name for word in sys.argv[1:]):
            number, what = found(bug)
            print(f"{number or 'NOT FOUND':>9}  {bug.name}: {what}", flush=True)
