#!/bin/bash
# Waits until this host has fernet keys, and fetches them from another host when it has none.
set -o nounset -o pipefail

for ((waited = 0; waited < 600; waited += 10)); do
    if [[ -f /etc/keystone/fernet-keys/0 ]] || /usr/bin/fernet-pull.sh; then
        exit 0
    fi
    sleep 10
done
echo "There are still no fernet keys after ten minutes: giving up." >&2
exit 1
