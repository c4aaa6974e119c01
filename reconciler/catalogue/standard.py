"""The variables that kolla-ansible has for every container: image, tag, limits, volumes, health check. Pure.

A container without `image` is one of Kolla's. What its service.yml says of image name, tag, volumes, limits and health check are
the defaults of variables under kolla-ansible's names, and the container reads the variables. A variable that
variables.yml declares itself is left as it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.catalogue.types import Variable
from reconciler.document.keywords import is_one_expression
from reconciler.document.yaml import Document, Path
from reconciler.errors import Problem

_REGISTRY: Final = (
    "{{ docker_registry ~ '/' if docker_registry else '' }}{{ docker_namespace }}/{{ docker_image_name_prefix }}"
)
_OWN: Final = ("image_name", "tag", "extra_volumes", "variables")  # fields that only say what the variables are
_SAID: Final = {  # field → what it is the default of
    "volumes": "default_volumes",
    "extra_volumes": "extra_volumes",
    "dimensions": "dimensions",
    "tag": "tag",
    "image_name": "image",
}
_HEALTHCHECK: Final = (
    ("interval", "number", "Seconds between two health checks of {name}."),
    ("timeout", "number", "Seconds after which a health check of {name} counts as failed."),
    ("retries", "integer", "Failed health checks in a row that make {name} unhealthy."),
    ("start_period", "number", "Seconds after the start of {name} in which failed health checks do not count."),
)

_Standard = tuple[str, str, str, Any, str]  # suffix of the name, type, description, default, the field that says it


def derive(
    document: Document,
    service: str,
    declared: Mapping[str, Variable],
    moves: Mapping[Path, Path],
    problems: list[Problem],
) -> tuple[dict[str, Any], dict[str, Variable]]:
    """The containers of a service as they read their variables, and those variables that are not `declared`.

    `moves` tells what the containers say themselves from what they have of `defaults`.
    """
    containers = document.data["containers"]
    every = {
        name: _Container(document, service, name, entry)
        for name, entry in containers.items()
        if isinstance(entry, dict) and _is_kolla(document, name, entry, problems)
    }
    variables: dict[str, Variable] = {}
    namesake = any(one.prefix == one.family for one in every.values())
    for one in every.values():
        problems += one.idle(declared, moves)
        for suffix, kind, words, default, field in (*one.shared(namesake), *one.own(namesake)):
            if suffix not in declared:
                place = document.place(("containers", one.name, field) if field else ("containers",))
                schema = {"description": words, "type": kind}
                variables.setdefault(suffix, Variable(suffix, schema, default, False, words, place, service))
    return {name: every[name].reading() if name in every else entry for name, entry in containers.items()}, variables


def _is_kolla(document: Document, name: str, entry: Mapping[str, Any], problems: list[Problem]) -> bool:
    path: Path = ("containers", name)
    if "image" in entry:
        for key in _OWN:
            if key in entry:
                message = f"{key} is for a container whose image is a variable, and this one says its `image`"
                problems.append(document.place((*path, key), key=True).problem(message, "remove one of the two"))
        return False
    if entry.get("kolla") is False:
        hint = "only images with Kolla's contract are variables by themselves"
        problems.append(document.place(path).problem("is missing 'image'", hint))
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Container:
    document: Document
    service: str
    name: str
    entry: Mapping[str, Any]

    @property
    def prefix(self) -> str:
        """What the names of its variables begin with."""
        return str(self.entry.get("variables") or self.name.replace("-", "_"))

    @property
    def family(self) -> str:
        """What the names of the variables begin with that the containers of its service share."""
        return self.service.replace("-", "_")

    def reading(self) -> dict[str, Any]:
        """The container, its values taken from its variables."""
        prefix = self.prefix
        result = {key: value for key, value in self.entry.items() if key not in _OWN}
        result["image"] = f"{{{{ {prefix}_image_full }}}}"
        result["volumes"] = f"{{{{ {prefix}_default_volumes + {prefix}_extra_volumes }}}}"
        result["dimensions"] = f"{{{{ {prefix}_dimensions }}}}"
        if self._checked():
            result["healthcheck"] = f"{{{{ {prefix}_healthcheck }}}}"
        return result

    def shared(self, namesake: bool) -> Iterator[_Standard]:
        """What it has in common with the others of its service, of which `namesake` says that one has the service's name."""
        if "tag" not in self.entry:
            yield f"{self.family}_tag", "string", f"Tag of the images of {self.service}.", "{{ openstack_tag }}", ""
        if not namesake:
            words = f"More volumes for every container of {self.service}, source:target[:mode]."
            yield f"{self.family}_extra_volumes", "array", words, "{{ default_extra_volumes }}", ""

    def own(self, namesake: bool) -> Iterator[_Standard]:
        """Its own variables."""
        name, prefix, entry = self.name, self.prefix, self.entry
        image = _REGISTRY + str(entry.get("image_name") or name.replace("_", "-"))
        yield f"{prefix}_image", "string", f"Image of {name}, without its tag.", image, "image_name"
        if prefix != self.family or "tag" in entry:
            tag = entry.get("tag", f"{{{{ {self.family}_tag }}}}")
            yield f"{prefix}_tag", "string", f"Tag of the image of {name}.", tag, "tag"
        words = f"Image and tag of {name}; a digest (name@sha256:…) is allowed."
        yield f"{prefix}_image_full", "string", words, f"{{{{ {prefix}_image }}}}:{{{{ {prefix}_tag }}}}", "image_name"
        limits = entry.get("dimensions", "{{ default_container_dimensions }}")
        yield f"{prefix}_dimensions", "object", f"Resource limits of {name}, in Kolla's words.", limits, "dimensions"
        words = f"Volumes of {name}. The bind of its config directory is added by the program."
        yield f"{prefix}_default_volumes", "array", words, entry.get("volumes") or [], "volumes"
        more = "{{ default_extra_volumes }}" if namesake else f"{{{{ {self.family}_extra_volumes }}}}"
        words = f"More volumes for {name}, source:target[:mode]."
        yield f"{prefix}_extra_volumes", "array", words, entry.get("extra_volumes", more), "extra_volumes"
        if self._checked():
            yield from self._healthcheck(entry["healthcheck"])

    def _checked(self) -> bool:
        """Whether it says a test. An expression for the whole health check, and NONE, are taken as they are."""
        part = self.entry.get("healthcheck")
        return isinstance(part, dict) and part.get("test") not in (None, "", [], "NONE", ["NONE"])

    def _healthcheck(self, part: Mapping[str, Any]) -> Iterator[_Standard]:
        name, prefix, test = self.name, self.prefix, part["test"]
        words = f"Whether {name} has a health check. Without one it counts as healthy once it has stayed up."
        enabled = part.get("enabled", "{{ enable_container_healthchecks }}")
        yield f"{prefix}_enable_healthchecks", "boolean", words, enabled, "healthcheck"
        for key, kind, words in _HEALTHCHECK:
            default = part.get(key, f"{{{{ default_container_healthcheck_{key} }}}}")
            yield f"{prefix}_healthcheck_{key}", kind, words.format(name=name), default, "healthcheck"
        if isinstance(test, str) and not is_one_expression(test):
            test = ["CMD-SHELL", test]
        words = f"The health check of {name}, in the engine's list form."
        yield f"{prefix}_healthcheck_test", "array", words, test, "healthcheck"
        whole = {
            "test": f"{{{{ {prefix}_healthcheck_test if {prefix}_enable_healthchecks else ['NONE'] }}}}",
            **{key: f"{{{{ {prefix}_healthcheck_{key} }}}}" for key, _, _ in _HEALTHCHECK},
        }
        yield f"{prefix}_healthcheck", "object", f"The health check of {name}, put together.", whole, "healthcheck"

    def idle(self, declared: Mapping[str, Variable], moves: Mapping[Path, Path]) -> Iterator[Problem]:
        """What it says of a variable that variables.yml declares, which would count for nothing."""
        for key, suffix in {**_SAID, **({"healthcheck": "healthcheck_test"} if self._checked() else {})}.items():
            name, path = f"{self.prefix}_{suffix}", ("containers", self.name, key)
            if key in self.entry and name in declared and path not in moves:
                message = f"{key} has no effect, because variables.yml declares {name}"
                yield self.document.place(path, key=True).problem(message, "say it in one of the two")
