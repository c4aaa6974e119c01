#!/bin/bash
# The image puts proxysql.cnf together out of what is in /etc/proxysql; what it kept of earlier runs does not count.
exec proxysql --idle-threads --initial --no-version-check -f -c /etc/proxysql.cnf >> /var/log/kolla/proxysql/proxysql.log 2>&1
