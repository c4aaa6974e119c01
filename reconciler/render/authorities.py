"""The authorities of a site's own, by which its services are believed beside those that everybody believes."""

import re
from typing import Final

from reconciler.render import paths
from reconciler.render.evaluate import World

# Where Kolla has them as well, for its containers.
_FILES: Final = ("certificates/ca/*",)
_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def certificates(world: World, host: str) -> str:
    """Theirs, one after the other as PEM has them."""
    world.looked(host, _FILES, (), "")
    site = world.site
    plain = (site.overrides[path] for path in paths.find(_FILES, site.overrides) if path not in site.sealed)
    return "".join(f"{found}\n" for one in plain for found in _CERTIFICATE.findall(one.decode("ascii", "ignore")))
