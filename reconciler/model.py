"""The data every stage passes to the next, as frozen dataclasses: desired state, actual state, plan, outcome.

Desired state holds no secret. Where a rendered text needs one, it holds a *token*, `<<secret:NAME>>`, that is
replaced by the value only when a file is written or a registration made (`render/tokens.py`). So a plan, its
diffs, its JSON and its hash can be shown to anybody, and the planner in CI needs no key.

Everything here converts to and from plain JSON (`codec.py`), because desired state is made in a
child process.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

from reconciler.foreign import said
from reconciler.options.table import Options
from reconciler.options.values import Healthcheck as Healthcheck
from reconciler.options.values import Mount as Mount
from reconciler.options.values import Ulimit as Ulimit
from reconciler.reasons import Blame, Reason
from reconciler.secret import known
from reconciler.text import described, printable

# --- desired state ---------------------------------------------------------------------------------------------

OnChange = Literal["restart", "reload", "none"]


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
    rollback: Literal["auto", "never"] = "auto"
    stability: float = 3.0  # seconds it must stay up after it became healthy
    start_timeout: float = 120.0  # seconds to become healthy
    data_plane: bool = False  # a restart is felt by workloads
    stateful: bool = False  # holds data
    log_files: tuple[str, ...] = ()  # globs inside the container whose last lines explain a failure


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


@dataclass(frozen=True, slots=True)
class Precheck:
    """What is asked before a host goes to another release of OpenStack, and changes nothing.

    A command in a one-shot container of the new image with the new files of `container`; with `inside` in that container as it runs.
    Exit codes of `passes` are good. `mounts` are read-only. `words` say what is asked.
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


@dataclass(frozen=True, slots=True)
class Order:
    """When a container or job of one host may change, as seen from the others. One node alone shows it and cannot hold it."""

    name: str
    after: tuple[str, ...] = ()  # containers and jobs that every host that has them must have finished with
    at_once: int = 0  # hosts that may change it at the same time; 0: any number
    ready: tuple[str, ...] = ()  # names of checks that have to answer before this host stops it
    address: str = ""  # a virtual one: the host that has it goes after the others
    groups: tuple[str, ...] = ()  # whose hosts have it
    key: str = ""  # what it is called on all hosts, where it is one of several (`each`); "": its name
    hosts: tuple[str, ...] = ()  # who has the containers of `after`
    jobs: Mapping[str, str] = field(default_factory=dict)  # those of `after`, and who runs each

    @property
    def budget(self) -> str:
        """What hosts hold a place of while they change it."""
        return self.key or self.name

    @property
    def words(self) -> str:
        """For a cause."""
        parts = [f"after {', '.join(self.after)} on every host"] if self.after else []
        parts += [f"at most {self.at_once} host{'s' if self.at_once > 1 else ''} at once"] if self.at_once else []
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
    """What a node set on its host, and how it was before: the fields that were known; {} when nothing was there."""

    setting: HostSetting
    before: Mapping[str, str] = field(default_factory=dict)


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
    checks: tuple[Check, ...] = ()
    readiness: tuple[Check, ...] = ()  # those that are made only where an order names them as `ready`
    orders: tuple[Order, ...] = ()  # of containers and jobs of this host, by name
    host_settings: tuple[HostSetting, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)  # network → address this host must own
    # name → digest of the ciphertext: shows rotation without a key
    secrets: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)  # of these, what a commit cannot change → what to do instead
    groups: tuple[str, ...] = ()
    policy: Mapping[str, Any] = field(default_factory=dict)  # reconciler.yml, validated, with defaults
    program: str = ""
    catalogue: str = ""
    prechecks: tuple[Precheck, ...] = ()
    release: str = ""  # of OpenStack, as "2026.1"; "": made by a program that did not say

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
VALIDATING = "reconciler-validate-"  # begins the name of a container that checks another one's new configuration
PRECHECKING = "reconciler-precheck-"  # begins the name of a container that checks something before an upgrade
LEFTOVER_SUFFIX = ".reconciler-new"  # ends the name of a file while it is written; what a kill leaves is removed
ASIDE = "reconciler-aside-"


def aside(name: str) -> str:
    """The name a container has while its replacement is being tried."""
    return ASIDE + name


def _clean(value: Any, *fields: str) -> None:
    """For `__post_init__` of what reports are made of: these fields may hold what others said."""
    for name in fields:
        object.__setattr__(value, name, said(getattr(value, name)))


class _Told:
    """What has a `message` that may hold what others said."""

    __slots__ = ()

    def __post_init__(self) -> None:
        _clean(self, "message")


# --- actual state ----------------------------------------------------------------------------------------------


