#!/bin/bash -x
# Starts the API once there is a fernet key to make tokens with.
set -o errexit -o pipefail

for ((waited = 0; ; waited += 5)); do
    if [[ -f /etc/keystone/fernet-keys/0 ]]; then
        break
    fi
    if ((waited >= 180)); then
        echo "There is still no fernet key in /etc/keystone/fernet-keys: giving up." >&2
        exit 1
    fi
    echo "There is no fernet key in /etc/keystone/fernet-keys yet: waiting."
    sleep 5
done

exec /usr/sbin/apache2 "$@"
