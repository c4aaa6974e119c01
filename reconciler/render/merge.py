"""Merging configuration files the way kolla-ansible does: ini with oslo.config's parser, yaml as a deep merge.

A *source* is (name, text); sources come in order of precedence, the last one wins. Comments and blank lines do not
survive a merge; the result ends every section with one blank line.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import yaml
from oslo_config import iniparser

from reconciler.document.numbers import plain
from reconciler.document.yaml_events import events
from reconciler.errors import Problem, SiteInvalid
from reconciler.render import meter, tokens, values
from reconciler.render.faults import FilterError, Refused

NamedText = tuple[str, str]

_MAX_DEPTH: Final = 60
_SECTIONED: Final = ("ini", "mycnf")  # formats in which every option belongs to a section
_KEY: Final = re.compile(r"[^<>{}\[\]\"|\\]+")
_RULES: Final = (
    "what is merged is lines `[section]`, `key = value`, `# comment`, and indented ones that continue a value"
)
_WORD: Final = re.compile(r"[A-Za-z][\w.-]*")
_BEFORE: Final = ""  # the options before any section header
_Values = list[list[str] | None]  # one item per occurrence: its lines, [] for `key =`, None for a bare `key`


def ini(sources: Sequence[NamedText], kind: str = "") -> str:
    """The sources as one ini text.

    A later source replaces a key's whole list of values; repeats of a key inside one source survive; sections that are
    repeated merge; new keys go to the end of their section and new sections to the end. `key =` stays empty, and a
    key without `=` stays bare. `kind` is the format of the file: what oslo.config (`ini`) or MariaDB (`mycnf`) could not read is
    refused too. Raises SiteInvalid with file and line for what is not ini.
    """
    merged: dict[str, dict[str, _Values]] = {_BEFORE: {}}
    for name, text in sources:
        meter.spend(_STEPS_PER_LINE * (1 + text.count("\n")), 4 * len(text) + 300 * text.count("\n"))
        for section, options in _Parser(name, kind, any(merged) and not merged[_BEFORE]).read(text).items():
            merged.setdefault(section, {}).update(options)
    return "".join(_section(section, options) for section, options in merged.items())


def yaml_text(sources: Sequence[NamedText], extend_lists: bool = False) -> str:
    """The sources as one block-style YAML text: mappings merge, keys are sorted; lists are replaced (or extended).

    A scalar keeps its spelling (`yes`, `0644`, `1.10`), so that it means what it meant to whoever reads the file. Empty
    sources add nothing. Raises SiteInvalid for what is not YAML or not a mapping, for keys that stand twice, for aliases
    and for what nests too deep.
    """
    merged: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, text in sources:
        try:
            data = _load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            what = getattr(error, "problem", None) or "cannot be read"
            problems.append(Problem(name, line, column, f"the rendered text is not valid YAML: {what}"))
            continue
        if data is None:
            continue
        if not isinstance(data, dict):
            problems.append(Problem(name, 1, 1, "is not a YAML mapping, so it cannot be merged"))
            continue
        _update(merged, data, extend_lists)
    if problems:
        raise SiteInvalid(problems)
    return dump(merged)


def dump(data: Any, sort: bool = True) -> str:
    """Plain data as block-style YAML. Texts that hold secret tokens become tokens that quote their value.

    Raises faults.Refused for data that is too deep, FilterError for what is no data.
    """
    dumper = _Quick if _pay(data, 0) and isinstance(data, dict | list) and data else _Dumper
    return yaml.dump(
        data, Dumper=dumper, default_flow_style=False, sort_keys=sort, width=2**30, allow_unicode=True, line_break="\n"
    )


_STEPS_PER_LINE: Final = 5  # of an ini text
_STEPS_PER_MARK: Final = 8  # of a YAML text that is read
_STEPS_PER_NODE: Final = 60  # of data that is written
_BYTES_PER_NODE: Final = 500
_LINE: Final = re.compile(r"[ -~]*")
_LONG: Final = 60  # characters of a key, which is longer in quotes


def _pay(data: Any, depth: int) -> bool:
    """Pay for writing data, and for a text as often as it stands in it. Whether libyaml writes it as PyYAML does, whose spelling counts:
    texts of one line of ASCII, under keys that are such texts and neither empty nor long."""
    data = data.text if isinstance(data, _Plain) else values.demand(data)
    meter.spend(_STEPS_PER_NODE, _BYTES_PER_NODE)
    if isinstance(data, str):
        meter.spend(len(data), 4 * len(data))
        return _LINE.fullmatch(data) is not None
    if isinstance(data, dict | list | tuple):
        if depth >= values.MAX_DEPTH:
            raise Refused(f"a value is nested deeper than {values.MAX_DEPTH} levels")
        alike = [_pay(part, depth + 1) for part in data]
        if isinstance(data, dict):
            alike += [isinstance(key, str) and 0 < len(key) <= _LONG for key in data]
            alike += [_pay(part, depth + 1) for part in data.values()]
        return all(alike)
    if isinstance(data, values.Lazy):
        raise FilterError("all variables of a host cannot be written: name one")
    return data is None or isinstance(data, int | float)


def _update(into: dict[str, Any], update: Mapping[str, Any], extend_lists: bool) -> None:
    for key, value in update.items():
        current = into.get(key)
        if isinstance(value, Mapping):
            into[key] = dict(current) if isinstance(current, Mapping) else {}
            _update(into[key], value, extend_lists)
        elif extend_lists and isinstance(value, list) and isinstance(current, list):
            into[key] = [*current, *value]
        else:
            into[key] = value


@dataclass(frozen=True, slots=True)
class _Plain:
    """A scalar that is no text, as it was written, with the tag and the value that YAML 1.1 gives it."""

    tag: str
    text: str
    value: Any


class _Loader(yaml.CSafeLoader):
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        value = super().construct_object(node, deep)
        if isinstance(node, yaml.ScalarNode) and not isinstance(value, str) and not node.style:
            return _Plain(node.tag, node.value, value)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is here twice", key.start_mark
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        made = super().construct_mapping(node, deep)
        # A key goes by its value, so that the sources agree which ones are the same.
        return {key.value if isinstance(key, _Plain) else key: value for key, value in made.items()}


class _Alias(yaml.YAMLError):
    """An alias, at `problem_mark`."""

    problem = "aliases are not allowed: write the value out"

    def __init__(self, mark: Any) -> None:
        self.problem_mark = mark


def _load(text: str) -> Any:
    marks = 1 + sum(map(text.count, "\n,[{:-?"))  # there is no node without one of these before it
    meter.spend(_STEPS_PER_MARK * marks + (len(text) >> 4), _BYTES_PER_NODE * marks + 4 * len(text))
    for event in events(text, _MAX_DEPTH):
        if isinstance(event, yaml.AliasEvent):  # a few lines of them can grow to gigabytes
            raise _Alias(event.start_mark)
    data = yaml.load(text, Loader=_Loader)  # noqa: S506  # a subclass of the safe loader
    return data.value if isinstance(data, _Plain) else data


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


class _Quick(yaml.CSafeDumper):
    """The same by libyaml, in a quarter of the time; its bytes are the same for what `_pay` says."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, text: str) -> Any:
    if tokens.is_held(text):
        # Stands unquoted, since the value arrives with its quotes.
        return dumper.represent_scalar("tag:yaml.org,2002:str", tokens.wrap("to_json", text), style="")
    if "\n" in text:
        return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text))


