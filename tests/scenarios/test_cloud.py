"""A control plane of genuine Kolla 2025.1 containers: every situation of a week, in one go.

The tests share one lab and go on from wherever the one before left it: a first convergence takes a minute.
"""

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pymysql
import pytest
import requests
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1 import session
from keystoneauth1.identity import v3

from reconciler.apply import Validator
from reconciler.report import Report
from tests.demo.bed import collisions
from tests.scenarios import cloud
from tests.support.lab import ADDRESS, HOST, SITE, VIP, Lab, lines, results, wait_for

pytestmark = [pytest.mark.engine, pytest.mark.images]

API = f"http://{VIP}:5000/v3"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, engine_url: str, kolla_images: dict[str, str]) -> Iterator[Lab]:
    with contextlib.closing(docker.APIClient(base_url=engine_url)) as client:
        if there := collisions(client, owner=f"{SITE}/{HOST}"):
            pytest.fail(
                f"the names of the control plane are taken: {', '.join(there)} (a demo: `make demo-clean`)",
                pytrace=False,
            )
    with Lab(tmp_path_factory.mktemp("cloud") / "lab", engine_url, canaries=False) as lab:
        cloud.first(lab)
        yield lab


@pytest.fixture(scope="module")
def engine(engine_url: str) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=engine_url, timeout=120)
    yield client
    client.close()


def admin(lab: Lab) -> session.Session:
    target = lab.target()
    password = target.prepared.secrets["keystone_admin_password"].reveal()
    return session.Session(
        auth=v3.Password(
            auth_url=API,
            username="admin",
            password=password,
            project_name="admin",
            user_domain_id="default",
            project_domain_id="default",
        )
    )


def gives_token(lab: Lab) -> bool:
    try:
        return bool(admin(lab).get_token())
    except keystone_errors.ClientException:
        return False


def ready(report: Report) -> tuple[str, str]:
    """Reason and message of the headline."""
    found = next(condition for condition in report.conditions if condition.type == "Ready")
    return found.reason, found.message


def sql(lab: Lab, statement: str) -> None:
    """As the database's administrator."""
    target = lab.target()
    password = target.prepared.secrets["database_password"].reveal()
    with contextlib.closing(pymysql.connect(host=ADDRESS, user="root", password=password)) as connection:
        connection.cursor().execute(statement)


def changed(lab: Lab, before: dict[str, tuple[str, int, str]]) -> set[str]:
    """Containers that are not exactly what they were: another id, process or start time."""
    after = lab.identities()
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_a_first_push_becomes_a_control_plane(lab: Lab) -> None:
    commit = lab.push("a control plane")
    report = lab.reconcile()
    assert report.converged, [(o.action.id, o.message) for o in report.failed]
    assert lab.identities().keys() == {
        "cron", "haproxy", "memcached", "mariadb", "mariadb_clustercheck", "rabbitmq",
        "keystone", "keystone_fernet", "keystone_ssh",
    }  # fmt: skip
    wait_for("a token", lambda: gives_token(lab), 60, 0.5)
    lab.node.reporter.statuses.flush(20)
    assert lab.statuses(commit)[-1][0] == "success"
    assert lab.statuses(commit)[-1][1].startswith("9 containers, ")


def test_no_secret_is_anywhere_but_in_files(
    lab: Lab, engine: docker.DockerClient, capfd: pytest.CaptureFixture[str]
) -> None:
    target = lab.target()
    values = {n: s.reveal() for n, s in target.prepared.secrets.items() if len(s.reveal()) >= 8}
    shown = [json.dumps(engine.api.inspect_container(name)) for name in lab.identities()]
    shown += [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for _, pid, _ in lab.identities().values()]
    shown += [path.read_text() for path in lab.state.glob("*.json*")]
    shown += [str(lab.statuses()), capfd.readouterr().out, repr(target)]
    leaks = [name for name, value in values.items() if any(value in text for text in shown)]
    assert leaks == [] and len(values) > 5


def test_nothing_changed_means_nothing_done(lab: Lab) -> None:
    before = lab.identities()
    for deep in (True, False):
        report = lab.reconcile(deep=deep)
        assert report.plan is not None and report.plan.empty, lines(report)
        assert not report.plan.held, report.plan.held
    assert changed(lab, before) == set()


