"""What rendering raises where a template is at fault. Known without Jinja2, since tokens are bound in the daemon too."""


class Refused(Exception):
    """A template asked for something it may not have: too much of something, or a look at a secret."""


class FilterError(Exception):
    """An operation cannot do anything with what it was given."""


class Said(FilterError):
    """What a template itself says of a value that it cannot do without: whole, whoever asked."""


class UnheardError(FilterError):
    """A text asks whether something is defined that nothing defines anywhere: most likely it is misspelt, or was renamed."""

    def __init__(self, name: str, line: int, hint: str) -> None:
        super().__init__(f"the name {name[:60]!r} is known nowhere, so that it is never defined")
        self.lineno = line
        self.hint = hint
