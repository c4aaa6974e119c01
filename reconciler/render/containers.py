"""A container of service.yml → model.Container, read the way kolla-ansible reads its own."""

import ast
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from reconciler.model import (
    ASIDE,
    MAINTAINING,
    PRECHECKING,
    START_TIMEOUT,
    VALIDATING,
    Container,
    Drain,
    Handover,
    Healthcheck,
    Mount,
    Reload,
    Ulimit,
)
from reconciler.options import rules
from reconciler.options.table import TABLE, Kind, Option
from reconciler.render.fields import Fields
from reconciler.text import printable

CONFIG_FILES: Final = "/var/lib/kolla/config_files"

_TAKEN: Final = {
    ASIDE: "spares while they are tried",
    VALIDATING: "checkers of a new configuration",
    PRECHECKING: "checks before an upgrade",
    MAINTAINING: "what is taken out of use for a maintenance",
}  # what a name begins with that the program gives itself
_VOLUME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_DIMENSIONS: Final = "dimensions."
_HEALTHCHECK: Final = frozenset(("test", "interval", "timeout", "retries", "start_period"))
_MAX_LISTED: Final = 10_000  # characters of a health check that is a list as text
_STRATEGIES: Final = ("COPY_ALWAYS", "COPY_ONCE")
_KINDS_OF_TEST: Final = ("CMD", "CMD-SHELL", "NONE")


def directory(fields: Fields, name: str) -> str:
    """The container's folder below the config root: the name with `-` for `_` unless it says another."""
    found = fields.text("config_directory", name.replace("_", "-")).strip("/")
    if found and not is_below(found):
        fields.problem("config_directory", f"{found!r} is not a path below the config root", "name a folder")
        return name.replace("_", "-")
    return found


def is_below(path: str) -> bool:
    """Whether a relative path leads to something below where it starts, and says so in only one way that can be seen."""
    return not {"", ".", ".."} & set(path.split("/")) and printable(path) == path


def container(fields: Fields, name: str, service: str) -> Container:
    """What the engine is asked for. Problems go to `fields`; the config directory's bind is not among the mounts yet."""
    kolla = fields.flag("kolla", True)
    made = Container(
        name=name,
        **_options(fields, name, kolla),
        service=service,
        kolla=kolla,
        reload=_reload(fields),
        drain=_drain(fields),
        handover=_handover(fields),
        rollback=cast(Literal["auto", "never"], fields.choice("rollback", "auto", ("auto", "never"))),
        stability=fields.duration("stability", 3.0),
        start_timeout=fields.duration("start_timeout", START_TIMEOUT),
        data_plane=fields.flag("data_plane"),
        stateful=fields.flag("stateful"),
        log_files=fields.texts("log_files"),
    )
    for key, message, hint in (*_name(name), *rules.check(made)):
        fields.problem(key if key in fields else None, message, hint)
    return made


def _name(name: str) -> rules.Found:
    for prefix, what in _TAKEN.items():
        if name.startswith(prefix):
            yield "name", f"a container's name cannot begin with {prefix}", f"that is how the program names {what}"


def _options(fields: Fields, name: str, kolla: bool) -> dict[str, Any]:
    """Every option of the table, by the name of its field."""
    command = fields.words("command")
    own = {
        "image": _image(fields),
        "command": None if kolla else command,
        "entrypoint": _entrypoint(fields),
        "environment": _environment(fields, name, kolla),
        "mounts": mounts(fields, "volumes"),
        "tmpfs": _tmpfs(fields),
        "extra_hosts": _extra_hosts(fields),
        "healthcheck": healthcheck(fields, kolla),
    }
    plain = {
        row.name: _plain(row, fields, row.key)
        for row in TABLE.values()
        if row.kind is not Kind.OWN and not row.key.startswith(_DIMENSIONS)
    }
    return {**plain, **own, **dimensions(fields)}


def _plain(row: Option, fields: Fields, key: str) -> Any:
    """An option that its kind alone says how to read."""
    if row.kind is Kind.TEXT:
        return fields.optional_text(key) if row.default is None else fields.text(key, row.default)
    if row.kind is Kind.FLAG:
        return fields.flag(key, row.default)
    if row.kind is Kind.INTEGER:
        return fields.integer(key, row.default)
    if row.kind is Kind.SIZE:
        return fields.size(key, row.default)
    return fields.texts(key) if row.kind is Kind.TEXTS else _scalars(fields, key)


