"""What a diff shows of a file on the disk: never a secret, whatever happened to the file before."""

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.model import Action, Container, Desired, File, Memory, Outcome, Verb
from reconciler.node.applying import files_plain, files_touched
from reconciler.plan.redact import HIDDEN, file_diff
from reconciler.render import tokens

PATH = "app/app.conf"
LINES = st.sampled_from(
    ["[a]", "debug = true", "x = 1", "password = <<secret:pw>>", "<<secret:key>>", "url = db://u:<<secret:pw>>@h", ""]
)
CONTENTS = st.lists(LINES, max_size=5).map(lambda lines: "".join(f"{line}\n" for line in lines))
ENDS = st.sampled_from(["complete", "failed after the write", "not written", "rolled back", "killed"])
STEPS = st.lists(st.tuples(CONTENTS, ENDS), min_size=1, max_size=7)


@dataclass
class Node:
    """One file and what the node remembers; every write has secrets of its own."""

    disk: bytes | None = None
    memory: Memory = field(default_factory=Memory)
    written: set[str] = field(default_factory=set)

    def step(self, number: int, content: str, end: str) -> str:
        """One apply. Returns the diff that its plan shows."""
        names = tuple(sorted(tokens.names(content)))
        file = File(PATH, content, container="app", secrets=names)
        desired = Desired("s", "h", f"r{number}", "/etc", containers=(Container("app", "x"),), files=(file,))
        values = {"pw": f"pw{number}-horse-battery", "key": f"Zm9v{number}=\nkey{number}: second-line\nYmFy{number}=="}
        wanted = tokens.bind(content, values).encode()
        known = {f.path: f for f in self.memory.last_good.files}.get(PATH) if self.memory.last_good else None
        text = file_diff(file, wanted, self.disk, known, plain=PATH in self.memory.plain)
        action = Action(Verb.WRITE, PATH, "changed", container="app")
        plan: Any = type("Plan", (), {"actions": (action,)})()
        touched, before, found = files_touched(plan, desired), self.memory, self.disk
        self.memory = replace(self.memory, plain=before.plain - touched)
        if end in ("complete", "failed after the write", "killed"):
            self.disk = wanted
            self.written |= {line for name in names for line in values[name].splitlines()}
        if end == "killed":
            return text
        result = {"complete": "done", "failed after the write": "failed", "not written": "failed"}.get(
            end, "rolled-back"
        )
        outcomes = [Outcome(replace(action, verb=Verb.RESTART, target="app"), result)]  # type: ignore[arg-type]
        if end != "not written":
            outcomes.append(Outcome(action, "done"))
        if end == "rolled back":
            self.disk = found
        plain = (before.plain - touched) | files_plain(outcomes, desired, before)
        self.memory = replace(self.memory, plain=plain)
        if end == "complete":
            self.memory = replace(self.memory, last_good=desired, revision=desired.revision)
        return text


@given(STEPS, CONTENTS)
@example([("x = 1\n", "complete"), ("password = <<secret:pw>>\n", "failed after the write")], "x = 1\n")
@example([("x = 1\n", "complete"), ("password = <<secret:pw>>\n", "killed"), ("x = 1\n", "rolled back")], "x = 1\n")
@example([("<<secret:key>>\n", "complete"), ("x = 1\n", "not written")], "x = 1\n")
def test_no_history_of_a_file_shows_a_secret(steps: list[tuple[str, str]], last: str) -> None:
    node = Node()
    for number, (content, end) in enumerate([*steps, (last, "not written")]):
        shown = node.step(number, content, end)
        assert not [line for line in node.written if line in shown], (shown, node.memory.plain)


@given(STEPS.filter(lambda steps: not any("<<" in content for content, _ in steps)))
def test_what_somebody_typed_is_shown_where_no_secret_ever_was(steps: list[tuple[str, str]]) -> None:
    node = Node()
    for number, (content, end) in enumerate([*steps, ("x = 1\n", "complete")]):
        node.step(number, content, end)
    node.disk = b"x = 2 # by hand\n"
    assert "-x = 2 # by hand" in node.step(99, "x = 1\n", "not written")


def test_what_others_wrote_is_not_shown() -> None:
    """Another tool's file may hold its passwords, whatever ours holds."""
    file = File(PATH, "debug = true\nuser = a\n")
    shown = file_diff(
        file, file.content.encode(), b"debug = false\nuser: theirs\npassword = hunter2\ntoken=abc\n", None
    )
    assert "hunter2" not in shown and "theirs" not in shown and "abc" not in shown and "token" not in shown
    assert f"-debug = {HIDDEN}" in shown and f"-{HIDDEN}" in shown


def test_half_a_key_is_no_name_of_one() -> None:
    """The last line of a private key looks like `name =`."""
    file = File(PATH, "<<secret:key>>\n", secrets=("key",))
    shown = file_diff(file, b"new\n", b"-----BEGIN\nYWJjZGVm=\nab: cdef\n", None)
    assert "YWJjZGVm" not in shown and "ab:" not in shown


def test_a_token_that_somebody_typed_is_no_line_of_ours() -> None:
    """The line of the site that has the same words stands for a secret."""
    file = File(PATH, "a = 1\npassword = <<secret:db>>\n", secrets=("db",))
    shown = file_diff(file, b"a = 1\npassword = hunter2\n", b"a = 2\npassword = <<secret:db>>\n", file)
    assert shown.splitlines()[3:] == [
        f"-a = {HIDDEN}",
        f"-password = {HIDDEN}",
        "+a = 1",
        "+password = <<secret:db>>",
    ]


def test_a_secret_of_several_lines_hides_what_comes_after_it() -> None:
    """Which line stands for which is not known then; what is the same in every version is shown by itself."""
    file = File(PATH, "<<secret:key>>\nb = 1 <<secret:x>>\nc = 3\n", secrets=("key", "x"))
    shown = file_diff(file, b"one\ntwo\nb = 1 y\nc = 3\n", b"one\ntwo\nb = 1 y\nc = 3\n", None)
    assert [line for line in shown.splitlines() if line[0] == "-"][1:] == [f"-{HIDDEN}", f"-{HIDDEN}", f"-b = {HIDDEN}"]
    assert " c = 3" in shown.splitlines()


def test_only_the_size_is_told_of_what_is_no_text() -> None:
    file = File(PATH, "a\n", secrets=("s",))
    assert "4 bytes" in file_diff(file, b"a\n", b"\xff\xfe\x00\x01", None)
    plain = File(PATH, "a\n")
    hidden, told = (file_diff(plain, b"a\n", b"\xff\xfe\x00\x01", None, plain=known) for known in (False, True))
    assert HIDDEN in hidden and HIDDEN not in told and hidden != told
