#!/bin/bash
# What Open vSwitch's database must hold on this host. It may run at any time, and as often as you like.
set -o errexit
vsctl() { ovs-vsctl --no-wait --timeout=60 --db=unix:/run/openvswitch/db.sock "$@"; }
vsctl set Open_vSwitch . external_ids:system-id=ctl external_ids:hostname=ctl
vsctl remove Open_vSwitch . other_config hw-offload
vsctl --may-exist add-br br-ex1 -- set-fail-mode br-ex1 standalone
vsctl --may-exist add-port br-ex1 eth1
vsctl --may-exist add-br br-ex2 -- set-fail-mode br-ex2 standalone
vsctl --may-exist add-port br-ex2 eth2
