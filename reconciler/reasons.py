"""Every reason that the program gives, in one closed set: what it means, what to do, and how the program takes it.

A reason is the one word that conditions, statuses, the log, metrics, alerts and errors share. Members are spelt as operators read
them, so that a search for a word finds its places. docs/operations.md's tables are generated from here (`make docs`).

What another version of the program wrote, or a stranger said, is read with `read`: a word that is not in the set stays that word, and
nothing is known of it.
"""

import re
from enum import StrEnum
from typing import Final


class Again(StrEnum):
    """Whether the next pass tries by itself; else it waits for a commit or for an operator."""

    YES = "yes"
    RARELY = "yes, rarely"
    NO = "no"
    NOTHING = ""  # nothing failed, so there is nothing to try


class Blame(StrEnum):
    """Whose fault it is that a container did not take a change."""

    CONFIGURATION = "its configuration"
    HOST = "the host"
    SERVICE = "another service"


class Standing(StrEnum):
    """What a reason says of the node that gives it."""

    WELL = "well"
    HARMLESS = "harmless"  # left as it is on purpose and for good: the node counts as converged all the same
    WAITING = "waiting"  # on purpose too, and it will end: the node is not ready, and not stalled
    WRONG = "wrong"


class Chapter(StrEnum):
    """The headings below which docs/operations.md explains the reasons, in its order."""

    STATE = "Well, or held back on purpose"
    FLEET = "Many hosts"
    REPOSITORY = "The repository"
    TRUST = "Trust"
    SITE = "The site"
    SECRETS = "Secrets"
    ENGINE = "Engine, images, containers"
    REGISTRATIONS = "Registrations"
    FILES = "Files and state"
    REPORTING = "Reporting"
    REPORTS = "Reports of hosts, as a reporter sees them"
    PROGRAM = "The program itself"


_INTRODUCED: Final = {
    Chapter.FLEET: "What the other hosts of the site have a part in ([fleet](fleet.md)). What was last carried out is kept up meanwhile.",
    Chapter.REPORTS: "A host with one of these is `unknown`, never converged.",
}
# What a container waits for, by who is to blame; before it, what else counts as that one's fault.
_WAITS: Final = {
    Blame.CONFIGURATION: ("", "a commit: `Quarantined`"),
    Blame.HOST: (
        "",
        "the host: tried again as soon as the port is free, the folder, device or program there, the disk not full; "
        "else after 1, 2, 4 … 60 minutes",
    ),
    Blame.SERVICE: (
        "; the first row's reasons when the configuration before does not work any more either",
        "the same pauses",
    ),
}
_APIS: Final = ("Git", "Engine", "Registry", "Forge", "Sops", "Etcd")  # reasons about these begin with their names
_WORD: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")


