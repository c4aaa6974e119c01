"""The host itself: kernel settings, modules; set before what needs them, and put back when nobody asks for them any more."""

from collections.abc import Mapping

from reconciler.model import Action, Difference, Held, HostKept, HostSetting, Verb
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
        elif action := _setting(draft, setting):
            draft.add(action)


def plan_host_resets(draft: Draft) -> None:
    """What this node set and nobody asks for now. What needed it stops first."""
    wanted = {setting.id for setting in draft.desired.host_settings}
    for key, kept in draft.memory.host_settings.items():
        if key in wanted or key not in draft.actual.host_settings:
            continue
        if spared := draft.spared:
            draft.held.append(Held(key, *spared))
            continue
        needs = tuple(f"{verb}:{name}" for name in kept.setting.before for verb in (Verb.REMOVE, Verb.REPLACE))
        cause = f"no longer part of the site; {_back(kept)}"
        draft.add(Action(Verb.RESET, key, cause, needs, service=kept.setting.service, risks=("host",)))


def _setting(draft: Draft, setting: HostSetting) -> Action | None:
    found = draft.actual.host_settings.get(setting.id, {})
    differing = draft.achievable(f"host:{setting.id}", differences(setting, found))
    if not differing:
        return None
    drift = draft.unchanged(setting)
    cause = ", ".join(f"{d.field} {d.actual}, should be {d.desired}" for d in differing)
    # A module brings settings with it.
    modules = (s.id for s in draft.desired.host_settings if s.kind == "module" and setting.kind == "sysctl")
    return Action(
        Verb.SET,
        setting.id,
        f"drift: {cause}" if drift else cause,
        tuple(f"{Verb.SET}:{key}" for key in modules),
        service=setting.service,
        drift=drift,
        differences=differing,
        diff=_diff(draft, setting, found),
        risks=("host",),
    )


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
    if there is not None and not (kept and kept.setting.fields["content"] == there):
        return ""
    return text_diff(there or "", setting.fields["content"], setting.name.lstrip("/"))


def _back(kept: HostKept) -> str:
    if not kept.before:
        return "there was none before"
    if "content" in kept.before:
        return "back to the file that was there before"
    return "back to " + ", ".join(f"{name} {value}" for name, value in kept.before.items())
