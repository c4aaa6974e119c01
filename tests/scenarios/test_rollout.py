"""Nodes of one site that agree through a real etcd: waves, budgets, a halt, the mending commit, etcd down."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import docker
import pytest

from reconciler.model import Verb
from reconciler.reasons import Reason
from reconciler.report import Report
from reconciler.rollout.records import ROLL, JobRecord, Permit, Transaction, job_key, permit_key, place_key
from tests.support.etcd import Cluster
from tests.support.many import _SERVICE, Many

SYNC = """\
description: A job that the cluster runs once, on the last host
containers:
  rtf-anchor:
    group: pages
    enabled: "{{ inventory_hostname == 'three' }}"
    kolla: false
    image: reconciler-test/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    stop_timeout: 1
    stability: 0.1
jobs:
  rtf-sync: {container: rtf-anchor, command: [sh, -c, "@COMMAND@"], before: [page]}
"""

HOSTS = ("one", "two", "three")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("etcd"), 1) as running:
        yield running


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, engine_url: str, busybox_image: str, cluster: Cluster
) -> Iterator[Many]:
    with Many(tmp_path_factory.mktemp("many"), engine_url, HOSTS, etcd=cluster.urls) as nodes:
        yield nodes


@pytest.fixture
def many(site: Many) -> Many:
    """All hosts have converged to a page of this test's own, and are proved."""
    site.push("a page to begin with", text="fine")
    for _ in range(6):
        if all(report.converged for report in site.passes().values()):
            break
    assert [site.told(host) for host in HOSTS] == ["fine"] * 3
    site.passes(1)
    return site


def why(report: Report) -> tuple[Reason, str]:
    """Why what the commit asks for waits."""
    assert report.plan is not None
    reasons = {(held.reason, held.message) for held in report.plan.held}
    assert len(reasons) == 1, (reasons, report.failure, report.plan)
    return reasons.pop()


def test_a_commit_goes_from_wave_to_wave_and_one_at_a_time(many: Many) -> None:
    before = {host: many.started(host) for host in HOSTS}
    many.push("the second page", text="better")
    # The last host sees it first: it begins the rollout, and waits for its wave.
    reason, message = why(many.pass_("three"))
    assert reason is Reason.WaitsForWave and "the rest; canaries is at 0 of 1 hosts" in message
    first = many.pass_("one")
    assert [outcome.result for outcome in first.outcomes] != [] and many.told("one") == "better"
    assert (many.started("two"), many.started("three")) == (before["two"], before["three"])
    many.pass_("one")  # proved, and the next wave is opened
    many.pass_("two")
    assert many.told("two") == "better"
    # The place is two's until it is proved.
    reason, message = why(many.pass_("three"))
    assert reason is Reason.WaitsForBudget and "two holds" in message
    many.passes(2, ["two", "three"])
    assert many.told("three") == "better"
    last = many.passes(2)
    assert all(report.converged for report in last.values())
    with many.store() as store:
        left = [key for key in store.everything() if key.startswith(("permit/", "budget/"))]
    assert left == []


@pytest.mark.slow
def test_a_bad_commit_halts_at_the_canary_and_the_mending_one_goes_first_there(many: Many) -> None:
    before = {host: many.started(host) for host in HOSTS}
    bad = many.push("a bad page", text="bad")
    many.passes(3)
    for host in ("two", "three"):
        reason, message = why(many.pass_(host))
        assert reason is Reason.RolloutHalted and message.startswith("one halted the rollout: rtf-one: "), message
        assert many.started(host) == before[host] and many.told(host) == "fine"
    with many.store() as store:
        roll = store.everything()
        assert bad.encode() in roll[ROLL].value and permit_key("one") in roll
    mending = many.push("a good page", text="mended")
    # Whoever comes first, the host that failed goes first: it holds the only place.
    reason, _ = why(many.pass_("three"))
    assert reason is Reason.WaitsForWave
    many.passes(1, ["one"])
    assert many.told("one") == "mended"
    many.passes(4)
    assert [many.told(host) for host in HOSTS] == ["mended"] * 3
    assert many.pass_("three").revision == mending


@pytest.mark.slow
def test_a_killed_node_goes_on_with_what_it_holds(many: Many) -> None:
    many.push("the second page", text="better")
    many.passes(1, ["one"])
    many.kill("one")
    assert why(many.pass_("two"))[0] in (Reason.WaitsForWave, Reason.WaitsForBudget)
    many.passes(2, ["one"])
    many.passes(3)
    assert [many.told(host) for host in HOSTS] == ["better"] * 3


