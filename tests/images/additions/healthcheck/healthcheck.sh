#!/bin/bash
# Whether the server answers, and with --galera_online whether its cluster has it in step: the part of the server's own health check that
# Kolla's containers ask for. healthcheck.sh --defaults-file FILE [--connect] [--galera_online]
set -u
file= member=
while [ $# -gt 0 ]; do
    case $1 in
        --defaults-file) file=$2; shift ;;
        --connect) ;;
        --galera_online) member=yes ;;
        *) echo "healthcheck.sh: $1 is not known" >&2; exit 2 ;;
    esac
    shift
done
query="SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'wsrep_local_state'"
state=$(mariadb --defaults-file="$file" --batch --skip-column-names --execute="$query") || exit 1
[ -z "$member" ] || [ "$state" = 4 ] || { echo "the state of this member is ${state:-not known}, not 4"; exit 1; }
