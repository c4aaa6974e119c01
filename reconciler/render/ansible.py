"""Ansible's and kolla-ansible's filters where Kolla sites use them, with their behaviour."""

import base64
import ipaddress
import json
import posixpath
from collections.abc import Mapping
from typing import Any, Final

import jinja2

from reconciler.document import pattern
from reconciler.render import merge, meter, tokens, values
from reconciler.render.conditions import compiled, is_defined, spend_work
from reconciler.render.faults import FilterError, Refused, Said
from reconciler.render.lists import add, unique
from reconciler.render.operations import FILTERS, Anything, Flag, Items, MaybeWhole, Name, Pairs, Text, Value, Whole

# --- data as text, and back --------------------------------------------------------------------------------------


def to_bool(value: Any) -> bool | None:
    """Ansible's `bool`: yes, on, true and 1 in any case are true, None stays None, all else is false."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.lower() in ("yes", "on", "1", "true")
    return bool(value == 1)


def to_json(value: Any, indent: int | None = None, sort_keys: bool = False) -> str:
    """JSON on one line, or indented. Texts that hold secrets become tokens that quote their value."""
    ready = _json_ready(value, 0)
    try:
        text = json.dumps(ready, indent=indent, sort_keys=sort_keys, ensure_ascii=False)
    except TypeError:
        raise FilterError("keys of different types cannot be sorted") from None
    return values.limited(tokens.unquoted(text))


def _json_ready(value: Any, depth: int) -> Any:
    value = values.demand(value)
    meter.spend(3, 60 + 8 * depth)
    if isinstance(value, str):
        meter.text(value)
        return tokens.wrap("to_json", value) if tokens.is_held(value) else value
    if value is None or isinstance(value, int | float):
        return values.bounded(value)
    if isinstance(value, values.Lazy):
        raise FilterError("all variables of a host cannot be written: name one")
    if depth >= values.MAX_DEPTH:
        raise Refused(f"a value is nested deeper than {values.MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {_json_ready(name, depth + 1): _json_ready(part, depth + 1) for name, part in value.items()}
    return [_json_ready(part, depth + 1) for part in value]


@FILTERS.add("bool")
def _bool(value: Value) -> bool | None:
    return to_bool(value)


@FILTERS.add("to_json", "tojson", carries=True)
def _to_json(value: Value, indent: MaybeWhole = None, sort_keys: Flag = False, **_: Value) -> str:
    return to_json(value, _indented(indent), sort_keys)


@FILTERS.add("to_nice_json", carries=True)
def _to_nice_json(value: Value, indent: Whole = 4, sort_keys: Flag = True, **_: Value) -> str:
    return to_json(value, _indented(indent), sort_keys)


def _indented(indent: int | None) -> int | None:
    if indent is not None and not 0 <= indent <= 16:
        raise Refused("JSON is indented by at most 16")
    return indent


@FILTERS.add("to_yaml", "to_nice_yaml", carries=True)
def _to_yaml(value: Value, sort_keys: Flag = True, **_: Value) -> str:
    """Block-style YAML with a line break at the end."""
    return merge.dump(value, sort_keys)


@FILTERS.add("from_json")
def _from_json(value: Text) -> Any:
    parts = sum(value.count(mark) for mark in ",[{:")
    meter.spend(parts + (len(value) >> 8), 120 * parts + len(value))
    try:
        made = json.loads(value)
    except RecursionError:
        raise Refused(f"a value is nested deeper than {values.MAX_DEPTH} levels") from None
    return values.plain(made)


@FILTERS.add("b64encode", carries=True)
def _b64encode(value: Value) -> str:
    return values.limited(tokens.apply("b64encode", values.text_of(value)))


@FILTERS.add("b64decode")
def _b64decode(value: Text) -> str:
    return values.limited(base64.b64decode(value, validate=True).decode())


@FILTERS.add("quote", carries=True)
def _quote(value: Value) -> str:
    return values.limited(tokens.apply("quote", "" if value is None else values.text_of(value)))


@FILTERS.add("hash", carries=True)
def _hash(value: Value, hashtype: Text = "sha1") -> str:
    if hashtype not in tokens.HASHES:
        raise FilterError(f"{hashtype[:60]!r} is not one of {', '.join(tokens.HASHES)}")
    text = values.text_of(value)
    meter.spend(len(text) >> 7)
    return tokens.apply(f"hash-{hashtype}", text)


# --- regular expressions -----------------------------------------------------------------------------------------


@FILTERS.add("regex_replace")
def _regex_replace(
    value: Text, expression: Text = "", replacement: Text = "", ignorecase: Flag = False, multiline: Flag = False
) -> str:
    made = compiled(expression, ignorecase, multiline)
    template = pattern.template(replacement, made)
    pieces: list[str] = []
    size, end = len(value), 0
    for match in made.finditer(value, spend_work):
        start, stop = match.spans[0]
        pieces += (value[end:start], pattern.expand(template, match))
        size += len(pieces[-1])
        values.bound(size)
        meter.spend(5, 200 + len(pieces[-1]))
        end = stop
    return values.limited("".join((*pieces, value[end:])))


@FILTERS.add("regex_search")
def _regex_search(
    value: Text, expression: Text, *groups: Text, ignorecase: Flag = False, multiline: Flag = False
) -> str | list[str] | None:
    """The first match, or the named or numbered groups (`\\\\1`, `\\\\g<name>`) of it; None without a match."""
    made = compiled(expression, ignorecase, multiline)
    match = made.search(value, spend_work)
    if match is None:
        return None
    if groups:
        return [values.limited(pattern.expand(pattern.template(group, made), match)) for group in groups]
    return values.limited(match.group() or "")


@FILTERS.add("regex_findall")
def _regex_findall(value: Text, expression: Text, multiline: Flag = False, ignorecase: Flag = False) -> list[Any]:
    made = compiled(expression, ignorecase, multiline)
    found: list[Any] = []
    for match in made.finditer(value, spend_work):
        groups = [values.limited(match.group(number) or "") for number in range(made.groups + 1)]
        meter.spend(5, 200)
        found.append(groups[0] if made.groups == 0 else groups[1] if made.groups == 1 else tuple(groups[1:]))
        values.bound(len(found), values.MAX_ITEMS, "items")
    return found


@FILTERS.add("regex_escape")
def _regex_escape(value: Text) -> str:
    values.bound(2 * len(value))
    return values.limited(pattern.escape(value))


# --- values ------------------------------------------------------------------------------------------------------


@FILTERS.add("ternary", carries=True)
def _ternary(value: Value, true_val: Anything, false_val: Anything, none_val: Anything = None) -> Any:
    if value is None and none_val is not None:
        return none_val
    return true_val if value else false_val


@FILTERS.add("mandatory", carries=True)
def _mandatory(value: Anything, msg: Anything = "") -> Any:
    if isinstance(value, jinja2.Undefined):
        is_defined(value)
        if isinstance(msg, str) and msg:
            raise Said(msg[:300])
        str(value)
    return value


@FILTERS.add("combine")
def _combine(*mappings: Value, recursive: Flag = False, list_merge: Text = "replace") -> dict[Any, Any]:
    """The mappings (or lists of such) as one; later ones win. `list_merge`: replace, append or prepend."""
    if list_merge not in ("replace", "append", "prepend"):
        raise FilterError(f"list_merge={list_merge[:60]!r} is not one of replace, append, prepend")
    result: dict[Any, Any] = {}
    for value in _flat(list(mappings), None, True, 0):
        if not isinstance(value, dict):
            raise FilterError(f"takes mappings, not {values.kind(values.demand(value))}")
        result = _combined(result, value, recursive, list_merge, 0)
    return result


def _combined(
    first: Mapping[Any, Any], second: Mapping[Any, Any], recursive: bool, lists: str, depth: int
) -> dict[Any, Any]:
    meter.spend(5 + 2 * len(first) + 3 * len(second), 230 + 100 * (len(first) + len(second)))
    if depth >= values.MAX_DEPTH:
        raise Refused(f"a value is nested deeper than {values.MAX_DEPTH} levels")
    result = dict(first)
    for name, value in second.items():
        current = result.get(name)
        if recursive and isinstance(current, Mapping) and isinstance(value, Mapping):
            result[name] = _combined(current, value, recursive, lists, depth + 1)
        elif lists != "replace" and isinstance(current, list) and isinstance(value, list):
            result[name] = add(current, value) if lists == "append" else add(value, current)
        else:
            result[name] = value
    return result


# --- lists -------------------------------------------------------------------------------------------------------


@FILTERS.add("union")
def _union(value: Items, other: Items) -> list[Any]:
    return unique([*value, *other])


@FILTERS.add("intersect")
def _intersect(value: Items, other: Items) -> list[Any]:
    wanted = values.distinct(other)
    return [item for name, item in values.distinct(value).items() if name in wanted]


@FILTERS.add("difference")
def _difference(value: Items, other: Items) -> list[Any]:
    unwanted = values.distinct(other)
    return [item for name, item in values.distinct(value).items() if name not in unwanted]


@FILTERS.add("flatten")
def _flatten(value: Items, levels: MaybeWhole = None, skip_nulls: Flag = True) -> list[Any]:
    return _flat(value, levels, skip_nulls, 0)


def _flat(items: list[Any] | tuple[Any, ...], levels: int | None, skip_nulls: bool, depth: int) -> list[Any]:
    if depth >= values.MAX_DEPTH:
        raise Refused(f"a value is nested deeper than {values.MAX_DEPTH} levels")
    result: list[Any] = []
    for item in items:
        meter.spend(1, 16)
        if skip_nulls and (item is None or (isinstance(item, str) and item in ("None", "null"))):
            continue
        if isinstance(item, list | tuple) and levels != 0:
            result += _flat(item, None if levels is None else levels - 1, skip_nulls, depth + 1)
        else:
            result.append(item)
        values.bound(len(result), values.MAX_ITEMS, "items")
    return result


@FILTERS.add("zip")
def _zip(*lists: Items) -> list[Any]:
    made = list(zip(*lists, strict=False))
    meter.spend(len(made), len(made) * (60 + 8 * len(lists)))
    return made


@FILTERS.add("dict2items")
def _dict2items(value: Pairs, key_name: Text = "key", value_name: Text = "value") -> list[dict[str, Any]]:
    names = values.items(value)
    meter.spend(len(names), 250 * len(names))
    return [{key_name: name, value_name: value[name]} for name in names]


@FILTERS.add("items2dict")
def _items2dict(value: Items, key_name: Name = "key", value_name: Name = "value") -> dict[Any, Any]:
    result = {}
    for item in value:
        name, part = values.item(item, key_name), values.item(item, value_name)
        if name is values.MISSING or part is values.MISSING:
            raise FilterError(f"every item needs {key_name!r:.60} and {value_name!r:.60}")
        meter.spend(2, 100)
        result[values.key(name)] = part
    return result


# --- paths and texts ---------------------------------------------------------------------------------------------


@FILTERS.add("basename")
def _basename(value: Text) -> str:
    return values.limited(posixpath.basename(value))


@FILTERS.add("dirname")
def _dirname(value: Text) -> str:
    return values.limited(posixpath.dirname(value))


@FILTERS.add("split")
def _split(value: Text, separator: Anything = None, limit: Whole = -1) -> list[str]:
    if not (separator is None or isinstance(separator, str)):
        raise FilterError("its separator is a text")
    pieces = len(value) >> 1 if separator is None else value.count(separator)
    meter.spend(1 + (pieces >> 2), 50 * pieces)
    return values.items(value.split(separator, limit))


# --- kolla-ansible's ---------------------------------------------------------------------------------------------


@FILTERS.add("put_address_in_context")
def put_address_in_context(address: Text, context: Text) -> str:
    """An address as it is spelt inside a URL, a memcached server list, or RabbitMQ's Erlang terms."""
    if context not in ("url", "memcache", "rabbitmq"):
        raise FilterError(f"{context[:60]!r} is not one of url, memcache, rabbitmq")
    if context == "rabbitmq":
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            raise FilterError(f"{address[:60]!r} is not an IP address") from None
        if parsed.version == 6:
            return ",".join(f"16#{int(part, 16):x}" for part in parsed.exploded.split(":"))
        return address.replace(".", ",")
    if ":" not in address:
        return address
    return values.limited(f"[{address}]" if context == "url" else f"inet6:[{address}]")


