"""Which versions of this program a site is made for: `requires` in reconciler.yml, a specifier of PEP 440 or one exact version."""

from collections.abc import Mapping

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from reconciler.document import yaml
from reconciler.errors import SiteInvalid, Terminal
from reconciler.reasons import Reason


def specifiers(text: str) -> SpecifierSet | None:
    """`>=0.3,<0.4`, or `0.3.2` for exactly that one; None when it is neither."""
    try:
        return SpecifierSet(f"=={Version(text)}")
    except InvalidVersion:
        pass
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def require(files: Mapping[str, bytes], version: str) -> None:
    """Raises errors.Terminal (ProgramPinned): the site is made for other versions than `version`, whatever else is in it.

    What cannot be read here is no pin: validation says what is wrong with it.
    """
    try:
        data = yaml.load(files.get("reconciler.yml", b""), "reconciler.yml").data
    except SiteInvalid:
        return
    wanted = data.get("requires") if isinstance(data, dict) else None
    allowed = specifiers(wanted) if isinstance(wanted, str) and wanted else None
    if allowed is not None and not allowed.contains(version, prereleases=True):
        raise Terminal(
            f"waits for reconciler {wanted}, as reconciler.yml requires ({version} is installed)",
            reason=Reason.ProgramPinned,
        )
