"""Which names of refs git allows. Ours, because the daemon asks at every poll and does without libgit2."""

import re

# git-check-ref-format(1): no control character, space or one of ~^:?*[\, no "..", "@{" or "//"; of each part no dot first and
# no ".lock" last; no dot or slash at the end, no slash first.
_REFUSED = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|(?:^|/)\.|\.lock(?:/|\Z)|[./]\Z|^/")
_OUTSIDE = re.compile(r"[A-Z](?:[A-Z_]*[A-Z])?")  # HEAD and the like; libgit2 takes no underscore at an end


def is_valid(name: str) -> bool:
    """Whether a name can be that of a ref."""
    return bool(_OUTSIDE.fullmatch(name)) or ("/" in name and not _REFUSED.search(name))