class State(StrEnum):
    """A container's state, Docker's words."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Running:
    """A container as the engine reports it, brought into the same shape as `Container`."""

    spec: Container
    id: str
    image_id: str
    state: State
    started_at: datetime | None
    finished_at: datetime | None = None
    health: Literal["none", "starting", "healthy", "unhealthy"] = "none"
    exit_code: int = 0
    error: str = ""
    pid: int = 0
    restart_count: int = 0
    owned: bool = False  # carries this installation's key
    owner: str = ""  # the key on its label, whoever's; "": it carries none
    explicit: frozenset[str] = frozenset()  # environment keys that the container has and its image does not
    out_of_memory: bool = False  # the kernel ended it, because it had used up what it may

    @property
    def ended(self) -> str:
        """With which code its process ended, and why where the engine knows."""
        why = ": the kernel killed it, because it had used up its memory (`mem_limit`)" if self.out_of_memory else ""
        return f"code {self.exit_code}{why}"


@dataclass(frozen=True, slots=True)
class Volume:
    """A named volume that the engine has. `owned` and `owner` as in Running; `options` are its driver's."""

    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    owned: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """An image the engine has. `defaults` is the part of its config that containers inherit."""

    id: str
    digests: tuple[str, ...] = ()  # "registry/name@sha256:…"
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    user: str = ""
    working_dir: str = ""
    stop_signal: str | None = None
    healthcheck: Healthcheck | None = None


@dataclass(frozen=True, slots=True)
class FileState:
    """A file on disk. `content` is None when it was too large to be one of ours (then it differs)."""

    content: bytes | None
    mode: int
    owner: int
    group: int
    modified: datetime
    kind: Literal["file", "directory", "symlink", "other"] = "file"


@dataclass(frozen=True, slots=True)
class Actual:
    """What is there now. Everything that could not be read is missing from the maps *and* named in `unknown`."""

    containers: Mapping[str, Running]
    images: Mapping[str, Image]  # by the reference that desired state uses
    files: Mapping[str, FileState]  # path relative to the config root
    volumes: frozenset[str] = frozenset()  # those that are ours
    # Every volume of the engine by name, as far as this pass looked.
    engine_volumes: Mapping[str, Volume] = field(default_factory=dict)
    stale: Mapping[str, str] = field(default_factory=dict)  # container → what kolla_set_configs --check said
    # Registration.id → fields as observed; None: does not exist. Absent: not observed in this pass.
    registrations: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    # Registration.id → the identifier that the registrar gave it, as last found. Absent: not known, or it does not exist.
    identifiers: Mapping[str, str] = field(default_factory=dict)
    # HostSetting.id → its fields as they are. Absent: not observed.
    host_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    created: frozenset[str] = frozenset()  # Job.name whose `creates` is there
    units: frozenset[str] = frozenset()  # kolla-ansible's systemd units: container names
    unknown: Mapping[str, str] = field(default_factory=dict)  # item → why it could not be read
    deep: bool = False  # whether stale and registrations were looked at


@dataclass(frozen=True, slots=True)
class JobResult(_Told):
    """What the node remembers of a job's last run."""

    inputs: str
    succeeded: bool
    finished_at: datetime
    message: str = ""
    claim: str = ""  # the nonce with which it was claimed for the cluster


@dataclass(frozen=True, slots=True)
class Asked(_Told):
    """When a check before an upgrade was made last, for which release and commit, and what it found; "": it passed."""

    release: str
    revision: str
    at: datetime
    message: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """With what a container was last (re)started here: lets a half-done apply be finished, never repeated."""

    id: str
    started_at: datetime | None
    files: str  # digest of the bound contents of its files


@dataclass(frozen=True, slots=True)
class Failure(_Told):
    """Why a container did not take a change. `again`: when to try once more at the latest."""

    reason: Reason
    message: str
    blames: Blame
    again: datetime
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Interruption:
    """How long a container did not answer when it was restarted or replaced on one host: the median of the last `times` times."""

    seconds: float
    times: int


