"""What waits keeps nothing waiting: the two trials of `tests/scenarios/trials.py` on genuine containers, as figures."""

from collections.abc import Iterator

from tests.bench.measure import Context, Row
from tests.scenarios import trials
from tests.support.lab import Lab


def flight(context: Context) -> Iterator[Row]:
    """A wrong commit of keystone; 12 s later memcached is killed; 5 s later the commit that mends it. And a wrong commit alone."""
    with Lab(context.folder / "lab", context.engine_url, canaries=False) as lab, trials.following(lab):
        found, alone = trials.mishaps(lab), trials.alone(lab)
    yield Row("memcached killed to started again, while keystone is proved", "s", (found.down,), 1.0)
    yield Row("mending commit pushed to accepted (polled every 2 s)", "s", (found.accepted,), 10.0)
    yield Row("  to the control plane being as it says", "s", (found.mended,))
    yield Row("wrong commit alone: keystone restarted to taken back and proved again", "s", (alone.rolled_back,), 60.0,
              note=alone.status[1][:80])  # fmt: skip
