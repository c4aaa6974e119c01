"""This host's member of a Galera cluster that is down as a whole: how far its data go, and how it begins the cluster again.

Both are asked in a container of their own, with the image and the configuration of the member, while that is stopped.
"""

import json
import time
from collections.abc import Mapping
from typing import Final

from reconciler import errors, text
from reconciler.codec import UNREADABLE, from_json
from reconciler.engine import Engine
from reconciler.model import Container, Job, Memory
from reconciler.node import beside
from reconciler.reasons import Reason
from reconciler.rollout.galera import Member

NAME: Final = "mariadb"
_SECONDS: Final = 1800.0  # crash recovery of a large database

_SERVES: Final = """\
of() { my_print_defaults mysqld mariadb server | sed --quiet "s/^--$1=//p" | tail --lines=1; }
client=(mariadb --no-defaults --host="$(of bind-address)" --port="$(of port)" --user="${MYSQL_USERNAME:-}" --connect-timeout=5)
for file in /etc/mysql/monitor.cnf /etc/mysql/healthcheck.cnf /etc/healthcheck.cnf; do
    [[ ! -e $file ]] || client=(mariadb --defaults-file="$file" --connect-timeout=5)
done
"${client[@]}" --batch --skip-column-names \
    --execute="SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_ready', 'wsrep_cluster_state_uuid')" 2>&1 | tr '\\t' '='
exit "${PIPESTATUS[0]}"
"""
# Nobody listens there.
_DOWN: Final = ("ERROR 2002", "ERROR 2003")
# What mariadbd-safe does before it starts a member that went down: InnoDB is recovered, and says its last transaction of the cluster.
_LOOK: Final = """\
set -o errexit -o nounset -o pipefail
sudo -E kolla_set_configs > /dev/null 2>&1
data=/var/lib/mysql state=/var/lib/mysql/grastate.dat
if [[ ! -d $data/mysql ]]; then echo '{"data": false}'; exit; fi
of() { sed --quiet "s/^$1: *//p" "$state" 2>/dev/null | head --lines=1; }
log=$(mktemp)
mariadbd --wsrep-recover --log-error="$log" > /dev/null 2>&1 || { tail --lines=5 "$log" >&2; exit 1; }
position=$(sed --quiet --regexp-extended 's/.*Recovered position:? *([0-9a-f-]{36}):(-?[0-9]+).*/\\1 \\2/p' "$log" | tail --lines=1)
read -r uuid seqno <<< "${position:-none -1}"
# Its own note is exact where it was stopped in order, also where InnoDB knows none.
if [[ $(of seqno) =~ ^[0-9]+$ ]]; then
    [[ $seqno != -1 ]] || { uuid=$(of uuid); seqno=$(of seqno); }
fi
[[ $uuid != none ]] || uuid=$(of uuid)
safe=false; [[ $(of safe_to_bootstrap) != 1 ]] || safe=true
printf '{"data": true, "uuid": "%s", "seqno": %d, "safe": %s}\\n' "$uuid" "$seqno" "$safe"
"""
# Ends with RUNS where another member runs. It was not stopped since it looked, or was started again: what it said does not count, and a
# member that finds one serving joins it, whatever its own note says.
ALONE: Final = """\
of() { my_print_defaults mysqld mariadb server | sed --quiet "s/^--$1=//p" | tail --lines=1; }
peers=$(of wsrep_cluster_address) own=$(of bind-address) port=$(of port)
peers=${peers#gcomm://}
for peer in ${peers//,/ }; do
    address=${peer%:*}
    address=${address#[}
    address=${address%]}
    [[ $address != "$own" ]] || continue
    for number in "${peer##*:}" "$port"; do
        if timeout 3 bash -c "exec 3<> '/dev/tcp/$address/$number'" 2> /dev/null; then
            echo "the member at $address runs (port $number answers)" >&2
            exit 3
        fi
    done
done
"""
RUNS: Final = 3
_MARK: Final = f"""\
set -o errexit -o nounset -o pipefail
sudo -E kolla_set_configs > /dev/null 2>&1
{ALONE}
sed --in-place 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' /var/lib/mysql/grastate.dat
grep --quiet '^safe_to_bootstrap: 1' /var/lib/mysql/grastate.dat
"""


