"""Every input of the corpus is refused, in little time and memory, and nothing gets out."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import corpus, hostile, test_hostile_templates
from tests.support.paths import CHECKOUT

EACH = 8  # of a kind in the default run: the first of each refusal come first
WHOLE = 25  # of a kind that go through the whole program in the long run
_KEPT = 200  # of each kind, at least


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an input makes the program put on the disk is gone afterwards."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setenv("RECONCILER_CANARY", corpus.CANARY)
    hostile.forget()
    yield
    hostile.forget()
    assert list(place.iterdir()) == []


def test_there_are_two_thousand_of_all_kinds() -> None:
    counts = {kind: len(corpus.load(kind)) for kind in hostile.KINDS}
    assert sum(counts.values()) >= 2000 and min(counts.values()) >= _KEPT, counts


def test_a_part_of_the_corpus_is_refused() -> None:
    assert len(corpus.judge([entry for kind in hostile.KINDS for entry in corpus.load(kind)[:EACH]])) == len(
        hostile.KINDS
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", hostile.KINDS)
def test_the_whole_corpus_is_refused(kind: str) -> None:
    corpus.judge(corpus.load(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["yaml", "jinja", "name", "sops"])
def test_the_whole_program_refuses_them(kind: str, tmp_path: Path) -> None:
    """`reconciler validate`, its walled children counted with it: all that they hold at once."""
    for number, entry in enumerate([entry for entry in corpus.load(kind) if not _of_paths(entry)][:WHOLE]):
        site = tmp_path / str(number)
        for path, content in _site(entry).items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_bytes(content)
        code, said, cpu, memory = _validated(site)
        refused = (entry.kind, entry.data) != (
            "sops",
            b"{}",
        )  # that holds nothing, which is a file of passwords like another
        assert code == refused and "Traceback" not in said and corpus.CANARY not in said, (entry, said)
        assert memory < corpus.MEMORY and cpu < 10, (entry, cpu, memory)


def _of_paths(entry: corpus.Input) -> bool:
    """Whether it has names that no disk takes."""
    return entry.kind == "name" and json.loads(entry.data)[0] in ("file", "service")


def _site(entry: corpus.Input) -> dict[str, bytes]:
    if entry.kind == "jinja":
        text = entry.data.decode(errors="replace")
        return {path: content.encode() for path, content in test_hostile_templates.files(text).items()}
    if entry.kind == "name":
        return {**hostile.SITE, **hostile.named(entry.data)}
    return {**hostile.SITE, {"yaml": "globals.yml", "sops": "passwords.yml"}[entry.kind]: entry.data}


def _validated(site: Path) -> tuple[int, str, float, float]:
    """Exit code, what was said, processor seconds, and the most MiB that the program and its children held together."""
    command = [sys.executable, "-m", "reconciler", "validate", str(site)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=CHECKOUT
    ) as process:
        most, ended = [0.0], threading.Event()
        watcher = threading.Thread(target=_watch, args=(process.pid, most, ended))
        watcher.start()
        said = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watcher.join()
    return process.returncode, said, usage.ru_utime + usage.ru_stime, most[0]


def _watch(root: int, most: list[float], ended: threading.Event) -> None:
    while not ended.is_set():
        family, resident = {root}, 0.0
        rows = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                rows.append((int(name), int(fields[1]), int(fields[21]) * 4096 / (1 << 20)))
        for pid, parent, size in sorted(rows):
            if pid == root or parent in family:
                family.add(pid)
                resident += size
        most[0] = max(most[0], resident)
        time.sleep(0.01)
