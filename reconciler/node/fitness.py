"""Whether this host itself is fit for another release of OpenStack: its system, and the engine's room for images."""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from reconciler.engine import Engine
from reconciler.model import Desired, Precheck
from reconciler.node import facts

_KINDS: Final = ("release", "version", "major_version")  # of a distribution, as an operator may name it
_UNPACKING: Final = 1.5  # an image takes room as it was packed as well, until all of it is here
_LEFT: Final = 1 << 30  # bytes that have to stay free besides


def lacking(check: Precheck, *, desired: Desired, engine: Engine, root: Path, local: bool) -> str:
    """What this host lacks of what a check asks of it; "" when nothing. `root` is where the host's files lie; `local`: the engine is on
    this host.

    Raises errors of the engine.
    """
    if check.systems:
        try:
            return _system(check.systems, facts.distribution(root))
        except OSError as error:
            return f"nobody can tell which system this host has: {error.filename}: {error.strerror}"
    return _room(desired, engine) if check.room and local else ""


def _system(good: Mapping[str, Collection[str]], found: Mapping[str, str]) -> str:
    name = found["distribution"]
    names = [found[f"distribution_{kind}"] for kind in _KINDS]
    if any(one in good.get(name, ()) for one in names if one):
        return ""
    listed = "; ".join(f"{one} {', '.join(versions)}" for one, versions in sorted(good.items()))
    is_ = f"{name} {found['distribution_version']} ({found['distribution_release'] or 'no code name'})"
    return f"this host has {is_}, and the release is made for {listed}"


def _room(desired: Desired, engine: Engine) -> str:
    """Images of one release share most of their layers, so what is to come is taken to be as large as what is here, image by image."""
    here = {image for image in (container.image for container in desired.containers) if engine.image(image)}
    missing = {container.image for container in desired.containers} - here
    if not missing:
        return ""
    count, size = engine.images_size()
    needed = int(size / max(count, 1) * len(missing) * _UNPACKING) + _LEFT
    folder = Path(engine.data_root)
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"nobody can tell how much room there is: {folder}: {error.strerror}"
    if free >= needed:
        return ""
    return (
        f"{_gib(free)} are free below {folder}, and {len(missing)} images are to come, for which {_gib(needed)} are reckoned "
        f"({count} images take {_gib(size)} here): make room (`docker image prune --all` removes images that nothing uses)"
    )


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
