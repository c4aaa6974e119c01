"""From what the engine reports of a container or an image to the model, in the normal form of `reconciler.options.normal`.

Pure. What a container has from its image is None (or left out) here, as desired state leaves it out.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal, cast

from reconciler.engine import options
from reconciler.model import Container, Image, Running, State, Volume
from reconciler.options import inspected, spelling, wire
from reconciler.options.normal import digest, normal
from reconciler.options.table import CPU_PERIOD, TABLE

_NEVER = "0001-01-01"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the engine fills in by itself. `unsupported` are limits its kernel lacks: it drops them with a warning."""

    cgroupns_mode: str = "private"
    log_driver: str = "json-file"
    unsupported: frozenset[str] = frozenset()
    data_root: str = ""  # where it keeps images and volumes
    cpus: int = 0  # 0: it does not say


def facts(info: Mapping[str, Any]) -> Facts:
    """From the engine's `/info`."""
    private = any("name=cgroupns" in text for text in info.get("SecurityOptions") or ())
    return Facts(
        cgroupns_mode="private" if private else "host",
        log_driver=str(info.get("LoggingDriver") or ""),
        data_root=str(info.get("DockerRootDir") or ""),
        unsupported=frozenset(row.name for row in TABLE.values() if row.kernel and not info.get(row.kernel)),
        cpus=int(info.get("NCPU") or 0),
    )


def image(data: Mapping[str, Any]) -> Image:
    """From an image's inspect JSON."""
    config = data.get("Config") or {}
    return Image(
        id=str(data["Id"]),
        digests=tuple(data.get("RepoDigests") or ()),
        environment=wire.read_environment(config.get("Env")),
        labels=dict(config.get("Labels") or {}),
        command=wire.read_words(config.get("Cmd")),
        entrypoint=wire.read_words(config.get("Entrypoint")),
        user=config.get("User") or "",
        working_dir=config.get("WorkingDir") or "",
        stop_signal=wire.read_signal(config.get("StopSignal")),
        healthcheck=wire.read_healthcheck(config.get("Healthcheck")),
    )


def running(
    data: Mapping[str, Any],
    own_image: Image | None,
    *,
    owner: str,
    engine: Facts,
    also: Collection[str] = (),
    wanted: Container | None = None,
    names: Mapping[str, str] | None = None,
) -> Running:
    """From a container's inspect JSON. Raises KeyError or TypeError on JSON of another shape.

    `owner` is this installation's key, `also` are those it took over. `own_image` is what the container was made
    from, None when the engine has lost it. `wanted` is the desired container of
    that name: an option it leaves to the engine is reported as left to the engine, unless the container was made with it
    set. `names` maps ids to names, for namespaces shared with another container.
    """
    labels = dict(data["Config"].get("Labels") or {})
    base = own_image or Image(id="")
    environment = wire.read_environment(data["Config"].get("Env"))
    state = data["State"]
    return Running(
        spec=_open_options(_spec(data, base, names or {}), labels, wanted, engine),
        id=str(data["Id"]),
        image_id=str(data["Image"]),
        state=State(state["Status"]),
        started_at=moment(state.get("StartedAt")),
        finished_at=moment(state.get("FinishedAt")),
        health=_health(state),
        exit_code=int(state.get("ExitCode") or 0),
        error=str(state.get("Error") or ""),
        pid=int(state.get("Pid") or 0),
        restart_count=int(data.get("RestartCount") or 0),
        owned=is_ours(labels, owner, also),
        owner=labels.get(options.OWNER, ""),
        out_of_memory=bool(state.get("OOMKilled")),
        explicit=frozenset(name for name, value in environment.items() if base.environment.get(name) != value),
    )


def volume(data: Mapping[str, Any], *, owner: str, also: Collection[str] = ()) -> Volume:
    """From one entry of the engine's list of volumes."""
    labels = data.get("Labels") or {}
    return Volume(
        driver=str(data.get("Driver") or "local"),
        options=dict(data.get("Options") or {}),
        owned=is_ours(labels, owner, also),
        owner=labels.get(options.OWNER, ""),
    )


def is_ours(labels: Mapping[str, str] | None, owner: str, also: Collection[str] = ()) -> bool:
    """Whether something with these labels was made by this installation, or by one that it took over."""
    found = (labels or {}).get(options.OWNER)
    return bool(found) and (found == owner or found in also)


def moment(text: str | None) -> datetime | None:
    """The engine's timestamps have nanoseconds, which are cut; its zero time is None."""
    return None if not text or text.startswith(_NEVER) else datetime.fromisoformat(text)


def _spec(data: Mapping[str, Any], base: Image, names: Mapping[str, str]) -> Container:
    inherited = {field.name: getattr(base, field.name) for field in fields(base)}
    found = inspected.options(data, inherited, names)
    labels = data["Config"].get("Labels") or {}
    return normal(Container(str(data["Name"]).lstrip("/"), service=labels.get(options.SERVICE, ""), **found))


def _open_options(spec: Container, labels: Mapping[str, str], wanted: Container | None, engine: Facts) -> Container:
    """Take out of `spec` what the engine filled in where `wanted` leaves it open, and put in what it dropped."""
    if wanted is None:
        return spec
    want = normal(wanted)
    explicit = set(labels.get(options.EXPLICIT, "").split(","))
    left = [row for row in TABLE.values() if row.filled and not getattr(want, row.name) and row.name not in explicit]
    changes: dict[str, Any] = {row.name: row.default for row in left if row.name != "log_driver"}
    if spec.log_driver == engine.log_driver:
        kept = {n for n in spec.log_opts if n in want.log_opts or f"log_opts.{n}" in explicit}
        changes["log_opts"] = {name: spec.log_opts[name] for name in kept}
        changes |= {row.name: row.default for row in left if row.name == "log_driver"}
    # The engine gives its `default-ulimits` to every container, and shows them as if they had been asked for.
    asked = {limit.name for limit in want.ulimits}
    changes["ulimits"] = tuple(u for u in spec.ulimits if u.name in asked or f"ulimits.{u.name}" in explicit)
    # All of them is what no limit was lifted to.
    if not want.cpuset_cpus and spec.cpuset_cpus == spelling.all_cpus(engine.cpus):
        changes["cpuset_cpus"] = ""
    if not want.cpu_quota and engine.cpus and spec.cpu_quota == engine.cpus * CPU_PERIOD:
        changes["cpu_quota"] = 0
    same = labels.get(options.SPEC) == digest(wanted)
    for row in TABLE.values():
        if row.name in engine.unsupported or (same and row.droppable and not getattr(spec, row.name)):
            changes[row.name] = getattr(want, row.name)
    return replace(spec, **changes)


def _health(state: Mapping[str, Any]) -> Literal["none", "starting", "healthy", "unhealthy"]:
    status = (state.get("Health") or {}).get("Status") or "none"
    return cast(Literal["none", "starting", "healthy", "unhealthy"], status)