@pytest.mark.slow
def test_without_etcd_what_stops_something_waits_and_the_rest_goes_on(many: Many, cluster: Cluster) -> None:
    before = many.started("one")
    many.push("the second page", text="better")
    cluster.kill(0)
    try:
        report = many.pass_("one")
        reason, message = why(report)
        assert reason is Reason.EtcdUnavailable and "etcd cannot be asked" in message
        assert many.started("one") == before
        # The operator who is told to look there sees each member.
        said = many.run("one", "fleet", "status", fails=True)
        assert f"  {cluster.urls[0]}: " in said and "[EtcdUnavailable]" in said, said
        # What is down is started, and nothing is asked for that.
        many._engine().kill("rtf-one")
        many.passes(2, ["one"])
        assert many.started("one") != before and many.told("one") == "fine"
    finally:
        cluster.start(0)
        cluster.await_leader()
    many.passes(2, ["one"])
    assert many.told("one") == "better"


def test_healing_by_restart_waits_for_the_budget_and_names_the_holder(many: Many) -> None:
    with many.store() as store:
        place = place_key("page", 0)
        theirs = Permit("f" * 40, (place,), "theirs", lent="a new disk")
        store.try_(Transaction({}, {permit_key("two"): theirs, place: {"host": "two", "lent": True}}))
        conf = next(path for path in (many.folder("one") / "kolla").rglob("page.conf"))
        conf.write_text("by hand\n")
        before = many.started("one")
        reason, message = why(many.pass_("one"))
        assert reason is Reason.WaitsForBudget and "two holds the budget page" in message
        assert many.started("one") == before
        store.try_(Transaction({}, deletes=(place, permit_key("two"))))
        many.passes(3, ["one"])
        assert many.told("one") == "fine" and many.started("one") != before
        assert place not in store.everything(), "given back once it is well"


@pytest.mark.slow
def test_an_operator_sees_halts_resumes_excuses_and_lends(many: Many) -> None:
    told = many.run("one", "fleet", "status")
    assert "rolling out" in told and "the rest" in told and "done   2 of 2 hosts, 1 at once" in told
    assert "(leader)" in told and f"  {many.etcd[0]}: etcd 3." in told
    many.run("two", "fleet", "halt", "--reason", "the network is being moved")
    many.push("the second page", text="better")
    many.pass_("three")  # a descendant lifts it
    many.run("one", "fleet", "halt", "--reason", "not today")
    reason, message = why(many.pass_("one"))
    assert reason is Reason.RolloutHalted and message.endswith(" halted the rollout: not today")
    assert "HALTED by " in many.run("three", "fleet", "status")
    many.run("one", "fleet", "excuse", "one", "--reason", "its disk is changed")
    many.run("one", "fleet", "resume", "--reason", "after all")
    told = many.run("one", "fleet", "status")
    assert "resumed by " in told and "one is excused by " in told and ": its disk is changed" in told
    many.passes(1, ["two"])  # opens the next wave, whose canary is not waited for
    many.passes(1, ["two"])
    assert many.told("two") == "better" and many.told("one") == "fine"
    many.passes(2, ["two"])
    assert "lent" in many.run("three", "fleet", "lend", "--reason", "a new disk")
    reason, message = why(many.pass_("one"))
    assert reason is Reason.WaitsForBudget and "three holds the budget page" in message
    assert "three holds page (lent: " in many.run("one", "fleet", "status")
    assert "others hold" not in many.run("three", "fleet", "give-back")
    for words, advice in (
        (("give-back",), "this host is not lent [NothingToDo]"),
        (("resume", "--reason", "x"), "the rollout is not halted [NothingToDo]"),
        (("release", "two", "--reason", "x"), "two holds nothing, and is no job that was begun"),
        (("excuse", "nobody", "--reason", "x"), "the inventory has no host 'nobody' [HostUnknown]"),
    ):
        assert advice in many.run("three", "fleet", *words, fails=True)
    many.passes(1, ["one"])
    many.run("two", "fleet", "release", "one", "--reason", "it was switched off")
    assert "one: given back by " in many.run("two", "fleet", "status")


