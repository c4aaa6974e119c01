"""The authorities of a site's own, by which its services are believed beside those that everybody believes."""

import re
from typing import Final

from reconciler.render import paths
from reconciler.render.evaluate import World
from reconciler.site import Site

# Where Kolla has them as well, for its containers.
_FILES: Final = ("certificates/ca/*",)
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def certificates(world: World, host: str) -> str:
    """Theirs, one after the other as PEM has them."""
    world.looked(host, _FILES, (), "")
    return "".join(f"{found}\n" for held in files(world.site).values() for found in held)


def files(site: Site) -> dict[str, list[str]]:
    """Path below config/ → the certificates in it, of those that have any: a node reads them itself, whatever its containers do."""
    plain = (path for path in paths.find(_FILES, site.overrides) if path not in site.sealed)
    held = {path: _CERTIFICATE.findall(site.overrides[path].decode("ascii", "ignore")) for path in plain}
    return {path: found for path, found in held.items() if found}
