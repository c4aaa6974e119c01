"""Arguments and options that several verbs share, and the settings they lead to."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from reconciler.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def site_argument(function: F) -> F:
    """SITE: the folder that holds inventory.yml, by default the current one."""
    kind = click.Path(file_okay=False, path_type=Path)
    return click.argument("site", type=kind, default=".")(function)


def json_option(function: F) -> F:
    return click.option("--json", "json_", is_flag=True, help="Print JSON.")(function)


def config_option(function: F) -> F:
    """--config, here as well as before the verb."""

    def remember(context: click.Context, _: click.Parameter, value: Path | None) -> None:
        if value is not None:
            context.ensure_object(dict)["config"] = value

    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=remember,
        help="The node's settings file (RECONCILER_CONFIG; default /etc/reconciler/reconciler.toml).",
    )(function)


def key_options(function: F) -> F:
    """What opens encrypted files, spelt as sops does."""
    for name, variable, text in (
        ("--ssh-key-file", "SOPS_AGE_SSH_PRIVATE_KEY_FILE", "SSH private key that opens passwords.yml."),
        ("--age-key-file", "SOPS_AGE_KEY_FILE", "age identities that open passwords.yml."),
    ):
        function = click.option(name, type=click.Path(path_type=Path), envvar=variable, help=text)(function)
    return function


def settings_path(context: click.Context | None = None) -> Path:
    """Which settings file is meant."""
    from reconciler.settings import DEFAULT_PATH

    chosen = ((context or click.get_current_context()).obj or {}).get("config")
    return Path(chosen) if chosen else DEFAULT_PATH


def load_settings(*, in_child: bool = False) -> "Settings":
    """The node's settings; the log set up as they say, on stderr. Raises errors.Terminal (SettingsInvalid)."""
    from reconciler import log, settings

    loaded = settings.load(settings_path(), in_child=in_child)
    log.configure(loaded.log)
    return loaded
