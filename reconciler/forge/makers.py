"""The client of a kind of forge. Each is imported with its first use: a node that reports nowhere loads none."""

from reconciler.forge.api import Forge, ForgeSettings


def connect(settings: ForgeSettings) -> Forge:
    """The client for `settings.kind`. Opens no connection and reads no file yet."""
    from reconciler.forge import gitea, github, gitlab

    makers: dict[str, type[gitlab.GitLab] | type[github.GitHub] | type[gitea.Gitea]] = {
        "gitlab": gitlab.GitLab,
        "github": github.GitHub,
        "gitea": gitea.Gitea,
    }
    return makers[settings.kind](settings)