@dataclass(frozen=True, slots=True)
class AsMade:
    """How a container was when it was taken over as another tool had made it: its id, the digest of all that was asked of it then,
    the options that differed from that, and path → digest of every file of its folder, or wanted there ("": absent)."""

    id: str
    part: str
    differences: tuple["Difference", ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OtherTool:
    """That the tool from which containers were taken over manages them again: how many times it was at work, when it last took one
    back, which ones that time, and which it has now."""

    runs: int
    last: datetime
    containers: tuple[str, ...]
    holding: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """What the node remembers between cycles, as planning needs it."""

    applied: Mapping[str, Applied] = field(default_factory=dict)
    jobs: Mapping[str, JobResult] = field(default_factory=dict)
    quarantine: Mapping[str, str] = field(default_factory=dict)  # container → digest of the desired part that failed
    failures: Mapping[str, Failure] = field(default_factory=dict)  # container → why it is in quarantine
    last_good: Desired | None = None
    registered: tuple[Registration, ...] = ()  # what this node registered, to see what is no longer wanted
    host_settings: Mapping[str, HostKept] = field(default_factory=dict)  # by id: what this node set on its host
    # `kind:target` as in Actual.unknown → what still differed right after the action that should have put it right.
    unachieved: Mapping[str, tuple["Difference", ...]] = field(default_factory=dict)
    # Container → the checks that answered before the change that it has to prove itself after.
    answered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    revision: str = ""  # revision of the last complete apply; tells drift from change
    # Container → seconds that it took to become healthy, the longest of late.
    took: Mapping[str, float] = field(default_factory=dict)
    # Files that this node has written whole, and never with a secret since: what is on the disk may be shown.
    plain: frozenset[str] = frozenset()
    # Container → seconds from when it was stopped until it answered, of its last restarts and replacements, the newest last.
    interruptions: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    # Container that was taken over → the unit of another tool that ran it ("": none).
    taken: Mapping[str, str] = field(default_factory=dict)
    as_made: Mapping[str, AsMade] = field(default_factory=dict)
    other_tool: OtherTool | None = None
    prechecks: Mapping[str, Asked] = field(default_factory=dict)  # by name: those before an upgrade
    schema_release: str = ""  # the newest release of OpenStack of which a schema migration was begun here; "": none was


# --- plan ------------------------------------------------------------------------------------------------------


class Verb(StrEnum):
    """What an action does."""

    PULL = "pull"
    VALIDATE = "validate"
    PRECHECK = "precheck"
    WRITE = "write"
    CHMOD = "chmod"
    DELETE = "delete"
    CREATE = "create"
    REPLACE = "replace"
    RENAME = "rename"
    UPDATE = "update"
    RESTART = "restart"
    RELOAD = "reload"
    START = "start"
    STOP = "stop"
    REMOVE = "remove"
    ADOPT = "adopt"
    RUN = "run"
    REGISTER = "register"
    UNREGISTER = "unregister"
    SET = "set"
    RESET = "reset"


RUNNING_CONFIGURATION: Final = (
    "running configuration"  # the field that differs when what runs has not got what its files say
)
# What is felt, or cannot be undone, when an action is carried out.
Hazard = Literal["data-plane", "stateful", "deletion", "prune", "migration", "image", "secret", "host"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs. Values are printable: secrets are shown as tokens."""

    field: str
    desired: str
    actual: str

    def __post_init__(self) -> None:
        _clean(self, "actual")

    @property
    def inside(self) -> bool:
        """Whether only a look into the container shows it."""
        return self.field == RUNNING_CONFIGURATION


@dataclass(frozen=True, slots=True)
class Action:
    """One engine or file operation, with its cause. `id` is `verb:target`, unique in a plan."""

    verb: Verb
    target: str  # container, path, image, job, registration id
    cause: str
    needs: tuple[str, ...] = ()  # ids of actions that must have succeeded before
    container: str = ""  # whose rollback covers it
    service: str = ""
    drift: bool = False
    differences: tuple[Difference, ...] = ()
    diff: str = ""  # unified diff of a file, redacted
    risks: tuple[Hazard, ...] = ()
    disables: str = ""  # the systemd unit of another tool that starts the container as well
    origin: str = ""  # another program that asks for this change: "reconciler 0.3.1 → 0.3.2"; "": a commit does
    claim: str = ""  # of a job that the cluster runs once: the nonce of its record among the hosts

    def __post_init__(self) -> None:
        _clean(self, "cause")
        if self.diff:  # whoever shows it makes it printable: it may be long
            object.__setattr__(self, "diff", known()(self.diff))

    @property
    def id(self) -> str:
        return f"{self.verb}:{self.target}"

    @property
    def line(self) -> str:
        """The one line that the CLI, the log, the merge-request note and the tests all show."""
        cause = f"{self.origin}: {self.cause}" if self.origin else self.cause
        return printable(f"{self.verb:<10} {self.target}  ({cause})")


@dataclass(frozen=True, slots=True)
class Held(_Told):
    """Something that differs and that nothing will be done about, and why."""

    target: str
    reason: Reason
    message: str
    differences: tuple[Difference, ...] = ()
    drift: bool = False
    acknowledge: tuple[str, ...] = ()  # the containers that reconciler.yml would have to acknowledge, all of them


@dataclass(frozen=True, slots=True)
class InFlight:
    """An action that is under way: on what, what it is at ("waiting for keystone to become healthy"), and since when."""

    target: str
    text: str
    since: datetime
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in an order in which they could be carried out one by one, and what is held back."""

    host: str
    revision: str
    actions: tuple[Action, ...] = ()
    held: tuple[Held, ...] = ()
    leftovers: tuple[str, ...] = ()  # volumes that nothing uses any more; never removed
    program: str = ""  # how the program is another one than what was carried out last, or the base, was made by

    @property
    def empty(self) -> bool:
        return not self.actions


# --- outcome ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome(_Told):
    """What became of one action."""

    action: Action
    result: Literal["done", "failed", "skipped", "rolled-back", "unknown"]
    reason: Reason | None = None
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CheckResult(_Told):
    """How a check went; `message` says what was wrong."""

    name: str
    service: str
    ok: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Condition(_Told):
    """What the node says about itself. `type` is Ready, Reconciling, Stalled, Drifted or Suspended."""

    type: str
    status: bool
    reason: Reason
    message: str
    since: datetime
    revision: str = ""
