"""What should be on a host."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from reconciler.options.table import Options
from reconciler.options.values import Mount
from reconciler.text import described

OnChange = Literal["restart", "reload", "none"]
START_TIMEOUT: Final = 120.0  # seconds, when a service says nothing else


@dataclass(frozen=True, slots=True)
class Reload:
    """How a running container takes a changed file without a restart: a signal, or a command inside it."""

    signal: str | None = None
    command: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Drain:
    """How a container that others of its kind can stand in for is taken out of use before it is stopped.

    In this order: the containers `stop` of this host, by which load balancers know that it is well, are stopped; `command` runs in it; `wait`
    seconds pass, in which everybody notices; `signal` makes it end by itself once what it began is done, within `timeout` seconds.
    """

    stop: tuple[str, ...] = ()
    command: tuple[str, ...] | None = None
    wait: float = 0.0
    signal: str = ""
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Handover:
    """How a container takes over from its predecessor, which runs until it has: it is started beside that one, `ready` is the command in it
    that succeeds once it serves, and on `signal` the predecessor ends once its connections have, within `timeout` seconds."""

    ready: tuple[str, ...]
    signal: str
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Validation:
    """How an image checks a configuration by itself, before it is put to use. `script`, when there is one, is the file
    `reconciler-check` beside the configuration."""

    command: tuple[str, ...]
    script: str = ""
    timeout: float = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class Container(Options):
    """What the engine should run, and how the program goes about it.

    The options (`options/table.py`) are compared one by one with what the engine reports; what is here steers planning and applying.
    """

    service: str = ""
    kolla: bool = False  # speaks the Kolla image contract (config.json, kolla_set_configs)
    config_directory: str = ""  # below the config root; "" when it has no files
    depends_on: tuple[str, ...] = ()  # containers of any service on this host; absent ones are ignored
    reload: Reload | None = None
    validation: Validation | None = None
    drain: Drain | None = None
    handover: Handover | None = None
    rollback: Literal["auto", "never"] = "auto"
    stability: float = 3.0  # seconds it must stay up after it became healthy
    # Seconds to become healthy. With more than the usual ones a first start, and any that is not rolled back, may fail its check for as long.
    start_timeout: float = START_TIMEOUT
    data_plane: bool = False  # a restart is felt by workloads
    stateful: bool = False  # holds data
    log_files: tuple[str, ...] = ()  # globs inside the container whose last lines explain a failure

    @property
    def may_start_slowly(self) -> bool:
        """Whether its service allows a start more than the usual time, as for a member that first copies a database."""
        return self.start_timeout > START_TIMEOUT


@dataclass(frozen=True, slots=True)
class File:
    """A file below the config root. `content` may hold secret tokens; `secrets` names them.

    `owner` and `group` are numeric ids on the node; `mode` is the permission bits as an int.
    """

    path: str  # "keystone/keystone.conf", relative to Desired.config_root
    content: str
    mode: int = 0o600
    owner: int = 0
    group: int = 0
    container: str = ""  # whose change it is
    service: str = ""
    on_change: OnChange = "restart"
    secrets: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # site and catalogue files it came from, in order of merge
    format: str = ""  # how values of secrets are quoted in it: a name of render/formats.py, "" when nothing says
    stays: bool = False  # what a host has in its place stays, whoever wrote it: `content` is for one that has nothing
    encoding: Literal["", "base64"] = ""  # base64: `content` stands for bytes that are no text, and hold no token

    def __post_init__(self) -> None:
        """Raises ValueError for what is no base64."""
        if self.encoding:
            base64.b64decode(self.content, validate=True)

    @property
    def data(self) -> bytes:
        """The bytes of the file, with tokens in the place of secrets."""
        return base64.b64decode(self.content) if self.encoding else self.content.encode()

    @property
    def shown(self) -> str:
        """What people see of it, and what is compared line by line: its text, or how large it is and its digest."""
        return described(self.data) if self.encoding else self.content


@dataclass(frozen=True, slots=True)
class Job:
    """A one-shot container: done when it exits 0, once per cluster and per changed `inputs`."""

    name: str
    container: Container  # its spec; name is the job's
    inputs: str  # digest of everything whose change asks for another run
    creates: str = ""  # "volume:path": when that exists in the volume, the job counts as done
    timeout: float = 600.0
    before: tuple[str, ...] = ()  # containers of this host that wait for it
    after: tuple[str, ...] = ()  # containers and jobs it waits for
    service: str = ""
    once: Literal["cluster", "host"] = "cluster"
    owner: str = ""  # the host that runs it
    migration: bool = False  # changes a schema: rolling back the image is not safe
    verbatim: bool = False  # what it says is read by a program: as it comes, not what tells most of it
    left: str = ""  # the host that left, which the others forget by it, and
    leaves: str = ""  # what that means for them, for people
    inside: str = ""  # the container in which its command is run, as that runs; "": in one of its own


@dataclass(frozen=True, slots=True)
class Precheck:
    """What is asked before a host goes to another release of OpenStack, and changes nothing.

    A command in a one-shot container of the new image with the new files of `container`; with `inside` in that container as it runs.
    Exit codes of `passes` are good. `mounts` are read-only. `words` say what is asked. With `systems` or `room` nobody but the host
    itself is asked, before anything is pulled: there is no container and no command.
    """

    name: str
    container: str
    command: tuple[str, ...]
    words: str = ""
    script: str = ""
    inside: bool = False
    mounts: tuple[Mount, ...] = ()
    user: str = ""
    passes: tuple[int, ...] = (0,)
    timeout: float = 300.0  # seconds
    service: str = ""
    systems: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # distribution → its versions and code names that are good
    room: bool = False  # whether the engine has room for the images that are to come

    @property
    def of_host(self) -> bool:
        return self.room or bool(self.systems)


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What is done before this host is taken out of use, and undone when it is back: `command` with the words `out` and the reason, or `back`,
    in a one-shot container of the image of `container` with its files. `words` say what it does. Either does nothing where it was done."""

    name: str
    container: str
    command: tuple[str, ...]
    words: str = ""
    script: str = ""
    user: str = ""
    timeout: float = 3600.0  # seconds
    service: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """When a container or job of one host may change, as seen from the others. One node alone shows it and cannot hold it."""

    name: str
    after: tuple[str, ...] = ()  # containers and jobs that every host that has them must have finished with
    at_once: int = 0  # hosts that may change it at the same time; 0: any number
    ready: tuple[str, ...] = ()  # names of checks that have to answer before this host stops it
    address: str = ""  # a virtual one: the host that has it goes after the others
    groups: tuple[str, ...] = ()  # whose hosts have it
    key: str = ""  # what its budget is called, where it is one of several (`each`) or shares another's; "": as itself
    hosts: tuple[str, ...] = ()  # who has the containers of `after`
    jobs: Mapping[str, str] = field(default_factory=dict)  # those of `after`, and who runs each
    implied: bool = False  # the service says nothing of how many at once
    upgrade_after: tuple[str, ...] = ()  # containers that go to another release of OpenStack first, on every host
    upgrade_hosts: tuple[str, ...] = ()  # who has these
    members: tuple[str, ...] = ()  # the hosts that have it, where most of them must run
    upgrade_restart: bool = False  # once every host has gone to another release it is restarted once more
    is_upgrading: bool = False  # this host goes to another release

    @property
    def budget(self) -> str:
        """What hosts hold a place of while they change it."""
        return self.key or self.name

    @property
    def upgrading(self) -> "Order":
        """The same for a host that goes to another release."""
        after, hosts = (*self.after, *self.upgrade_after), (*self.hosts, *self.upgrade_hosts)
        return replace(self, after=tuple(dict.fromkeys(after)), hosts=tuple(dict.fromkeys(hosts)), is_upgrading=True)

    @property
    def words(self) -> str:
        """For a cause."""
        parts = [f"after {', '.join(self.after)} on every host"] if self.after else []
        if self.at_once and not self.implied:
            parts.append(f"at most {self.at_once} host{'s' if self.at_once > 1 else ''} at once")
        if self.upgrade_restart and self.is_upgrading:
            parts.append("restarted once more when every host has it")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Registration:
    """Something another system should know: a database, a user, an endpoint. `fields` may hold secret tokens."""

    kind: str  # its registrar: "mariadb", "rabbitmq", "keystone"; of several of one kind "mariadb@NAME"
    type: str  # "database", "user", "grant", "vhost", "permission", "service", "endpoint", "project", "role", "role_assignment"
    key: str  # identity within kind and type, for example "keystone" or "nova/internal/RegionOne"
    fields: Mapping[str, Any] = field(default_factory=dict)
    service: str = ""
    owner: str = ""  # the host that converges it
    before: tuple[str, ...] = ()  # containers and jobs that wait for it

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.type}:{self.key}"


