"""Whole files of the host, root's: rules for udev, helper scripts. What was there before is kept, and comes back."""

from collections.abc import Mapping
from typing import Final

from reconciler import errors
from reconciler.host.place import Place, asked
from reconciler.host.protocol import Refused
from reconciler.model import HostKept, HostSetting
from reconciler.reasons import Reason

_RULES: Final = "/etc/udev/rules.d/"
_LARGEST: Final = 256 << 10  # characters of a file that is kept


class Files:
    def __init__(self, place: Place) -> None:
        self._place = place

    def observe(self, setting: HostSetting) -> Mapping[str, str]:
        found = self._place.status(setting.name)
        if found is None:
            return {}
        text, status = found
        owner = "" if (status.st_uid, status.st_gid) == (0, 0) else f" {status.st_uid}:{status.st_gid}"
        return {"content": text, "mode": f"{status.st_mode & 0o7777:04o}{owner}"}

    def before(self, setting: HostSetting) -> Mapping[str, str]:
        found = self._place.status(setting.name)
        if found is None:
            return {}
        text, status = found
        if len(text) > _LARGEST:
            message = f"{setting.name} has {len(text) >> 10} KiB, too much to be kept for later: move it away"
            raise errors.Terminal(message, reason=Reason.FileUnsafe)
        return {"content": text, "mode": f"{status.st_mode & 0o777:04o}"}

    def put(self, setting: HostSetting) -> None:
        self._place.write(setting.name, setting.fields["content"], int(setting.fields["mode"], 8))
        self._tell(setting)

    def back(self, kept: HostKept) -> None:
        """What somebody has edited since is theirs."""
        setting = kept.setting
        text = self._place.text(setting.name)
        if text is None:
            self._place.sweep(setting.name)
            return
        if text != setting.fields.get("content"):
            raise Refused(
                f"{setting.name} was edited since this program wrote it, and stays: remove it if nobody needs it"
            )
        if "content" in kept.before:
            self._place.write(setting.name, kept.before["content"], int(kept.before["mode"], 8))
        else:
            self._place.remove(setting.name)
        self._tell(setting)

    def _tell(self, setting: HostSetting) -> None:
        """udev reads its rules anew by itself, and looks at devices that are there already only when it is asked."""
        if not setting.name.startswith(_RULES):
            return
        asked(self._place, ["udevadm", "control", "--reload"])
        for device in setting.devices:
            asked(self._place, ["udevadm", "trigger", "--action=change", f"--name-match={device}"])
