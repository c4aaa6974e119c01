"""Filters and tests of templates: Ansible's and kolla-ansible's where Kolla sites use them, with their behaviour.

A filter that computes something from a text refuses a text that holds a secret's token, because the value is not known
when templates are rendered; the ones that only carry it along, or can be applied later, take it.
"""

import base64
import functools
import ipaddress
import itertools
import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import jinja2
from jinja2.filters import do_format, do_join, do_urlencode
from jinja2.runtime import Context

from reconciler.render import merge, tokens

MAX_TEXT: Final = 8 * 1024 * 1024  # characters of one rendered text
MAX_ITEMS: Final = 100_000  # of one list or range
MAX_NODES: Final = 1_000_000  # of a value with everything in it


class Refused(jinja2.TemplateError):
    """A template asked for something it may not have: too much of something, or a look at a secret."""


class FilterError(jinja2.TemplateError):
    """A filter cannot do anything with what it was given."""


# --- guards ----------------------------------------------------------------------------------------------------

# Not deterministic, or for HTML only: their output would be wrong in a configuration file.
REMOVED: Final = ("random", "pprint", "urlize", "xmlattr", "forceescape", "striptags", "safe", "escape", "e")

# These see the characters of a text.
_LOOKS: Final = frozenset(
    {
        "abs", "b64decode", "basename", "batch", "bool", "capitalize", "center", "count", "dirname", "filesizeformat",
        "first", "float", "from_json", "int", "kolla_url", "last", "length", "list", "lower", "put_address_in_context",
        "regex_escape", "regex_findall", "regex_replace", "regex_search", "replace", "reverse", "round", "slice", "split",
        "sum", "title", "trim", "truncate", "upper", "wordcount", "wordwrap",
    }
)  # fmt: skip
# These hand values on without writing them out: an undefined part of a list is nobody's business yet.
_PASSES_ON: Final = frozenset(("default", "d", "map", "select", "reject", "selectattr", "rejectattr", "first", "last"))
_SIZED: Final = frozenset(("center", "indent", "batch", "slice", "round", "wordwrap", "truncate"))


def guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with the checks that every filter needs: undefined values, secrets, sizes."""
    skip = 1 if hasattr(function, "jinja_pass_arg") else 0
    may_be_undefined = name in ("default", "d", "mandatory")

    @functools.wraps(function)
    def filter_(*args: Any, **kwargs: Any) -> Any:
        for value in args[skip:]:
            if isinstance(value, jinja2.Undefined):
                if not may_be_undefined:
                    str(value)  # raises what is wrong with it
            elif isinstance(value, list | tuple | dict):
                if name not in _PASSES_ON:
                    measure(value)
            elif name in _LOOKS and tokens.is_held(value):
                known = ", ".join(sorted(tokens.names(value)))
                raise Refused(
                    f"the filter {name} cannot look at the secret {known}, because its value is not known here"
                )
        if name in _SIZED:
            for value in itertools.chain(args[skip:], kwargs.values()):
                if isinstance(value, int) and abs(value) > MAX_ITEMS:
                    raise Refused(f"the filter {name} is given {value}; the limit is {MAX_ITEMS}")
        result = function(*args, **kwargs)
        if isinstance(result, str) and len(result) > MAX_TEXT:
            raise Refused(f"the result of the filter {name} is longer than {MAX_TEXT} characters")
        return result

    return filter_


def needs_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """A test that does not answer for undefined values."""
    skip = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def test(*args: Any, **kwargs: Any) -> Any:
        for value in args[skip:]:
            if isinstance(value, jinja2.Undefined):
                str(value)
        return function(*args, **kwargs)

    return test


def measure(value: Any) -> None:
    """Walk lists and mappings, which may hold one another many times over, before anything writes them out.

    Raises Refused when that would be too much, and what an undefined part says.
    """
    nodes, characters = 0, 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            characters += len(item)
        elif isinstance(item, list | tuple | dict):
            nodes += len(item)
        elif isinstance(item, jinja2.Undefined):
            str(item)
        if nodes > MAX_NODES or characters > MAX_TEXT:
            raise Refused(f"a value may have at most {MAX_NODES} items and {MAX_TEXT} characters")
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item


def bounded_list(items: Iterable[Any]) -> list[Any]:
    """The items as a list. Raises Refused when there are more than MAX_ITEMS."""
    result = list(itertools.islice(items, MAX_ITEMS + 1))
    if len(result) > MAX_ITEMS:
        raise Refused(f"a list may have at most {MAX_ITEMS} items")
    return result


# --- Ansible's -------------------------------------------------------------------------------------------------


def to_bool(value: Any) -> bool | None:
    """Ansible's `bool`: yes, on, true and 1 in any case are true, None stays None, all else is false."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.lower() in ("yes", "on", "1", "true")
    return bool(value == 1)


