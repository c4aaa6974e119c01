#!/bin/bash
# Makes the first fernet keys, unless another host has some: making new ones beside them would end all tokens.
set -o errexit -o nounset -o pipefail

install --directory --owner=keystone --group=kolla --mode=0755 /var/log/kolla/keystone
if [[ -f /etc/keystone/fernet-keys/0 ]]; then
    echo "There are fernet keys already: nothing to do."
    exit 0
fi
if /usr/bin/fernet-pull.sh; then
    exit 0
fi
exec runuser --user keystone -- keystone-manage --config-file /etc/keystone/keystone.conf fernet_setup
