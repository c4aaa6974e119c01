"""Names that this program gives beside those of a site."""

VALIDATING = "reconciler-validate-"  # begins the name of a container that checks another one's new configuration
PRECHECKING = "reconciler-precheck-"  # begins the name of a container that checks something before an upgrade
MAINTAINING = (
    "reconciler-maintenance-"  # begins the name of a container that takes what a service has here out of use, or back
)
LEFTOVER_SUFFIX = ".reconciler-new"  # ends the name of a file while it is written; what a kill leaves is removed
OURS = ".reconciler-"  # begins the name of everything at the top of a config root that no commit may touch
ONE_SHOTS = OURS + "validate"  # there: the files of one-shot containers while they run
ASIDE = "reconciler-aside-"
QUORUM = "quorum"  # what `accept` of reconciler.yml calls members that leave together and leave no majority behind


def aside(name: str) -> str:
    """The name a container has while its replacement is being tried."""
    return ASIDE + name


def below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it, component by component. Both are in their normal spelling."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def is_ours(path: str, root: str) -> bool:
    """Whether the absolute `path` is, or lies below, a name at the top of the config root `root` that is this program's own. Both are in
    their normal spelling."""
    top = root.rstrip("/") + "/"
    return path.startswith(top + OURS)
