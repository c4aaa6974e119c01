"""A plan of many hosts made readable: grouped, its risks named, as a merge-request note, an HTML page and JSON. Pure.

Everything that a branch can influence is data here: `escape` is the only way for it into a note or a page.
"""

from reconciler.review.document import VERSION, as_json
from reconciler.review.note import LIMIT, Frame, marker, note
from reconciler.review.page import page
from reconciler.review.ranges import compact
from reconciler.review.risks import KINDS, Risk, headline, risks
from reconciler.review.types import Change, Group, Review, changes

__all__ = [
    "KINDS",
    "LIMIT",
    "VERSION",
    "Change",
    "Frame",
    "Group",
    "Review",
    "Risk",
    "as_json",
    "changes",
    "compact",
    "headline",
    "marker",
    "note",
    "page",
    "risks",
]
