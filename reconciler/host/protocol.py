"""What a kind of setting is to the rest of the program."""

from collections.abc import Mapping
from typing import Protocol

from reconciler.model import HostKept, HostSetting


class Refused(Exception):
    """The host does not let itself be changed like that, now or later: what was asked for is not achievable here."""


class Kind(Protocol):
    """One kind of setting. Every method may raise OSError, or an error of the hierarchy; `put` and `back` raise Refused as well."""

    def observe(self, setting: HostSetting) -> Mapping[str, str]:
        """The fields as they are; those that are not there are missing, and what cannot be changed here says so."""

    def before(self, setting: HostSetting) -> Mapping[str, str]:
        """What `back` needs to know of how it is now."""

    def put(self, setting: HostSetting) -> None:
        """Make it as it should be."""

    def back(self, kept: HostKept) -> None:
        """Make it what it was before this program came, save what others have changed since."""
