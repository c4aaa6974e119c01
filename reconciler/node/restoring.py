"""A backup in the place of the data of this host's member of Galera; or its data aside, so that it copies those of another.

In the folder of the data a backup is unpacked to `.restoring`, and is `.restored-NAME` once it is whole. Then what is there is moved to
`.before-TIME`, which is called `.before-TIME.part` meanwhile; then the backup is `.incoming-NAME`, and is moved in. The folder `mysql`
goes first and comes last: what is there in part is never taken for a database. So each step tells from what is there how far it came,
and is said again after a kill.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from reconciler import errors, text
from reconciler.codec import UNREADABLE, from_json
from reconciler.engine import Engine
from reconciler.model import Container
from reconciler.node import backups, beside, galera
from reconciler.reasons import Reason

KEEPER: Final = "mariadb_backup"  # the container that has the backups, and the program that unpacks one
DATA: Final = "/var/lib/mysql"
_SECONDS: Final = 1800.0  # to move folders within one file system

_BEGIN: Final = f"""\
set -o errexit -o nounset -o pipefail
sudo -E kolla_set_configs > /dev/null 2>&1
shopt -s dotglob nullglob
data={DATA}
fail() {{ echo "$*" >&2; exit 1; }}
require_whole() {{
    local cut=("$data"/.incoming-*)
    [[ -z ${{cut[*]-}} ]] || fail "${{cut[0]##*/.incoming-}} was being moved in when that was cut short: restore that one first"
}}
"""
_UNPACK: Final = """\
name=$1 program=$2 store=/backup none="there is no backup $1 (\\`reconciler backup list\\` shows what there is); nothing was touched"
[[ $name =~ ^(full|incremental)-[0-9]{8}T[0-9]{6}Z$ ]] || fail "$none"
[[ ! -d $data/.incoming-$name ]] || exit 0
require_whole
[[ ! -d $data/.restored-$name ]] || exit 0
[[ -e $store/$name/manifest ]] || fail "$none"
rm -rf "$data"/.restoring* "$data"/.restored-*
of() { sed --quiet "s/^$2=//p" "$store/$1/manifest"; }
size=0 one=$name
while [[ -n $one ]]; do
    [[ -e $store/$one/manifest ]] || fail "$one is not there, and $name is based on it; nothing was touched"
    size=$(( size + $(of "$one" size) )) one=$(of "$one" base)
done
free=$(df --output=avail --block-size=1 "$data" | tail --lines=1)
(( free > size * 5 / 4 )) || fail "$name needs $(( size * 5 / 4 >> 20 )) MiB beside the data, and $(( free >> 20 )) are free; nothing was touched"
trap 'rm -rf "$data"/.restoring*' EXIT
"$program" extract "$name" "$data/.restoring"
[[ -d $data/.restoring/mysql ]] || fail "$name has no database in it; nothing was touched"
sync --file-system "$data"
mv "$data/.restoring" "$data/.restored-$name"
sync --file-system "$data"
"""
_ASIDE: Final = """\
kept=""
# Into a folder that an earlier run began, where there is one. `lost+found` is the file system's.
aside() {
    local entry before parts=("$data"/.before-*.part)
    before=${parts[0]:-$data/.before-$(date -u +%Y%m%dT%H%M%SZ).part}
    for entry in "$data"/mysql "$data"/*; do
        case ${entry##*/} in .before-* | .restor* | .incoming-* | lost+found) continue ;; esac
        [[ -e $entry || -L $entry ]] || continue
        mkdir -p "$before"
        mv "$entry" "$before/"
    done
    [[ -d $before ]] || return 0
    kept=${before%.part}
    mv "$before" "$kept"
}
end() {
    sync --file-system "$data"
    printf '{"before": "%s"}\\n' "$kept"
}
"""
_PLACE: Final = """\
name=$1 new=$data/.incoming-$1
if [[ ! -d $new ]]; then
    [[ -d $data/.restored-$name ]] || fail "$name is not unpacked"
    aside
    mv "$data/.restored-$name" "$new"
else
    for kept in "$data"/.before-*; do :; done  # the newest
fi
into_place() {
    [[ ! -e $data/${1##*/} ]] || fail "$data/${1##*/} was made while $name was moved in: move it away, and say this again"
    mv "$1" "$data/"
}
for entry in "$new"/*; do [[ $entry == "$new/mysql" ]] || into_place "$entry"; done
[[ ! -d $new/mysql ]] || into_place "$new/mysql"
rmdir "$new"
end
"""
_AWAY: Final = """\
require_whole
rm -rf "$data"/.restor*
aside
end
"""


@dataclass(frozen=True, slots=True)
class _Moved:
    before: str  # the folder with what was there; "": nothing ever was


def require_down(engine: Engine, member: Container) -> None:
    """Raises errors.Terminal (RecoveryRefused) while the member serves; (RecoveryFailed) when nobody can tell."""
    if galera.serving(engine, member):
        raise errors.Terminal(
            f"{member.name} serves: its data are not taken from it. On every host with the database first `reconciler suspend --reason restore` and "
            f"`docker stop {member.name}`",
            reason=Reason.RecoveryRefused,
        )


def restore(engine: Engine, keeper: Container, member: Container, name: str, seconds: float) -> str:
    """Unpack a backup, for so many seconds at most, and put it in the place of the stopped member's data; the folder in the container with what was
    there ("": nothing).

    Raises errors.ReconcilerError (BackupFailed: nothing was moved; RecoveryRefused: another member runs, nothing was moved; RecoveryFailed).
    """
    mounts = tuple(replace(one, mode="rw") if one.target == DATA else one for one in keeper.mounts)
    words = (_BEGIN + _UNPACK, "bash", name, keeper.labels[backups.LABEL])
    job = beside.once(keeper, "restore", seconds, command=("bash", "-c", *words), labels={}, mounts=mounts)
    code, said = engine.run_once(job)
    if code:
        raise errors.Terminal(
            f"{name} cannot be restored: {text.last_line(said, limit=500)}", reason=Reason.BackupFailed
        )
    # Unpacking takes its time: another member may have been started since.
    return _moved(engine, member, _BEGIN + galera.ALONE + _ASIDE + _PLACE, (name,))


def aside(engine: Engine, member: Container) -> str:
    """Move the data of the stopped member aside; the folder in the container that has them ("": there were none).

    Raises errors.ReconcilerError (RecoveryFailed).
    """
    return _moved(engine, member, _BEGIN + _ASIDE + _AWAY)


def _moved(engine: Engine, member: Container, script: str, words: Sequence[str] = ()) -> str:
    command = ("bash", "-c", script, "bash", *words)
    job = beside.once(member, "restore", _SECONDS, command=command, validation=None, labels={})
    code, said = engine.run_once(job)
    if code == galera.RUNS:
        raise errors.Terminal(
            f"{text.last_line(said)}: what is put here would be given up for its data. `docker stop {member.name}` there, then "
            "`reconciler recover mariadb aside`, and say this again here",
            reason=Reason.RecoveryRefused,
        )
    try:
        if code:
            raise ValueError
        return from_json(_Moved, json.loads(said.strip().rpartition("\n")[2])).before
    except UNREADABLE:
        raise errors.Terminal(
            f"the data of {member.name} were not moved, or not all of them: {text.last_line(said, limit=500)} (leave the node suspended, mend that, "
            "and say this again: it goes on)",
            reason=Reason.RecoveryFailed,
        ) from None