@dataclass(frozen=True, slots=True)
class Registrar:
    """Where the registrations go that name it as their kind. `connection` may hold secret tokens; needs these containers healthy."""

    kind: str
    connection: Mapping[str, Any]
    needs: tuple[str, ...] = ()


HostKind = Literal["sysctl", "module", "hosts", "file", "bridge", "port", "ovs"]
_ASKED: Final = ("bridge:", "port:", "ovs:")


@dataclass(frozen=True, slots=True)
class HostSetting:
    """Something of the host itself, outside of every container: a kernel setting, a module, a line of /etc/hosts, a file, a bridge.

    `fields` are what is compared, by the name that differences have. It holds no secret.
    """

    kind: HostKind
    name: str  # "net.ipv4.ip_forward", "br_netfilter", a host's name, a path
    fields: Mapping[str, str] = field(default_factory=dict)
    service: str = ""
    before: tuple[str, ...] = ()  # containers and jobs of this host that wait for it
    devices: tuple[str, ...] = ()  # names in /dev that udev looks at again when this file of its rules changes
    inside: str = ""  # the container that is asked for it, which only a deep look does

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}"


def is_asked(setting_id: str) -> bool:
    """Whether a setting of the host, by its id, is one that a container is asked for."""
    return setting_id.startswith(_ASKED)


