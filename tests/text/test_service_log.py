"""What a service's log says about why it does not work: of this start, errors first, each once, the cause as the headline."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from reconciler.service_log import gist, headline, of_this_start, telling

START = datetime(2026, 11, 26, 19, 0, 0, tzinfo=UTC)

KEYSTONE = """\
2026-11-26 18:40:01.100 21 CRITICAL keystone [-] Unhandled error: old.OldError: the run before
2026-11-26 19:00:03.111 22 INFO keystone.server [-] starting
2026-11-26 19:00:04.222 22 WARNING stevedore.named [-] Could not load nosuch
Traceback (most recent call last):
  File "/var/lib/kolla/venv/lib/python3.11/site-packages/keystone/common/manager.py", line 181, in load_driver
    raise ImportError(msg % {'name': driver_name})
2026-11-26 19:00:05.111 23 INFO keystone.server [-] starting
2026-11-26 19:00:06.222 23 WARNING stevedore.named [-] Could not load nosuch
"""


# Of a genuine keystone that cannot load its token provider, as it is told.
WSGI = """\
/var/log/kolla/keystone/keystone.log:
2026-11-26 20:05:56.335 32 WARNING stevedore.named [-] Could not load nosuch
/var/log/kolla/keystone/keystone-apache-public-error.log:
2026-11-26 20:05:56.805080     raise ImportError("no error of its own")
2026-11-26 20:05:56.905080 ImportError: (Unable to find 'nosuch' driver in 'keystone.token.provider'.)
2026-11-26 20:05:57.822946 mod_wsgi (pid=32): Failed to exec Python script file '/var/lib/kolla/venv/bin/keystone-wsgi-public'.
2026-11-26 20:05:57.822946 mod_wsgi (pid=32): Exception occurred processing WSGI script '/var/lib/kolla/venv/bin/keystone-wsgi-public'.
2026-11-26 20:06:59.805089 oslo_config.cfg.ArgsAlreadyParsedError: arguments already parsed: cannot register CLI option
2026-11-26 20:06:59.823526   File "/var/lib/kolla/venv/bin/keystone-wsgi-public", line 52, in <module>
container output:
AH00558: apache2: Could not reliably determine the server's fully qualified domain name, using 127.0.0.1.
++++ export APACHE_LOG_DIR=/var/log/apache2
"""


def test_only_lines_of_this_start_count() -> None:
    kept = of_this_start(KEYSTONE, START)
    assert kept is not None and "the run before" not in kept and "Traceback" in kept and kept.count("nosuch") == 2
    assert of_this_start("no time\nin any line", START) is None
    assert of_this_start("2026-11-26 18:00:00 1 ERROR x [-] long ago", START) == ""


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-26T19:00:01Z ERROR x",
        "2026-11-26 19:00:01.123456+00:00 [error] <0.1.0> x",
        "2026-11-26 20:00:01 +0100 x",
        "[Thu Nov 26 19:00:01.123456 2026] [wsgi:error] [pid 21:tid 22] x",
        '127.0.0.1 - - [26/Nov/2026:19:00:01 +0000] "GET / HTTP/1.1" 500 12',
        "2026-11-26 19:00:01 0 [ERROR] x",
    ],
)
def test_times_in_the_forms_that_services_use(line: str) -> None:
    assert of_this_start(f"{line}\nand more of it", START, UTC) == f"{line}\nand more of it"
    assert of_this_start(line, START + timedelta(minutes=1), UTC) == ""


def test_a_time_without_a_zone_is_the_hosts_or_else_utc() -> None:
    paris = timezone(timedelta(hours=1))
    assert of_this_start("2026-11-26 20:00:05 new\n", START, paris) == "2026-11-26 20:00:05 new"
    assert of_this_start("2026-11-26 19:30:00 old\n2026-11-26 20:00:05 new", START, paris) == "2026-11-26 20:00:05 new"
    assert of_this_start("2026-11-26 19:00:05 a container in UTC\n", START, paris), "nothing would be left otherwise"


def test_errors_come_first_and_the_same_line_once_whatever_its_numbers() -> None:
    found = telling((of_this_start(KEYSTONE, START) or "").splitlines(), 3)
    assert found[0].endswith("Could not load nosuch")
    assert sum("Could not load" in line for line in found) == 1
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (KEYSTONE.partition("\n")[2], "Could not load nosuch"),
        ("+ sudo -E kolla_set_configs\nINFO:__main__:Writing out command to execute\n++ cat /run_command", ""),
        ("2026-11-26 19:00:00 0 [Note] starting\n2026-11-26 19:00:00 0 [ERROR] unknown variable 'tpyo=1'\n2026-11-26 19:00:00 0 [ERROR] Aborting", "unknown variable 'tpyo=1'"),
        ("2026-11-26 19:00:01.5+00:00 [error] <0.1.0> Failed to load advanced configuration file", "Failed to load advanced configuration file"),
        ("[ALERT]    (1) : config : parsing [/etc/haproxy/haproxy.cfg:3] : unknown keyword 'nosuch' in 'global' section", "config : parsing [/etc/haproxy/haproxy.cfg:3] : unknown keyword 'nosuch' in 'global' section"),
        ("[Thu Nov 26 19:00:01.1 2026] [wsgi:error] [pid 21:tid 22] [remote 127.0.0.1:1] mod_wsgi (pid=21): Target WSGI script '/var/www/x' cannot be loaded as Python module.\n[Thu Nov 26 19:00:01.1 2026] [wsgi:error] [pid 21:tid 22] [remote 127.0.0.1:1] ImportError: no provider 'nosuch'", "ImportError: no provider 'nosuch'"),
        (WSGI, "Could not load nosuch"),
        (WSGI.partition("\n")[2].partition("\n")[2], "ImportError: (Unable to find 'nosuch' driver in 'keystone.token.provider'.)"),
        ("grep: /etc/slow.conf: No such file or directory", "grep: /etc/slow.conf: No such file or directory"),
        (
            'time=2026-11-27T00:03:02.791Z level=INFO source=main.go:192 msg="Build context" build_context="(go=go1.24.1, tags=unknown)"\n'
            'time=2026-11-27T00:03:03.030Z level=ERROR source=coordinator.go:131 msg="not applied" err="open default.tmpl: no such file or directory"',
            'msg="not applied" err="open default.tmpl: no such file or directory"',
        ),
        ('ts=2026-11-27T00:03:03.030Z caller=main.go:1 level=info msg="unknown"\nts=2026-11-27T00:03:03.1Z caller=main.go:2 level=error err="address in use"', 'err="address in use"'),
        ("all is well\nhello", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_headline_is_what_is_wrong(text: str, expected: str) -> None:
    assert headline(text.splitlines()) == expected


def test_a_gist_has_no_time_process_level_or_logger() -> None:
    assert (
        gist("2026-11-26 19:00:04.222 22 ERROR keystone.auth.core [None req-1b2c - - - - -] Cannot bind")
        == "Cannot bind"
    )
    assert gist("plain words: 12 of them") == "plain words: 12 of them"
