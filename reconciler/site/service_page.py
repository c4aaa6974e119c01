"""docs/services/<service>.md, and what `reconciler services NAME` shows: all that a service is, out of its folder. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler.catalogue import Catalogue, Service, Variable
from reconciler.site import reference
from reconciler.site.effects import Effects

_MANY: Final = 4  # things that a change reaches are named up to here


def index_markdown(catalogue: Catalogue) -> str:
    """The list of all services, with links to their pages."""
    rows = [(f"[{name}]({name}.md)", description(service)) for name, service in catalogue.services.items()]
    head = "# Services of the catalogue\n\nGenerated from `services/` by `make docs`; `reconciler services NAME` shows a page at the terminal.\n"
    return head + "\n" + reference.table(("service", "what it is"), rows)


def page_markdown(service: Service, catalogue: Catalogue, effects: Effects, prose: str) -> str:
    """The page of one service. `prose` is its README: what people wrote, without its first heading."""
    parts = [f"# {service.name}\n", f"{description(service)}.\n"]
    body = prose.strip().partition("\n")[2].strip() if prose.lstrip().startswith("# ") else prose.strip()
    if body:
        # What READMEs of other folders are to each other, pages of one folder are.
        parts.append(re.sub(r"\]\(\.\./([\w-]+)/README\.md", r"](\1.md", body) + "\n")
    parts += _runs(service)
    parts += _files(service, catalogue)
    parts += _logs(service)
    parts += _reached_at(service)
    parts += _registers(service)
    parts += _on_host(service)
    parts += _names(service, effects)
    return "\n".join(parts).rstrip() + "\n"


def description(service: Service) -> str:
    """What a service is, in the words of its service.yml."""
    content = service.document.data
    return str(content.get("description") or "") if isinstance(content, dict) else ""


def _runs(service: Service) -> Iterator[str]:
    groups = service.section("groups")
    if groups:
        yield "## Where it runs\n"
        rows = [(f"`{name}`", _code(parents or ()) or "none") for name, parents in groups.items()]
        yield reference.table(("group", "hosts by default"), rows)
    containers = service.section("containers")
    if containers:
        yield "## Containers\n"
        made = [(f"`{name}`", *_container(name, one, service.variables)) for name, one in containers.items()]
        yield reference.table(
            ("container", "on the hosts of", "starts after", "check", "its files are in", "logs"), made
        )
        drained = [(f"`{name}`", *_drain(one["drain"])) for name, one in containers.items() if one.get("drain")]
        if drained:
            yield "Taken out of use before it is stopped, while others stand in for it:\n"
            yield reference.table(("container", "where", "how"), drained)
        over = [(f"`{name}`", _handover(one["handover"])) for name, one in containers.items() if one.get("handover")]
        if over:
            yield "Not stopped before its successor serves:\n"
            yield reference.table(("container", "how"), over)
    jobs = service.section("jobs")
    if jobs:
        yield "## Jobs\n"
        once = [(f"`{name}`", *_job(one)) for name, one in jobs.items()]
        yield reference.table(
            ("job", "in the image and with the files of", "runs", "after", "again when these change"), once
        )


def _container(name: str, one: Mapping[str, Any], variables: Mapping[str, Variable]) -> tuple[str, ...]:
    test = _test(one.get("healthcheck") or "", variables)
    logs = one.get("log_files") or ["`docker logs`"]
    folder = str(one.get("config_directory") or name.replace("_", "-"))
    return (
        _code(one.get("group", "all")),
        _code(one.get("depends_on") or ()),
        _shown(test) if test else "that it stays up",
        f"`/etc/kolla/{folder}`" if one.get("kolla", True) else f"`{folder}`",
        ", ".join(
            log if log.startswith("`") else f"`{log}`" for log in map(str, logs if isinstance(logs, list) else [logs])
        ),
    )


def _handover(handover: Mapping[str, Any]) -> str:
    words = handover["ready"]
    ready = words if isinstance(words, str) else " ".join(map(str, words))
    return f"{_shown(ready)} succeeds in the new one beside it, then the signal {handover['signal']} lets it finish what it began"


def _drain(drain: Mapping[str, Any]) -> tuple[str, str]:
    words = drain.get("command", "")
    steps = [
        f"{_code(drain['stop'])} is stopped" if "stop" in drain else "",
        f"`{' '.join(words) if isinstance(words, list) else words}` runs in it" if words else "",
        f"{_shown(drain['wait'])} seconds pass" if "wait" in drain else "",
        f"the signal {drain['signal']} lets it finish what it began" if "signal" in drain else "",
    ]
    return _shown(drain.get("enabled", "always")), ", then ".join(step for step in steps if step)


def _test(check: Any, variables: Mapping[str, Variable]) -> str:
    """The command of a health check. One that is a variable, as every container of Kolla's has, is that variable's default."""
    name = check.strip("{} ") if isinstance(check, str) and check.startswith("{{") else ""
    found = variables.get(f"{name}_test")
    test = found.default if found else check.get("test", "") if isinstance(check, Mapping) else check
    return str(test[-1]) if isinstance(test, list) and test else str(test)


def _job(one: Mapping[str, Any]) -> tuple[str, ...]:
    once = {"cluster": "once in the cluster", "host": "once on each host"}.get(str(one.get("once", "cluster")), "")
    inputs = ["the image", *one.get("inputs", ())] if isinstance(one.get("inputs", []), list) else [one["inputs"]]
    again = f"never, once `{one['creates']}` is there" if one.get("creates") else ", ".join(map(_shown, inputs))
    return f"`{one.get('container', '')}`", once, _code(one.get("after") or ()), again


def _files(service: Service, catalogue: Catalogue) -> Iterator[str]:
    rows: dict[tuple[str, ...], None] = {}
    for section in ("containers", "jobs"):
        for name, one in service.section(section).items():
            for file in one.get("files") or () if isinstance(one.get("files"), list) else ():
                if isinstance(file, Mapping):
                    rows[(f"`{name}`", *_file(file, section == "jobs"))] = None
    if rows:
        yield "## Files\n"
        yield reference.table(("of", "file", "in the container", "overrides below `config/`", "a change"), list(rows))


def _file(file: Mapping[str, Any], of_job: bool) -> tuple[str, ...]:
    how = {"ini": "merged key by key: ", "yaml": "merged key by key: ", "replace": "the first found: "}
    overrides = [
        *(file.get("source") or () if isinstance(file.get("source"), list) else ()),
        *(file.get("overrides") or ()),
    ]
    merge = how.get(str(file.get("merge", "replace")), "") if overrides else ""
    change = {"restart": "restarts", "reload": "reloads", "none": "is only written"}
    return (
        f"`{file.get('name', '')}`",
        f"`{file['destination']}`" if file.get("destination") else "",
        merge + " · ".join(f"`{path}`" for path in overrides),
        "counts when it runs" if of_job else change.get(str(file.get("on_change", "restart")), "restarts or reloads"),
    )


def _logs(service: Service) -> Iterator[str]:
    """Where to look; containers that say more of theirs have it in their own row."""
    rows = []
    for name, one in service.section("logs").items():
        paths = one.get("paths") or ()
        rows.append((f"`{name}`", _code(paths), _code(one.get("group", ())) or "the hosts of the service"))
    if rows:
        yield "## Logs\n"
        yield "In the volume `kolla_logs`, which is `/var/log/kolla` in the containers. What is said before a log is open: `docker logs`.\n"
        yield reference.table(("logs of", "files", "on the hosts of"), rows)
    checked = [
        (f"`{name}`", _code(_checker(one))) for name, one in service.section("containers").items() if _checker(one)
    ]
    if checked:
        yield "## Read before a change\n"
        yield "The new image reads the new files in a container of its own; what it refuses, nothing is stopped for.\n"
        yield reference.table(("container", "by"), checked)


def _checker(container: Mapping[str, Any]) -> str:
    said = container.get("validate")
    command = said.get("command") if isinstance(said, Mapping) else None
    return " ".join(map(str, command)) if isinstance(command, list) else str(command or "")


def _reached_at(service: Service) -> Iterator[str]:
    rows = []
    for name, one in service.section("frontends").items():
        where = "the external address" if one.get("external") is True else "the internal address"
        rows.append(
            (f"`{name}`", str(one.get("mode", "")), where, _shown(one.get("port", "")), _code(one.get("group", ())))
        )
    for name, one in service.section("scrape").items():
        rows.append((f"`{name}`", "metrics", "each host", _shown(one.get("port", "")), _code(one.get("group", ()))))
    if rows:
        yield "## Ports\n"
        yield reference.table(("name", "speaks", "at", "port", "answered by"), rows)


def _registers(service: Service) -> Iterator[str]:
    rows: list[tuple[str, str, str]] = []
    for kind, content in service.section("registrations").items():
        for what, entries in content.items() if isinstance(content, Mapping) else ():
            listed = entries if isinstance(entries, list) else []
            rows += [
                (f"`{kind}`", what, _shown(entry.get("name", ""))) for entry in listed if isinstance(entry, Mapping)
            ]
    if rows:
        yield "## What it registers\n"
        yield reference.table(("with", "what", "name"), rows)


_HOST: Final = {
    "modules": "kernel module",
    "sysctl": "kernel setting",
    "hosts": "name in `/etc/hosts`",
    "files": "file",
}


def _on_host(service: Service) -> Iterator[str]:
    rows = []
    for section, what in _HOST.items():
        for entry in service.section("host").get(section) or ():
            if isinstance(entry, Mapping):
                name = (
                    entry.get("each")
                    or entry.get("name")
                    or entry.get("path")
                    or ", ".join(map(str, entry.get("names") or ()))
                )
                value = _shown(entry["value"]) if "value" in entry else ""
                rows.append((what, _shown(name), value, _code(entry.get("containers") or ()) or "all of them"))
    if rows:
        yield "## On the host itself\n"
        yield reference.table(("what", "name", "value", "for the containers"), rows)


def _to_change(password: Mapping[str, Any]) -> str:
    """What to know before one changes it, beyond `secrets rotate` and a commit."""
    user, texts = password.get("user"), (password.get("fixed"), password.get("meanwhile"))
    words = (
        f"its user has another name with it (`{user}`)" if user else "",
        *(_once(str(text or "")) for text in texts),
    )
    return "; ".join(filter(None, words))


def _names(service: Service, effects: Effects) -> Iterator[str]:
    passwords = service.section("passwords")
    if passwords:
        yield "## Passwords\n"
        rows = [
            (f"`{name}`", str((one or {}).get("kind", "")), _to_change(one or {})) for name, one in passwords.items()
        ]
        yield reference.table(("password", "kind", "to change it"), rows)
    if service.variables:
        yield "## Variables\n"
        yield "The last column says what a change reaches at most: containers are made anew or restarted, jobs run again.\n"
        listed = [(*reference.row(one), _reached(effects.of(name))) for name, one in service.variables.items()]
        yield reference.table(("variable", "type", "default", "description", "a change reaches"), listed)
    refused = service.section("refuses")
    if refused:
        yield "## Refused\n"
        yield reference.table(
            ("variable", "instead"), [(f"`{name}`", _once(str(said))) for name, said in refused.items()]
        )


def _reached(things: Sequence[str]) -> str:
    named = [thing if " " in thing or thing in ("registrations", "checks") else f"`{thing}`" for thing in things]
    return (
        ", ".join(named)
        if len(named) <= _MANY
        else f"{', '.join(named[: _MANY - 1])} and {len(named) - _MANY + 1} more"
    )


def _code(value: Any) -> str:
    return ", ".join(_shown(item) for item in (value if isinstance(value, list | tuple) else [value]))


def _shown(value: Any) -> str:
    return value if value == "the image" else f"`{_once(str(value))}`"


def _once(text: str) -> str:
    return " ".join(text.split())
