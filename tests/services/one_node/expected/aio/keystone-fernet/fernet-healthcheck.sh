#!/bin/bash
# Is there a key that keystone can read, and does cron run? Other hosts are not asked: their failure is not this one's.
[[ $(stat --format=%U:%G /etc/keystone/fernet-keys/0 2>/dev/null) == keystone:keystone ]] && pgrep --exact 'crond?' > /dev/null