def test_one_keystone_option_restarts_keystone_alone(lab: Lab) -> None:
    before = lab.identities()
    lab.write({"config/keystone.conf": "[token]\nexpiration = 7200\n"})
    lab.push("tokens live for two hours")
    report = lab.reconcile()
    assert lines(report) == [
        "validate   keystone  (its new configuration, by the image's own checker)",
        "validate   keystone_fernet  (its new configuration, by the image's own checker)",
        "write      keystone-fernet/keystone.conf  (content changed)",
        "restart    keystone_fernet  (keystone.conf changed)",
        "write      keystone/keystone.conf  (content changed)",
        "restart    keystone  (keystone.conf changed)",
    ]
    assert report.converged and changed(lab, before) == {"keystone", "keystone_fernet"}
    assert {k: v[0] for k, v in before.items()} == {k: v[0] for k, v in lab.identities().items()}
    body = admin(lab).get(f"{API}/auth/tokens", headers={"X-Subject-Token": admin(lab).get_token()}).json()["token"]
    lifetime = time.mktime(time.strptime(body["expires_at"][:19], "%Y-%m-%dT%H:%M:%S")) - time.mktime(
        time.strptime(body["issued_at"][:19], "%Y-%m-%dT%H:%M:%S")
    )
    assert lifetime == pytest.approx(7200, abs=5)


def test_an_option_that_breaks_keystone_comes_back(lab: Lab) -> None:
    before = lab.identities()
    lab.write({"config/keystone.conf": "[token]\nexpiration = 7200\nprovider = nosuch\n"})
    bad = lab.push("a provider that does not exist")
    report = lab.reconcile()
    outcome = results(report)["restart:keystone"]
    assert outcome.result == "rolled-back", outcome
    assert "nosuch" in outcome.message, "keystone's own last log lines say why"
    # The load balancer takes it back after its next checks.
    wait_for("a token, with the previous files and the container back", lambda: gives_token(lab), 60, 0.5)
    assert "nosuch" not in (lab.config_root / "keystone/keystone.conf").read_text()
    assert {k: v[0] for k, v in before.items()} == {k: v[0] for k, v in lab.identities().items()}
    lab.node.reporter.statuses.flush(20)
    state, text = lab.statuses(bad)[-1]
    assert state == "failed" and text.startswith("keystone"), text
    lab.write({"config/keystone.conf": "[token]\nexpiration = 3600\n"})
    lab.push("repaired")
    assert lab.reconcile().converged


def test_what_the_service_would_choke_on_is_refused_before_anything_is_touched(lab: Lab) -> None:
    before = lab.identities()
    written = (lab.config_root / "keystone-fernet/keystone.conf").read_bytes()
    lab.write({"config/keystone.conf": "[token]\nexpiration = banana\n"})
    bad = lab.push("tokens live for a banana")
    report = lab.reconcile()
    refused = {f"validate:{name}" for name in ("keystone", "keystone_fernet")}  # both read it
    assert {(o.action.id, o.result, o.reason) for o in report.failed} == {
        (id_, "failed", "ConfigInvalid") for id_ in refused
    }
    for outcome in report.failed:
        assert "[token] expiration" in outcome.message and "banana" in outcome.message
    assert {o.result for o in report.outcomes if o.action.id not in refused} == {"skipped"}
    assert changed(lab, before) == set() and gives_token(lab)
    assert (lab.config_root / "keystone-fernet/keystone.conf").read_bytes() == written
    assert ready(report)[0] == "ConfigInvalid"
    lab.node.reporter.statuses.flush(20)
    state, text = lab.statuses(bad)[-1]
    assert state == "failed" and "[token] expiration" in text, text


