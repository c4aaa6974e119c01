#!/bin/bash -x
# The master keeps the listening sockets, so that a reload loses no connection.
exec /usr/sbin/haproxy -W -db -p /run/haproxy.pid -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/services.d/