@pytest.mark.slow
def test_an_operator_drains_a_host_and_ends_that(many: Many) -> None:
    def runs(host: str) -> bool:
        return bool(many._engine().inspect_container(f"rtf-{host}")["State"]["Running"])

    for words, advice in (
        (("one", "--reason", "x"), "this host is 'two': say it on 'one' itself"),
        (("two",), "say what for: --reason"),
        (("two", "--back"), "this host is not drained [NothingToDo]"),
    ):
        assert advice in many.run("two", "drain", *words, fails=True)
    said = many.run("two", "drain", "two", "--reason", "a new disk")
    assert "rtf-two is stopped" in said and "two is drained" in said, said
    assert not runs("two") and many.pass_("two").suspended == "drained: a new disk"
    assert not runs("two"), "it was started again"
    # Nobody else stops a member meanwhile, and a second host is not drained.
    assert "two holds the budget page" in many.run("three", "drain", "three", "--reason", "one more", fails=True)
    assert runs("three") and not many.pass_("three").suspended
    many.push("the second page", text="better")
    many.pass_("three")
    assert why(many.pass_("one"))[0] is Reason.WaitsForBudget
    # It may be said twice, and is ended once.
    assert "two is drained" in many.run("two", "drain", "two", "--reason", "a new disk")
    assert "two is back" in many.run("two", "drain", "two", "--back")
    assert runs("two")
    with many.store() as store:
        assert not [key for key in store.everything() if key.startswith(("permit/", "budget/"))]
    many.run("two", "suspend", "--reason", "I look for something")
    assert "this node is suspended (I look for something)" in many.run(
        "two", "drain", "two", "--reason", "x", fails=True
    )
    assert "suspended, and not drained" in many.run("two", "drain", "two", "--back", fails=True)
    many.run("two", "resume")


@pytest.mark.slow
def test_images_are_there_before_a_place_is_claimed(many: Many) -> None:
    def push(message: str, image: str) -> None:
        service = _SERVICE.replace("@AT_ONCE@", "1").replace("reconciler-test/busybox:1", image)
        many.push(message, text="better", more={"services/page/service.yml": service})

    api, before = many._engine(), many.started("one")
    try:
        push("an image that is nowhere", "127.0.0.1:9/reconciler-test/nowhere:1")
        for _ in range(2):
            report = many.pass_("one")
            assert [one.action.verb for one in report.outcomes] in ([Verb.PULL], [])
        assert many.started("one") == before and many.told("one") == "fine"
        with many.store() as store:
            keys = store.everything()
            assert not [key for key in keys if key.startswith(("permit/", "budget/"))]
            assert b'"halt"' not in keys[ROLL].value, "a registry that does not answer is asked again"
        api.tag("reconciler-test/busybox:1", "reconciler-test/busybox", "rollout", force=True)
        push("one that is here", "reconciler-test/busybox:rollout")
        many.passes(3, ["one"])
        assert many.told("one") == "better" and many.started("one") != before
    finally:
        many.push("as before", text="fine")
        many.passes(4)
        with suppress(docker.errors.APIError):
            api.remove_image("reconciler-test/busybox:rollout")


@pytest.mark.slow
def test_a_node_grants_itself_nothing_from_an_etcd_that_went_back(many: Many) -> None:
    state = many.node("one").state
    mark = state.etcd_mark
    assert mark is not None and mark.cluster
    many.kill("one")
    state.note_etcd(replace(mark, revision=mark.revision + 100_000))
    many.push("the second page", text="better")
    reason, message = why(many.pass_("one"))
    assert reason is Reason.EtcdUnavailable and "fleet accept-restored" in message
    assert many.told("one") == "fine"
    assert "accepted" in many.run("two", "fleet", "accept-restored", "--reason", "all are well")
    many.passes(2, ["one"])
    assert many.told("one") == "better"


