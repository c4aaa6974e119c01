"""Every template of the corpus is refused, with the words that belong to it, in little time and memory.

`python -m tests.fuzz.test_hostile_templates` measures each through `reconciler validate` and prints a table.
"""

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import SiteInvalid
from reconciler.render import render
from reconciler.source import prepare
from tests.fuzz import measured
from tests.review import sites
from tests.support import sealed

_TEXT = Path(__file__).with_name("hostile_templates.txt").read_text()
_ENTRY = re.compile(r"^=== (?P<name>[a-z0-9-]+): (?P<expected>.+)\n(?P<text>(?:(?!=== |# ).*\n)*)", re.MULTILINE)
CORPUS = {match["name"]: (match["expected"], match["text"]) for match in _ENTRY.finditer(_TEXT)}
# Those that are too long to be written down.
CORPUS |= {
    "four-mebibytes-of-expressions": ("at most 5000 expressions", "{{1}}" * (4 * 2**20 // 5)),
    "many-expressions": ("at most 10000 words", "{{1}}" * 4_900),
    "long-expression": ("at most 10000 words", "{{ [" + "1," * 500_000 + "] }}"),
    "long-sum": ("nested too deeply|at most 10000 words", "{{ " + "1 + " * 4_000 + "1 }}"),
    "long-text": ("at most 10000 words|steps|larger", "{{ '" + "x" * 3_000_000 + "' * 2 }}"),
    "many-alternatives": ("at most|deep|nested", "{% if 0 %}" + "{% elif 0 %}" * 4_000 + "{% endif %}"),
    "many-blocks": ("nested|deep|indentation|blocks", "{% if 1 %}" * 2_000 + "{% endif %}" * 2_000),
    "many-loops": ("nested|deep|blocks", "{% for a in [1] %}" * 60 + "{% endfor %}" * 60),
    "many-negations": ("nested too deeply", "{{ " + "not " * 3_000 + "1 }}"),
    "many-minus-signs": ("nested too deeply", "{{ " + "-" * 3_000 + "1 }}"),
    "many-conditions": ("nested too deeply", "{{ " + "1 if 0 else " * 2_000 + "1 }}"),
    "many-attributes": ("nested too deeply", "{{ groups" + ".a" * 3_000 + " }}"),
    "many-calls": ("nested too deeply", "{{ range" + "(1)" * 2_000 + " }}"),
    "many-filters": ("nested too deeply", "{{ 1" + " | string" * 2_000 + " }}"),
    "many-powers": ("nested too deeply|limit", "{{ " + "2 ** " * 2_000 + "2 }}"),
    "huge-number": ("at most 4096 bits|not valid Jinja2", "{{ 0x" + "f" * 100_000 + " }}"),
    "huge-decimal": ("at most 4096 bits|not valid Jinja2", "{{ " + "9" * 100_000 + " }}"),
    "infinite-number": ("too large", "{{ 1e999 }}"),
    "unclosed-comment": ("not valid Jinja2", "{#" * 5_000),
    "unclosed-text": ("not valid Jinja2", "{{ '" + "\\a" * 500_000),
    "spaces-in-a-tag": ("not valid Jinja2|at most", "{%" + " " * 1_000_000),
    "raw-that-never-ends": ("not valid Jinja2", "{% raw %}" + "{% endra" * 4_000),
}
_BYTES = 256  # MiB of the whole program
_MORE = 160  # MiB that rendering takes on top of what was there
_COSTLY = re.compile("steps|MiB|larger")


def _either(expected: str) -> str:
    """What takes many steps makes much on the way: whichever limit comes first is right."""
    return f"{expected}|of data" if "steps" in expected else expected


def _parameters() -> Iterator[Any]:
    """All; of those that are refused for what they cost, the ones past the second of a kind run in the long run."""
    seen: Counter[str] = Counter()
    for name, (expected, _) in CORPUS.items():
        seen[expected] += 1
        late = seen[expected] > 2 and _COSTLY.search(expected)
        yield pytest.param(name, marks=pytest.mark.slow if late else (), id=name)


def files(text: str) -> dict[str, str]:
    """A site whose one template is `text`."""
    template = "services/web/templates/index.html.j2"
    found = {**sites.small(2), template: text, "passwords.yml": sealed.text({"web_password": "web"})}
    found["services/web/service.yml"] += "passwords: {web_password: {kind: random}}\n"
    return found


def refused(text: str) -> str:
    """What rendering the first host says, all problems in one text; empty when it says nothing."""
    try:
        site = prepare.load({path: content.encode() for path, content in files(text).items()})
        render(site, "web1", "0" * 40)
    except SiteInvalid as error:
        return "\n".join(map(str, error.problems))
    return ""


@pytest.mark.parametrize("name", list(_parameters()))
def test_a_hostile_template_is_refused(name: str) -> None:
    expected, text = CORPUS[name]
    taken = measured.forked(lambda: refused(text))
    assert re.search(_either(expected), taken.answer), taken.answer[:1000]
    assert "services/web/templates/index.html.j2:" in taken.answer
    assert " object at 0x" not in taken.answer
    assert taken.cpu < 8, "on a quiet machine it is below 2"
    assert taken.memory < _MORE


HEAVY = (
    "macro-doubling",
    "texts-kept-wide",
    "yaml-of-many",
    "regex-many-sources",
    "many-expressions",
    "secret-repeated",
)


@pytest.mark.parametrize("name", HEAVY)
def test_the_whole_program_refuses_it_in_little_memory(name: str, tmp_path: Path) -> None:
    _check(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CORPUS.keys() - set(HEAVY)))
def test_the_whole_program_refuses_every_one_in_little_memory(name: str, tmp_path: Path) -> None:
    _check(name, tmp_path)


def _check(name: str, folder: Path) -> None:
    taken = validated(CORPUS[name][1], folder)
    code, printed = taken.answer
    assert code == 1, printed[:1000]
    expected = _either(CORPUS[name][0])
    if _COSTLY.search(expected):
        expected += "|of processor time"  # on a busy machine the child's clock may come before its meter
    assert re.search(expected, printed), printed[:1000]
    assert taken.memory < _BYTES
    assert taken.cpu < 10


def validated(text: str, folder: Path) -> measured.Taken:
    """`reconciler validate` of the site with that template."""
    for path, content in files(text).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    return measured.program(["validate", folder])


def main() -> None:
    """Measure all, or those that are named."""
    worst = [0.0, 0.0, 0.0]
    for name in sys.argv[1:] or CORPUS:
        with tempfile.TemporaryDirectory() as folder:
            taken = validated(CORPUS[name][1], Path(folder))
        worst = [max(pair) for pair in zip(worst, (taken.wall, taken.cpu, taken.memory), strict=True)]
        print(
            f"{name:32} {taken.wall:5.2f} s wall {taken.cpu:5.2f} s cpu {taken.memory:5.0f} MiB  exit {taken.answer[0]}"
        )
    print(f"{'at most':32} {worst[0]:5.2f} s wall {worst[1]:5.2f} s cpu {worst[2]:5.0f} MiB")


if __name__ == "__main__":
    main()