for _kind in (_Dumper, _Quick):
    _kind.add_representer(str, _text)
    _kind.add_multi_representer(str, _text)
    _kind.add_representer(_Plain, lambda dumper, scalar: dumper.represent_scalar(scalar.tag, scalar.text))
    _kind.add_multi_representer(int, lambda dumper, number: dumper.represent_data(plain(number)))
    _kind.add_multi_representer(float, lambda dumper, number: dumper.represent_data(plain(number)))
    _kind.add_multi_representer(dict, yaml.SafeDumper.represent_dict)
    _kind.add_multi_representer(tuple, yaml.SafeDumper.represent_list)


class _Parser(iniparser.BaseParser):
    """One source; `read` gives its sections in order of appearance."""

    def __init__(self, name: str, kind: str, sections: bool) -> None:
        self._name = name
        self._kind = kind
        self._sections_only = sections and kind in _SECTIONED  # what it is merged into has no option before a section
        self._bare: set[str] = set()
        self._sections: dict[str, dict[str, _Values]] = {}
        self._current: dict[str, _Values] | None = None

    def read(self, text: str) -> dict[str, dict[str, _Values]]:
        self.parse(text.split("\n"))
        return self._sections

    def _split_key_value(self, line: str) -> tuple[str, list[str]]:
        key, value = super()._split_key_value(line)
        if key and not _KEY.fullmatch(key):
            self._refuse("this is no name of an option", line)
        if self._current is None and self._sections_only:
            self._refuse("an option stands before the first section, and would belong to none", line)
        return key, value

    def new_section(self, section: str) -> None:
        self._current = self._sections.setdefault(section, {})

    def assignment(self, key: str, value: list[str]) -> None:
        if self._current is None:
            self.new_section(_BEFORE)
        assert self._current is not None
        lines: list[str] | None = [] if value == [""] else value
        if key in self._bare:
            self._bare.discard(key)
            lines = None if lines == [] else lines
        self._current.setdefault(key, []).append(lines)

    def error_invalid_assignment(self, line: str) -> tuple[str, list[str]]:  # type: ignore[override]  # its result is used
        """A line without `=`: an option of MariaDB that is on by standing there (`skip-log-bin`)."""
        if self._kind == "ini" or not _WORD.fullmatch(line.strip()):
            self._refuse("a line has neither `=` nor `:`", line)
        self._bare.add(line.strip())
        return line.strip(), [""]

    def error_empty_key(self, line: str) -> NoReturn:
        self._refuse("an option has no name before its `=`", line)

    def error_unexpected_continuation(self, line: str) -> NoReturn:
        self._refuse("an indented line continues the option above it, and there is none", line)

    def error_no_section_end_bracket(self, line: str) -> NoReturn:
        self._refuse("a section header does not end with `]`", line)

    def error_no_section_name(self, line: str) -> NoReturn:
        self._refuse("a section has no name", line)

    def _refuse(self, message: str, line: str) -> NoReturn:
        shown = tokens.TOKEN.sub("…", line.strip())[:60]
        raise SiteInvalid([Problem(self._name, self.lineno, 1, f"{message}: {shown!r}", _RULES)])


def _section(section: str, options: Mapping[str, _Values]) -> str:
    if section == _BEFORE and not options:
        return ""
    header = [] if section == _BEFORE else [f"[{section}]"]
    return "\n".join([*header, *_lines(options), "", ""])


def _lines(options: Mapping[str, _Values]) -> Iterable[str]:
    for key, occurrences in options.items():
        for lines in occurrences:
            if lines is None:
                yield key
                continue
            if not lines:
                yield f"{key} ="
                continue
            first, *rest = lines
            yield f"{key} = {first}"
            indent = " " * (len(key) + 3)
            yield from (indent + line for line in rest)