class Reason(StrEnum):
    """Why something is as it is, or was not done. `meaning` and `advice` are Markdown, of one line.

    `blames` says who is at fault when an action on a container fails for it; None: no such action does.
    """

    chapter: Chapter
    again: Again
    meaning: str
    advice: str
    blames: Blame | None
    standing: Standing

    def __new__(
        cls, word: str, chapter: Chapter, again: Again, meaning: str, advice: str, *marks: Blame | Standing
    ) -> "Reason":
        self = str.__new__(cls, word)
        self._value_ = word
        self.chapter, self.again, self.meaning, self.advice = chapter, again, meaning, advice
        self.blames = next((mark for mark in marks if isinstance(mark, Blame)), None)
        self.standing = next((mark for mark in marks if isinstance(mark, Standing)), Standing.WRONG)
        return self

    @property
    def harmless(self) -> bool:
        """Whether what is held back for it may stay so for good: the node counts as converged."""
        return self.standing is Standing.HARMLESS

    @property
    def tried_again(self) -> bool:
        """Whether the program tries again by itself."""
        return self.again in (Again.YES, Again.RARELY)

    @property
    def api(self) -> str:
        """Whom it was that did not do as asked: "git", "engine", "registry", "forge", "sops", "etcd", or "other"."""
        return next((name.lower() for name in _APIS if self.startswith(name)), "other")

    # fmt: off

    Converged = "Converged", Chapter.STATE, Again.NOTHING, "everything is as the revision says", "nothing", Standing.WELL
    UpToDate = "UpToDate", Chapter.STATE, Again.NOTHING, "the newest commit is in force", "nothing", Standing.WELL
    InStep = "InStep", Chapter.STATE, Again.NOTHING, "no unhealed drift", "nothing", Standing.WELL
    NotStalled = "NotStalled", Chapter.STATE, Again.NOTHING, "nothing that is in force waits for a commit or for you", "nothing", Standing.WELL
    Active = "Active", Chapter.STATE, Again.NOTHING, "not suspended", "nothing", Standing.WELL
    PrecheckPending = "PrecheckPending", Chapter.STATE, Again.YES, "an upgrade of OpenStack waits for the checks before it, which this pass makes", "nothing: the next pass goes on", Standing.WAITING
    Suspended = "Suspended", Chapter.STATE, Again.YES, "an operator suspended this node", "`reconciler resume`", Standing.WAITING
    ReportOnly = "ReportOnly", Chapter.STATE, Again.YES, "the settings say `mode = report`: nothing is changed", 'set `mode = "apply"` to change things', Standing.WAITING
    AsMade = "AsMade", Chapter.STATE, Again.NO, "a container, or its files, are other than the site says, and stay as another tool made them (`adoption: as-made`) until a change of the site reaches the container; the node counts as converged", "nothing; or see [Changing what stayed as it was made](migrating.md#changing-what-stayed-as-it-was-made)", Standing.HARMLESS
    OtherTool = "OtherTool", Chapter.STATE, Again.YES, "kolla-ansible was at work on this host again after its containers were taken over, for the second time: nothing is changed, so that the two do not undo each other's work", "find out who runs it (`last`, the journal, CI), decide which of the two manages this host, then `reconciler resume`, or `reconciler node remove`"
    Branch = "Branch", Chapter.STATE, Again.NOTHING, "the revision is from the branch", "nothing", Standing.WELL
    TestingBranch = "TestingBranch", Chapter.STATE, Again.NOTHING, "this host tries its testing branch", "merge it, or delete the branch", Standing.WELL
    TestingBranchBehind = "TestingBranchBehind", Chapter.STATE, Again.NO, "the testing branch does not contain the accepted commit, so it is not tried", "rebase it"
    Progressing = "Progressing", Chapter.STATE, Again.YES, "something is in flight: a container is being proved, a job runs, an image is pulled; the message says what is waited for and for how long. Seen by a reporter: the host does not have the newest commit yet, or a pass is under way", "nothing", Standing.WAITING
    Idle = "Idle", Chapter.STATE, Again.NOTHING, "nothing is in flight", "nothing", Standing.WELL
    InFlight = "InFlight", Chapter.STATE, Again.YES, "this is being changed or proved already, or needs something that is; drift elsewhere is healed meanwhile, and a newer commit takes over", "nothing: it goes on when that has ended", Standing.WAITING
    WaitsForHealth = "WaitsForHealth", Chapter.STATE, Again.YES, "a job waits for a container that it comes after: the engine has started that anew, and it is not healthy yet. What needs the job waits as well", "nothing when it was just started; else mend the container that the message names", Standing.WAITING
    Superseded = "Superseded", Chapter.STATE, Again.YES, "a newer commit took over before this was begun, or before it had proved itself", "nothing: the newer commit is carried out"
    OutsideWindow = "OutsideWindow", Chapter.STATE, Again.YES, "changes wait for a maintenance window, or for the end of a freeze; the message says until when", "nothing, or change `windows:` in reconciler.yml", Standing.WAITING
    ProgramPinned = "ProgramPinned", Chapter.STATE, Again.YES, "the site asks for another version of this program (`requires:` in reconciler.yml): what was last carried out is kept up, and nothing else is changed", "install a version that it allows, or change `requires:`", Standing.WAITING
    Drift = "Drift", Chapter.STATE, Again.YES, "something drifted and was not healed", "`reconciler drift`"
    NotAnswering = "NotAnswering", Chapter.STATE, Again.YES, "a check of a service fails (after a change it had 30 s), or, as the outcome of an action, what answered before a change did not after it", "the message names the check, what it says, and what to do; what is only because of it comes after it", Blame.CONFIGURATION
    DriftReported = "DriftReported", Chapter.STATE, Again.YES, "drift that the site wants reported, not healed; a commit that asks nothing else of the item leaves it as it is", "undo it on the host, commit it, or set the drift mode to `heal`", Standing.WAITING
    DriftReturns = "DriftReturns", Chapter.STATE, Again.YES, "what works was interrupted five times within an hour to put drift right, and drifted again: something undoes what the node does, so it is left as it is until the hour is over", "find what changes it (`reconciler events`, `reconciler drift`), and end that, or commit what it wants; `reconciler retry CONTAINER` heals it at once"
    HoldsData = "HoldsData", Chapter.STATE, Again.NO, "no longer wanted, but it holds data (a volume, a database)", "remove it by hand when you are sure", Standing.HARMLESS
    StillNeeded = "StillNeeded", Chapter.STATE, Again.YES, "the password of a user before the present one, or a user that the site names no more: hosts that have not carried out the commit yet are let in with it, so it stays until the last one has; the node counts as converged", "nothing; `reconciler fleet status` says who is missing. A host that is gone for good: `reconciler fleet excuse HOST --reason …`", Standing.HARMLESS
    Quarantined = "Quarantined", Chapter.STATE, Again.NO, "this configuration did not become healthy here and was rolled back; the message says why. See [Who is to blame](#who-is-to-blame)", "push a commit that changes it, or `reconciler retry`"
    PruneGuard = "PruneGuard", Chapter.STATE, Again.NO, "more containers would be removed than `prune.max` allows", "check that the commit means it; then add the line that the message gives to `acknowledge:` in reconciler.yml ([Removing more than that](review.md#removing-more-than-prunemax)). When the site describes nothing at all for the host, `prune.max` does not count: put the host back into its groups, or remove its containers by hand"
    PruneReported = "PruneReported", Chapter.STATE, Again.NO, "no longer part of the site, and left alone because `prune.mode` is `report`; the node counts as ready", "remove it by hand, or set it to `remove`", Standing.HARMLESS
    NotAchievable = "NotAchievable", Chapter.STATE, Again.NO, "it was asked for and done, and right afterwards the engine, or the disk, still showed something else; the message says the field, what was asked for and what it became. It is not tried again for this", "ask for what this host can do, or mend the host and `reconciler retry CONTAINER`", Standing.HARMLESS
    Foreign = "Foreign", Chapter.STATE, Again.NO, "a file in a container's folder that this program did not write, or that somebody edited since it was no longer wanted; it stays, and the node counts as ready", "see [Whose files, whose containers](#whose-files-whose-containers)", Standing.HARMLESS
    NotOwned = "NotOwned", Chapter.STATE, Again.NO, "a container of this name was made by another tool, and differs or the site says `adoption: never`; or it, or a volume, belongs to another installation of this program", "remove it, or set `adoption`; the message says what else", Blame.HOST
    PolicyDenied = "PolicyDenied", Chapter.STATE, Again.NO, "the commit asks for what this host's settings do not allow", "change the commit, or `[policy]` in the node's settings", Blame.HOST
    NoRevision = "NoRevision", Chapter.STATE, Again.YES, "no commit was ever accepted here", "see the source's reason beside it; `reconciler reconcile`"
    Interrupted = "Interrupted", Chapter.STATE, Again.YES, "the program was asked to end before everything was done; a container that was being proved stays as it is", "nothing: the next start goes on", Blame.HOST
    DependencyFailed = "DependencyFailed", Chapter.STATE, Again.YES, "something it needs failed", "see the reason of that", Blame.SERVICE
    Busy = "Busy", Chapter.STATE, Again.YES, "another cycle, or another process of this program, is at it", "wait"
    Unknown = "Unknown", Chapter.STATE, Again.YES, "something could not be observed, so nothing is done about it, and nobody can say that it is well: the node is not ready, and `Drifted` is unknown", "see its message"

    WaitsForWave = "WaitsForWave", Chapter.FLEET, Again.YES, "the rollout has not come to this host yet: its wave is not open, another host goes first, or the commit being rolled is a newer one; what was last carried out is kept up", "nothing; `reconciler fleet status` shows how far the rollout is", Standing.WAITING
    WaitsForBudget = "WaitsForBudget", Chapter.FLEET, Again.YES, "as many members as may be unproven at once are so already, or the others are not ready; the message names who holds the place, or what is not ready", "nothing, or mend what it names; `reconciler fleet status` shows every place", Standing.WAITING
    WaitsForOthers = "WaitsForOthers", Chapter.FLEET, Again.YES, "something comes first on another host: a job that the cluster runs once, a changed password that it registers, or what `after` of a container or job names; the message says what, and where", "nothing, or mend what it names; a host that began a job and is gone for good: `reconciler fleet release JOB --reason …`", Standing.WAITING
    RolloutHalted = "RolloutHalted", Chapter.FLEET, Again.YES, "the rollout of this commit was halted, by a host on which it failed, by silence, or by an operator: nothing more of it begins anywhere", "push a commit that mends it (it begins at the canaries and at the host that failed), or `reconciler fleet resume --reason …`", Standing.WAITING
    EtcdUnavailable = "EtcdUnavailable", Chapter.FLEET, Again.YES, "etcd, through which the hosts agree, does not answer: what stops nothing goes on, and so does what holds a permit; new permits are not given", "look at etcd's members: `reconciler fleet status` says what each endpoint answers", Standing.WAITING

    GitUnreachable = "GitUnreachable", Chapter.REPOSITORY, Again.YES, "no connection", "check the network, name resolution and that the server runs"
    GitTimeout = "GitTimeout", Chapter.REPOSITORY, Again.YES, "the server is too slow or hangs", "look at the server and the network in between; `git.timeout` and `git.deadline` say how long to wait"
    GitServerError = "GitServerError", Chapter.REPOSITORY, Again.YES, "the server answers 5xx, or ends while it sends commits", "see the server's own log, and run `git fsck` there"
    GitRateLimited = "GitRateLimited", Chapter.REPOSITORY, Again.YES, "too many requests", "poll less often (`daemon.interval`), or raise the server's limit"
    GitProtocolError = "GitProtocolError", Chapter.REPOSITORY, Again.YES, "what answers is no git server", "check that the URL is a git repository's and that no proxy or login page answers in its place"
    GitCertificateInvalid = "GitCertificateInvalid", Chapter.REPOSITORY, Again.NO, "the server's certificate is not trusted", "give the CA that signed it as `git.ca_file`, or renew the server's certificate; expired or not valid yet: is this host's clock right (`reconciler doctor --only clock`)"
    GitHostKeyUnknown = "GitHostKeyUnknown", Chapter.REPOSITORY, Again.NO, "the SSH host key is not in `known_hosts`", "get the server's key over a channel you trust and add it to known_hosts (ssh-keyscan prints it)"
    GitHostKeyChanged = "GitHostKeyChanged", Chapter.REPOSITORY, Again.NO, "the SSH host key is another one than before", "if the server was really reinstalled, replace its line in known_hosts; else somebody is in between"
    GitAuthFailed = "GitAuthFailed", Chapter.REPOSITORY, Again.NO, "token or key wrong, expired or revoked", "the token or key is wrong, expired or revoked: put a valid one in its file"
    GitForbidden = "GitForbidden", Chapter.REPOSITORY, Again.NO, "the credential may not read this repository", "the credential is valid but may not read this repository: give it read_repository rights"
    GitNotFound = "GitNotFound", Chapter.REPOSITORY, Again.NO, "no such repository, or not for this credential", "check the URL; servers also say this to a credential that may not see the repository"
    GitEmptyRepository = "GitEmptyRepository", Chapter.REPOSITORY, Again.NO, "there is no commit", "push a commit; if there was one, its branch was deleted: push it again, or restore the repository"
    GitBranchMissing = "GitBranchMissing", Chapter.REPOSITORY, Again.NO, "there is no such branch; where one was accepted before, it was deleted", "push the branch, or correct `git.branch` in the settings"
    GitRemoteInvalid = "GitRemoteInvalid", Chapter.REPOSITORY, Again.NO, "the settings for the repository cannot be used", "correct `[git]` in the settings"
    GitObjectCorrupt = "GitObjectCorrupt", Chapter.REPOSITORY, Again.YES, "the local clone is damaged (it is fetched anew by itself), or the server's repository is", "if its repository is damaged, run `git fsck` there and look at its log; the node keeps to what it has"
    RepositoryUnusable = "RepositoryUnusable", Chapter.REPOSITORY, Again.YES, "the local clone cannot be opened", "as above; disk and permissions of the state directory"
    RevisionUnknown = "RevisionUnknown", Chapter.REPOSITORY, Again.NO, "no such commit in the clone", "check the name; fetch"
    CommitMalformed = "CommitMalformed", Chapter.REPOSITORY, Again.NO, "a commit or tree that git would not make", "find out who pushed it, and with what"
    SitePathMissing = "SitePathMissing", Chapter.REPOSITORY, Again.NO, "the commit has no such folder", "`git.path` in the settings"

    HistoryRewritten = "HistoryRewritten", Chapter.TRUST, Again.NO, "the branch no longer descends from the accepted commit", "find out who pushed with force; if it was meant, `reconciler anchor accept REVISION --reason …`"
    SignatureMissing = "SignatureMissing", Chapter.TRUST, Again.NO, "the newest commit is not signed", "sign it; see `trust.signatures`"
    SignatureMalformed = "SignatureMalformed", Chapter.TRUST, Again.NO, "its signature cannot be read, or there are several", "sign again with plain git"
    SignatureInvalid = "SignatureInvalid", Chapter.TRUST, Again.NO, "the signature does not belong to this content", "treat as an attack until explained"
    SignerNotAllowed = "SignerNotAllowed", Chapter.TRUST, Again.YES, "valid, but nobody this node trusts", "add the signer to `trust.allowed_signers` (or `gpg_keys`), or revert"
    SignaturePolicyInvalid = "SignaturePolicyInvalid", Chapter.TRUST, Again.NO, "the node's own trust settings cannot be used", "correct `[trust]` and the files it names"

    SiteInvalid = "SiteInvalid", Chapter.SITE, Again.NO, "the site has problems; all are listed with file and line", "mend them; `reconciler validate` shows them before a push"
    BaseInvalid = "BaseInvalid", Chapter.SITE, Again.NO, "the revision to compare with is not valid itself", "another `--base`, or `--base nothing`"
    HostUnknown = "HostUnknown", Chapter.SITE, Again.NO, "the inventory has no such host; nothing is changed", "the inventory, or `host` in the settings"
    ServiceUnknown = "ServiceUnknown", Chapter.SITE, Again.NO, "there is no such service", "the name"
    SecretMissing = "SecretMissing", Chapter.SITE, Again.NO, "a password that is used has no value", "`reconciler secrets generate`, or fill it in"
    SecretUnknown = "SecretUnknown", Chapter.SITE, Again.NO, "no service knows a password of that name", "the name"
    ImagesNotBuilt = "ImagesNotBuilt", Chapter.SITE, Again.NO, "an image that the site builds itself was not built, not pushed, or not pinned (`images build`)", "what kolla-build says; the logs that the message names"
    SecretIncomplete = "SecretIncomplete", Chapter.SITE, Again.NO, "a password of several parts lacks some", "`reconciler secrets generate`"
    RotationRefused = "RotationRefused", Chapter.SITE, Again.YES, "the commit changes what a service keeps from its first start on (`grafana_admin_password`, `barbican_crypto_key`; `secrets rotate` says of which), and the new one is not let in; nothing was touched", "what the message says: change it on the server first. The node then accepts the commit by itself"
    ReleaseStepRefused = "ReleaseStepRefused", Chapter.SITE, Again.NO, "the commit takes `openstack_release` back, or further than OpenStack supports in one step; nothing was touched", "what the message says; see [Upgrading](upgrading.md)"
    QuorumRefused = "QuorumRefused", Chapter.SITE, Again.NO, "the commit takes so many members out of a cluster that those that stay would be no majority; nothing was touched", "let them leave one commit after the other, or say `quorum` under `accept` if all of them run meanwhile; see [A host that leaves](#a-host-that-leaves)"
    ReleaseUnknown = "ReleaseUnknown", Chapter.SITE, Again.NO, "the installed program's catalogue does not know this release of OpenStack", "one of those that the message lists, or a newer program"
    SecretConflict = "SecretConflict", Chapter.SITE, Again.NO, "a password is given in two places", "keep one"
    LimitExceeded = "LimitExceeded", Chapter.SITE, Again.NO, "the site needs more memory or time than reading it may take", "make it smaller; look for a loop in a template"
    ChildFailed = "ChildFailed", Chapter.SITE, Again.YES, "the child process that reads the site died, or answered what it never should", "its message; a defect if it stays"
    WallMissing = "WallMissing", Chapter.SITE, Again.NO, "the kernel gives children no wall, so nothing of a stranger is looked at", "`reconciler doctor --only walls`; allow the system calls that the message names, or [lower it](security.md#the-two-walls)"
    DeadlineExceeded = "DeadlineExceeded", Chapter.SITE, Again.YES, "something did not end in time and was stopped", "its message says what"
    OutputNotEmpty = "OutputNotEmpty", Chapter.SITE, Again.NO, "a folder to write into holds something", "another folder"
    AnswerInvalid = "AnswerInvalid", Chapter.SITE, Again.NO, "an answer to `reconciler init` cannot be used", "its message says how to write it; nothing was made"
    ImportImpossible = "ImportImpossible", Chapter.SITE, Again.NO, "what `reconciler import` was given cannot be read", "its message; nothing was made"
    GitFailed = "GitFailed", Chapter.SITE, Again.NO, "`reconciler init --git` made the site, and git would not commit it", "its message; commit it yourself"
    FileUnwritable = "FileUnwritable", Chapter.SITE, Again.NO, "a report of a CI job cannot be written", "the path and its permissions"
    FileUnreadable = "FileUnreadable", Chapter.SITE, Again.NO, "a file that a CI job is given cannot be read, or is not what it should be", "the path and its permissions; what wrote it"

    SopsNoKey = "SopsNoKey", Chapter.SECRETS, Again.YES, "no key on this node decrypts the file", "add the node as recipient (`reconciler secrets recipients add`), or put its key in place"
    SopsTampered = "SopsTampered", Chapter.SECRETS, Again.NO, "a value was altered after it was encrypted", "treat as an attack until explained; restore it from history"
    SopsMacMismatch = "SopsMacMismatch", Chapter.SECRETS, Again.NO, "a key was added or removed without sops", "edit with `sops` only; restore it from history"
    SopsNotEncrypted = "SopsNotEncrypted", Chapter.SECRETS, Again.NO, "the file holds plain text", "encrypt it, **and rotate what was in it**"
    SopsNotText = "SopsNotText", Chapter.SECRETS, Again.NO, "a value is a number, a date or true/false: sops may have respelled it (`0123` → `83`)", "`sops edit`, and put it in quotes as it is meant"
    SecretUnwritable = "SecretUnwritable", Chapter.SECRETS, Again.NO, "the format of a file has no spelling for a secret at its place", "its message: another value, another filter, or `format:` for the file; `reconciler secrets check` with a key tells before"
    SopsNoRecipients = "SopsNoRecipients", Chapter.SECRETS, Again.NO, "`.sops.yaml` names no recipient for the file", "add a creation rule"
    SopsRemoteKey = "SopsRemoteKey", Chapter.SECRETS, Again.NO, "the file, or the `.sops.yaml` it would be made by, names a key service or a plugin; only age is supported", "treat as an attack unless it is yours; encrypt it for age recipients"
    SopsFailed = "SopsFailed", Chapter.SECRETS, Again.YES, "sops failed in another way", "its message"
    ProgramMissing = "ProgramMissing", Chapter.SECRETS, Again.YES, "a program is not installed", "install it; `secrets.program` for sops"

    EngineUnreachable = "EngineUnreachable", Chapter.ENGINE, Again.YES, "the Docker Engine does not answer", "`systemctl status docker`; `engine.url`", Blame.HOST
    EngineUnsupported = "EngineUnsupported", Chapter.ENGINE, Again.YES, "what answers at `engine.url` is no Docker Engine, as Podman is none, or one before 20.10; nothing is asked of it", "Docker Engine 20.10 or later, and its socket in `engine.url`", Blame.HOST
    EngineTimeout = "EngineTimeout", Chapter.ENGINE, Again.YES, "it runs and hangs, or is overloaded: it did not answer in time; the next cycle looks what became of it", "`journalctl -u docker`, load and disk; `engine.timeout`", Blame.HOST
    DependencyNotAnswering = "DependencyNotAnswering", Chapter.ENGINE, Again.YES, "a change cannot be judged: what answered before it does not, and neither does something that it rests on. The change stays as it is and is judged again in the next pass", "mend what the message names", Blame.SERVICE
    ConfigInvalid = "ConfigInvalid", Chapter.ENGINE, Again.NO, "the image's own checker refuses a new configuration; nothing of it was put to use, the service runs as before", "its message says where; mend the setting or the override in the site", Blame.CONFIGURATION
    PrecheckFailed = "PrecheckFailed", Chapter.ENGINE, Again.YES, "a check before an upgrade of OpenStack failed; nothing of the upgrade was done on this host", "what its message says; or answer for it in reconciler.yml ([Upgrading](upgrading.md#prechecks))", Blame.SERVICE
    EngineRefused = "EngineRefused", Chapter.ENGINE, Again.YES, "it refuses, in its own words", "its message", Blame.CONFIGURATION
    ExecFailed = "ExecFailed", Chapter.ENGINE, Again.YES, "a command could not be run inside a container", "its message; is the container healthy", Blame.HOST
    ImageNotFound = "ImageNotFound", Chapter.ENGINE, Again.NO, "no such image or tag", "name and tag; has it been pushed", Blame.CONFIGURATION
    PullFailed = "PullFailed", Chapter.ENGINE, Again.YES, "a pull failed in another way", "its message", Blame.SERVICE
    DigestMismatch = "DigestMismatch", Chapter.ENGINE, Again.NO, "the registry served other content than the digest names", "find out who changed it", Blame.CONFIGURATION
    RegistryDenied = "RegistryDenied", Chapter.ENGINE, Again.NO, "no access", "`docker login` on the host, or the name", Blame.HOST
    RegistryUnreachable = "RegistryUnreachable", Chapter.ENGINE, Again.YES, "the registry does not answer", "network, certificate, is it up", Blame.SERVICE
    NameInUse = "NameInUse", Chapter.ENGINE, Again.NO, "another container has this name", "remove or rename it", Blame.HOST
    PortInUse = "PortInUse", Chapter.ENGINE, Again.YES, "something else listens there; the message says which process, and container, where it may look (the shipped unit may not look into others' processes: `reconciler doctor` as root does)", "end it, or take another port", Blame.HOST
    MountMissing = "MountMissing", Chapter.ENGINE, Again.NO, "a folder to be bound does not exist, or is not shared", "make or mount it, or correct the volume", Blame.HOST
    MountExchanged = "MountExchanged", Chapter.ENGINE, Again.NO, "what a container binds became something else while the engine started it; it was stopped", "look who may write to the folders above it: a container with a bind there, or a user of the host", Blame.HOST
    DeviceMissing = "DeviceMissing", Chapter.ENGINE, Again.NO, "a device does not exist", "load the driver, or take the device out", Blame.HOST
    CapabilityRefused = "CapabilityRefused", Chapter.ENGINE, Again.NO, "the host does not know the capability", "another one", Blame.CONFIGURATION
    HostFailed = "HostFailed", Chapter.ENGINE, Again.YES, "the engine cannot start it for a reason of the host's (apparmor, cgroups, iptables, its runtime), or failed for a moment", "its message says what is missing", Blame.HOST
    UlimitRefused = "UlimitRefused", Chapter.ENGINE, Again.NO, "the limit is higher than the engine may set", "lower it, or raise the engine's", Blame.CONFIGURATION
    MemoryInUse = "MemoryInUse", Chapter.ENGINE, Again.NO, "the container has more memory in use than the limit allows it", "a higher limit, or make it use less first", Blame.CONFIGURATION
    StartFailed = "StartFailed", Chapter.ENGINE, Again.NO, "the container cannot be started, in the engine's words", "its message", Blame.CONFIGURATION
    ExitedEarly = "ExitedEarly", Chapter.ENGINE, Again.NO, "it ended soon after its start", "its last words are in the message", Blame.CONFIGURATION
    RestartLoop = "RestartLoop", Chapter.ENGINE, Again.NO, "it starts and dies again and again; also between two starts, while it seems to run", "its last words", Blame.CONFIGURATION
    Unhealthy = "Unhealthy", Chapter.ENGINE, Again.NO, "its health check fails, whether after a change or later", "the check's output and its last words", Blame.CONFIGURATION
    StartTimeout = "StartTimeout", Chapter.ENGINE, Again.NO, "not healthy within `start_timeout`", "its last words; a longer time if it is only slow", Blame.CONFIGURATION
    ReloadFailed = "ReloadFailed", Chapter.ENGINE, Again.YES, "the reload command failed or the signal could not be sent", "its message", Blame.CONFIGURATION
    ContainerMissing = "ContainerMissing", Chapter.ENGINE, Again.YES, "removed by somebody while we were at it", "`reconciler events`", Blame.HOST
    JobFailed = "JobFailed", Chapter.ENGINE, Again.YES, "a one-shot container ended with an error", "its last words; mend what it needs", Blame.CONFIGURATION
    JobTimeout = "JobTimeout", Chapter.ENGINE, Again.YES, "it did not end in time and was stopped", "its last words; `timeout` of the job", Blame.CONFIGURATION
    UnitFailed = "UnitFailed", Chapter.ENGINE, Again.YES, "the systemd unit that kolla-ansible made for a container could not be taken out of the way", "its message; `systemctl status` of the unit", Blame.HOST
    ActionFailed = "ActionFailed", Chapter.ENGINE, Again.YES, "an action failed without a reason of its own", "its message"
    AddressesUnknown = "AddressesUnknown", Chapter.ENGINE, Again.YES, "the host's addresses could not be read", "is `iproute2` installed"

    RegistrarUnreachable = "RegistrarUnreachable", Chapter.REGISTRATIONS, Again.YES, "database, RabbitMQ or Keystone does not answer", "is it healthy; address and port", Blame.SERVICE
    RegistrarDenied = "RegistrarDenied", Chapter.REGISTRATIONS, Again.YES, "it does not accept our credentials", "do the passwords of the site still fit the server's", Blame.SERVICE
    RegistrarRefused = "RegistrarRefused", Chapter.REGISTRATIONS, Again.NO, "it refuses what is asked, in its own words", "its message", Blame.SERVICE

    DiskFull = "DiskFull", Chapter.FILES, Again.YES, "no space left", "make room", Blame.HOST
    FileReadFailed = "FileReadFailed", Chapter.FILES, Again.YES, "a file cannot be read", "its message: permissions, disk", Blame.HOST
    FileWriteFailed = "FileWriteFailed", Chapter.FILES, Again.YES, "a file cannot be changed", "as above", Blame.HOST
    FileUnsafe = "FileUnsafe", Chapter.FILES, Again.NO, "where a file should be is a link, a directory or something else; or others than root could exchange the folder for files", "look who put it there, then remove it; the message names the folder and what is wrong with it", Blame.HOST
    FileBusy = "FileBusy", Chapter.FILES, Again.NO, "another process edits the same secrets file", "wait, try again"
    FileChanged = "FileChanged", Chapter.FILES, Again.NO, "it was changed while we were about to", "try again"
    StateLost = "StateLost", Chapter.FILES, Again.YES, "the state directory is gone, was exchanged, is another host's or an older copy. Nothing is changed", "put it back, or `reconciler anchor accept`; see [A lost state](#a-lost-state)", Blame.HOST
    StateReadOnly = "StateReadOnly", Chapter.FILES, Again.YES, "the state directory cannot be written to, or has no room left, so nothing that is done could be remembered. Nothing is changed", "its file system: `df`, `dmesg`, `mount`"
    StateCopied = "StateCopied", Chapter.FILES, Again.NO, "the state directory is a copy of another that is still there", "remove one of the two; see [Whose files, whose containers](#whose-files-whose-containers)"
    StateCorrupt = "StateCorrupt", Chapter.FILES, Again.NO, "a file of the state directory cannot be read", "see [State](#state)", Blame.HOST

    ForgeUnreachable = "ForgeUnreachable", Chapter.REPORTING, Again.YES, "GitLab (GitHub, Gitea) does not answer, or its certificate is not trusted", "network; `forge.ca_file`"
    ForgeBusy = "ForgeBusy", Chapter.REPORTING, Again.YES, "it answers 409, 429 or 5xx", "nothing, or its log"
    ForgeForbidden = "ForgeForbidden", Chapter.REPORTING, Again.RARELY, "the token is wrong or lacks a right, which the message names", "another token"
    ForgeLimitReached = "ForgeLimitReached", Chapter.REPORTING, Again.NO, "this commit takes no more statuses", "aggregate per group, or let fewer hosts report"
    ForgeRejected = "ForgeRejected", Chapter.REPORTING, Again.RARELY, "any other refusal", "its message"
    ForgeMisconfigured = "ForgeMisconfigured", Chapter.REPORTING, Again.RARELY, "address, project, token file or CA file cannot be used", "correct `[forge]`"
    AlertTargetUnreachable = "AlertTargetUnreachable", Chapter.REPORTING, Again.YES, "a target of `[alerts]` does not answer, or took no notification", "its message; network, certificate, password"
    AlertTargetBusy = "AlertTargetBusy", Chapter.REPORTING, Again.YES, "it answers 409, 429 or 5xx", "nothing, or its log"
    AlertTargetRefused = "AlertTargetRefused", Chapter.REPORTING, Again.RARELY, "it refuses the alert", "key and address; is the integration active"
    AlertTargetMisconfigured = "AlertTargetMisconfigured", Chapter.REPORTING, Again.RARELY, "its key, address or CA file cannot be used", "correct `[alerts.targets]` and the files it names"

    ReportUnreachable = "ReportUnreachable", Chapter.REPORTS, Again.YES, "the host does not answer in time, or has no address on `reporter.network`", "is it up; `report.listen` there, `reporter.port` here, a firewall in between"
    ReportUnavailable = "ReportUnavailable", Chapter.REPORTS, Again.YES, "what answers gives no report: no pass has ended yet, or something else listens there", "its message; the log of that host's daemon"
    ReportKeyMissing = "ReportKeyMissing", Chapter.REPORTS, Again.NO, "inventory.yml declares no `report_key` for the host", "add its `/etc/ssh/ssh_host_ed25519_key.pub`"
    ReportForged = "ReportForged", Chapter.REPORTS, Again.YES, "not signed with the key that the site declares for this host", "was the host reinstalled: declare its new key; else somebody speaks in its name"
    ReportMismatch = "ReportMismatch", Chapter.REPORTS, Again.YES, "signed by this host, and about another host or site", "do two hosts have one key; does the address lead to another host"
    ReportReplayed = "ReportReplayed", Chapter.REPORTS, Again.YES, "older than a report that counted already", "somebody in between plays it back, or the host's clock was set back: then it ends as soon as the clock has caught up"
    ReportStale = "ReportStale", Chapter.REPORTS, Again.YES, "older than `reporter.stale_after`", "`reconciler status` on the host: does its daemon hang"
    ReportAhead = "ReportAhead", Chapter.REPORTS, Again.YES, "from the future by more than two minutes", "the clocks of both"
    ReportMalformed = "ReportMalformed", Chapter.REPORTS, Again.YES, "not a report, one of another version of the program, or one that says what no report can", "the versions of both; else somebody plays with that host: the log's `report.broken` says where"
    ReportKeyUnusable = "ReportKeyUnusable", Chapter.REPORTS, Again.YES, "on a host: its report cannot be signed", "`report.key_file`: an ed25519 private key, readable by its owner only"

    SettingsInvalid = "SettingsInvalid", Chapter.PROGRAM, Again.NO, "the settings file has problems; all are listed", "correct it"
    SettingsDiffer = "SettingsDiffer", Chapter.PROGRAM, Again.NO, "`node install` would overwrite settings that differ", "edit them, or `--force`"
    NoBackups = "NoBackups", Chapter.PROGRAM, Again.NO, "no container of this host keeps backups", "ask on the host that does (`mariadb_backup_host`), or switch them on"
    BackupFailed = "BackupFailed", Chapter.PROGRAM, Again.NO, "a backup could not be taken, listed, restored on trial or unpacked", "its last words; `docker logs` of the container that keeps them"
    RecoveryFailed = "RecoveryFailed", Chapter.PROGRAM, Again.NO, "what a cluster that is down needs to begin again could not be told or done", "its message; [The whole database is down](#the-whole-database-is-down)"
    RecoveryRefused = "RecoveryRefused", Chapter.PROGRAM, Again.NO, "a cluster begins, or a backup takes the place of its data, only where nothing can be lost by it: here something could", "its message; [The whole database is down](#the-whole-database-is-down)"
    CheckFailed = "CheckFailed", Chapter.PROGRAM, Again.NO, "a check of `node install` failed", "its message"
    ServiceFailed = "ServiceFailed", Chapter.PROGRAM, Again.NO, "the systemd unit could not be started", "`journalctl -u reconciler`"
    AlreadyRunning = "AlreadyRunning", Chapter.PROGRAM, Again.NO, "a daemon runs on this state directory", "end it first"
    MetricsAddress = "MetricsAddress", Chapter.PROGRAM, Again.NO, "the address for metrics cannot be used", 'another `daemon.metrics`, or `""`'
    NotQuarantined = "NotQuarantined", Chapter.PROGRAM, Again.NO, "there is nothing to retry under this name", "the name"
    DrainRefused = "DrainRefused", Chapter.PROGRAM, Again.NO, "what only this host has could not be taken out of use for a maintenance, or brought back: virtual machines that cannot go elsewhere, mostly; the message names each and why", "what it says; then `reconciler drain` again", Blame.SERVICE
    NothingToDo = "NothingToDo", Chapter.PROGRAM, Again.NO, "the rollout is not so that this could be done: none was begun, it is not halted, or the host holds nothing; the message says which", "`reconciler fleet status`"
    InternalError = "InternalError", Chapter.PROGRAM, Again.YES, "a defect of this program, with the place in it; a commit that meets it is refused, what is in force stays", "report it with that line; push a commit without what brings it about", Blame.HOST
    # fmt: on


