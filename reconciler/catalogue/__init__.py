"""Service definitions: folders of `service.yml`, `variables.yml` and templates, typed and checked. Pure."""

from reconciler.catalogue.load import load, merge
from reconciler.catalogue.types import Catalogue, OverridePattern, Password, Service, Variable

__all__ = ["Catalogue", "OverridePattern", "Password", "Service", "Variable", "load", "merge"]
