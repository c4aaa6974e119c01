#!/bin/bash
# Does haproxy answer on its socket? When it does not, another host takes the addresses.
echo "show info" | socat unix-connect:/var/lib/kolla/haproxy/haproxy.sock stdio > /dev/null
