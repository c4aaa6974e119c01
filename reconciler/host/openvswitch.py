"""Open vSwitch: bridges, ports, and values of its own record, asked for with `ovs-vsctl` in the container that has its database.

What is in the database is what the switch does, now and after the next boot. One question is asked for all settings of a look.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from reconciler import errors
from reconciler.host.protocol import Refused
from reconciler.model import HostKept, HostSetting
from reconciler.reasons import Reason

Execute = Callable[[str, Sequence[str], float], tuple[int, str]]  # container, command, seconds → exit code, output

_SECONDS: Final = 30
_VSCTL: Final = ("ovs-vsctl", "--no-wait", f"--timeout={_SECONDS}")
# The records of bridges and of the switch itself as JSON, a line each; then `bridge port` for the bridges that are named. A bridge that
# carries machines has thousands of ports, so that not all of them are listed.
_LOOK: Final = """
v() { ovs-vsctl --no-wait --timeout=10 "$@"; }
v --format=json --columns=name,fail_mode list Bridge || exit 1
echo
v --format=json --columns=external_ids,other_config list Open_vSwitch || exit 1
echo
for bridge; do if v br-exists "$bridge"; then v list-ports "$bridge" | while read -r port; do echo "$bridge $port"; done; fi; done
"""
UNSET: Final = "unset"
_AWAY: Final = ("database connection failed",)


class Switch:
    """All kinds of settings of Open vSwitch. `execute` runs a command in a container, as `Engine.execute` does."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def look(self, container: str, settings: Iterable[HostSetting]) -> dict[str, Mapping[str, str]]:
        """Id → its fields as they are. Raises errors.ReconcilerError."""
        settings = list(settings)
        bridges = sorted({setting.fields["bridge"] for setting in settings if setting.kind == "port"})
        text = self._ask(container, ["sh", "-c", _LOOK, "look", *bridges])
        try:
            seen = _Seen(text)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            message = f"ovs-vsctl in {container} gave an answer that makes no sense ({type(error).__name__})"
            raise errors.Transient(message, reason=Reason.HostFailed) from None
        return {setting.id: seen.fields(setting) for setting in settings}

    def observe(self, setting: HostSetting) -> Mapping[str, str]:
        return self.look(setting.inside, [setting])[setting.id]

    def before(self, setting: HostSetting) -> Mapping[str, str]:
        return self.observe(setting)

    def put(self, setting: HostSetting) -> None:
        self._set(setting, setting.fields)

    def back(self, kept: HostKept) -> None:
        """A bridge that has ports, of machines or of others, stays; so does what somebody has changed since."""
        setting = kept.setting
        now = self.observe(setting)
        if now != setting.fields:
            return
        if kept.before:
            self._set(setting, kept.before)
        elif setting.kind == "ovs":
            column, _, key = setting.name.partition(":")
            self._ask(setting.inside, [*_VSCTL, "remove", "Open_vSwitch", ".", column, key])
        elif setting.kind == "port":
            self._ask(setting.inside, [*_VSCTL, "--if-exists", "del-port", setting.fields["bridge"], setting.name])
        elif ports := self._ask(setting.inside, [*_VSCTL, "list-ports", setting.name]).split():
            raise Refused(f"the bridge {setting.name} has ports ({', '.join(ports[:5])}), and stays")
        else:
            self._ask(setting.inside, [*_VSCTL, "--if-exists", "del-br", setting.name])

    def _set(self, setting: HostSetting, fields: Mapping[str, str]) -> None:
        name, words = setting.name, []
        if setting.kind == "ovs":
            words = ["set", "Open_vSwitch", ".", f"{name}={json.dumps(fields['value'])}"]
        elif setting.kind == "port":
            words = ["--may-exist", "add-port", fields["bridge"], name]
        else:
            mode = fields["fail_mode"]
            how = ["del-fail-mode", name] if mode == UNSET else ["set-fail-mode", name, mode]
            words = ["--may-exist", "add-br", name, "--", *how]
        self._ask(setting.inside, [*_VSCTL, *words])

    def _ask(self, container: str, command: Sequence[str]) -> str:
        code, output = self._execute(container, command, float(_SECONDS) + 10)
        if code == 0:
            return output
        said = output.strip()[-500:] or f"exit code {code}"
        if any(word in said for word in _AWAY):
            raise errors.Transient(f"Open vSwitch in {container} does not answer: {said}", reason=Reason.HostFailed)
        raise Refused(said)


class _Seen:
    """What one look found."""

    def __init__(self, text: str) -> None:
        decoder, place, tables = json.JSONDecoder(), 0, []
        for _ in range(2):
            table, place = decoder.raw_decode(text, place + len(text[place:]) - len(text[place:].lstrip()))
            tables.append(table)
        self._bridges = {row[0]: _plain(row[1]) or UNSET for row in tables[0]["data"]}
        ids, config = tables[1]["data"][0]
        self._values = {
            f"{column}:{key}": str(value)
            for column, pairs in (("external_ids", ids), ("other_config", config))
            for key, value in pairs[1]
        }
        self._ports = {tuple(line.split(" ", 1)) for line in text[place:].splitlines() if " " in line}

    def fields(self, setting: HostSetting) -> Mapping[str, str]:
        if setting.kind == "bridge":
            return {"fail_mode": self._bridges[setting.name]} if setting.name in self._bridges else {}
        if setting.kind == "port":
            bridge = setting.fields["bridge"]
            return {"bridge": bridge} if (bridge, setting.name) in self._ports else {}
        return {"value": self._values[setting.name]} if setting.name in self._values else {}


def _plain(value: Any) -> str:
    """A value, or the empty set in its place."""
    return value if isinstance(value, str) else ""
