#!/bin/bash
# Copies the fernet keys of another host that has some; fails when none answers with keys.
set -o errexit -o nounset -o pipefail

keys=/etc/keystone/fernet-keys
incoming=$(runuser --user keystone -- mktemp --directory /tmp/fernet.XXXXXX)
trap 'rm -rf "$incoming"' EXIT
if runuser --user keystone -- rsync --archive --timeout=10 --rsh='ssh -o BatchMode=yes -o LogLevel=ERROR -i /var/lib/keystone/.ssh/id_rsa -F /var/lib/keystone/.ssh/config -p 8023 -o ConnectTimeout=5' \
    'keystone@198.51.100.12:'"$keys/" "$incoming/" && [[ -f $incoming/0 ]]; then
    # Key 0 says that there are keys: it comes last.
    for key in $(ls "$incoming" | sort --numeric-sort --reverse); do
        install --owner=keystone --group=keystone --mode=0600 "$incoming/$key" "$keys/.$key"
        mv "$keys/.$key" "$keys/$key"
    done
    echo "The fernet keys of ctl-b are copied."
    exit 0
fi
if runuser --user keystone -- rsync --archive --timeout=10 --rsh='ssh -o BatchMode=yes -o LogLevel=ERROR -i /var/lib/keystone/.ssh/id_rsa -F /var/lib/keystone/.ssh/config -p 8023 -o ConnectTimeout=5' \
    'keystone@198.51.100.13:'"$keys/" "$incoming/" && [[ -f $incoming/0 ]]; then
    # Key 0 says that there are keys: it comes last.
    for key in $(ls "$incoming" | sort --numeric-sort --reverse); do
        install --owner=keystone --group=keystone --mode=0600 "$incoming/$key" "$keys/.$key"
        mv "$keys/.$key" "$keys/$key"
    done
    echo "The fernet keys of ctl-c are copied."
    exit 0
fi
echo "No other host has fernet keys." >&2
exit 1
