"""Where a variable's value comes from, for people."""

from dataclasses import dataclass
from typing import Any

from reconciler.document.words import suggest
from reconciler.errors import Problem, SiteInvalid
from reconciler.render import tokens, values
from reconciler.render.evaluate import World
from reconciler.render.faults import FilterError
from reconciler.render.meter import Exhausted
from reconciler.site import Layer, Site


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a variable's value comes from. `layers`: outermost first, the last one wins. `value` may hold tokens."""

    name: str
    host: str
    layers: tuple[Layer, ...]
    value: Any
    problems: tuple[Problem, ...] = ()
    secret: bool = False


def no_host(site: Site, host: str) -> Problem:
    """What to say when the inventory does not have a host."""
    hint = suggest(host, site.hosts) or f"it has {', '.join(list(site.hosts)[:8])}{' …' if len(site.hosts) > 8 else ''}"
    return Problem("inventory.yml", 0, 0, f"the inventory has no host {host!r}", hint)


def explain(site: Site, host: str, name: str) -> Explanation:
    """The layers and the evaluated value of a variable on a host.

    Raises SiteInvalid for a host or a variable that does not exist, with a suggestion. When the variable exists and cannot be
    evaluated, `problems` says why and the value is None.
    """
    if host not in site.hosts:
        raise SiteInvalid([no_host(site, host)])
    variables = World(site).variables(host)
    if name not in variables:
        if name in site.catalogue.variables:
            place = site.catalogue.variables[name].place
            raise SiteInvalid(
                [place.problem(f"{name!r} has no default and the site does not set it", "set it in globals.yml")]
            )
        raise SiteInvalid([Problem("", 0, 0, f"no variable {name!r}", suggest(name, variables))])
    try:
        value = values.plain(variables[name])
    except SiteInvalid as error:
        return Explanation(name, host, variables.layered(name), None, error.problems)
    except Exhausted as error:
        return Explanation(name, host, variables.layered(name), None, (error.problem,))
    except FilterError as error:
        return Explanation(name, host, variables.layered(name), None, (Problem("", 0, 0, f"{name}: {error}"),))
    return Explanation(name, host, variables.layered(name), value, secret=isinstance(value, tokens.SecretRef))
