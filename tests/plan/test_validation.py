"""A service's new configuration is checked before anything of the service changes."""

from dataclasses import replace

from reconciler.model import Actual, Container, Desired, Job, Memory, Registration, Validation, Verb
from reconciler.plan import diff
from tests.plan.test_diff import FILES, SITE, WEB, basis, converged, edited, lines

CHECKED = replace(WEB, validation=Validation(("check",)))
KEYS = replace(WEB, name="keystone_fernet", config_directory="keystone-fernet", depends_on=())
CONF = next(file for file in FILES if file.path == "keystone/keystone.conf")
USER = Registration("mariadb", "user", "keystone@%", {"name": "keystone"}, service="keystone", owner="ctl1")


def site() -> Desired:
    """Keystone, whose image has a checker, and a second container of the same service, whose image has none."""
    containers = tuple(CHECKED if c.name == "keystone" else c for c in SITE.containers)
    more = replace(CONF, path="keystone-fernet/keystone.conf", container="keystone_fernet")
    return replace(SITE, containers=(*containers, KEYS), files=(*SITE.files, more))


def needs(desired: Desired, actual: Actual, memory: Memory) -> dict[str, bool]:
    """Action → whether it waits for the checker, itself or through another one."""
    actions = {action.id: action for action in diff(desired, actual, memory, basis(desired)).actions}

    def waits(identity: str) -> bool:
        needed = [name for name in actions[identity].needs if name in actions]
        return "validate:keystone" in needed or any(map(waits, needed))

    return {identity: waits(identity) for identity in actions}


def test_a_mistake_in_settings_that_two_containers_share_touches_neither() -> None:
    head = edited(edited(site(), "keystone/keystone.conf", "banana\n"), "keystone-fernet/keystone.conf", "banana\n")
    actual, memory = converged(site())
    assert lines(head, actual, memory) == [
        "validate   keystone  (its new configuration, by the image's own checker)",
        "write      keystone/keystone.conf  (content changed)",
        "restart    keystone  (keystone.conf changed)",
        "write      keystone-fernet/keystone.conf  (content changed)",
        "restart    keystone_fernet  (keystone.conf changed)",
    ]
    found = needs(head, actual, memory)
    assert not found.pop("validate:keystone") and all(found.values()), found


def test_a_job_and_a_registration_of_the_service_wait_as_well() -> None:
    """A new password in the database, and the old one in a service whose new settings were refused, would let nobody in."""
    sync = Job(
        "keystone_db_sync",
        replace(WEB, name="keystone_db_sync"),
        "in",
        before=("keystone",),
        service="keystone",
        owner="ctl1",
    )
    head = replace(edited(site(), "keystone/keystone.conf", "new\n"), jobs=(sync,), registrations=(USER,))
    actual, memory = converged(site())
    found = needs(head, replace(actual, deep=True, registrations={USER.id: None}), memory)
    assert found["run:keystone_db_sync"] and found[f"register:{USER.id}"], found


def test_other_services_do_not_wait_and_what_worked_comes_back_without_a_check() -> None:
    head = edited(edited(site(), "keystone/keystone.conf", "banana\n"), "haproxy/haproxy.cfg", "frontend b\n")
    actual, memory = converged(site())
    found = needs(head, actual, memory)
    assert not found["write:haproxy/haproxy.cfg"] and not found["reload:haproxy"], found
    gone = replace(actual, containers={n: c for n, c in actual.containers.items() if n != "keystone_fernet"})
    found = needs(head, gone, memory)
    assert found["write:keystone/keystone.conf"]
    same = lines(site(), replace(gone, files={}), memory)
    assert not any(line.startswith(Verb.VALIDATE) for line in same), same


def test_nothing_is_checked_where_nothing_is_new() -> None:
    actual, memory = converged(site())
    assert lines(site(), actual, memory) == []


def test_a_container_without_a_checker_is_changed_as_ever() -> None:
    head = replace(SITE, containers=(Container("cron", "img/cron:1", service="cron"),), files=())
    assert not any(line.startswith(Verb.VALIDATE) for line in lines(head, Actual({}, {}, {}), Memory()))
