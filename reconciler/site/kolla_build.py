"""kolla_build.yml: what kolla-build is given for the images that a site builds itself, and which variables name them. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler import data
from reconciler.catalogue import Catalogue
from reconciler.document import yaml
from reconciler.document.grammar import Grammar, defaults
from reconciler.document.words import suggest
from reconciler.document.yaml import Document
from reconciler.errors import Problem, SiteInvalid

FILE: Final = "kolla_build.yml"
_OURS: Final = ("registry", "namespace", "tag", "push", "template_override", "logs_dir")  # options of [DEFAULT]
_LINE: Final = re.compile(r"[\x00-\x1f\x7f]")
_IMAGE: Final = re.compile(r".*\}\}([a-z0-9-]+)")  # the end of a variable's default that names an image of Kolla's


@dataclass(frozen=True, slots=True)
class Build:
    """`images`: name → the variables that say what a container of it runs. `conf` and `override` are the texts of kolla-build.conf, without
    where things lie on this machine, and of its template override."""

    registry: str
    namespace: str
    tag: str
    images: Mapping[str, tuple[str, ...]]
    conf: str
    override: str

    def name(self, image: str) -> str:
        """Its full name, without the tag."""
        return f"{self.registry}/{self.namespace}/{image}"


def problems(document: Document, catalogue: Catalogue) -> list[Problem]:
    """What is wrong with a kolla_build.yml."""
    found = Grammar(data.schema("kolla_build")).check(document)
    return [*found, *([] if found else _names(document, catalogue))]


def read(files: Mapping[str, bytes], catalogue: Catalogue) -> Build:
    """What a site builds. Raises SiteInvalid, also where it builds nothing."""
    if FILE not in files:
        raise SiteInvalid(
            [Problem(FILE, 0, 0, "is missing", "say there which images this site builds, and where they go")]
        )
    document = yaml.load(files[FILE], FILE)
    if found := [one for one in problems(document, catalogue) if one.severity == "error"]:
        raise SiteInvalid(found)
    said: Mapping[str, Any] = defaults(document.data, data.schema("kolla_build"))
    variables = _variables(catalogue)
    return Build(
        said["registry"],
        said["namespace"],
        said["tag"],
        {image: variables[image] for image in said["images"]},
        _conf(said),
        _override(said),
    )


def _names(document: Document, catalogue: Catalogue) -> Iterator[Problem]:
    variables = _variables(catalogue)
    for index, image in enumerate(document.data["images"]):
        if image not in variables:
            message = f"no container of the catalogue or of this site has the image {image!r}"
            yield document.place(("images", index)).problem(message, suggest(image, variables) or "leave it out")
    for section, options in (document.data.get("conf") or {}).items():
        for option, value in options.items():
            place = document.place(("conf", section, option), key=True)
            if section == "DEFAULT" and option in _OURS:
                yield place.problem(
                    f"{option} is not said here", "take it out of conf: the keys above and `images build` say it"
                )
            elif any(_LINE.search(str(word)) for word in (section, option, value)) or {*section, *option} & {*"=:[]#;"}:
                yield place.problem("does not fit into one line of kolla-build.conf", "write it without line ends")


def _variables(catalogue: Catalogue) -> dict[str, tuple[str, ...]]:
    """Image → the variables with the full name of what containers of it run."""
    found: dict[str, list[str]] = {}
    for name, variable in catalogue.variables.items():
        match = (
            _IMAGE.fullmatch(variable.default)
            if name.endswith("_image") and isinstance(variable.default, str)
            else None
        )
        if match and f"{name}_full" in catalogue.variables:
            found.setdefault(match[1], []).append(f"{name}_full")
    return {image: tuple(sorted(names)) for image, names in found.items()}


def _conf(said: Mapping[str, Any]) -> str:
    own = {"registry": said["registry"], "namespace": said["namespace"], "tag": said["tag"], "push": True}
    sections = {"DEFAULT": {}, **said["conf"]}
    sections["DEFAULT"] = {**sections["DEFAULT"], **own}
    lines: list[str] = []
    for section, options in sections.items():
        lines += [f"[{section}]", *(f"{option} = {_spelt(value)}" for option, value in options.items()), ""]
    return "\n".join(lines)


def _spelt(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _override(said: Mapping[str, Any]) -> str:
    lists = [f"{{% set {name} = {packages!r} %}}" for name, packages in said["packages"].items()]
    return "\n".join(["{% extends parent_template %}", *lists, said["template"], ""])
