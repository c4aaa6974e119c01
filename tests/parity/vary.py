"""`python -m tests.parity.vary SITE SEED COUNT OUT`: a copy of a site with other values for COUNT variables, drawn by SEED.

Sites that nobody thought of: `make parity SITE=OUT/` then compares what kolla-ansible and the catalogue make of it. Drawn from are the
documented variables that both have, with values that their types allow; a value that kolla-ansible itself refuses is a matter of luck.
"""

import random
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from reconciler import catalogue
from reconciler.catalogue import Variable
from tests.parity import environment, oracle
from tests.services.golden import SHIPPED, read

HERE = Path(__file__).parent / "sites"
# What a site is made of rather than what it is set to; what needs more beside it; what has its sites already.
KEPT = re.compile(
    r"enable_.*|.*_enable_tls.*|kolla_(enable|base|internal|external|same|copy|verify|container)_?.*|.*_(interface|address|image|image_full|hosts)|"
    r"node_config.*|config_strategy|openstack_(release|tag|service|region|cacert|interface).*|docker_.*|.*_(tag|backend|backends|plugin_agent|fqdn)|"
    r".*_backend_.*|ansible_.*|default_.*|api_interface.*|container_.*|.*_(endpoint|url|uuid|protocol|group|pem|key|file|environment|volumes?|dimensions|password)|"
    r"database_.*|.*_database_.*|libvirt_tls|letsencrypt.*|haproxy_single.*|.*_volume.*|.*_topics|.*_default_.*|ceph_.*|.*keycloak.*|.*_id"
)


def main(site: str, seed: str, count: str, out: str) -> None:
    """Write the site, and say what was drawn."""
    draw = random.Random(seed)
    _, plays = environment.prepare("2025.1")
    known = oracle._known(plays)
    shipped = catalogue.load(read(SHIPPED), "catalogue")
    fitting = [one for name, one in shipped.variables.items() if name in known and not KEPT.fullmatch(name)]
    possible = [(one.name, found) for one in fitting if (found := list(_others(one)))]
    drawn = {name: draw.choice(values) for name, values in draw.sample(possible, min(int(count), len(possible)))}
    shutil.copytree(site if "/" in site else HERE / site, out, dirs_exist_ok=True)
    globals_file = Path(out) / "globals.yml"
    said = {**drawn, **(yaml.safe_load(globals_file.read_text()) or {})}
    globals_file.write_text(yaml.safe_dump(said, sort_keys=False))
    print(*(f"{name}: {value}" for name, value in sorted(drawn.items())), sep="\n")


def _others(variable: Variable) -> Iterator[Any]:
    """Values that a variable may have, beside its default."""
    kind, default = variable.schema.get("type"), variable.default
    allowed = variable.schema.get("enum")
    if allowed:
        yield from (value for value in allowed if value != default and value != "")
    elif kind == "boolean":
        yield from ("yes", "no") if not isinstance(default, bool) else ("no" if default else "yes",)
    elif kind in ("integer", "number") and isinstance(default, int | float):
        yield str(default + (1 if default < 100 else 7))  # as Kolla's own files have numbers
    elif kind == "string" and isinstance(default, str) and "{" not in default and default:
        number = re.fullmatch(r"(\d+)([smhdMGk]?)", default)
        if number:
            yield f"{int(number[1]) + 1}{number[2]}"
        elif re.fullmatch(r"[a-z][a-z0-9_-]*", default):
            yield f"{default}-other"
    elif "examples" in variable.schema:
        yield from variable.schema["examples"]
    elif "example" in variable.schema:
        yield variable.schema["example"]


if __name__ == "__main__":
    main(*sys.argv[1:])
