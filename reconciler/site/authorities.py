"""The authorities of a site's own, by which its services are believed beside those that everybody believes."""

import re
import ssl
from collections.abc import Container, Mapping
from typing import Final

from reconciler.document.yaml import Place
from reconciler.errors import Problem
from reconciler.site.types import Site

# Where Kolla has them as well, for its containers; below config/.
PATTERN: Final = "certificates/ca/*"
_IN_THE_FOLDER: Final = re.compile(r"certificates/ca/[^/]+")
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_CERTIFICATE: Final = re.compile(_BEGIN + r"[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def certificates(site: Site) -> str:
    """Theirs, one after the other as PEM has them."""
    texts = (_text(site.overrides[path]) for path in _plain(site.overrides, site.sealed))
    return "".join(f"{found}\n" for text in texts for found in _CERTIFICATE.findall(text))


def files(site: Site) -> list[str]:
    """The paths below config/ that have any: a node reads them itself, whatever its containers do."""
    return [path for path in _plain(site.overrides, site.sealed) if _CERTIFICATE.search(_text(site.overrides[path]))]


def problems(overrides: Mapping[str, bytes], sealed: Container[str]) -> list[Problem]:
    """What of them nobody could believe: of each file the first that cannot be read. Paths are below config/."""
    result = []
    for path in _plain(overrides, sealed):
        text = _text(overrides[path])
        at = text.find(_BEGIN)
        while at >= 0 and (found := _CERTIFICATE.match(text, at)) and _is_readable(found.group()):
            at = text.find(_BEGIN, found.end())
        if at >= 0:
            place = Place(f"config/{path}", text.count("\n", 0, at) + 1)
            hint = "copy it again, from its BEGIN to its END; `openssl x509 -noout -text` shows one that is whole"
            result.append(place.problem("the certificate that begins here cannot be read", hint))
    return result


def _plain(overrides: Mapping[str, bytes], sealed: Container[str]) -> list[str]:
    return sorted(path for path in overrides if _IN_THE_FOLDER.fullmatch(path) and path not in sealed)


def _text(content: bytes) -> str:
    return content.decode("ascii", "ignore")


def _is_readable(certificate: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate)
    except (ssl.SSLError, ValueError):
        return False
    return True
