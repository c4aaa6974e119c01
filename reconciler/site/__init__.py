"""The content of a site repository at one commit: strict, validated, with the origin of every value. Pure."""

from reconciler.site.load import load
from reconciler.site.types import Host, Layer, Layered, SecretName, Site

__all__ = ["Host", "Layer", "Layered", "SecretName", "Site", "load"]
