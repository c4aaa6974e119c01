"""Which options of a running container differ from what it should be, one by one."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.model import Container, Difference, Healthcheck, Image, Running
from reconciler.options.normal import ADJUSTABLE, MUTABLE, NO_HEALTHCHECK, normal

__all__ = ["MUTABLE", "UNSET", "differences", "is_mutable"]

_PLAIN = (
    "user", "working_dir", "hostname", "domainname", "network_mode", "privileged", "pid_mode", "ipc_mode",
    "cgroupns_mode", "init", "read_only", "shm_size", "restart_policy", "stop_signal", "stop_timeout", "mem_limit",
    "mem_reservation", "memswap_limit", "cpu_period", "cpu_quota", "cpu_shares", "cpuset_cpus", "cpuset_mems",
    "kernel_memory", "blkio_weight", "pids_limit", "log_driver",
)  # fmt: skip
_LISTS = ("ports", "dns", "cap_add", "cap_drop", "security_opt", "devices", "group_add")
_MAPS = ("tmpfs", "extra_hosts", "sysctls", "log_opts")
_SECRET_WORDS = ("PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL")

UNSET = "(not set)"


def differences(desired: Container, running: Running, image: Image | None) -> tuple[Difference, ...]:
    """Every option in which `running` differs from `desired`; empty when it is as it should be.

    `image` is what the engine has for `desired.image`, None when it has nothing under that name. An option of a
    map or of the mounts is one difference per entry, `environment.NAME` or `mounts./target`. Names, and the options that a
    container inherits from its image, do not differ by being spelt out.
    """
    known = image or Image(id="")
    want, have = _inherit(normal(desired), known), _inherit(normal(running.spec), known)
    found = [*_image(desired, running, image), *_environment(want, running, known)]
    for name in ("entrypoint", "command"):
        found += _compare(name, getattr(want, name), getattr(have, name))
    for name in _PLAIN:
        found += _compare(name, getattr(want, name), getattr(have, name))
    for name in _LISTS:
        found += _compare(name, getattr(want, name), getattr(have, name))
    for name in _MAPS:
        found += _entries(name, getattr(want, name), getattr(have, name))
    found += _entries("mounts", _mounts(want), _mounts(have))
    found += _entries("ulimits", _ulimits(want), _ulimits(have))
    found += _compare("healthcheck", want.healthcheck, have.healthcheck)
    found += _labels(want, have, known)
    return tuple(found)


def is_mutable(difference: Difference) -> bool:
    """Whether the engine can put it right in a container that stays."""
    lifted = UNSET if difference.field.startswith("cpuset") else "0"
    return difference.field in MUTABLE or (difference.field in ADJUSTABLE and difference.desired != lifted)


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


def _mounts(container: Container) -> Mapping[str, str]:
    return {mount.target: f"{mount.source}:{mount.mode}" for mount in container.mounts}


def _ulimits(container: Container) -> Mapping[str, str]:
    return {limit.name: f"{limit.soft}:{limit.hard}" for limit in container.ulimits}


def _entries(field: str, want: Mapping[str, str], have: Mapping[str, str]) -> list[Difference]:
    return [
        Difference(f"{field}.{name}", want.get(name, UNSET), have.get(name, UNSET))
        for name in sorted(want.keys() | have.keys())
        if want.get(name) != have.get(name)
    ]


def _compare(field: str, want: Any, have: Any) -> tuple[Difference, ...]:
    return () if want == have else (Difference(field, _text(want), _text(have)),)


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
