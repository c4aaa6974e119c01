"""Which options of a running container differ from what it should be, one by one."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.model import Container, Difference, Healthcheck, Image, Running
from reconciler.options.normal import normal
from reconciler.options.requests import is_updated
from reconciler.options.table import TABLE, Option
from reconciler.options.values import NO_HEALTHCHECK

_SECRET_WORDS = ("PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL")

UNSET = "(not set)"


def differences(desired: Container, running: Running, image: Image | None) -> tuple[Difference, ...]:
    """Every option in which `running` differs from `desired`; empty when it is as it should be.

    `image` is what the engine has for `desired.image`, None when it has nothing under that name. An option of a
    map or of the mounts is one difference per entry, `environment.NAME` or `mounts./target`. Names, and the options that a
    container inherits from its image, do not differ by being spelt out.
    """
    known = image or Image(id="")
    want = _inherit(normal(desired), known)
    have = want if running.spec is desired else _inherit(normal(running.spec), known)
    found: list[Difference] = []
    for row in TABLE.values():
        if row.name == "image":
            found += _image(desired, running, image)
        elif row.name == "environment":
            found += _environment(want, running, known)
        elif row.name == "labels":
            found += _labels(want, have, known)
        else:
            found += _option(row, getattr(want, row.name), getattr(have, row.name))
    return tuple(found)


def _option(row: Option, want: Any, have: Any) -> Iterable[Difference]:
    if row.entries:
        return _entries(row.name, row.entries(want), row.entries(have))
    return () if want == have else (Difference(row.name, _text(want), _text(have)),)


def is_mutable(difference: Difference) -> bool:
    """Whether the engine can put it right in a container that stays."""
    row = TABLE.get(difference.field)
    if row is None:
        return False
    return is_updated(row.name, unset=not row.default and difference.desired == _text(row.default))


def _inherit(container: Container, image: Image) -> Container:
    """`container` with None wherever it says what the image says anyway."""
    command = container.command
    if container.entrypoint and command is None:
        command = ()  # an entrypoint of its own, unless it is empty, takes the image's command away
    check = container.healthcheck
    if check is not None and image.healthcheck and check.start_period == 0:
        check = replace(check, start_period=image.healthcheck.start_period)  # zero durations come from the image
    if check == NO_HEALTHCHECK and image.healthcheck in (None, NO_HEALTHCHECK):
        check = None
    signal = container.stop_signal
    return replace(
        container,
        command=None if command == (image.command or ()) else command,
        entrypoint=None if (container.entrypoint or ()) == (image.entrypoint or ()) else container.entrypoint,
        user=None if container.user == image.user else container.user,
        working_dir=None if container.working_dir == (image.working_dir or "/") else container.working_dir,
        stop_signal=None if signal == (image.stop_signal or "SIGTERM") else signal,
        healthcheck=None if check == image.healthcheck else check,
    )


def _image(desired: Container, running: Running, image: Image | None) -> Iterable[Difference]:
    if image is None:
        # The name is not known here: the same name is the best that can be said of what runs.
        return () if running.spec.image == desired.image else (Difference("image", desired.image, running.spec.image),)
    if image.id == running.image_id:
        return ()
    return (
        Difference(
            "image", f"{desired.image} ({_short(image.id)})", f"{running.spec.image} ({_short(running.image_id)})"
        ),
    )


def _environment(want: Container, running: Running, image: Image) -> Iterable[Difference]:
    actual = running.spec.environment
    for name in sorted(want.environment.keys() | running.explicit):
        if name in want.environment:
            if actual.get(name) != want.environment[name]:
                yield Difference(f"environment.{name}", want.environment[name], _hide(name, actual.get(name)))
        elif name in actual and actual[name] != image.environment.get(name):
            yield Difference(f"environment.{name}", UNSET, _hide(name, actual[name]))


def _hide(name: str, value: str | None) -> str:
    """What a container has may be somebody's secret, which desired state, with its tokens, never is."""
    if value and any(word in name.upper() for word in _SECRET_WORDS):
        return "(hidden)"
    return UNSET if value is None else value


def _labels(want: Container, have: Container, image: Image) -> Iterable[Difference]:
    inherited = image.labels
    wanted = {name: text for name, text in want.labels.items() if inherited.get(name) != text or name in have.labels}
    present = {name: text for name, text in have.labels.items() if inherited.get(name) != text or name in wanted}
    return _entries("labels", wanted, present)


def _entries(field: str, want: Mapping[str, str], have: Mapping[str, str]) -> list[Difference]:
    return [
        Difference(f"{field}.{name}", want.get(name, UNSET), have.get(name, UNSET))
        for name in sorted(want.keys() | have.keys())
        if want.get(name) != have.get(name)
    ]


def _text(value: Any) -> str:
    if value is None or value == "":
        return UNSET
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Healthcheck):
        times = f"interval {value.interval:g} s, timeout {value.timeout:g} s, start {value.start_period:g} s"
        return f"{' '.join(value.test)} ({times}, {value.retries} retries)"
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value) if value else "(none)"
    return str(value)


def _short(identity: str) -> str:
    return identity.removeprefix("sha256:")[:12] or "unknown"
