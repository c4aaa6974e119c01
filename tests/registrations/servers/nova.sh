# Nova's API of its own on a loopback port, in the genuine image: enough for flavors, databases in $DATABASE and ${DATABASE}_main.
set -e
cat > /etc/nova/nova.conf <<CONF
[DEFAULT]
transport_url = fake:/
state_path = /data
my_ip = 127.0.0.1
[oslo_concurrency]
lock_path = /data/lock
[api]
max_limit = 2
auth_strategy = keystone
[api_database]
connection = $DATABASE
[database]
connection = ${DATABASE}_main
[keystone_authtoken]
auth_type = password
auth_url = $KEYSTONE
www_authenticate_uri = $KEYSTONE
username = nova
password = $PASSWORD
project_name = service
user_domain_id = default
project_domain_id = default
CONF
nova-manage api_db sync
nova-manage db sync --local_cell
exec uwsgi --http "127.0.0.1:$PORT" --module nova.wsgi.osapi_compute:application --master --die-on-term \
  --processes 1 --enable-threads --lazy-apps --disable-logging
