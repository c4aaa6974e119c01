#!/bin/bash
# Makes the staged key the one in use, and a new staged key; then every host gets them.
set -o errexit -o nounset -o pipefail

runuser --user keystone -- keystone-manage --config-file /etc/keystone/keystone.conf fernet_rotate
exec /usr/bin/fernet-push.sh
