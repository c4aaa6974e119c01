"""The whole day, carried out; and docs/tutorial.md tells the very same one."""

import re
from pathlib import Path

import pytest

from tests.conftest import _unavailable
from tests.day import steps, tutorial
from tests.day.bed import Day, DayFailed, refuse_collisions
from tests.review import ci_local
from tests.support.paths import CHECKOUT

TUTORIAL = CHECKOUT / "docs/tutorial.md"


@pytest.mark.engine
@pytest.mark.images
def test_the_day_happens_as_the_tutorial_tells_it(
    engine_url: str, kolla_images: dict[str, str], tmp_path: Path
) -> None:
    try:
        ci_local.program()
        refuse_collisions(engine_url)
    except (ci_local.Missing, DayFailed) as error:
        _unavailable(str(error))
    with Day(tmp_path / "day", engine_url) as day:
        for step in steps.STEPS:
            step(day)
        told = TUTORIAL.read_text()
        assert tutorial.commands(told) == day.commands
        made = tutorial.text(day)
        assert tutorial.prose(told) == tutorial.prose(made), "run python -m tests.day --write docs/tutorial.md"
        assert str(day.root) not in made and day.forge.url not in made and str(CHECKOUT) not in made


def test_the_tutorial_tells_every_step() -> None:
    told = TUTORIAL.read_text()
    assert tutorial.headlines(told) == [steps.headline(step) for step in steps.STEPS]
    for picture in re.findall(r"!\[.*?\]\((.+?)\)", told):
        assert (TUTORIAL.parent / picture).is_file(), picture
