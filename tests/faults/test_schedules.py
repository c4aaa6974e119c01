"""Whatever fails, in whatever order: what was not to be touched stays, what was acknowledged is kept, the status is true, and it ends."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal
from unittest import mock

import pytest
from hypothesis import given

from reconciler.model import Container, Desired, File, HostSetting, Registrar, Registration, Reload
from tests.faults import table
from tests.faults.node import Bench
from tests.faults.points import NAMES, POINTS
from tests.faults.schedule import TALLY, Judge, Schedule, Step, play, quiet, schedules
from tests.faults.search import check, search
from tests.faults.tour import tour
from tests.scenarios.test_properties import quick


@quick(60)
@given(schedules())
def test_whatever_fails(schedule: Schedule) -> None:
    check(schedule)


# One failpoint of each port and each way to fail, of those that the harness found something with among them.
SOME = (
    "kept.list.emfile", "kept.open.eio", "kept.remove.erofs", "state.open.eio", "state.create.emfile", "state.create.enospc", "state.rename.killed-before",
    "config.write.killed-after", "config.rename.killed-after", "host.write.killed-after", "engine.create.lost", "engine.rename.killed-after",
    "engine.healthy.sick", "engine.remove.half", "registrar.converge.half", "host.put.lost", "git.fetch.garbage", "sops.decrypt.refused",
    "forge.post.lost", "forge.post.killed-after", "forge.find.error", "alert.send.lost", "etcd.transact.lost", "etcd.read.unreachable",
)  # fmt: skip


@pytest.mark.parametrize(("name", "turn"), [*((name, 1) for name in SOME), ("config.write.killed-after", 6)])
def test_one_failpoint(name: str, turn: int) -> None:
    before = TALLY[name]
    check(tour(name, turn))  # the sixth file is the one that says what was accepted
    assert TALLY[name] == before + 1, "it is met"


def test_a_schedule_is_the_same_each_time(tmp_path: Path) -> None:
    """Otherwise what a seed found may never be found again."""
    told = []
    for number in range(4):
        bench = play(tour("alert.send.error"), tmp_path / str(number))
        told.append([(o.action.id, o.result) for report in bench.reports for o in report.outcomes])
    assert told[0] and told == told[:1] * 4


def test_there_are_enough_failpoints_and_each_is_one() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 60
    assert {name.rpartition(".")[0] for name in NAMES} == POINTS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_failpoint(name: str) -> None:
    before = TALLY[name]
    check(tour(name))
    assert TALLY[name] == before + 1, "it is met"


@pytest.mark.slow
def test_ten_thousand_schedules() -> None:
    search(10_000)


def test_the_page_lists_them() -> None:
    assert table.written(page := table.PAGE.read_text()) == page, "run python -m tests.faults.table"


# --- what the first searches left open --------------------------------------------------------------------------------


def _site(number: int, *containers: str, setting: str = "") -> Desired:
    made = tuple(Container(name, "image:1", service="one", config_directory=name) for name in containers)
    files = tuple(File(f"{name}/x.conf", "a", container=name) for name in containers)
    settings = (HostSetting("sysctl", "net.a", {"live": setting, "boot": setting}),) if setting else ()
    return Desired("site", "here", f"r{number}", "/etc/kolla", containers=made, files=files, host_settings=settings)


@pytest.mark.parametrize("fault", ["engine.create.refused", "engine.create.killed-after", "engine.healthy.sick", "state.create.killed-before"])  # fmt: skip
@pytest.mark.parametrize("turn", [1, 2])
def test_files_that_only_an_unfinished_commit_had_go(fault: str, turn: int) -> None:
    """A commit brings two containers and is cut short; the next one has neither, and no complete apply ever had them."""
    cut = Step("pass", deep=True, named=((fault, turn),))
    steps = (Step("commit", site=1), cut, Step("commit", site=0), Step("pass", deep=True))
    check(Schedule(_site(0, "still"), (_site(1, "still", "one", "two"),), steps))


@pytest.mark.parametrize("fault", ["sops.decrypt.hang", "config.open.eio", "state.open.eio"])
def test_a_pass_that_does_not_come_to_its_site_speaks_under_its_name(fault: str) -> None:
    """Else the commit had a status that no later one replaces."""
    cut = Step("pass", named=((fault, 4 if fault.startswith("state") else 1),))
    away = Step("pass", named=(("engine.list.unreachable", 1),))
    check(Schedule(_site(0, "api"), (_site(1, "api", "db"),), (Step("commit", site=1), away, Step("restart"), cut)))


@pytest.mark.parametrize("turn", [2, 3])
def test_what_proved_itself_is_not_taken_back_for_what_comes_after(turn: int) -> None:
    """A replace is gone on with in two steps: the new one proves itself, and the old one goes. Between them its previous files are gone
    already, so what fails in the second step must not bring the old one back."""
    base, head = _site(0, "api", "proxy"), _site(1, "api", "proxy", "agent")
    containers = tuple(
        replace(c, image="image:2") if c.name == "proxy" else replace(c, depends_on=("proxy",) if c.name == "agent" else ())
        for c in head.containers
    )  # fmt: skip
    head = replace(head, containers=containers, files=tuple(f for f in head.files if f.container == "agent"))
    cut = Step("pass", named=(("engine.start.lost", 1),))
    between = Step("pass", named=(("engine.exists.unreachable", turn),))
    check(Schedule(base, (head,), (Step("commit", site=1), cut, between, Step("pass", named=(("engine.healthy.sick", 1),)))))  # fmt: skip


@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_cut_write_left_on_the_host_goes_with_the_commit_that_wanted_it(turn: int) -> None:
    """Nothing is written or removed there any more: the line was never made."""
    base, head = _site(0, "db"), _site(1, "db", setting="1")
    cut = Step("pass", named=(("host.create.killed-after", turn),))
    check(Schedule(base, (head,), (Step("commit", site=1), cut, Step("commit", site=0), Step("pass", deep=True))))


@pytest.mark.parametrize("refusal", ["host.create.erofs", "host.remove.erofs", "host.list.eio"])
def test_what_the_host_does_not_let_be_put_back_is_not_forgotten(refusal: str) -> None:
    refused = Step("pass", deep=True, named=((refusal, 1),))
    again = (Step("pass"), Step("restart"), Step("pass", deep=True))
    base, without = _site(0, "still", setting="1"), _site(1, "still")
    check(Schedule(base, (without,), (Step("commit", site=1), refused, *again)))


@pytest.mark.parametrize("fault", ["host.open.eio", "host.open.emfile", "host.list.eio"])
@pytest.mark.parametrize("deep", [False, True])
def test_what_is_to_be_put_back_and_cannot_be_looked_at_is_not_done(fault: str, deep: bool) -> None:
    """The commit that drops a setting, and a pass that cannot read how the host is: it has not converged."""
    cut = Step("pass", deep=deep, named=((fault, 1),))
    check(Schedule(_site(0, "db", setting="1"), (_site(1, "db"),), (Step("commit", site=1), cut)))


# --- what searches of 28 November found --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["host.put.refused", "host.put.killed-before", "host.put.lost", "host.rename.eio", "host.rename.killed-after"])  # fmt: skip
@pytest.mark.parametrize("values", [("1", "2"), ("2", "1")])
def test_a_setting_whose_change_was_cut_short_is_put_back_when_nobody_asks_for_it_any_more(
    fault: str, values: tuple[str, str]
) -> None:
    """What is there then is what a commit before made of it, and not somebody else's."""
    before, after = (_site(number, "db", setting=value) for number, value in enumerate(values))
    cut = Step("pass", deep=True, named=((fault, 1),))
    steps = (Step("commit", site=1), cut, Step("commit", site=2), Step("pass", deep=True))
    check(Schedule(before, (after, _site(2, "db")), steps))


