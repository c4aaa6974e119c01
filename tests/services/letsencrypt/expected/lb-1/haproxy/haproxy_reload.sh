#!/bin/bash
# Makes the running haproxy take its configuration anew. Fails, with the old one still in use, when the new one is wrong.
set -o errexit -o nounset -o pipefail

/usr/sbin/haproxy -c -q -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/services.d/
kill -USR2 "$(< /run/haproxy.pid)"
