"""The host itself: kernel settings, modules; set before what needs them, and put back when nobody asks for them any more."""

from collections.abc import Mapping
from typing import Final

from reconciler.model import (
    Action,
    Actual,
    Container,
    Desired,
    Difference,
    Held,
    HostKept,
    HostKind,
    HostSetting,
    Memory,
    State,
    Verb,
)
from reconciler.plan.draft import Draft
from reconciler.plan.redact import text_diff
from reconciler.reasons import Reason


def plan_host(draft: Draft) -> None:
    """What differs of what is asked for."""
    for setting in draft.desired.host_settings:
        if setting.id in draft.basis.denied:
            draft.held.append(Held(setting.id, Reason.PolicyDenied, draft.basis.denied[setting.id]))
        elif why := draft.why_unknown(f"host:{setting.id}"):
            draft.held.append(Held(setting.id, Reason.Unknown, f"cannot be looked at: {why}"))
        elif setting.inside and setting.id not in draft.actual.host_settings:
            _unseen(draft, setting)
        elif action := _setting(draft, setting):
            draft.add(action)


def plan_host_resets(draft: Draft) -> None:
    """What this node set and nobody asks for now. What needed it stops first."""
    wanted = {setting.id for setting in draft.desired.host_settings}
    kept_ones = sorted(draft.memory.host_settings)  # noted in the order in which they were set, which no plan follows
    for key in kept_ones:
        kept = draft.memory.host_settings[key]
        if key in wanted:
            continue
        if kept.setting.inside and kept.setting.inside not in draft.wanted:
            continue  # it goes with its container, or stays in its volume
        if why := draft.why_unknown(f"host:{key}"):
            draft.held.append(
                Held(key, Reason.Unknown, f"is no longer part of the site, and cannot be looked at: {why}")
            )
            continue
        if key not in draft.actual.host_settings:
            continue  # of those inside of containers only a deep pass knows
        if spared := draft.spared:
            draft.held.append(Held(key, *spared))
            continue
        needs = [f"{verb}:{name}" for name in kept.setting.before for verb in (Verb.REMOVE, Verb.REPLACE)]
        if kept.setting.kind == "bridge":  # goes when nothing is plugged into it
            needs += [f"{Verb.RESET}:{other}" for other in kept_ones if other.startswith("port:")]
        left = _left(kept, draft.actual.host_settings[key])
        differing = draft.achievable(f"host:{key}", left)
        if left and not differing:
            continue  # the host refused, and is as it was then: that is said until it is otherwise
        cause = f"no longer part of the site; {_back(kept)}"
        action = Action(
            Verb.RESET, key, cause, tuple(needs), service=kept.setting.service, differences=differing, risks=("host",)
        )
        draft.add(action)


def _left(kept: HostKept, found: Mapping[str, str]) -> tuple[Difference, ...]:
    """What is still as this node made it and can be put back. What others have changed since is theirs, and so is a whole file
    whose content they have; what a container has of it goes with that."""
    fields, before = kept.as_found(found).fields, kept.before
    if kept.setting.inside or found.get("content") != fields.get("content"):
        return ()
    return tuple(
        Difference(name, "as before" if name == "content" else before.get(name, "absent"), "as rendered" if name == "content" else value)
        for name, value in fields.items()
        if found.get(name) == value != before.get(name) and (name != "live" or (kept.setting.kind == "sysctl" and name in before))
    )  # fmt: skip


def found_as_ours(desired: Desired, actual: Actual, memory: Memory) -> tuple[HostSetting, ...]:
    """Settings that stand as they should in files, or below headers, of our own, and that the memory does not have, because it was lost: they
    are to be put back one day as well. Where the place does not tell whose something is, it stays whoever's it was."""
    return tuple(
        setting
        for setting in desired.host_settings
        if setting.kind in _OWN_PLACES
        and setting.id not in memory.host_settings
        and (found := actual.host_settings.get(setting.id)) is not None
        and not differences(setting, found)
    )


def _setting(draft: Draft, setting: HostSetting) -> Action | None:
    found = draft.actual.host_settings.get(setting.id, {})
    differing = draft.achievable(f"host:{setting.id}", differences(setting, found))
    if not differing:
        return None
    drift = draft.unchanged(setting)
    cause = ", ".join(f"{d.field} {d.actual}, should be {d.desired}" for d in differing)
    return Action(
        Verb.SET,
        setting.id,
        f"drift: {cause}" if drift else cause,
        _needs(draft, setting),
        service=setting.service,
        drift=drift,
        differences=differing,
        diff=_diff(draft, setting, found),
        risks=("host",),
    )


def _needs(draft: Draft, setting: HostSetting) -> tuple[str, ...]:
    """A module brings settings with it, a port is one of a bridge, and a container has to run to be asked."""
    before = _FIRST.get(setting.kind)
    earlier = tuple(f"{Verb.SET}:{other.id}" for other in draft.desired.host_settings if other.kind == before)
    if not setting.inside:
        return earlier
    return (*draft.dependencies(Container(name="", image="", depends_on=(setting.inside,))), *earlier)


_OWN_PLACES: Final = frozenset[HostKind]({"sysctl", "module", "hosts"})
_FIRST: Final[Mapping[HostKind, HostKind]] = {"sysctl": "module", "port": "bridge"}


def _unseen(draft: Draft, setting: HostSetting) -> None:
    """What a container would have to be asked for, and was not."""
    if not draft.actual.deep:
        return
    running = draft.actual.containers.get(setting.inside)
    if running is not None and running.state is State.RUNNING:
        draft.held.append(Held(setting.id, Reason.Unknown, "it was not observed"))
        return
    cause, needs = f"once {setting.inside} runs", _needs(draft, setting)
    draft.add(Action(Verb.SET, setting.id, cause, needs, service=setting.service, risks=("host",)))


def differences(setting: HostSetting, found: Mapping[str, str]) -> tuple[Difference, ...]:
    """Field by field; what is not there is `absent`. Of a file's content only that it differs: what is there may be anything."""
    differing = []
    for name, wanted in setting.fields.items():
        actual = found.get(name, "absent")
        if actual != wanted:
            whole = name == "content"
            said = "different" if whole and name in found else actual
            differing.append(Difference(name, "as rendered" if whole else wanted, said))
    return tuple(differing)


def _diff(draft: Draft, setting: HostSetting, found: Mapping[str, str]) -> str:
    """Of a file that is not there, or is as this node wrote it: what somebody else wrote is shown to nobody."""
    if setting.kind != "file":
        return ""
    kept, there = draft.memory.host_settings.get(setting.id), found.get("content")
    if there is not None and not (kept and kept.as_found(found).fields["content"] == there):
        return ""
    return text_diff(there or "", setting.fields["content"], setting.name.lstrip("/"))


def _back(kept: HostKept) -> str:
    if not kept.before:
        return "there was none before"
    if "content" in kept.before:
        return "back to the file that was there before"
    return "back to " + ", ".join(f"{name} {value}" for name, value in kept.before.items())
