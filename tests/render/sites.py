"""Small sites for rendering tests: a catalogue and a site from a few texts."""

from collections.abc import Mapping
from textwrap import dedent
from typing import Any

from reconciler import catalogue, site
from reconciler.model import Container, Desired, File, Job
from reconciler.render import render
from tests.support import sealed

INVENTORY = """
hosts:
  ctl1: {addresses: {network: 10.0.0.11, tunnel: 10.1.0.11}, groups: [control], facts: {hostname: controller-1}}
  ctl2: {addresses: {network: 10.0.0.12}, groups: [control]}
  cmp1: {addresses: {network: 10.0.0.21}, groups: [compute]}
groups:
  control: {}
  compute: {}
"""

VARIABLES = """
node_config: {description: Config root., type: string, default: /etc/kolla}
config_strategy: {description: When config is copied., type: string, default: COPY_ALWAYS}
"""


def make_site(
    services: Mapping[str, str],
    files: Mapping[str, str] | None = None,
    *,
    variables: str = "",
    inventory: str = INVENTORY,
    secrets: Mapping[str, str] | None = None,
) -> site.Site:
    """A site. `services` are paths below services/, `files` paths in the site; `secrets` names → ciphertexts."""
    shipped = {"base/variables.yml": VARIABLES + dedent(variables), **{k: dedent(v) for k, v in services.items()}}
    content = {"inventory.yml": inventory, **(files or {})}
    if secrets:
        content["passwords.yml"] = sealed.text(secrets)
    loaded = catalogue.load({path: text.encode() for path, text in shipped.items()}, "catalogue")
    return site.load({path: dedent(text).encode() for path, text in content.items()}, loaded)


def one_service(body: str, files: Mapping[str, str] | None = None, **more: Any) -> site.Site:
    """A site with one service, `app`, whose service.yml is `body`."""
    templates = more.pop("templates", {})
    assert isinstance(templates, Mapping)
    services = {"app/service.yml": "description: An application\n" + dedent(body)}
    services |= {f"app/templates/{name}": text for name, text in templates.items()}
    return make_site(services, files, **more)  # type: ignore[arg-type]


def rendered(body: str, files: Mapping[str, str] | None = None, host: str = "ctl1", **more: Any) -> Desired:
    """The desired state of a host of such a site."""
    return render(one_service(body, files, **more), host, "0" * 40)


def container(desired: Desired, name: str) -> Container:
    return next(item for item in desired.containers if item.name == name)


def file(desired: Desired, path: str) -> File:
    return next(item for item in desired.files if item.path == path)


def job(desired: Desired, name: str) -> Job:
    return next(item for item in desired.jobs if item.name == name)
