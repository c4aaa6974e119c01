"""What a branch's files come to on the branch that it is merged into, file by file. Pure.

Git merges files line by line where both sides changed them; what comes of that is not guessed here.
"""

from collections.abc import Mapping

Content = Mapping[str, bytes]


def merged(fork: Content, head: Content, target: Content) -> tuple[Content, tuple[str, ...]]:
    """The files of `target` with what `head` changed of those of `fork`, the last commit that both have in common; and the names of those
    that both changed, each in its own way."""
    found, both = {}, []
    for name in sorted({*fork, *head, *target}):
        before, ours, theirs = fork.get(name), head.get(name), target.get(name)
        content = ours if before == theirs or ours == theirs else theirs
        if before not in (ours, theirs) and ours != theirs:
            both.append(name)
        elif content is not None:
            found[name] = content
    return found, tuple(both)
