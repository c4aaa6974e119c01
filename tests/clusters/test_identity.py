"""Passwords that services and this program have at Keystone, and the key of what services cache, are changed by one command and one commit, while
somebody visits a service that asks Keystone who comes."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.running import PATIENCE, notes, running
from tests.clusters.site import HOSTS, VIP, Site
from tests.images import kolla
from tests.support.lab import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.engine]

PYTHON = "/var/lib/kolla/venv/bin/python"
DOOR = Path(__file__).with_name("door.py")
PORT = 7780
SERVICE = f"""\
description: Lets in whom Keystone knows
groups: {{door: [control]}}
passwords:
  door_keystone_password: {{kind: random, user: door_keystone_user}}
  visitor_password: {{kind: random}}
containers:
  door:
    group: door
    kolla: false
    image: {kolla.default_target().name("keystone")}
    command: [{PYTHON}, /srv/door.py, /srv/door.conf, "{{{{ api_interface_address }}}}", "{PORT}"]
    depends_on: [keystone]
    healthcheck:
      test: [CMD, curl, --fail, --silent, "http://{{{{ api_interface_address }}}}:{PORT}/healthcheck"]
      interval: 2
      timeout: 5
      retries: 30
      start_period: 1
    rollout: {{at_once: 1}}
    files:
      - {{name: door.py, template: door.py.j2, destination: /srv/door.py, mode: "0644"}}
      - {{name: door.conf, template: door.conf.j2, destination: /srv/door.conf, mode: "0644"}}
registrations:
  keystone:
    users:
      - {{name: "{{{{ door_keystone_user }}}}", password: "{{{{ door_keystone_password }}}}", project: service, roles: [admin]}}
      - {{name: visitor, password: "{{{{ visitor_password }}}}", project: service, roles: [admin]}}
frontends:
  door: {{mode: http, port: {PORT}, group: door, backend_http_extra: [option httpchk GET /healthcheck]}}
"""
VARIABLES = "door_keystone_user: {description: Its user in Keystone., type: string, default: door}\n"
SETTINGS = "{{ template('oslo-authtoken.j2', type='door') }}\n"
USERS = """
import json, sys, requests
url, user, password = sys.argv[1:]
domain = {"id": "default"}
user = {"name": user, "domain": domain, "password": password}
body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": {"name": "service", "domain": domain}}}}
answer = requests.post(url + "/auth/tokens", json=body, timeout=30)
answer.raise_for_status()
found = requests.get(url + "/users", headers={"X-Auth-Token": answer.headers["X-Subject-Token"]}, timeout=30)
print(json.dumps([one["name"] for one in found.json()["users"]]))
"""


def with_a_door(site: Site) -> None:
    """Add the service to the site."""
    folder = site.root / "site"
    texts = {
        "service.yml": SERVICE,
        "variables.yml": VARIABLES,
        "templates/door.py.j2": f"{{% raw %}}\n{DOOR.read_text()}{{% endraw %}}\n",
        "templates/door.conf.j2": SETTINGS,
    }
    for name, text in texts.items():
        path = folder / "services/door" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        site.files[f"services/door/{name}"] = text.encode()
    argv = ["secrets", "generate", str(folder), "--ssh-key-file", str(site.root / "key")]
    subprocess.run([sys.executable, "-m", "reconciler", *argv], check=True, capture_output=True, timeout=120)
    site.files["passwords.yml"] = (folder / "passwords.yml").read_bytes()
    (site.root / "visitor").write_text(site.secret("visitor_password"))


@pytest.fixture(scope="module")
def identity(engine_url: str) -> Iterator[Site]:
    with running(engine_url, "enable_mariadb", "enable_memcached", "enable_keystone", begin=with_a_door) as site:
        yield site


def users(site: Site) -> set[str]:
    """Whom Keystone knows."""
    argv = [sys.executable, "-c", USERS, f"http://{VIP}:5000/v3", "visitor", site.secret("visitor_password")]
    return set(json.loads(site.lan.run(argv)))


def doors(site: Site) -> dict[str, str]:
    """When each was opened."""
    return {host: site.started(host, "door") for host in HOSTS}


def rotated(site: Site, name: str, *words: str) -> dict[str, Any]:
    """Change a password while somebody visits; what became of the requests, and what hosts said of themselves meanwhile."""
    words_of_hosts: set[str] = set()

    def is_proved(commit: str) -> bool:
        said = [site.program(host, "status", check=False) for host in HOSTS]
        words_of_hosts.update(line.strip() for text in said for line in text.splitlines() if "denies access" in line)
        return site.proved(commit) == site.hosts.keys()

    before = doors(site)
    with site.client(
        "visitor", name + "".join(words), f"http://{VIP}:5000/v3", str(site.root / "visitor"), f"http://{VIP}:{PORT}/"
    ) as log:
        wait_for("the visitor is let in", lambda: log.exists() and len(notes(log)) > 30, 60)
        assert not any(row["failed"] for row in notes(log))
        site.rotate(name, *words)
        began, at = time.monotonic(), time.time()
        commit = site.push(f"another {name}")
        wait_for("it is proved by all", lambda: is_proved(commit), PATIENCE, pause=2.0)
        proved = time.monotonic()
        wait_for(
            "nothing is left of the former one",
            lambda: "StillNeeded" not in site.program("cc1", "status", check=False),
            PATIENCE,
            pause=2.0,
        )
        gone = time.monotonic()
        time.sleep(5)
    rows = notes(log)
    failed = [row for row in rows if row["failed"]]
    found = {
        "requests": len(rows),
        "failed": len(failed),
        "why": sorted({why for row in failed for why in row["failed"]})[:5],
        "from": round(min(row["began"] for row in failed) - at, 1) if failed else None,
        "until": round(max(row["ended"] for row in failed) - at, 1) if failed else None,
        "slowest": round(max(row["ended"] - row["began"] for row in rows), 2),
        "proved after": round(proved - began, 1),
        "former gone after": round(gone - began, 1),
        "said": sorted(words_of_hosts),
        "restarted": doors(site) != before,
        "last": rows[-1]["failed"],
    }
    print(name, *words, json.dumps(found, ensure_ascii=False), flush=True)
    return found


def test_a_service_has_another_user_and_password(identity: Site) -> None:
    assert users(identity) >= {"door", "visitor"}
    found = rotated(identity, "door_keystone_password")
    assert users(identity) >= {"door_2", "visitor"} and "door" not in users(identity)
    assert found["restarted"] and found["failed"] == 0


def test_the_key_of_what_is_cached_changes(identity: Site) -> None:
    """What was cached with the former key is not found any more, and Keystone is asked again."""
    found = rotated(identity, "memcache_secret_key")
    assert found["restarted"] and found["failed"] == 0


def test_the_administrator_has_another_password(identity: Site) -> None:
    """Hosts whose turn has not come enter with the new one as soon as Keystone knows no other, and none of them says that it is shut out."""
    found = rotated(identity, "keystone_admin_password")
    assert found["failed"] == 0 and found["said"] == []
    users(identity)


def test_with_the_same_user_requests_fail_until_the_last_host_has_it(identity: Site) -> None:
    """What the commit's review says: Keystone knows one password of a user."""
    found = rotated(identity, "door_keystone_password", "--same-user")
    assert "door_2" in users(identity) and found["restarted"] and found["last"] == []
