#!/bin/bash
# lego hands a certificate out once, when it is made. This gives it to load balancers that were not there then: those that have a stand-in, or an
# older one.
set -o nounset -o pipefail

/usr/sbin/ip -brief address | grep -qF -e ' 203.0.113.250/' -e ' 192.0.2.250/' || exit 0

say() { echo "$(date '+%Y/%m/%d %H:%M:%S') [$1] $2"; }

# Standard input: `openssl x509 -startdate -issuer -subject`. Seconds since the epoch, or 0 of one that signed itself.
born() {
    local line start='' issuer='' subject=''
    while IFS= read -r line; do
        case $line in
            notBefore=*) start=${line#*=} ;;
            issuer=*) issuer=${line#*=} ;;
            subject=*) subject=${line#*=} ;;
        esac
    done
    if [[ -z $start || $issuer == "$subject" ]]; then echo 0; else date --date "$start" +%s; fi
}

hand_out() {
    local side=$1 name=$2 file=$3 server port mine theirs
    local own=/etc/letsencrypt/lego/$side/certificates/$name.pem
    [[ -s $own ]] || return
    mine=$(openssl x509 -noout -startdate -issuer -subject -in "$own" | born)
    while read -r server port; do
        if ! theirs=$(ssh -n -p "$port" -i /var/lib/letsencrypt/.ssh/id_rsa -o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=no \
            -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "haproxy@$server" \
            "openssl x509 -noout -startdate -issuer -subject -in /etc/haproxy/certificates/$file" 2>&1); then
            say ERROR "[$name - catch-up] $server does not say which certificate it has: ${theirs##*$'\n'}"
        elif (( $(born <<< "$theirs") < mine )); then
            say INFO "[$name - catch-up] $server has an older certificate, or a stand-in."
            /usr/bin/sync-and-update-certificate "--$side" --fqdn "$name" --haproxies-ssh "$server:$port" < /dev/null
        fi
    done << 'END'
192.0.2.11 2985
192.0.2.12 2985
END
}

hand_out external cloud.example haproxy.pem
hand_out internal internal.example haproxy-internal.pem