@pytest.mark.slow
def test_a_job_of_the_cluster_runs_ahead_of_its_hosts_turn_and_is_written_down(many: Many) -> None:
    def push(message: str, text: str, command: str) -> str:
        service = SYNC.replace("@COMMAND@", command)
        return many.push(message, text=text, more={"services/sync/service.yml": service})

    def record() -> dict[str, str]:
        with many.store() as store:
            found = store.everything().get(job_key("rtf-sync"))
        return json.loads(found.value) if found else {}

    try:
        commit = push("a job", "better", "echo made")
        many.pass_("one")
        before = many.started("three")
        reports = [many.pass_("three") for _ in range(2)]
        ran = [outcome for report in reports for outcome in report.outcomes if outcome.action.target == "rtf-sync"]
        assert [outcome.result for outcome in ran] == ["done"] and ran[0].action.claim
        assert many.started("three") == before and many.told("three") == "fine", "its wave is not open"
        assert {held.reason for held in reports[1].plan.held} == {Reason.WaitsForWave}, reports[1].plan
        many.pass_("three")
        said = record()
        assert (said["state"], said["host"], said["commit"]) == ("done", "three", commit)
        assert said["nonce"] == ran[0].action.claim
        for _ in range(5):
            if all(report.converged for report in many.passes().values()):
                break
        assert [many.told(host) for host in HOSTS] == ["better"] * 3
        many.passes(1, ["three"])
        with many.store() as store:
            assert not [key for key in store.everything() if key.startswith(("permit/", "budget/"))]

            # Somebody else has begun the next one: nobody runs it, and whoever waits says for whom.
            push("the next", "best", "echo more")
            theirs = JobRecord("theirs", "nine", "running", "n", "theirs")
            store.try_(Transaction({}, {job_key("rtf-sync"): theirs}))
            held = next(h for h in many.pass_("three").plan.held if h.target == "rtf-sync")
            assert held.reason is Reason.WaitsForOthers and "nine has begun rtf-sync" in held.message
        assert "nine runs rtf-sync" in many.run("two", "fleet", "status")
        assert "given back: job/rtf-sync" in many.run("two", "fleet", "release", "rtf-sync", "--reason", "nine is gone")
        many.passes(2, ["three"])
        assert record()["host"] == "three"
    finally:
        with suppress(docker.errors.NotFound):
            many._engine().remove_container("rtf-anchor", force=True, v=True)


@pytest.mark.slow
def test_what_goes_after_every_host_waits_for_the_last_and_keeps_no_wave_back(many: Many) -> None:
    service = SYNC.replace("@COMMAND@", "echo contracted").replace(
        "before: [page]", "before: [], rollout: {after: [page]}"
    )
    try:
        many.push("the job goes last", text="better", more={"services/sync/service.yml": service})
        ran: list[str] = []
        for _ in range(12):
            for host in HOSTS:
                report = many.pass_(host)
                done = [one.action.target for one in report.outcomes if one.result == "done"]
                if "rtf-sync" in done:
                    ran += [many.told(other) for other in HOSTS]
                elif host == "three" and many.told(host) == "better" and not ran:
                    held = {(one.target, one.reason) for one in report.plan.held}
                    assert ("rtf-sync", Reason.WaitsForOthers) in held, held
            if ran and all(one.converged for one in many.passes().values()):
                break
        assert ran == ["better"] * 3
        with many.store() as store:
            assert not [key for key in store.everything() if key.startswith(("permit/", "budget/"))]
    finally:
        with suppress(docker.errors.NotFound):
            many._engine().remove_container("rtf-anchor", force=True, v=True)


@pytest.mark.slow
def test_every_host_that_obeyed_keeps_who_said_so_and_why(many: Many) -> None:
    def kept(host: str) -> list[str]:
        found = many.run(host, "history", "--offline", "-n", "50").splitlines()
        return [line.strip().partition(" (")[0] for line in found if " was " in line and " by " in line]

    many.push("the second page", text="better")
    many.pass_("one")
    many.run("one", "fleet", "halt", "--reason", "the network is being moved")
    said = many.run("two", "fleet", "status")
    assert "HALTED by " in said and "two, three wait: the rollout is halted" in said and "(leader)" in said, said
    many.passes(2)
    (by,) = {line for host in HOSTS for line in kept(host)}
    assert by.startswith("the rollout was halted by ") and by.endswith(": the network is being moved")
    assert [len(kept(host)) for host in HOSTS] == [1, 1, 1]
    many.run("one", "fleet", "resume", "--reason", "it is back")
    many.run("one", "fleet", "excuse", "two", "--reason", "its disk is changed")
    many.passes(5)
    for host in HOSTS:
        assert any("the rollout was resumed by" in line and "it is back" in line for line in kept(host)), kept(host)
        assert len(kept(host)) == len(set(kept(host))), kept(host)
    # Those that acted by it have it: whoever claimed a place, or opened a wave, after it was said.
    assert any("two was excused by" in line for host in HOSTS for line in kept(host))
