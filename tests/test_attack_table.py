"""The table of attacks in docs/security.md names tests that there are, and every row has one or says that there is none."""

import re

from tests.support.paths import CHECKOUT

_TABLE = re.compile(r"^## Attacks\n(.*?)^## ", re.MULTILINE | re.DOTALL)


def test_every_attack_names_its_tests() -> None:
    table = _TABLE.search((CHECKOUT / "docs/security.md").read_text())
    assert table
    rows = [line.strip("|").split("|") for line in table[1].splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 15
    for attack, _, test in rows:
        named = re.findall(r"`(tests/[^`]+)`", test)
        assert named or "it is not prevented" in test, attack
        assert all((CHECKOUT / path).exists() for path in named), (attack, named)
