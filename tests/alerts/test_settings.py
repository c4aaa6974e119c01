"""The `[alerts]` section: every kind of target, and mistakes named before the daemon starts."""

from pathlib import Path

import pytest

from reconciler import errors
from reconciler.settings import Alerts, AlertTarget, parse

HEAD = '[git]\nurl = "https://git.example.org/site.git"\n'


def alerts(text: str) -> Alerts:
    return parse(HEAD + text, Path("reconciler.toml")).alerts


def test_without_the_section_nobody_is_told() -> None:
    assert alerts("") == Alerts() and not Alerts().targets


def test_every_kind_of_target() -> None:
    found = alerts(
        """\
[alerts]
repeat = 3600
[alerts.targets.gitlab]
kind = "gitlab"
url = "https://git.example.org/cloud/site/alerts/notify/reconciler/0123456789abcdef.json"
key_file = "/etc/reconciler/alerts.key"
[alerts.targets.chat]
kind = "webhook"
url = "https://hooks.example.org/reconciler"
ca_file = "/etc/ssl/ca.pem"
[alerts.targets.oncall]
kind = "apprise"
url_file = "/etc/reconciler/mail.url"
"""
    )
    assert found.repeat == 3600 and found.settle == 120
    assert found.targets["chat"] == AlertTarget(
        "webhook", "https://hooks.example.org/reconciler", ca_file=Path("/etc/ssl/ca.pem")
    )
    assert found.targets["gitlab"].key_file == Path("/etc/reconciler/alerts.key")
    assert found.targets["oncall"].url_file == Path("/etc/reconciler/mail.url")


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ('kind = "gitlab"\nurl = "https://git.example.org/x"', "key_file"),
        ('kind = "apprise"\nurl = "https://git.example.org/x"', "url_file"),
        ('kind = "webhook"\nurl = "ftp://example.org/x"', "ftp"),
        ('kind = "webhook"\nurl = "https://user:word@example.org/x"', "names no user"),
        ('kind = "pager"', "pager"),
        ('kind = "webhook"\nurl = "https://example.org/x"\ntoken = "x"', "token"),
    ],
)
def test_mistakes_are_named(target: str, named: str) -> None:
    with pytest.raises(errors.Terminal, match=named) as caught:
        alerts(f"[alerts.targets.one]\n{target}\n")
    assert caught.value.reason == "SettingsInvalid" and "alerts.targets.one" in str(caught.value)
    # The daemon has them checked by a child, which can load nothing once it has read them.
    with pytest.raises(errors.Terminal) as from_a_child:
        parse(f"{HEAD}[alerts.targets.one]\n{target}\n", Path("reconciler.toml"), in_child=True)
    assert str(from_a_child.value) == str(caught.value)


def test_a_good_one_is_checked_by_a_child_too() -> None:
    parse(
        HEAD + 'branch = "main"\n[fleet]\netcd = ["https://10.0.0.11:2379"]\n', Path("reconciler.toml"), in_child=True
    )
