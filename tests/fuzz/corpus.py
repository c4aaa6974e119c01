"""The corpus of hostile inputs: corpus/KIND.jsonl has an input a line, as JSON text of its bytes in Latin-1, and where it came from.

    python -m tests.fuzz.corpus fill 150       as many of each kind from its grammar, the refusals as different as they come
    python -m tests.fuzz.corpus measure        all of them, each in a process of its own: a table of what they took

`guided` adds what the coverage-guided fuzzer finds (guided.py).
"""

import json
import re
import secrets
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from reconciler.secret import Secret
from tests.fuzz import hostile, measured

FOLDER = Path(__file__).with_name("corpus")
SECONDS, MEMORY = 2.0, 256.0  # processor time, MiB
CANARY = secrets.token_hex(16)  # a secret that lives where an input is met
_ALIVE = Secret(CANARY)
_TRIED = 40  # seeds for every input that is kept


@dataclass(frozen=True)
class Input:
    kind: str
    origin: str
    data: bytes


def load(kind: str) -> list[Input]:
    path = FOLDER / f"{kind}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [Input(kind, origin, text.encode("latin-1")) for origin, text in rows]


def save(kind: str, inputs: Iterable[Input]) -> None:
    FOLDER.mkdir(exist_ok=True)
    unique = {entry.data: entry for entry in inputs}
    rows = [json.dumps([entry.origin, entry.data.decode("latin-1")]) for entry in unique.values()]
    (FOLDER / f"{kind}.jsonl").write_text("".join(f"{row}\n" for row in rows))


def signature(said: str) -> str:
    """What a refusal is about, without what it quotes."""
    return re.sub(r"\d+|'[^']*'|\"[^\"]*\"|«[^»]*»", "_", said.split("\n")[0])[:160]


def from_grammar(kind: str, count: int) -> Iterator[Input]:
    """`count` inputs that are refused, from one refusal after the other, and the same ones again next time."""
    by_refusal: dict[str, list[Input]] = defaultdict(list)
    known: set[bytes] = set()
    for seed in range(count * _TRIED):
        data = hostile.KINDS[kind].make(Random(f"{kind} {seed}"))
        if data in known:
            continue
        known.add(data)
        said = hostile.KINDS[kind].meet(data)
        if said.startswith("refused"):
            by_refusal[signature(said)].append(Input(kind, f"grammar, seed {seed}", data))
        if seed >= count * 4 and sum(map(len, by_refusal.values())) >= count:
            break
    ranked = [sorted(found, key=lambda entry: len(entry.data)) for found in by_refusal.values()]
    taken = 0
    while taken < count and any(ranked):
        for found in ranked:
            if found and taken < count:
                yield found.pop(0)
                taken += 1


def met(entry: Input) -> measured.Taken:
    """What came of an input in a fork of this process, and what it took. The answer holds neither a secret nor the program's inside."""
    taken = measured.forked(lambda: hostile.KINDS[entry.kind].meet(entry.data)[:20_000])
    assert CANARY not in taken.answer, entry
    assert not re.search(r" object at 0x|<function|<built-in|Traceback", taken.answer), (entry, taken.answer)
    return taken


def judge(entries: Sequence[Input]) -> dict[str, tuple[int, float, float]]:
    """Kind → how many, most seconds of processor time, most MiB. Raises AssertionError for what is not refused within the limits."""
    found: dict[str, tuple[int, float, float]] = {}
    for kind in {entry.kind: None for entry in entries}:
        first = next(entry for entry in entries if entry.kind == kind)
        hostile.KINDS[kind].meet(first.data)  # modules are loaded once, before they would be counted for each
    for entry in entries:
        taken = met(entry)
        assert taken.answer.startswith("refused"), (entry.kind, entry.origin, taken.answer)
        assert taken.cpu < SECONDS and taken.memory < MEMORY, (entry.kind, entry.origin, taken.cpu, taken.memory)
        count, cpu, memory = found.get(entry.kind, (0, 0.0, 0.0))
        found[entry.kind] = (count + 1, max(cpu, taken.cpu), max(memory, taken.memory))
    return found


def main() -> None:
    """See the module."""
    match sys.argv[1:]:
        case ["fill", count]:
            for kind in hostile.KINDS:
                kept = [entry for entry in load(kind) if not entry.origin.startswith("grammar")]
                save(kind, [*from_grammar(kind, int(count)), *kept])
        case ["measure", *kinds]:
            entries = [entry for kind in kinds or hostile.KINDS for entry in load(kind)]
            origins = Counter((entry.kind, entry.origin.partition(",")[0]) for entry in entries)
            total = 0
            for kind, (number, cpu, memory) in judge(entries).items():
                total += number
                guided = origins[kind, "guided"]
                print(f"| {kind} | {number - guided} | {guided} | {cpu:.2f} s | {memory:.0f} MiB |")
            print(f"{total} inputs")
        case _:
            sys.exit(__doc__)
    hostile.forget()


if __name__ == "__main__":
    main()