# Of a change these say nothing: somebody removed the container meanwhile, nobody can tell what became of it, or nobody needs to know any more.
NO_VERDICT: Final = frozenset(
    {Reason.ContainerMissing, Reason.EngineTimeout, Reason.EngineUnreachable, Reason.Interrupted}
)
# What other hosts are waited for with.
FLEET: Final = frozenset(one for one in Reason if one.chapter is Chapter.FLEET)
_KNOWN: Final = {str(one): one for one in Reason}


def known(word: str) -> Reason | None:
    """The reason of that name; None when there is none."""
    return _KNOWN.get(word)


def read(word: str) -> Reason:
    """The reason that a file or a stranger names; a word that this version does not know stays that word.

    Raises ValueError for what cannot be a reason's name."""
    if found := known(word):
        return found
    if not _WORD.fullmatch(word):
        raise ValueError(f"{word!r:.80} is no reason")
    unknown = str.__new__(Reason, word)
    unknown._name_ = unknown._value_ = word
    unknown.chapter, unknown.again, unknown.blames, unknown.standing = Chapter.PROGRAM, Again.NO, None, Standing.WRONG
    unknown.meaning, unknown.advice = "another version of the program gave it", "see its message"
    return unknown


def tables() -> str:
    """What each reason means and what to do, as Markdown: one table for each chapter, in the order of the set."""
    return "\n\n".join(_table(chapter) for chapter in Chapter)


def _table(chapter: Chapter) -> str:
    introduction = f"{_INTRODUCED[chapter]}\n\n" if chapter in _INTRODUCED else ""
    rows = [f"| `{one}` | {one.again} | {one.meaning} | {one.advice} |" for one in Reason if one.chapter is chapter]
    head = "| reason | again | meaning | what to do |\n|---|---|---|---|\n"
    return f"### {chapter}\n\n{introduction}{head}" + "\n".join(rows).replace("|  |", "| |")


def blame_table() -> str:
    """Whom each reason blames, as Markdown."""
    rows = [
        f"| {blame} | {', '.join(f'`{one}`' for one in Reason if one.blames is blame)}{more} | {waits} |"
        for blame, (more, waits) in _WAITS.items()
    ]
    return "| to blame | reasons | waits for |\n|---|---|---|\n" + "\n".join(rows)