def test_without_a_checker_the_gate_takes_it_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keystone starts with it, is healthy, and answers 500 to every login: what answered before does not any more."""
    before = lab.identities()
    monkeypatch.setattr(Validator, "run", lambda *_, **__: "")
    report = lab.reconcile()
    outcome = results(report)["restart:keystone"]
    assert (outcome.result, outcome.reason) == ("rolled-back", "NotAnswering"), outcome
    assert "login" in outcome.message
    wait_for("a token, with the previous configuration", lambda: gives_token(lab), 60, 0.5)
    assert "banana" not in (lab.config_root / "keystone/keystone.conf").read_text()
    assert {k: v[0] for k, v in before.items()} == {k: v[0] for k, v in lab.identities().items()}
    lab.node.reporter.statuses.flush(20)
    state, text = lab.statuses()[-1]
    assert state == "failed" and text.startswith("keystone") and "(rolled back)" in text, text
    lab.write({"config/keystone.conf": "[token]\nexpiration = 3600\n"})
    lab.push("repaired")
    assert lab.reconcile().converged


def test_mistakes_are_refused_before_anything_happens(lab: Lab) -> None:
    before = lab.identities()
    lab.edit("globals.yml", "enable_keepalived", "enable_keepalivd")
    lab.write({"config/keystne.conf": "[token]\nexpiration = 1\n"})
    lab.push("two mistakes")
    refusal = lab.reconcile().refusal
    assert refusal is not None and refusal.reason == "SiteInvalid"
    text = "\n".join(refusal.problems)
    assert "enable_keepalived" in text and "keystone.conf" in text, "with suggestions"
    assert changed(lab, before) == set()
    lab.edit("globals.yml", "enable_keepalivd", "enable_keepalived")
    lab.write({"config/keystne.conf": None})
    lab.push("repaired")
    assert lab.reconcile().converged


def test_what_runs_was_edited_by_hand(lab: Lab, engine: docker.DockerClient) -> None:
    """The files on the node are right, the copy inside the container is not: Kolla's own check tells."""
    before = lab.identities()
    code, output = engine.containers.get("keystone").exec_run(
        ["sed", "-i", "s/^expiration.*/expiration = 1/", "/etc/keystone/keystone.conf"], user="root"
    )
    assert code == 0, output
    assert lab.reconcile(deep=False).plan.empty  # type: ignore[union-attr]
    report = lab.reconcile(deep=True)
    assert lines(report) == ["restart    keystone  (drift: what runs differs from its files)"]
    assert report.converged and changed(lab, before) == {"keystone"}


def test_registrations_drift_and_are_healed(lab: Lab) -> None:
    admin_session = admin(lab)
    endpoint = next(e for e in admin_session.get(f"{API}/endpoints").json()["endpoints"] if e["interface"] == "public")
    changes = {"endpoint": {"url": "http://wrong.example.org:5000"}}
    admin_session.patch(f"{API}/endpoints/{endpoint['id']}", json=changes)
    report = lab.reconcile(deep=True)
    assert lines(report) == ["register   keystone:endpoint:keystone/public/RegionOne  (drift: url)"]
    assert report.converged
    urls = [e["url"] for e in admin(lab).get(f"{API}/endpoints").json()["endpoints"]]
    assert "http://wrong.example.org:5000" not in urls


def test_a_password_changed_by_hand_is_noticed_by_the_next_look(lab: Lab) -> None:
    """Keystone's sessions go on; a new one would not be let in."""
    sql(lab, "ALTER USER 'keystone'@'%' IDENTIFIED BY 'something else'")
    report = lab.reconcile(deep=True)
    assert lines(report) == ["register   mariadb:user:keystone@%  (drift: password)"]
    if not report.converged:  # Keystone needed a new one to answer what that pass asked it
        report = lab.reconcile(deep=True)
    assert report.converged and ready(report)[0] == "Converged"
    assert all(check.ok for check in report.checks) and "mariadb login of keystone" in {c.name for c in report.checks}


def test_an_alarm_of_the_broker_is_the_headline_until_it_is_over(lab: Lab, engine: docker.DockerClient) -> None:
    broker = engine.containers.get("rabbitmq")
    code, output = broker.exec_run(["rabbitmqctl", "set_vm_memory_high_watermark", "0.0000001"])
    assert code == 0, output
    for deep in (True, False):
        reason, message = ready(lab.reconcile(deep=deep))
        assert reason == "NotAnswering" and message.startswith("check rabbitmq_alarms: "), message
        assert "memory" in message and "rabbit@" in message, message
    code, output = broker.exec_run(["rabbitmqctl", "set_vm_memory_high_watermark", "0.6"])
    assert code == 0, output
    # What failed is looked at in every pass, however light.
    wait_for("the alarm is over", lambda: ready(lab.reconcile(deep=False))[0] == "Converged", 60, 1.0)


