"""The tutorial's text, made of a day that was carried out."""

import re
from pathlib import Path

import jinja2

from tests.day import steps
from tests.day.bed import NODE, OPERATOR, Day, DayFailed

TEMPLATE = Path(__file__).with_name("tutorial.md.j2")
_FENCED = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text(day: Day) -> str:
    """The tutorial. Raises DayFailed when the template leaves out a command or tells it out of order."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    names = {step.__name__: steps.headline(step) for step in steps.STEPS}
    made = environment.from_string(TEMPLATE.read_text()).render(step=names, **day.blocks)
    if commands(made) != day.commands:
        raise DayFailed("the template does not tell the commands of the day in their order")
    return made


def commands(tutorial: str) -> list[str]:
    """The commands in a tutorial's listings, with their prompts."""
    rows = [row for listing in _FENCED.findall(tutorial) for row in listing.splitlines()]
    return [row for row in rows if row.startswith((f"{OPERATOR} ", f"{NODE} "))]


def prose(tutorial: str) -> str:
    """A tutorial without its listings."""
    return re.sub(r"^```.*?^```$", "```", tutorial, flags=re.MULTILINE | re.DOTALL)


def headlines(tutorial: str) -> list[str]:
    """The headlines of a tutorial's steps, without their numbers."""
    return re.findall(r"^## \d+\. (.+)$", tutorial, re.MULTILINE)
