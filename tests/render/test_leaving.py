"""`left` of inventory.yml: which jobs make the others forget a host that is gone for good, and what is refused."""

import dataclasses

import pytest

from reconciler.errors import SiteInvalid
from reconciler.model import Desired
from reconciler.plan import leaving
from reconciler.render import Sharing, World, render
from tests.render import sites

SERVICE = """
groups: {app: [control], compute: []}
defaults: {containers: {kolla: false, image: "app:1"}}
containers:
  app: {group: app, command: app, rollout: {at_once: 1, quorum: true}}
  other: {group: compute, command: other}
jobs:
  app_forget:
    container: app
    leaves: {means: "{{ item.name }} is no member of app any more"}
    entrypoint: [forget, "{{ item.hostname }}", "{{ item.address }}"]
  other_forget: {container: other, leaves: {means: it is listed no more}, entrypoint: [forget]}
  all_forget: {container: app, leaves: {means: its records go, group: [compute]}, entrypoint: [forget]}
"""
HOSTS = {
    name: f"{{addresses: {{network: 10.0.0.1{number}}}, groups: [control]}}" for number, name in enumerate("abcde")
}
CMP = "cmp1: {addresses: {network: 10.0.0.21}, groups: [compute]}"


def inventory(members: str, left: str = "") -> str:
    lines = "".join(f"  {name}: {HOSTS[name]}\n" for name in members)
    return f"hosts:\n{lines}  {CMP}\ngroups: {{control: {{}}, compute: {{}}}}\n" + (
        f"left:\n  {left}\n" if left else ""
    )


def desired(members: str, left: str = "", host: str = "a") -> Desired:
    return render(sites.one_service(SERVICE, inventory=inventory(members, left)), host, "0" * 40)


GONE = "c: {since: 2026-11-27, addresses: {network: 10.0.0.99}, groups: [control], facts: {hostname: ctl-c}}"


def jobs(found: Desired) -> dict[str, tuple[str, str]]:
    return {job.name: (job.owner, job.left) for job in found.jobs}


def test_the_others_forget_a_host_once_in_every_cluster_that_it_was_in() -> None:
    assert jobs(desired("abc")) == {}
    found = desired("ab", GONE)
    assert jobs(found) == {"app_forget_c": ("a", "c")}
    job = found.jobs[0]
    assert job.container.entrypoint == ("forget", "ctl-c", "10.0.0.99")
    assert (job.leaves, job.before) == ("c is no member of app any more", ("app",))
    assert jobs(desired("ab", GONE, host="cmp1")) == {}
    # One that left another group is told by those that are named, on the host that has the container.
    elsewhere = "c: {since: 2026-11-27, groups: [compute]}"
    assert jobs(desired("ab", elsewhere)) == {"all_forget_c": ("a", "c")}
    assert jobs(desired("ab", elsewhere, host="cmp1")) == {"other_forget_c": ("cmp1", "c")}


def test_a_host_that_leaves_a_second_time_is_forgotten_a_second_time_and_never_for_another_reason() -> None:
    first = desired("ab", GONE).jobs[0]
    assert desired("ab", GONE.replace("11-27", "11-28")).jobs[0].inputs != first.inputs
    newer = sites.one_service(SERVICE.replace("app:1", "app:2"), inventory=inventory("ab", GONE))
    assert render(newer, "a", "0" * 40).jobs[0].inputs == first.inputs


def test_a_host_that_stays_in_the_inventory_leaves_the_groups_that_are_said() -> None:
    staying = inventory("ab", "c: {since: 2026-11-27, groups: [control]}").replace(
        "  cmp1:", "  c: {addresses: {network: 10.0.0.13}, groups: [compute]}\n  cmp1:"
    )
    found = render(sites.one_service(SERVICE, inventory=staying), "a", "0" * 40)
    assert jobs(found) == {"app_forget_c": ("a", "c")}
    assert found.jobs[0].container.entrypoint == ("forget", "c", "10.0.0.13")


def test_one_after_the_other() -> None:
    found = desired("abc", "d: {since: 2026-11-27, groups: [control]}\n  e: {since: 2026-11-27, groups: [control]}")
    assert {job.name: job.after for job in found.jobs} == {"app_forget_d": (), "app_forget_e": ("app_forget_d",)}


