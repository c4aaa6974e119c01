#!/bin/bash
# A certificate is asked for at once, by the host that has the address, and then by cron.
for _ in {1..30}; do
    /usr/sbin/ip -brief address | grep -qF -e ' 203.0.113.250/' -e ' 192.0.2.250/' && break
    sleep 1
done
# lego takes them from its environment: a command line everybody may read.
set -a
source <(grep '^LEGO_' /var/spool/cron/crontabs/root)
set +a
/usr/bin/letsencrypt-certificates --external --fqdns cloud.example,dashboard.example --days 30 --port 8081 --mail operators@cloud.example --acme https://acme-v02.api.letsencrypt.org/directory --vips 203.0.113.250,192.0.2.250 --haproxies-ssh 192.0.2.11:2985,192.0.2.12:2985 --key-type ec256 2>&1 | tee -a /var/log/kolla/letsencrypt/letsencrypt-lego.log

/usr/bin/letsencrypt-certificates --internal --fqdns internal.example --days 30 --port 8081 --mail operators@cloud.example --acme https://ca.example/acme/directory --vips 203.0.113.250,192.0.2.250 --haproxies-ssh 192.0.2.11:2985,192.0.2.12:2985 --key-type ec256 2>&1 | tee -a /var/log/kolla/letsencrypt/letsencrypt-lego.log

/usr/local/bin/letsencrypt-lego-catch-up.sh 2>&1 | tee -a /var/log/kolla/letsencrypt/letsencrypt-lego.log
exec cron -f