@pytest.mark.parametrize("fault", ["host.create.killed-after", "host.sync.killed-before", "host.rename.killed-before"])
def test_what_a_cut_write_left_on_the_host_goes_where_nothing_is_written_any_more(fault: str) -> None:
    """One of two lines was to go, and the next commit wants both as they still are."""
    both = replace(_site(0, "db", setting="1"), host_settings=tuple(HostSetting("sysctl", name, {"live": "1", "boot": "1"}) for name in ("net.a", "net.b")))  # fmt: skip
    cut = Step("pass", deep=True, named=((fault, 1),))
    check(Schedule(both, (_site(1, "db"),), (Step("commit", site=1), cut, Step("commit"), Step("pass", deep=True))))


def _limited(
    number: int, shares: int, content: str, on_change: Literal["restart", "reload"], *, api: bool = False
) -> Desired:
    """`api`: whether the other container is to be made anew."""
    db = Container("db", "image:1", service="one", config_directory="db", cpu_shares=shares, reload=Reload("HUP"))
    other = Container("api", "image:1", service="one", config_directory="api", privileged=api)
    file = File("db/x.conf", content, container="db", on_change=on_change)
    return Desired("site", "here", f"r{number}", "/etc/kolla", containers=(db, other), files=(file,))


_CUT = (
    "engine.healthy.sick",
    "kept.open.eio",
    "engine.update.killed-after",
    "engine.restart.killed-before",
    "config.open.eio",
    "engine.signal.lost",
)


