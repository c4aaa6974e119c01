"""What rendering raises where a template is at fault. Known without Jinja2, since tokens are bound in the daemon too."""


class Refused(Exception):
    """A template asked for something it may not have: too much of something, or a look at a secret."""


class FilterError(Exception):
    """An operation cannot do anything with what it was given."""
