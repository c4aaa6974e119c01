#!/bin/bash
# What OVN looks for in Open vSwitch's database. It may run at any time, and as often as you like.
set -o errexit
vsctl() { ovs-vsctl --no-wait --timeout=60 --db=unix:/run/openvswitch/db.sock "$@"; }
vsctl --may-exist add-br br-int -- set-fail-mode br-int secure
vsctl set Open_vSwitch . \
  external_ids:ovn-encap-ip=198.51.100.12 \
  external_ids:ovn-encap-type=geneve \
  external_ids:ovn-remote='"tcp:192.0.2.13:16641,tcp:192.0.2.11:16641"' \
  external_ids:ovn-remote-probe-interval=60000 \
  external_ids:ovn-openflow-probe-interval=60 \
  external_ids:ovn-monitor-all=false
vsctl set Open_vSwitch . external_ids:ovn-bridge-mappings='"physnet1:br-ex"'
vsctl set Open_vSwitch . external_ids:ovn-chassis-mac-mappings='"physnet1:52:54:00:54:c4:d5"'
vsctl remove Open_vSwitch . external_ids ovn-cms-options