@pytest.mark.parametrize("fault", _CUT)
@pytest.mark.parametrize("on_change", ["restart", "reload"])
def test_what_is_taken_back_has_the_limits_of_before_as_well(
    fault: str, on_change: Literal["restart", "reload"]
) -> None:
    """They are changed in the container that stays, before its new files are put to the test or long before."""
    steps = (
        Step("commit", site=1),
        Step("pass", deep=True, named=((fault, 1),)),
        Step("pass", deep=True, named=(("engine.healthy.sick", 1),)),
    )
    check(Schedule(_limited(0, 0, "a", on_change), (_limited(1, 256, "b", on_change),), steps))


@pytest.mark.parametrize("on_change", ["restart", "reload"])
def test_what_is_taken_back_is_what_worked_last_and_not_when_all_was_carried_out(
    on_change: Literal["restart", "reload"],
) -> None:
    """Another container of the first commit is given up, so that one is never carried out whole."""
    sick = Step("pass", deep=True, named=(("engine.healthy.sick", 1),))
    steps = (Step("commit", site=1), sick, Step("commit", site=2), sick)
    heads = (_limited(1, 256, "a", on_change, api=True), _limited(2, 512, "b", on_change, api=True))
    check(Schedule(_limited(0, 0, "a", on_change), heads, steps))


@pytest.mark.parametrize("fault", ["engine.restart.killed-before", "config.rename.eio", "engine.healthy.killed-before"])
def test_previous_files_are_kept_while_somebody_has_the_name_of_the_spare_and_go_after_that(fault: str) -> None:
    base, head = _site(0, "db", "api"), _site(1, "db", "api")
    head = replace(head, files=tuple(replace(file, content="b") for file in head.files))
    steps = (
        Step("commit", site=1),
        Step("pass", deep=True, named=((fault, 1),)),
        *(Step("hand", "foreign spare", name) for name in ("db", "api")),
    )
    check(Schedule(base, (head,), (*steps, Step("pass", deep=True))))


def test_a_password_of_somebody_who_is_gone_cannot_be_changed() -> None:
    """Whom this program withdrew nobody makes anew by that: it would be somebody else's."""
    user = Registration("mariadb", "user", "k", {"value": "1"}, owner="here")
    without = replace(_site(1, "db"), registrars=(Registrar("mariadb", {}, needs=("db",)),))
    base = replace(without, revision="r0", registrations=(user,))
    steps = (Step("commit", site=1), Step("pass", deep=True), Step("hand", "password changed"), Step("pass", deep=True))
    check(Schedule(base, (without,), steps))


