"""Binds and devices as the host resolves them, before the engine is asked and right after."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler import errors
from reconciler.engine import Engine
from reconciler.model import Container, Desired, Mount, State, Volume
from reconciler.node.admission import Admission
from reconciler.node.policy import KOLLA, STRICT, Context
from tests.engine.conftest import look


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder `allowed`, and beside it what is not."""
    for name in ("allowed/real", "secret", "kolla/web"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "secret/file").write_text("the host's")
    return tmp_path


def judge(place: Path, **changes: Any) -> Admission:
    rules = replace(KOLLA, binds=(f"{place}/allowed",), exact=())
    return Admission(replace(rules, **changes), Context(f"{place}/kolla"))  # type: ignore[arg-type]


def bind(source: Path | str, mode: str = "rw") -> Container:
    return Container("c", "i", network_mode="none", mounts=(Mount(str(source), "/x", mode),))


def refused(admission: Admission, container: Container) -> str:
    try:
        admission.require(container, {})
    except errors.Terminal as error:
        assert error.reason == "PolicyDenied"
        return str(error)
    return ""


def test_links_that_lead_out(place: Path) -> None:
    links = {
        "direct": place / "secret", "file": place / "secret/file", "up": "../secret", "root": "/", "twice": "direct",
        "through": "real/../../secret", "socket": "/run/docker.sock", "self": "/proc/self/root/etc", "none": "/etc/none/at/all",
    }  # fmt: skip
    for name, target in links.items():
        (place / "allowed" / name).symlink_to(target)  # type: ignore[arg-type]
        assert "leads to" in refused(judge(place), bind(place / "allowed" / name)), name
    assert refused(judge(place), bind(place / "allowed/root/etc"))
    (place / "kolla/web/link").symlink_to(place / "secret")
    assert refused(judge(place), bind(place / "kolla/web/link", "ro"))
    (place / "kolla/other").symlink_to(place / "secret")
    assert refused(judge(place), bind(place / "kolla/other", "ro"))


def test_what_stays_within_is_fine(place: Path) -> None:
    (place / "allowed/inside").symlink_to("real")
    for path in (
        place / "allowed",
        place / "allowed/real",
        place / "allowed/inside",
        place / "kolla/web",
        place / "allowed/new",
    ):
        assert not refused(judge(place), bind(path)), path


def test_a_link_that_the_owner_of_the_host_names(place: Path) -> None:
    (place / "named").symlink_to(place / "allowed")
    assert not refused(judge(place, binds=(f"{place}/named",)), bind(place / "named/real"))
    assert not refused(judge(place, binds=(), exact=(f"{place}/named",)), bind(place / "named"))
    assert refused(judge(place, binds=(f"{place}/named",)), bind(place / "secret"))


def test_what_is_kept_apart_is_so_under_its_real_name(place: Path) -> None:
    """The engine's data, or our state, behind a link of the host's owner."""
    (place / "state").symlink_to(place / "allowed/real")
    rules = judge(place, forbidden=(f"{place}/state",))
    for path in (place / "allowed/real", place / "state", place / "allowed"):
        assert refused(rules, bind(path)), path
    (place / "allowed/alias").symlink_to("real")
    assert refused(rules, bind(place / "allowed/alias"))
    site = Desired("s", "h", "r", f"{place}/kolla", (bind(place / "allowed/real"),))
    data = Admission.of(site, judge(place).rules, {}, data_root=f"{place}/allowed/real")
    assert data.denied(site).keys() == {"c"}


def test_what_is_this_programs_own_in_a_config_root_is_so_under_every_name(place: Path) -> None:
    """A link of a container's to it, a root that is a link of the host's owner, another root than the site's."""
    folder = place / "kolla/.reconciler-validate"
    folder.mkdir()
    own = "are this program's own"
    for name in ("kolla/web/link", "allowed/link"):
        (place / name).symlink_to(folder)
        for mode in ("rw", "ro"):
            assert own in refused(judge(place), bind(place / name, mode))
    (place / "allowed/up").symlink_to("..")
    assert own in refused(judge(place), bind(place / "allowed/up/kolla/.reconciler-validate"))
    (place / "named").symlink_to(place / "allowed")
    rules = judge(place, config_roots=(f"{place}/named",))
    assert own in refused(rules, bind(place / "allowed/.reconciler-0123456789ab"))
    assert refused(rules, bind(place / "allowed")) and not refused(rules, bind(place / "allowed", "ro"))
    assert not refused(rules, bind(place / "allowed/real"))
    linked = replace(rules, context=Context(f"{place}/named"))
    assert own in refused(linked, bind(place / "allowed/.reconciler-validate/x", "ro"))
    name = "reconciler-validate-web"
    laid_out = bind(place / "named/.reconciler-validate" / name / "web", "ro")
    assert refused(linked, laid_out) and not refused(linked, replace(laid_out, name=name))