def member(memory: Memory) -> Container:
    """This host's member, as it was last carried out. Raises errors.Terminal (NothingToDo)."""
    found = next((one for one in beside.carried_out(memory) if one.name == NAME), None)
    if found is None:
        raise errors.Terminal(f"this host has no {NAME} (run it on a host of that group)", reason=Reason.NothingToDo)
    return found


def serving(engine: Engine, container: Container) -> Mapping[str, str]:
    """What it says of its cluster, when it answers queries as part of one with a majority; else empty.

    Raises errors.ReconcilerError (RecoveryFailed) when nobody can tell: what may serve is not stopped.
    """
    try:
        code, output = engine.execute(container.name, ("bash", "-c", _SERVES), 30.0)
    except errors.Terminal as error:
        if error.reason is Reason.ExecFailed:  # it does not run
            return {}
        raise
    told = dict(row.split("=", 1) for row in output.split() if "=" in row)
    if code == 0 and "wsrep_cluster_status" in told:
        return told if (told["wsrep_cluster_status"], told.get("wsrep_ready")) == ("Primary", "ON") else {}
    if any(word in output for word in _DOWN):
        return {}
    raise errors.Terminal(
        f"whether {container.name} serves cannot be told: {text.last_line(output)} (when it does not, `docker stop {container.name}`, and run "
        "this again)",
        reason=Reason.RecoveryFailed,
    )


def look(engine: Engine, container: Container, host: str) -> Member:
    """How far the data of this host's member go. A member that serves is left alone; else it is stopped, and stays so.

    Raises errors.ReconcilerError (RecoveryFailed).
    """
    if told := serving(engine, container):
        uuid = told.get("wsrep_cluster_state_uuid", "")
        return Member(host, time.time(), data=True, uuid=uuid, serves=True)
    if engine.exists(container.name):
        engine.stop(container.name, container.stop_timeout)
    code, output = engine.run_once(_once(container, _LOOK))
    try:
        if code:
            raise ValueError
        told = json.loads(output.strip().rpartition("\n")[2])
        return from_json(Member, {**told, "host": host, "at": time.time()})
    except UNREADABLE:
        message = f"how far the data of {container.name} go is not known: {text.last_line(output)}"
        raise errors.Terminal(message, reason=Reason.RecoveryFailed) from None


def begin(engine: Engine, container: Container, seconds: float) -> None:
    """Start this host's member as the first of the cluster, and wait until it serves.

    Raises errors.ReconcilerError (RecoveryFailed; RecoveryRefused: another member runs).
    """
    code, output = engine.run_once(_once(container, _MARK))
    if code == RUNS:
        raise errors.Terminal(
            f"{text.last_line(output)}: stop it with `reconciler recover mariadb look` there, or with `reconciler suspend` and `docker stop "
            f"{container.name}` when its data are not to be used (--lost), and begin again",
            reason=Reason.RecoveryRefused,
        )
    if code:
        raise errors.Terminal(
            f"{container.name} cannot be marked as the one to begin: {text.last_line(output)}",
            reason=Reason.RecoveryFailed,
        )
    engine.start(container.name)
    deadline = time.monotonic() + seconds
    while not _answers(engine, container):
        if time.monotonic() > deadline:
            words = engine.last_words(container, 5)
            raise errors.Terminal(
                f"{container.name} was started and does not serve after {seconds:g} s: {text.printable(words.strip(), limit=500)}",
                reason=Reason.RecoveryFailed,
            )
        time.sleep(1.0)


def _answers(engine: Engine, container: Container) -> bool:
    """Whether it serves by now. One that just begins to listen may end a connection before it has said anything, and a busy
    engine may not answer: neither is a reason to give up what was begun."""
    try:
        return bool(serving(engine, container))
    except errors.ReconcilerError:
        return False


def _once(container: Container, script: str) -> Job:
    return beside.once(container, "recover", _SECONDS, command=("bash", "-c", script), validation=None, labels={})
