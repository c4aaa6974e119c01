#!/bin/bash -x
# The master keeps the listening sockets, so that a reload loses no connection. Where another one serves, which this one is to replace, it takes
# them from that one.
others=()
socket=/var/lib/kolla/haproxy/haproxy.sock
if [[ -S $socket ]] && socat -u OPEN:/dev/null "UNIX-CONNECT:$socket" 2> /dev/null; then
    others=(-x "$socket")
fi
# haproxy does not start without its certificate. One that lego has yet to bring has a stand-in until then, which no client believes.
for certificate in /etc/haproxy/certificates/haproxy.pem /etc/haproxy/certificates/haproxy-internal.pem; do
    [[ ! -s $certificate ]] || continue
    mkdir -p /etc/haproxy/certificates
    (umask 0117
     openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 1 -subj "/CN=stand-in" -keyout /dev/stdout -out /dev/stdout 2> /dev/null \
         | cat > "$certificate")
    chown haproxy: "$certificate"
done
exec /usr/sbin/haproxy -W -db -p /run/haproxy.pid -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/services.d/ "${others[@]}"