def test_two_revisions_that_differ_in_who_left_share_nothing_of_it() -> None:
    sharing = Sharing()
    worlds = [World(sites.one_service(SERVICE, inventory=inventory("ab", left)), sharing) for left in ("", GONE)]
    assert [jobs(render(world.site, "a", "0" * 40, world)) for world in worlds] == [{}, {"app_forget_c": ("a", "c")}]


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ("c: {groups: [control]}", "since"),
        ("c: {since: yesterday, groups: [control]}", "a day such as"),
        ("c: {since: 2026-11-27, groups: []}", "must not be empty"),
        ("c: {since: 2026-11-27}", "groups"),
        ("c: {since: 2026-11-27, groups: [contrl]}", "did you mean 'control'"),
        ("a: {since: 2026-11-27, groups: [control]}", "'a' is in the group 'control', so it has not left it"),
        (
            "c: {since: 2026-11-27, groups: [control], addresses: {network: 10.0.0.11}}",
            "10.0.0.11 is an address of 'b' now",
        ),
        ("c: {since: 2026-11-27, groups: [control], facts: {hostname: B}}", "'b' has the own name 'B' now"),
        (
            "c.old: {since: 2026-11-27, groups: [control], facts: {hostname: c}, adresses: {}}",
            "did you mean 'addresses'",
        ),
    ],
)
def test_what_is_refused(left: str, said: str) -> None:
    with pytest.raises(SiteInvalid) as caught:
        desired("ab", left)
    assert said in str(caught.value), caught.value
    assert all(
        problem.file == "inventory.yml" and problem.line > 4
        for problem in caught.value.problems
        if problem.severity == "error"
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("each: [1]", "a job with 'leaves' has no 'each'"),
        ("name: x", "a job with 'leaves' has no 'name'"),
        ('creates: "v:p"', "a job with 'leaves' has no 'creates'"),
        ("once: host", "once for the cluster"),
    ],
)
def test_what_a_service_cannot_say(body: str, said: str) -> None:
    with pytest.raises(SiteInvalid, match=said):
        sites.one_service(
            SERVICE.replace("leaves: {means: it is listed no more}", f"leaves: {{means: it goes}}, {body}")
        )


@pytest.mark.parametrize(
    ("before", "after", "is_refused"),
    [("abc", "ab", False), ("abc", "a", True), ("ab", "a", False), ("abcd", "ab", True), ("abcde", "abc", False), ("abc", "ade", True), ("abc", "abd", False), ("a", "ab", False)],
)  # fmt: skip
def test_those_that_stay_are_most_of_those_that_were(before: str, after: str, is_refused: bool) -> None:
    head = desired(after)
    why = leaving.refused(desired(before), head)
    assert bool(why) == is_refused, why
    if why:
        assert f"without {'b, c' if before == 'abc' else 'c, d'}" in why, why
        accepted = dataclasses.replace(
            head, policy={"accept": [{"check": "quorum", "who": "o", "why": "they run", "until": "2026-12-01"}]}
        )
        assert leaving.refused(desired(before), accepted) == ""


INSIDE = SERVICE.replace(
    'entrypoint: [forget, "{{ item.hostname }}", "{{ item.address }}"]',
    'inside: true\n    command: [bash, -c, "kick {{ item.address }}"]',
)


def test_what_only_a_member_itself_can_do_is_run_in_the_container_as_it_runs() -> None:
    found = render(sites.one_service(INSIDE, inventory=inventory("ab", GONE)), "a", "0" * 40)
    job = found.jobs[0]
    assert (job.name, job.inside, job.before, job.left) == ("app_forget_c", "app", ("app",), "c")
    assert job.container.command == ("bash", "-c", "kick 10.0.0.99")
    assert not [file for file in found.files if file.container == job.name]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("inside: true", "inside: true\n    volumes: [a:/b]", "volumes does nothing"),
        ("inside: true", "inside: true\n    user: root", "user does nothing"),
        ('command: [bash, -c, "kick {{ item.address }}"]', "timeout: 5", "a job inside a container has a command"),
    ],
)
def test_what_a_job_inside_a_container_cannot_say(old: str, new: str, said: str) -> None:
    with pytest.raises(SiteInvalid, match=said):
        render(sites.one_service(INSIDE.replace(old, new), inventory=inventory("ab", GONE)), "a", "0" * 40)
