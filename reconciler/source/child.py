"""The one way to have a site looked at: a function of a child module is called in a sealed process, which reads the sources first.

The child's side is `site_child`: a child module has its `warm` and `gather`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from reconciler.git import content
from reconciler.system import run, walls

T = TypeVar("T")

# Processor time ends what is made to be slow. A machine that gives little of it, or an emulated one, takes minutes for a good site.
LIMITS: Final = run.Limits(seconds=900.0, cpu_seconds=6, memory=160 << 20, memory_per_byte=24, cpu_per_mib=1.0)
SOURCES: Final = ("source", "head", "base", "fork")  # names that sources have in an argument
MADE: Final = "made"  # and the place of what another program made
_COMMITS: Final = ("reconciler.git.tree",)  # what reading a commit takes, and reading a folder does not


def ask(
    function: str,
    argument: Mapping[str, Any],
    answers: type[T],
    *,
    limits: run.Limits = LIMITS,
    progress: Callable[[bytes], None] | None = None,
) -> T:
    """What `package.module:function` answers. It reads what `argument` has as one of `SOURCES` (`git.content`, or None) and as
    `made` (a path, or None), and nothing else. `progress` as in `run.python`.

    Raises what the function raises, errors.Terminal (LimitExceeded, WallMissing, ChildFailed …), errors.Transient (DeadlineExceeded).
    """
    made = argument.get(MADE)
    given = [source for source in map(argument.get, SOURCES) if source]
    read = (*content.places(*given), *([made] if made else []))
    modules = _COMMITS if any(source["commit"] for source in given) else ()
    found: T = run.python(
        function,
        argument,
        limits=limits,
        answers=answers,
        wall=walls.Wall(read=read),
        modules=modules,
        progress=progress,
    )
    return found
