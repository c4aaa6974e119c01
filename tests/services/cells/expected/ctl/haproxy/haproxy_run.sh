#!/bin/bash -x
# The master keeps the listening sockets, so that a reload loses no connection. Where another one serves, which this one is to replace, it takes
# them from that one.
others=()
socket=/var/lib/kolla/haproxy/haproxy.sock
if [[ -S $socket ]] && socat -u OPEN:/dev/null "UNIX-CONNECT:$socket" 2> /dev/null; then
    others=(-x "$socket")
fi
exec /usr/sbin/haproxy -W -db -p /run/haproxy.pid -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/services.d/ "${others[@]}"
