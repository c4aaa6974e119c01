"""A change that meets every operation there is, so that each failpoint can be tried by its name: one schedule for each."""

from typing import Final

from reconciler.model import Container, Desired, File, HostSetting, Job, Registrar, Registration, Reload
from tests.faults.schedule import Schedule, Step

# What has to go wrong before a point is met at all: a forge is asked what it shows by who does not know whether it was told.
_WITH: Final = {"forge.find": (("forge.post.lost", 1),), "alert.send": (("engine.healthy.sick", 1),)}
_ALWAYS: Final = {"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS"}


def _container(
    name: str, *, image: str = "image:1", cpu_shares: int = 0, privileged: bool = False, reload: Reload | None = None
) -> Container:
    return Container(
        name, image, environment=_ALWAYS, service="one", network_mode="bridge", config_directory=name, cpu_shares=cpu_shares,
        privileged=privileged, reload=reload,
    )  # fmt: skip


def _site(number: int) -> Desired:
    """Of two sites that have nothing in common but one container, which stays."""
    new = number == 1
    value = "ab"[new]
    containers = [
        _container("still"),
        _container("api", privileged=new),  # replaced
        _container("db"),  # restarted, for its files
        _container("proxy", reload=Reload("HUP")),  # reloaded
        _container("agent", cpu_shares=512 if new else 256),  # updated
        _container("new" if new else "old", image="image:2" if new else "image:1"),
    ]
    files = [
        File("still/x.conf", "a", container="still"),
        File("db/x.conf", value, container="db"),
        File("db/y.conf" if new else "db/z.conf", "a", container="db"),
        File("api/x.conf", value, container="api"),
        File("proxy/x.conf", value, container="proxy", on_change="reload"),
        File("agent/x.conf", "a", 0o640 if new else 0o600, container="agent"),
    ]
    names = ("k", "l" if new else "m")
    return Desired(
        "site", "here", f"r{number}", "/etc/kolla",
        containers=tuple(containers), files=tuple(files),
        jobs=(Job("sync", Container("sync", "image:1", config_directory="sync"), f"i{number}", after=("db",), owner="here"),),
        registrations=tuple(Registration("mariadb", "user", name, {"value": value}, owner="here") for name in names),
        registrars=(Registrar("mariadb", {}, needs=("db",)),),
        host_settings=(HostSetting("sysctl", "net.a", {"live": "1", "boot": "1"}),) if new else (),
        policy={"prune": {"max": 99}, "adoption": "equal"},
    )  # fmt: skip


def tour(name: str, turn: int = 1) -> Schedule:
    """The failpoint is met at its `turn`-th operation, in a process that has just begun, and there and back again."""
    first = Step("pass", deep=True, named=((name, turn), *_WITH.get(name.rpartition(".")[0], ())))
    later = Step("pass", deep=True)
    # What goes wrong with the change is taken back: `engine.healthy.sick` lets previous files be put back.
    back: tuple[Step, ...] = (Step("commit"), Step("restart"), later, Step("hand", "moved aside", "api"), later, later)
    trouble = () if name.startswith("engine.healthy") else (("engine.healthy.sick", 2),)
    second = Step("pass", deep=True, named=trouble) if name.startswith("kept") else later
    if name.startswith("alert"):  # of what is over when the next process looks, and of what has been wrong for a while
        again = Step("pass", deep=True, named=(("engine.healthy.sick", 1),))
        back = (Step("commit"), later, Step("commit", site=1), again, Step("wait"), Step("pass"), *back)
    steps = (Step("commit", site=1), Step("restart"), first, second, *back)
    return Schedule(_site(0), (_site(1),), steps, fleet=name.startswith("etcd"))


# Nothing fails: somebody takes a container over that the next commit does not want, and an operator has everything left as it is for a while.
CALM: Final = Schedule(
    _site(0),
    (_site(1),),
    (
        Step("hand", "taken over", "old"), Step("commit", site=1), Step("suspend"), Step("pass", deep=True), Step("resume"), Step("pass", deep=True),
        Step("hand", "killed", "api"), Step("pass"), Step("commit"), Step("pass", deep=True),
    ),
)  # fmt: skip