_DEFAULT_PORTS: Final = {("http", 80), ("ws", 80), ("https", 443), ("wss", 443)}


@FILTERS.add("kolla_url")
def _kolla_url(fqdn: Text, protocol: Text, port: Value, path: Text = "", context: Text = "url") -> str:
    """A URL that leaves out its protocol's own port."""
    host, number = put_address_in_context(fqdn, context), values.bounded(int(port))
    shown = "" if (protocol, number) in _DEFAULT_PORTS else f":{number}"
    return values.limited(f"{protocol}://{host}{shown}{path}")


@FILTERS.add("kolla_address")
def _kolla_address(network: Text, hostname: Anything = None, override_var: Anything = None) -> str:
    """The address of a host (default: this one) on a network, as the inventory declares it.

    `override_var` names a variable of that host that is taken instead where it is defined.
    """
    names = meter.current().names
    name = names["inventory_hostname"] if hostname is None else values.demand(hostname)
    found = values.item(names["hostvars"], name)
    if found is values.MISSING:
        raise FilterError(
            f"the inventory has no host {values.text_of(name)[:60]!r}{values.suggestion(str(name), names['hostvars'])}"
        )
    if isinstance(override_var, str) and override_var in found:
        value = found[override_var]
        try:
            return format(ipaddress.ip_address(value))
        except ValueError:
            raise FilterError(
                f"{override_var[:60]} of host {name} is {value!r:.60}, which is not an IP address"
            ) from None
    address: str = found.address(network)
    return address