def to_json(value: Any, indent: int | None = None, sort_keys: bool = False, **_: Any) -> str:
    """JSON on one line, or indented. Texts that hold secrets become tokens that quote their value."""
    if indent is not None and indent > 16:
        raise Refused("to_json indents by at most 16")
    text = json.dumps(_json_ready(value), indent=indent, sort_keys=sort_keys, ensure_ascii=False, default=_unknown)
    return _QUOTED_TOKEN.sub(r"\1", text)


_QUOTED_TOKEN = re.compile(r'"(<<to_json:[A-Za-z0-9_-]*>>)"')


def _json_ready(value: Any) -> Any:
    if isinstance(value, str):
        return tokens.wrap("to_json", value) if tokens.is_held(value) else value
    if isinstance(value, Mapping):
        return {_json_ready(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [_json_ready(item) for item in value]
    return value


def _unknown(value: Any) -> Any:
    if isinstance(value, jinja2.Undefined):
        str(value)
    raise FilterError(f"a value of type {type(value).__name__} cannot be written as JSON")


def to_nice_json(value: Any, indent: int = 4, sort_keys: bool = True) -> str:
    return to_json(value, indent, sort_keys)


def to_yaml(value: Any, sort_keys: bool = True, **_: Any) -> str:
    """Block-style YAML with a line break at the end."""
    return merge.dump(value, sort_keys)


def from_json(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise FilterError(f"from_json: {error}") from None


def b64encode(value: Any) -> str:
    return tokens.apply("b64encode", str(value))


def b64decode(value: Any) -> str:
    try:
        return base64.b64decode(str(value), validate=True).decode()
    except ValueError as error:
        raise FilterError(f"b64decode: {error}") from None


def urlencode(value: Any) -> str:
    return tokens.apply("urlencode", value) if tokens.is_held(value) else do_urlencode(value)


def quote(value: Any) -> str:
    return tokens.apply("quote", "" if value is None else str(value))


def hash_(value: Any, algorithm: str = "sha1") -> str:
    if algorithm not in tokens.HASHES:
        raise FilterError(f"hash: {algorithm!r} is not one of {', '.join(tokens.HASHES)}")
    return tokens.apply(f"hash-{algorithm}", str(value))


def combine(*values: Any, recursive: bool = False, list_merge: str = "replace") -> dict[str, Any]:
    """The mappings (or lists of such) as one; later ones win. `list_merge`: replace, append or prepend."""
    if list_merge not in ("replace", "append", "prepend"):
        raise FilterError(f"combine: list_merge={list_merge!r} is not one of replace, append, prepend")
    result: dict[str, Any] = {}
    for value in flatten(list(values)):
        if not isinstance(value, Mapping):
            raise FilterError(f"combine: takes mappings, not {type(value).__name__}")
        result = _combined(result, value, recursive, list_merge)
    return result


def _combined(first: Mapping[str, Any], second: Mapping[str, Any], recursive: bool, lists: str) -> dict[str, Any]:
    result = dict(first)
    for key, value in second.items():
        current = result.get(key)
        if recursive and isinstance(current, Mapping) and isinstance(value, Mapping):
            result[key] = _combined(current, value, recursive, lists)
        elif lists != "replace" and isinstance(current, list) and isinstance(value, list):
            result[key] = current + value if lists == "append" else value + current
        else:
            result[key] = value
    return result


def regex_replace(
    value: Any, pattern: str, replacement: str = "", ignorecase: bool = False, multiline: bool = False
) -> str:
    return _pattern(pattern, ignorecase, multiline).sub(_expand(replacement), str(value))


def regex_search(
    value: Any, pattern: str, *groups: str, ignorecase: bool = False, multiline: bool = False
) -> str | list[str] | None:
    """The first match, or the named or numbered groups (`\\\\1`, `\\\\g<name>`) of it; None without a match."""
    match = _pattern(pattern, ignorecase, multiline).search(str(value))
    if match is None:
        return None
    return [match.expand(group) for group in groups] if groups else match.group()


def regex_findall(value: Any, pattern: str, multiline: bool = False, ignorecase: bool = False) -> list[Any]:
    return bounded_list(_pattern(pattern, ignorecase, multiline).findall(str(value)))


def _pattern(pattern: str, ignorecase: bool, multiline: bool) -> re.Pattern[str]:
    try:
        return re.compile(pattern, (re.IGNORECASE if ignorecase else 0) | (re.MULTILINE if multiline else 0))
    except re.error as error:
        raise FilterError(f"the regular expression {pattern!r} is not valid: {error}") from None


def _expand(replacement: str) -> Callable[[re.Match[str]], str]:
    size = 0

    def expand(match: re.Match[str]) -> str:
        nonlocal size
        text = match.expand(replacement)
        size += len(text)
        if size > MAX_TEXT:
            raise Refused(f"the result of regex_replace is longer than {MAX_TEXT} characters")
        return text

    return expand


def ternary(value: Any, true: Any, false: Any, none: Any = None) -> Any:
    if value is None and none is not None:
        return none
    return true if value else false


def unique(items: Iterable[Any]) -> list[Any]:
    """The items without repeats, in order of first appearance. Upper and lower case differ."""
    result: list[Any] = []
    seen = set()
    for item in items:
        key = json.dumps(item, sort_keys=True, default=str)
        if key not in seen:
            seen.add(key)
            result.append(item)
    return result


def union(first: Iterable[Any], second: Iterable[Any]) -> list[Any]:
    return unique([*first, *second])


def intersect(first: Iterable[Any], second: Iterable[Any]) -> list[Any]:
    other = list(second)
    return unique(item for item in first if item in other)


def difference(first: Iterable[Any], second: Iterable[Any]) -> list[Any]:
    other = list(second)
    return unique(item for item in first if item not in other)


def flatten(items: Iterable[Any], levels: int | None = None, skip_nulls: bool = True) -> list[Any]:
    result: list[Any] = []
    for item in items:
        if skip_nulls and item in (None, "None", "null"):
            continue
        if isinstance(item, list | tuple) and levels != 0:
            result += flatten(item, None if levels is None else levels - 1, skip_nulls)
        else:
            result.append(item)
        if len(result) > MAX_ITEMS:
            raise Refused(f"a list may have at most {MAX_ITEMS} items")
    return result


def dict2items(value: Mapping[str, Any], key_name: str = "key", value_name: str = "value") -> list[dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise FilterError(f"dict2items: takes a mapping, not {type(value).__name__}")
    return [{key_name: key, value_name: item} for key, item in value.items()]


def items2dict(items: Iterable[Any], key_name: str = "key", value_name: str = "value") -> dict[str, Any]:
    try:
        return {item[key_name]: item[value_name] for item in items}
    except (KeyError, TypeError):
        raise FilterError(f"items2dict: every item needs {key_name!r} and {value_name!r}") from None


def mandatory(value: Any, message: str = "") -> Any:
    if isinstance(value, jinja2.Undefined):
        if message:
            raise FilterError(message)
        str(value)
    return value


def split(value: str, separator: str | None = None, limit: int = -1) -> list[str]:
    return str(value).split(separator, limit)


def join(items: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    listed = bounded_list(items)
    if sum(len(str(item)) + len(separator) for item in listed) > MAX_TEXT:
        raise Refused(f"the result of join is longer than {MAX_TEXT} characters")
    return str(do_join(_EVAL, listed, separator, attribute))


def sum_(items: Iterable[Any], attribute: str | None = None, start: Any = 0) -> Any:
    """The sum of numbers; of lists with `start=[]`."""
    total = start
    for item in items:
        total = total + (item[attribute] if attribute is not None else item)
        if isinstance(total, list) and len(total) > MAX_ITEMS:
            raise Refused(f"a list may have at most {MAX_ITEMS} items")
    return total


def format_(value: str, *args: Any, **kwargs: Any) -> str:
    if re.search(r"%[^a-zA-Z%]*(\d{4,}|\*)", value):
        raise Refused("the filter format is given a conversion of unbounded width")
    return str(do_format(value, *args, **kwargs))


def replace(value: Any, old: str, new: str, count: int = -1) -> str:
    text = str(value)
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise Refused(f"the result of replace is longer than {MAX_TEXT} characters")
    return text.replace(old, new, count)


# --- kolla-ansible's -------------------------------------------------------------------------------------------


def put_address_in_context(address: str, context: str) -> str:
    """An address as it is spelt inside a URL, a memcached server list, or RabbitMQ's Erlang terms."""
    if context not in ("url", "memcache", "rabbitmq"):
        raise FilterError(f"put_address_in_context: {context!r} is not one of url, memcache, rabbitmq")
    if context == "rabbitmq":
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            raise FilterError(f"put_address_in_context: {address!r} is not an IP address") from None
        if parsed.version == 6:
            return ",".join(f"16#{int(part, 16):x}" for part in parsed.exploded.split(":"))
        return address.replace(".", ",")
    if ":" not in address:
        return address
    return f"[{address}]" if context == "url" else f"inet6:[{address}]"


_DEFAULT_PORTS: Final = {("http", 80), ("ws", 80), ("https", 443), ("wss", 443)}


def kolla_url(fqdn: str, protocol: str, port: Any, path: str = "", context: str = "url") -> str:
    """A URL that leaves out its protocol's own port."""
    host = put_address_in_context(fqdn, context)
    number = int(port)
    return (
        f"{protocol}://{host}{path}" if (protocol, number) in _DEFAULT_PORTS else f"{protocol}://{host}:{number}{path}"
    )


@jinja2.pass_context
def kolla_address(context: Context, network: str, hostname: str | None = None, override_var: str | None = None) -> str:
    """The address of a host (default: this one) on a network, as the inventory declares it.

    `override_var` names a variable of that host that is taken instead where it is defined.
    """
    name = hostname if hostname is not None else context["inventory_hostname"]
    variables = context["hostvars"][name]
    if override_var is not None and override_var in variables:
        value = variables[override_var]
        try:
            return format(ipaddress.ip_address(value))
        except ValueError:
            raise FilterError(f"{override_var} of host {name} is {value!r}, which is not an IP address") from None
    address: str = variables.address(network)
    return address


# --- tables ----------------------------------------------------------------------------------------------------

_EVAL = jinja2.nodes.EvalContext(jinja2.Environment())  # noqa: S701  # do_join asks it whether to escape: no

FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "bool": to_bool,
    "to_json": to_json,
    "tojson": to_json,
    "to_nice_json": to_nice_json,
    "to_yaml": to_yaml,
    "to_nice_yaml": to_yaml,
    "from_json": from_json,
    "b64encode": b64encode,
    "b64decode": b64decode,
    "urlencode": urlencode,
    "quote": quote,
    "hash": hash_,
    "combine": combine,
    "regex_replace": regex_replace,
    "regex_search": regex_search,
    "regex_findall": regex_findall,
    "regex_escape": re.escape,
    "ternary": ternary,
    "unique": unique,
    "union": union,
    "intersect": intersect,
    "difference": difference,
    "flatten": flatten,
    "dict2items": dict2items,
    "items2dict": items2dict,
    "mandatory": mandatory,
    "basename": posixpath.basename,
    "dirname": posixpath.dirname,
    "split": split,
    "join": join,
    "sum": sum_,
    "format": format_,
    "replace": replace,
    "zip": zip,
    "put_address_in_context": put_address_in_context,
    "kolla_url": kolla_url,
    "kolla_address": kolla_address,
}

TESTS: Final[Mapping[str, Callable[..., Any]]] = {
    "match": lambda value, pattern: bool(re.match(pattern, value)),
    "search": lambda value, pattern: bool(re.search(pattern, value)),
    "contains": lambda value, item: item in value,
    "truthy": bool,
    "falsy": lambda value: not value,
    "subset": lambda value, other: set(value) <= set(other),
    "superset": lambda value, other: set(value) >= set(other),
}
