#!/bin/bash
# Makes the first administrator and the identity endpoints, or brings them up to date. The password is read from a file:
# it is on no command line and not in the container's environment.
set -o errexit -o nounset -o pipefail

OS_BOOTSTRAP_PASSWORD=$(< /run/reconciler/admin-password)
export OS_BOOTSTRAP_PASSWORD
exec runuser --user keystone -- keystone-manage bootstrap \
    --bootstrap-username admin \
    --bootstrap-project-name admin \
    --bootstrap-role-name admin \
    --bootstrap-service-name keystone \
    --bootstrap-region-id RegionOne \
    --bootstrap-internal-url http://192.0.2.250:5000 \
    --bootstrap-public-url http://192.0.2.250:5000
