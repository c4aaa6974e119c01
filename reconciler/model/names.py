"""Names that this program gives beside those of a site."""

VALIDATING = "reconciler-validate-"  # begins the name of a container that checks another one's new configuration
PRECHECKING = "reconciler-precheck-"  # begins the name of a container that checks something before an upgrade
MAINTAINING = (
    "reconciler-maintenance-"  # begins the name of a container that takes what a service has here out of use, or back
)
LEFTOVER_SUFFIX = ".reconciler-new"  # ends the name of a file while it is written; what a kill leaves is removed
ASIDE = "reconciler-aside-"
QUORUM = "quorum"  # what `accept` of reconciler.yml calls members that leave together and leave no majority behind


def aside(name: str) -> str:
    """The name a container has while its replacement is being tried."""
    return ASIDE + name