def config_command(fields: Fields) -> str:
    """The `command` of config.json: one text, whose words Kolla's start program takes as they stand between spaces."""
    value = fields.value("command")
    if isinstance(value, list):
        words = [str(item) for item in value]
        if odd := next((word for word in words if not word or len(word.split()) > 1), None):
            hint = "Kolla's start program splits a command at its spaces: put it into a file of the container, and run that"
            fields.problem("command", f"{odd!r} cannot be one word of a command", hint)
        return " ".join(words)
    text = fields.text("command").strip()
    if not text:
        hint = "write what the container runs, or kolla: false for an image with a command of its own"
        fields.problem(None, f"{fields.path[-1]} has no command", hint)
    return text


def mounts(fields: Fields, key: str) -> tuple[Mount, ...]:
    """`source:target[:mode]` as kolla-ansible reads it: empty texts are dropped, a missing mode is rw."""
    result: dict[str, Mount] = {}
    for text in fields.texts(key):
        source, *rest = text.split(":")
        if not 1 <= len(rest) <= 2 or not source or not rest[0].startswith("/"):
            fields.problem(key, f"{text!r} is not source:target[:mode] with an absolute target")
            continue
        if not source.startswith("/") and not _VOLUME.fullmatch(source):
            hint = "a host path is absolute; a volume's name is two or more letters, digits, '_', '.' and '-'"
            fields.problem(key, f"{source!r} is neither an absolute path nor a volume's name", hint)
            continue
        if source.startswith("/") and ".." in source.split("/"):
            fields.problem(key, f"{source!r} leads upwards with '..'", "write the path that is meant")
            continue
        mount = Mount(source, rest[0], _mode(rest[1] if len(rest) == 2 else ""))
        target = mount.target.rstrip("/")
        if target in result and result[target] != mount:
            fields.problem(key, f"{text!r} and {result[target].source!r} have the same target", "remove one of them")
        result[target] = mount
    return tuple(result.values())


def _mode(text: str) -> str:
    words = {word for word in text.split(",") if word}
    return ",".join(sorted(words if words & {"ro", "rw"} else words | {"rw"}))


def _entrypoint(fields: Fields) -> tuple[str, ...] | None:
    """The words; () for an empty list or [""], which take the image's away, as Docker has it."""
    if fields.value("entrypoint") in ([], [""]):
        return ()
    return fields.words("entrypoint")


def healthcheck(fields: Fields, kolla: bool) -> Healthcheck | None:
    """Docker's health check; None leaves the image's. Kolla's images have none, so that `{}` and NONE leave it at that."""
    if "healthcheck" not in fields:
        return None
    part = fields.below("healthcheck")
    unknown = sorted(part.raw.keys() - _HEALTHCHECK)
    if unknown:
        part.problem(unknown[0], f"unknown key {unknown[0]!r} of a health check")
    value = _unlisted(part.value("test"))
    off = value in (None, "", [], "NONE", ["NONE"])
    if off:
        return None if kolla else Healthcheck(test=("NONE",))
    words = tuple(str(item) for item in value if item not in (None, "")) if isinstance(value, list) else ()
    if isinstance(value, list) and words and words[0] not in _KINDS_OF_TEST:
        part.problem("test", f"a test begins with CMD or CMD-SHELL, not with {words[0]!r}", "or write it as one text")
    return Healthcheck(
        test=words if isinstance(value, list) else ("CMD-SHELL", str(value)),
        interval=part.duration("interval", 30.0),
        timeout=part.duration("timeout", 30.0),
        retries=part.integer("retries", 3) or 0,
        start_period=part.duration("start_period", 5.0),
    )


def _unlisted(value: Any) -> Any:
    """A list that was made text, as `{% if … %}{{ test }}{% else %}NONE{% endif %}` of kolla-ansible's defaults makes it."""
    text = value.strip() if isinstance(value, str) else ""
    if not (text.startswith("[") and text.endswith("]") and len(text) <= _MAX_LISTED):
        return value
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else value


