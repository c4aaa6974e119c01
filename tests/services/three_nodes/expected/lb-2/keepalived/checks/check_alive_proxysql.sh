#!/bin/bash
# Does ProxySQL answer its administrator? When it does not, another host takes the addresses.
mariadb --defaults-file=/etc/keepalived/proxysql.cnf -e "SELECT 1" 2> /dev/null