@dataclass(frozen=True, slots=True)
class HostKept:
    """What a node set on its host, and how it was before: the fields that were known; {} when nothing was there. `earlier` is what it had
    set there when a change was begun that is not known to have come to its end."""

    setting: HostSetting
    before: Mapping[str, str] = field(default_factory=dict)
    earlier: tuple[HostSetting, ...] = ()

    def as_found(self, found: Mapping[str, str]) -> HostSetting:
        """What this node made of it, with the fields that are still of `earlier` as they are found."""
        old = {
            name: found[name] for one in self.earlier for name, value in one.fields.items() if found.get(name) == value
        }
        return replace(self.setting, fields={name: old.get(name, value) for name, value in self.setting.fields.items()})


@dataclass(frozen=True, slots=True)
class Check:
    """A probe that this host makes: exactly one of `http`, `tcp`, `command`, `script` and `login`.

    `login` is a registrar ("mariadb", "keystone", "mariadb@cell2" …); `connection`, which may hold secret tokens, is what a
    new client of it would have. `service` is who answers.
    """

    name: str
    service: str = ""
    http: str = ""  # URL
    tcp: str = ""  # host:port
    container: str = ""  # where `command` or `script` runs
    command: tuple[str, ...] = ()
    script: str = ""  # bash; its last line says what is wrong
    login: str = ""
    connection: Mapping[str, Any] = field(default_factory=dict)
    expect: tuple[int, ...] = ()  # good statuses of http; none: all below 400
    contains: str = ""  # a text that the answer must hold
    timeout: float = 10.0  # seconds
    verify: bool = True  # the server's certificate
    send: str = ""  # a text that tcp begins with
    credentials: str = ""  # a registrar: http asks as its administrator, whose `connection` this then has
    client: str = ""  # the service that logs in; "": whoever rests on `service` is concerned
    advice: str = ""  # what to do when it fails
    watches: tuple[str, ...] = ()  # services it sees from without: it fails because of them
    routine: bool = True  # made all the time; else only where an order names it as `ready`


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be on one host: a pure function of (commit, host, catalogue).

    `revision`, `program` and `catalogue` say of which: a commit, a version of this program, and the digest of what its catalogue
    says (SHA-256, hexadecimal).
    """

    site: str
    host: str
    revision: str
    config_root: str  # absolute path on the node: kolla's node_config
    containers: tuple[Container, ...] = ()
    files: tuple[File, ...] = ()
    jobs: tuple[Job, ...] = ()
    registrations: tuple[Registration, ...] = ()
    registrars: tuple[Registrar, ...] = ()
    registered_elsewhere: tuple[str, ...] = ()  # ids of what other hosts register at these registrars
    checks: tuple[Check, ...] = ()
    readiness: tuple[Check, ...] = ()  # those that are made only where an order names them as `ready`
    orders: tuple[Order, ...] = ()  # of containers and jobs of this host, by name
    host_settings: tuple[HostSetting, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)  # network → address this host must own
    names: Mapping[str, str] = field(default_factory=dict)  # fact → what the machine has to be called
    # name → digest of the ciphertext: shows rotation without a key
    secrets: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)  # of these, what a commit cannot change → what to do instead
    meanwhile: Mapping[str, str] = field(
        default_factory=dict
    )  # of these → what fails while hosts take a changed one into use
    groups: tuple[str, ...] = ()
    policy: Mapping[str, Any] = field(default_factory=dict)  # reconciler.yml, validated, with defaults
    program: str = ""
    catalogue: str = ""
    prechecks: tuple[Precheck, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    release: str = ""  # of OpenStack, as "2026.1"; "": made by a program that did not say
    authorities: str = (
        ""  # certificates (PEM) of the site's own, by which its services are believed beside the usual ones
    )

    @property
    def origin(self) -> tuple[str, str, str]:
        """What it was made of: equal origins make equal desired states."""
        return self.revision, self.program, self.catalogue


def shared_with(container: Container) -> tuple[str, ...]:
    """The containers whose network, process or IPC namespace `container` shares, once each."""
    modes = (container.network_mode, container.pid_mode, container.ipc_mode)
    found = (mode.removeprefix(_OF_CONTAINER) for mode in modes if mode.startswith(_OF_CONTAINER))
    return tuple(dict.fromkeys(found))


_OF_CONTAINER = "container:"