def test_keys_that_are_gone_are_the_cause_and_the_advice_helps(lab: Lab, engine: docker.DockerClient) -> None:
    """Nobody gets a token, so whatever needs one fails: because there is no key."""
    host, keys = engine.containers.get("keystone_fernet"), "/etc/keystone/fernet-keys"
    code, output = host.exec_run(["bash", "-c", f"rm {keys}/*"], user="root")
    assert code == 0, output
    for _ in range(2):
        message = ready(lab.reconcile(deep=True))[1]
        assert message.startswith(f"check keystone_fernet_keys: keystone_fernet: there is no key in {keys}"), message
        assert "; because of it: " in message and "keystone login of the administrator" in message, message
    advice = re.search(r"`docker exec keystone_fernet ([^`]+)`", message)
    assert advice is not None, message
    code, output = host.exec_run(advice[1].split())
    assert code == 0, output
    assert ready(lab.reconcile(deep=True))[0] == "Converged" and gives_token(lab)


def test_a_database_that_takes_no_changes_is_told(lab: Lab) -> None:
    sql(lab, "SET GLOBAL read_only = ON")
    try:
        reason, message = ready(lab.reconcile(deep=True))
    finally:
        sql(lab, "SET GLOBAL read_only = OFF")
    assert reason == "NotAnswering" and "mariadb: the server is read-only" in message, message
    assert ready(lab.reconcile(deep=False))[0] == "Converged"


def test_a_rotated_password_reaches_database_and_service(lab: Lab) -> None:
    before = lab.identities()
    words = ("secrets", "rotate", "--name", "keystone_database_password", str(lab.site))
    env = {"SOPS_AGE_SSH_PRIVATE_KEY_FILE": str(lab.host_key)}
    lab.run(*words, extra=env)
    lab.push("a new database password")
    report = lab.reconcile()
    assert report.converged, [(o.action.id, o.message) for o in report.failed]
    assert "register   mariadb:user:keystone@%  (password)" in lines(report)
    assert any("a secret rotated: keystone_database_password" in line for line in lines(report))
    assert changed(lab, before) == {"keystone", "keystone_fernet"}
    wait_for("a token", lambda: gives_token(lab), 60, 0.5)


def test_passwords_that_the_program_logs_in_with(lab: Lab) -> None:
    """A commit carries them to their server, which the program enters with the former ones until then."""
    env = {"SOPS_AGE_SSH_PRIVATE_KEY_FILE": str(lab.host_key)}
    for name in ("keystone_admin_password", "rabbitmq_password", "database_password"):
        lab.run("secrets", "rotate", "--name", name, str(lab.site), extra=env)
        lab.push(f"another {name}")
        report = lab.reconcile(deep=True)
        for _ in range(3):  # what is denied until the server has the new one is looked at again
            if report.converged:
                break
            report = lab.reconcile(deep=True)
        assert report.refusal is None and report.converged, (name, report.plan and report.plan.held)
    wait_for("a token", lambda: gives_token(lab), 60, 0.5)
    sql(lab, "SELECT 1")


def test_a_service_switched_on_is_reached_without_a_dropped_connection(lab: Lab, kolla_images: dict[str, str]) -> None:
    if "glance-api" not in kolla_images:
        pytest.skip("needs the image glance-api (`make images` with --extra)")
    with requests.Session() as kept:
        assert kept.get(f"{API}/", timeout=10).status_code == 200
        before = lab.identities()
        lab.edit("globals.yml", "enable_glance: false", "enable_glance: true")
        lab.push("an image service")
        report = lab.reconcile()
        assert report.converged, [(o.action.id, o.message) for o in report.failed]
        assert any(line.startswith("reload     haproxy") for line in lines(report)), lines(report)
        assert kept.get(f"{API}/", timeout=10).status_code == 200
    assert changed(lab, before) == {"glance_api"}, "haproxy keeps its container and its process"
    assert admin(lab).get(f"http://{VIP}:9292/v2/images").json()["images"] == []


def test_a_service_switched_off_leaves_its_data(lab: Lab, engine: docker.DockerClient) -> None:
    if "glance_api" not in lab.identities():
        pytest.skip("glance was not switched on")
    lab.edit("globals.yml", "enable_glance: true", "enable_glance: false")
    lab.push("no image service any more")
    report = lab.reconcile()
    assert report.converged, [(o.action.id, o.message) for o in report.failed]
    assert "remove     glance_api  (no longer part of the site)" in lines(report)
    assert "unregister keystone:endpoint:glance/public/RegionOne  (no longer part of the site)" in lines(report)
    assert report.plan is not None and "glance" in report.plan.leftovers
    assert engine.volumes.get("glance")
    names = [s["name"] for s in admin(lab).get(f"{API}/services").json()["services"]]
    assert names == ["keystone"]
    assert [h.target for h in report.plan.held if h.reason == "HoldsData"] == ["mariadb:database:glance"]