def test_a_device_is_what_it_leads_to(place: Path) -> None:
    (place / "allowed/null").symlink_to("/dev/null")
    (place / "allowed/disk").symlink_to("/dev/zero")
    rules = judge(place, devices=("/dev/null", f"{place}/allowed"))
    one = Container("c", "i", devices=(f"{place}/allowed/null:/dev/x:r",))
    assert not refused(rules, one)
    assert refused(rules, replace(one, devices=(f"{place}/allowed/disk",)))


def test_a_disguised_volume_is_what_it_leads_to(place: Path) -> None:
    (place / "allowed/link").symlink_to(place / "secret")
    asked = Container("c", "i", mounts=(Mount("v", "/x"),))
    for device, fine in ((place / "allowed/real", True), (place / "allowed/link", False), (place / "secret", False)):
        volumes = {"v": Volume(options={"type": "none", "o": "bind", "device": str(device)})}
        try:
            judge(place).require(asked, volumes)
            assert fine, device
        except errors.Terminal:
            assert not fine, device


def test_an_engine_elsewhere_has_other_paths(place: Path) -> None:
    (place / "allowed/link").symlink_to(place / "secret")
    assert not refused(replace(judge(place), local=False), bind(place / "allowed/link"))


def test_a_strict_host_trusts_no_folder_of_others(place: Path) -> None:
    rules = Admission(replace(STRICT, binds=(f"{place}/allowed",)), Context(f"{place}/kolla"))
    assert not refused(rules, bind(place / "allowed/real"))
    (place / "allowed").chmod(0o777)
    assert "can be written to by others" in refused(rules, bind(place / "allowed/real"))
    (place / "allowed").chmod(0o1777)
    assert not refused(rules, bind(place / "allowed/real")), "the sticky bit keeps others off"
    os.chown(place / "allowed/real", 1000, 1000)
    assert "belongs to user 1000" in refused(rules, bind(place / "allowed/real"))
    os.chown(place / "kolla/web", 1000, 1000)
    assert not refused(rules, bind(place / "kolla/web", "ro")), "a service's folder is its own"
    (place / "kolla").chmod(0o777)
    assert refused(rules, bind(place / "kolla/web", "ro"))


# --- on the engine -------------------------------------------------------------------------------------------------


@pytest.mark.engine
def test_exchanged_before_it_is_made_or_started(engine: Engine, busybox_image: str, name: str, place: Path) -> None:
    engine.admit = judge(place).require
    sleeper = Container(name, busybox_image, command=("sleep", "60"), mounts=(Mount(f"{place}/allowed/real", "/x"),))
    engine.create(sleeper)
    (place / "allowed/real").rename(place / "allowed/was")
    (place / "allowed/real").symlink_to(place / "secret")
    with pytest.raises(errors.Terminal) as caught:
        engine.start(name)
    assert caught.value.reason == "PolicyDenied" and look(engine, sleeper).containers[name].state is State.CREATED
    engine.remove(name)
    with pytest.raises(errors.Terminal):
        engine.create(sleeper)
    assert not engine.exists(name)


@pytest.mark.engine
@pytest.mark.parametrize("again", [False, True])
def test_exchanged_while_it_starts(engine: Engine, busybox_image: str, name: str, place: Path, again: bool) -> None:
    """The engine takes what is there when it starts the container; what was judged was something else: it is stopped."""
    admission, calls = judge(place), 0

    def admit(container: Container, volumes: Mapping[str, Volume], *, paths_only: bool = False) -> Mapping[str, object]:
        nonlocal calls
        calls += 1
        found = admission.require(container, volumes, paths_only=paths_only)
        if paths_only and calls > (3 if again else 1):
            (place / "allowed/real").rename(place / f"allowed/was{calls}")
            (place / "allowed/real").mkdir()
        return found

    engine.admit = admit
    sleeper = Container(name, busybox_image, command=("sleep", "60"), mounts=(Mount(f"{place}/allowed/real", "/x"),))
    engine.create(sleeper)
    if again:
        engine.start(name)
    with pytest.raises(errors.Terminal) as caught:
        engine.restart(name, 0) if again else engine.start(name)
    assert caught.value.reason == "MountExchanged" and str(place / "allowed/real") in str(caught.value)
    assert look(engine, sleeper).containers[name].state is State.EXITED


@pytest.mark.engine
def test_a_folder_that_the_engine_makes_is_no_exchange(engine: Engine, busybox_image: str, name: str) -> None:
    folder = Path(f"/run/{name}")
    engine.admit = Admission(KOLLA, Context()).require
    try:
        engine.create(Container(name, busybox_image, command=("sleep", "60"), mounts=(Mount(str(folder), "/x"),)))
        engine.start(name)
        assert folder.is_dir()
    finally:
        engine.remove(name)
        folder.rmdir()
