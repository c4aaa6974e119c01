"""The first member of a Galera cluster with an empty volume: what it does about members that have data, have none, or are silent.

Genuine MariaDB, with the addresses of three hosts on the loopback interface of one network namespace.
"""

import secrets
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from reconciler.render import render
from tests.services import containers, golden
from tests.support.lab import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images]

FIRST, OTHERS = "ctl-b", {"ctl-a": "198.51.100.11", "ctl-c": "198.51.100.13"}
ADDRESSES = ("198.51.100.12", *OTHERS.values())
_AS_MYSQL = """\
mkdir -p /var/log/kolla/mariadb /var/lib/mysql && chown mysql /var/log/kolla/mariadb /var/lib/mysql
exec setpriv --reuid mysql --regid mysql --init-groups bash /run/script
"""


@dataclass(frozen=True, slots=True)
class Members:
    """`run` starts a script in the namespace; `tells`: whether a member that waits says at its address that it has no data."""

    run: Callable[[str], Container]
    tells: Callable[[str], bool]


def script(host: str, name: str, **more: str) -> str:
    """A file that a host of the golden site gets."""
    files = {"globals.yml": (golden.HERE / "three_nodes/site/globals.yml").read_bytes()}
    files["globals.yml"] += "".join(f"{key}: {value}\n" for key, value in more.items()).encode()
    desired = render(golden.load(golden.HERE / "three_nodes" / "site", files), host, "0" * 40)
    return next(file.content for file in desired.files if file.path.endswith(f"/{name}"))


@pytest.fixture
def members(docker_client: docker.DockerClient, kolla_images: dict[str, str], tmp_path: Path) -> Iterator[Members]:
    """Hosts of one namespace; each script has a data folder and a log folder of its own."""
    with ExitStack() as stack:

        def start(image: str, words: list[str], **options: Any) -> Container:
            found = docker_client.containers.run(image, words, detach=True, labels={"reconciler-test": "1"}, **options)  # type: ignore[call-overload]
            stack.callback(found.remove, force=True, v=True)
            assert isinstance(found, Container)
            return found

        place = stack.enter_context(containers.namespace(docker_client, ADDRESSES))
        password = tmp_path / "root-password"
        password.write_text(secrets.token_hex(16))
        number = iter(range(100))

        def in_place(text: str) -> Container:
            path = tmp_path / f"script-{next(number)}"
            path.write_text(text)
            for file in (tmp_path, path, password):
                file.chmod(0o755)
            return start(
                kolla_images["mariadb-server"],
                ["-c", _AS_MYSQL],
                entrypoint="bash",
                user="root",
                network_mode=f"container:{place.id}",
                volumes={
                    str(path): {"bind": "/run/script", "mode": "ro"},
                    str(password): {"bind": "/run/reconciler/root-password", "mode": "ro"},
                },
            )

        def tells(address: str) -> bool:
            words = ["sh", "-c", f"nc -w 2 {address} 4444 < /dev/null"]
            return bool(place.exec_run(words).output == b"no data\n")

        yield Members(in_place, tells)


def ended(container: Container, seconds: float = 120) -> tuple[int, str]:
    """Exit code and output."""
    code = container.wait(timeout=seconds)["StatusCode"]
    return int(code), container.logs().decode()


def bootstrap(members: Members, wait: int = 0, **more: str) -> tuple[int, str]:
    """What the first host's job does; it asks the others for so many seconds."""
    return ended(members.run(script(FIRST, "mariadb-bootstrap", mariadb_members_wait=str(wait), **more)), 300)


def start(members: Members, host: str, before: str = "") -> None:
    """Start a member without data."""
    members.run(before + script(host, "mariadb-start"))


def test_a_member_that_says_nothing_may_have_data(members: Members) -> None:
    code, output = bootstrap(members)
    assert code == 1 and "ctl-a ctl-c may have one: no new one is made" in output, output
    start(members, "ctl-a")
    wait_for("one tells, the other is down", lambda: members.tells(OTHERS["ctl-a"]), 60, 0.5)
    code, output = bootstrap(members)
    assert code == 1 and "database here, and ctl-c may have one" in output, output