def dimensions(fields: Fields) -> dict[str, Any]:
    """Kolla's `dimensions` as Container's fields."""
    part = fields.below("dimensions")
    rows = {row.key.removeprefix(_DIMENSIONS): row for row in TABLE.values() if row.key.startswith(_DIMENSIONS)}
    for key in sorted(part.raw.keys() - rows.keys()):
        part.problem(key, f"unknown dimension {key!r}", f"one of {', '.join(rows)}")
    result = {row.name: _plain(row, part, key) for key, row in rows.items() if row.kind is not Kind.OWN and key in part}
    limits = part.below("ulimits")
    ulimits = []
    for name in limits.raw:
        limit = limits.below(name)
        soft, hard = limit.integer("soft", None), limit.integer("hard", None)
        if soft is None or hard is None:
            limits.problem(name, f"the limit {name} needs soft and hard")
        else:
            ulimits.append(Ulimit(name, soft, hard))
    return {**result, "ulimits": tuple(sorted(ulimits, key=lambda limit: limit.name))}


def _image(fields: Fields) -> str:
    before = len(fields.problems)
    image = fields.text("image").strip()
    if len(fields.problems) > before:
        return image  # what it is made of is at fault, and said
    if not image or any(character.isspace() for character in image):
        fields.problem("image", f"{image!r} is not an image")
    return image


def _environment(fields: Fields, name: str, kolla: bool) -> dict[str, str]:
    """As kolla-ansible's worker makes it. `None` stays set and empty."""
    own = fields.mapping("environment")
    result: dict[str, str] = {}
    if kolla:
        result["KOLLA_CONFIG_STRATEGY"] = _strategy(fields)
    for key, value in own.items():
        if isinstance(value, dict | list):
            fields.problem("environment", f"{key} must be a text")
        elif isinstance(value, bool) and not kolla:
            result[key] = str(value).lower()
        else:
            result[key] = "" if value is None else str(value)
    if kolla:
        result["KOLLA_SERVICE_NAME"] = name.replace("_", "-")
    return result


def _strategy(fields: Fields) -> str:
    variables = fields.scope.variables
    found = str(variables["config_strategy"]) if "config_strategy" in variables else "COPY_ALWAYS"
    if found not in _STRATEGIES:
        fields.problem(None, f"config_strategy must be one of {', '.join(_STRATEGIES)}, is {found!r}")
    return found


def _tmpfs(fields: Fields) -> dict[str, str]:
    value = fields.value("tmpfs")
    if isinstance(value, dict):
        return {str(path): str(options or "") for path, options in value.items()}
    return {path: options for path, _, options in (text.partition(":") for text in fields.texts("tmpfs"))}


def _extra_hosts(fields: Fields) -> dict[str, str]:
    value = fields.value("extra_hosts")
    if isinstance(value, dict):
        return {str(name): str(address) for name, address in value.items()}
    found: dict[str, list[str]] = {}
    for name, _, address in (text.partition(":") for text in fields.texts("extra_hosts")):
        found.setdefault(name, []).append(address)
    return {name: " ".join(dict.fromkeys(addresses)) for name, addresses in found.items()}


def _scalars(fields: Fields, key: str) -> dict[str, str]:
    content: Mapping[str, Any] = fields.mapping(key)
    return {
        str(name): str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
        for name, value in content.items()
    }


def _drain(fields: Fields) -> Drain | None:
    part = fields.below("drain")
    if fields.value("drain") is None or not part.flag("enabled", True):
        return None
    return Drain(
        part.texts("stop"),
        part.words("command"),
        part.duration("wait", 0.0),
        part.text("signal"),
        part.duration("timeout", 60.0),
    )


def _handover(fields: Fields) -> Handover | None:
    if fields.value("handover") is None:
        return None
    part = fields.below("handover")
    return Handover(part.words("ready") or (), part.text("signal"), part.duration("timeout", 60.0))


def _reload(fields: Fields) -> Reload | None:
    if fields.value("reload") is None:
        return None
    part = fields.below("reload")
    signal, command = part.optional_text("signal"), part.words("command")
    if (signal is None) == (command is None):
        part.problem(None, "reload needs either signal or command")
    return Reload(signal, command)
