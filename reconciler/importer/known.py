"""What names of kolla-ansible mean here, where the catalogue's own tables do not say it."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Final

from reconciler.document.literals import URL, looks_secret, truth
from reconciler.importer.types import Fate


def _is(*words: str) -> Callable[[Any], bool]:
    return lambda value: str(value).strip().lower() in words


def _off(value: Any) -> bool:
    return truth(value) is False


def _any(value: Any) -> bool:
    return True


Row = tuple[str, Callable[[Any], bool], Fate, str]

# Name (a pattern), which of its values, what becomes of it, and why. The first row that fits counts.
ROWS: Final[tuple[Row, ...]] = (
    ("kolla_container_engine", _is("docker"), Fate.DEFAULT, "Docker is the only engine"),
    ("keystone_token_provider", _is("fernet"), Fate.DEFAULT, "tokens are fernet tokens"),
    ("kolla_install_type", _is("source"), Fate.DEFAULT, "Kolla's images are built from source"),
    ("kolla_install_type", _any, Fate.DIFFERENT, "Kolla's images are built from source since Zed, here as there"),
    ("openstack_logging_debug", _off, Fate.DEFAULT, "debug logging is off"),
    ("glance_enable_rolling_upgrade", _any, Fate.DIFFERENT, "every upgrade is a rolling one"),
    ("neutron_enable_rolling_upgrade", _any, Fate.DIFFERENT, "every upgrade is a rolling one, and a check before it says so where Neutron cannot"),
    ("nova_enable_nova_legacy_service", _off, Fate.DEFAULT, "it is not there, so it is off"),
    ("*_enable_healthchecks", _off, Fate.DEFAULT, "it is not there, so it is off"),
    ("om_enable_*", _any, Fate.DIFFERENT, "nobody reads it: queues are quorum queues, transient ones too, with a queue manager"),
    ("prechecks_*", _any, Fate.DIFFERENT, "nobody reads it: `reconciler doctor` looks at a host"),
    ("kolla_copy_ca_into_containers", _off, Fate.DEFAULT, "no authority is copied into containers"),
    ("enable_docker_repo", _any, Fate.DIFFERENT, "the engine is installed when the node is set up"),
    ("enable_*", _off, Fate.DEFAULT, "it is not there, so it is off"),
    ("workaround_ansible_issue_8743", _any, Fate.DIFFERENT, "Ansible is not used"),
    ("ansible_*", _any, Fate.DIFFERENT, "says how Ansible reaches the host; nothing is run over SSH here"),
)  # fmt: skip


def understood(name: str, value: Any) -> tuple[Fate, str] | None:
    """What a name with that value comes to, or None when no row speaks of it."""
    return next(((fate, why) for pattern, fits, fate, why in ROWS if fnmatchcase(name, pattern) and fits(value)), None)


# --- secrets by their looks -------------------------------------------------------------------------------------------

_LINE: Final = re.compile(
    r"^(?P<before>[ \t]*[#;-]*[ \t]*(?P<name>[\w.-]+)[\"']?[ \t]*[:=][ \t]*)(?P<value>\S.*)$", re.M
)
_INNER: Final = re.compile(
    r"(?P<before>[\"']?(?P<name>[A-Za-z_][\w.-]*)[\"']?[ \t]*[:=][ \t]*)(?P<value>[^\s,}\]][^,}\]\n]*)"
)
LEFT_OUT: Final = "(left out)"


def masked(text: str) -> str:
    """A text without what looks like a secret in it: values of names that look so, and passwords in addresses."""

    def line(match: re.Match[str]) -> str:
        name = match["name"]
        hidden = looks_secret(name) and match["value"] not in ("|", ">", "|-", ">-", "{", "[")
        return match["before"] + LEFT_OUT if hidden else match[0]

    return URL.sub(rf"\g<before>{LEFT_OUT}@", _INNER.sub(line, _LINE.sub(line, text)))