def test_when_all_others_have_none_a_new_one_is_made(members: Members) -> None:
    job = members.run(script(FIRST, "mariadb-bootstrap", mariadb_members_wait="200"))
    for host in OTHERS:  # later than the first, as on a first installation
        start(members, host)
    code, output = ended(job, 300)
    assert code == 0 and "The database is made." in output, output


@pytest.mark.slow
def test_as_it_advises_for_hosts_that_are_not_there_yet(members: Members) -> None:
    code, output = bootstrap(members, mariadb_members_are_new="true")
    assert code == 0 and "The database is made." in output, output


def test_a_member_with_data_is_joined(members: Members) -> None:
    members.run(f"exec socat TCP4-LISTEN:4567,bind={OTHERS['ctl-c']},fork,reuseaddr SYSTEM:true")
    code, output = bootstrap(members, wait=60)
    assert code == 0 and "There is a member with data on ctl-c" in output and "is made" not in output, output


def test_a_member_with_the_rest_of_a_database_does_not_say_that_it_has_none(members: Members) -> None:
    start(members, "ctl-a", before="touch /var/lib/mysql/ibdata1\n")
    start(members, "ctl-c")
    wait_for("the other tells", lambda: members.tells(OTHERS["ctl-c"]), 60, 0.5)
    code, output = bootstrap(members)
    assert code == 1 and "database here, and ctl-a may have one" in output, output


def member_check() -> str:
    """What asks the first host's member, as the program runs it: the whole script is an argument of bash."""
    files = {"globals.yml": (golden.HERE / "three_nodes/site/globals.yml").read_bytes() + b"enable_proxysql: false\n"}
    desired = render(golden.load(golden.HERE / "three_nodes" / "site", files), FIRST, "0" * 40)
    check = next(check.script for check in desired.checks if check.name == "mariadb_member")
    return f"export MYSQL_HOST={ADDRESSES[0]} MYSQL_USERNAME=nobody\nbash -c {shlex.quote(check)}"


def test_a_member_that_waits_for_all_others_says_what_to_type(members: Members) -> None:
    """Its own check, while no server answers: here, and then at another member."""
    code, output = ended(members.run(member_check()))
    assert code == 1 and "this one waits for the others" in output and "`reconciler recover mariadb look`" in output, (
        output
    )
    members.run(f"exec socat TCP4-LISTEN:3306,bind={OTHERS['ctl-a']},fork,reuseaddr SYSTEM:true")

    def is_other() -> bool:
        code, output = ended(members.run(member_check()))
        return code == 1 and "this member does not answer its monitor user: ERROR 2002" in output

    wait_for("another member serves", is_other, 60, 0.5)


def test_a_member_that_copies_says_from_whom(members: Members) -> None:
    """Its log tells what other members asked for as well."""
    asked = "Member 1.0 ({}) requested state transfer from '*any*'. Selected 0.0 ({})(SYNCED) as donor."
    log = [
        asked.format(*names)
        for names in (("controller-a", "before"), ("controller-b", "ctl-c"), ("controller-a", "after"))
    ]
    joiner = (
        f"printf '%s\\n' {shlex.join(log)} > /var/log/kolla/mariadb/mariadb.log\n"
        "printf '%s\\n' '#!/usr/bin/env bash' 'sleep 60' > /tmp/wsrep_sst_mariabackup\n"
        "chmod +x /tmp/wsrep_sst_mariabackup\n/tmp/wsrep_sst_mariabackup --role joiner --address 127.0.0.1 &\n"
        "until pgrep --full '/wsrep_sst_mariabackup --role joiner' > /dev/null; do sleep 0.1; done\n"
    )
    code, output = ended(members.run(joiner + member_check()))
    assert code == 1 and "this member copies the database of ctl-c, " in output, output
