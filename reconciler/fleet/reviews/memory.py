"""What the reviews of merge requests remember over a restart. It may be lost: then everything open is reviewed once more, and
a note that says the same already is not written again."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from reconciler import errors
from reconciler.codec import UNREADABLE, Lost, from_json, to_json
from reconciler.fleet.reviews.queue import HOUR, Reviewed, Told
from reconciler.review.gate import Rules
from reconciler.system import files

log = structlog.get_logger()


@dataclass(slots=True)
class Memory:
    """`requests`: number of a merge request → what is known of it. `started`: when whose reviews began in the last hour.
    `rules`: a commit of the target branch, and what it asks for. `left`: successes at heads that nobody asks to merge any more."""

    requests: dict[int, Reviewed] = field(default_factory=dict)
    rules: tuple[str, Rules] = ("", Rules())
    started: list[tuple[float, str]] = field(default_factory=list)
    left: list[Told] = field(default_factory=list)

    def spent(self, now: float) -> Counter[str]:
        """Author → reviews that began in the last hour."""
        # What lies in the future was written before the clock was set back.
        self.started = [(at, author) for at, author in self.started if now - HOUR < at <= now]
        return Counter(author for _, author in self.started)


class Store:
    """The file `reviews.json` of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._name = folder, "reviews.json"
        self.memory = self._load()
        self._written = b""

    def save(self) -> None:
        """Write what is remembered, when it is not what was written last. Raises errors.Transient (DiskFull, FileWriteFailed)."""
        content = {
            "requests": {str(iid): to_json(found) for iid, found in self.memory.requests.items()},
            "started": self.memory.started,
            "rules": to_json(self.memory.rules),
            "left": to_json(self.memory.left),
        }
        data = json.dumps(content, separators=(",", ":")).encode()
        if data != self._written:
            files.write_atomic(self._folder / self._name, data, mode=0o600)
            self._written = data

    def _load(self) -> Memory:
        try:
            rows = json.loads(files.read_nofollow(self._folder, self._name)[0])
            requests = {int(iid): from_json(Reviewed, row, Lost()) for iid, row in rows["requests"].items()}
            started = [(float(at), str(author)) for at, author in rows["started"]]
            target, asked = rows.get("rules", ("", {}))
            left = [from_json(Told, row, Lost()) for row in rows.get("left", ())]
            return Memory(requests, (str(target), from_json(Rules, asked)), started, left)
        except FileNotFoundError:
            return Memory()
        except (errors.ReconcilerError, *UNREADABLE) as error:
            log.warning("reviews.forgotten", file=str(self._folder / self._name), error=str(error))
            return Memory()
