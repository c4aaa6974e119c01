#!/bin/bash
# Sends this host's fernet keys to the other hosts; tries all of them and fails when one could not be reached.
set -o nounset -o pipefail

failed=0
runuser --user keystone -- rsync --archive --compress --delete --timeout=30 \
    --rsh='ssh -o BatchMode=yes -o LogLevel=ERROR -i /var/lib/keystone/.ssh/id_rsa -F /var/lib/keystone/.ssh/config -p 8023 -o ConnectTimeout=10' \
    /etc/keystone/fernet-keys/ 'keystone@198.51.100.12:/etc/keystone/fernet-keys' || failed=1
runuser --user keystone -- rsync --archive --compress --delete --timeout=30 \
    --rsh='ssh -o BatchMode=yes -o LogLevel=ERROR -i /var/lib/keystone/.ssh/id_rsa -F /var/lib/keystone/.ssh/config -p 8023 -o ConnectTimeout=10' \
    /etc/keystone/fernet-keys/ 'keystone@198.51.100.13:/etc/keystone/fernet-keys' || failed=1
exit "$failed"