@pytest.mark.parametrize("happening", ["limited", "altered", "killed", "removed", "edited", "lost", "unregistered", "password changed"])  # fmt: skip
@pytest.mark.parametrize("turn", [(), (Step("another host goes"),)])
def test_what_drifts_while_a_host_waits_for_its_turn_is_put_right(happening: str, turn: tuple[Step, ...]) -> None:
    """It rests on what is changed once the turn comes."""
    db, api = (Container(name, "image:1", service="one", config_directory=name) for name in ("db", "api"))
    base = replace(
        _site(0, "api"), containers=(db, replace(api, depends_on=("db",))), registrars=(Registrar("mariadb", {}, needs=("db",)),),
        registrations=(Registration("mariadb", "user", "k", {"value": "1"}, owner="here"),),
    )  # fmt: skip
    head = replace(base, revision="r1", containers=(replace(db, image="image:2"), base.containers[1]))
    steps = (
        Step("commit", site=1),
        *turn,
        Step("hand", happening, "api"),
        Step("pass", deep=True),
        Step("pass", deep=True),
    )
    check(Schedule(base, (head,), steps, fleet=True))


@pytest.mark.parametrize("fault", ["engine.remove.killed-before", "engine.remove.refused", "engine.remove.half", "engine.identity.error", "engine.exists.hang"])  # fmt: skip
def test_what_a_replace_that_healed_left_aside_goes_before_the_turn_of_a_commit(fault: str) -> None:
    """It is the end of what was put right, though another host holds the place."""
    base, head = _site(0, "db", "api"), _site(1, "db", "api")
    head = replace(head, containers=(base.containers[0], replace(base.containers[1], image="image:2")))
    cut = [Step("pass", deep=True, named=((fault, turn),)) for turn in (1, 2)]
    heal = (Step("hand", "altered", "db"), cut[0], Step("pass"), Step("hand", "altered", "db"), cut[1], Step("pass"))
    check(Schedule(base, (head,), (Step("another host goes"), Step("commit", site=1), *heal), fleet=True))


def test_somebody_elses_container_that_a_host_of_a_fleet_waits_for() -> None:
    """A host that is not well holds its place, and takes no newer commit under it."""
    base, head = _site(0, "db"), _site(1, "db")
    heads = (replace(head, containers=(replace(head.containers[0], cpu_shares=256),)), _site(2, "db", "api"))
    steps = (
        Step("commit", site=1),
        Step("hand", "foreign spare", "db"),
        Step("pass"),
        Step("commit", site=2),
        Step("pass"),
    )
    check(Schedule(base, heads, steps, fleet=True))


def test_after_lost_state_what_is_ours_on_the_host_goes_all_the_same(tmp_path: Path) -> None:
    """Whether the lines are as they should be when the new memory first sees them, or have to be set."""
    for number, after in enumerate(("1", "2")):
        with Bench(tmp_path / str(number)) as bench:
            bench.repository.push(bench.of(_site(0, "still", setting="1")))
            assert quiet(bench, Judge(bench, []))
            bench.leave()
            shutil.rmtree(bench.settings.state_dir)
            bench.acknowledged.clear()
            with mock.patch("reconciler.git.tree.resolve", lambda repository, revision: revision):
                bench.start().accept(f"{bench.repository.head:040x}", "the disk was exchanged")
            for setting in (after, ""):
                bench.repository.push(bench.of(_site(1, "still", setting=setting)))
                quiet(bench, Judge(bench, [], changed={"kernel set"}))  # what the kernel had before is lost
            assert not list((bench.place / "machine/etc").rglob("*.conf")), "no line of ours is left"
