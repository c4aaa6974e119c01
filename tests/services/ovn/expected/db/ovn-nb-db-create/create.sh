#!/bin/bash
# Makes the database and says where it takes connections: without that nobody but a process in its own container could say it.
set -o errexit -o pipefail
rundir=/run/ovn
/usr/share/ovn/scripts/ovn-ctl run_nb_ovsdb --db-nb-addr=192.0.2.13 --db-nb-cluster-local-addr=192.0.2.13  --db-nb-sock=/run/ovn/ovnnb_db.sock --db-nb-pidfile=/run/ovn/ovnnb_db.pid --db-nb-file=/var/lib/openvswitch/ovn-nb/ovnnb.db --ovn-nb-logfile=/var/log/kolla/openvswitch/ovn-nb-db.log &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
for _ in {1..60}; do
  [ -S "$rundir/ovnnb_db.sock" ] && break
  kill -0 "$server" || { echo "the database did not start: see /var/log/kolla/openvswitch/ovn-nb-db.log" >&2; exit 1; }
  sleep 1
done
ovn-nbctl --timeout=60 --db="unix:$rundir/ovnnb_db.sock" --inactivity-probe=60000 set-connection ptcp:6641:0.0.0.0
ovs-appctl -t "$rundir/ovnnb_db.ctl" exit
wait "$server"
