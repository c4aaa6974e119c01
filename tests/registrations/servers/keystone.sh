# A Keystone of its own on a loopback port, in the genuine image, with SQLite and cheap password hashes.
set -e
mkdir -p /data/fernet
cat > /data/keystone.conf <<CONF
[DEFAULT]
log_file = /data/keystone.log
[database]
connection = sqlite:////data/keystone.db
[fernet_tokens]
key_repository = /data/fernet
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = oslo_cache.dict
CONF
manage() { keystone-manage --config-file /data/keystone.conf "$@"; }
manage db_sync
manage fernet_setup --keystone-user root --keystone-group root
OS_BOOTSTRAP_PASSWORD="$ADMIN" manage bootstrap --bootstrap-username admin --bootstrap-project-name admin \
  --bootstrap-role-name admin --bootstrap-service-name keystone --bootstrap-region-id RegionOne \
  --bootstrap-internal-url "http://127.0.0.1:$PORT/v3"
# Keystone reads in one SQLite connection while it writes in another.
python3 -c 'import sqlite3; sqlite3.connect("/data/keystone.db").execute("PRAGMA journal_mode=WAL")'
export OS_KEYSTONE_CONFIG_FILES=/data/keystone.conf
exec uwsgi --http "127.0.0.1:$PORT" --module keystone.wsgi.api:application --master --die-on-term \
  --processes 1 --enable-threads --lazy-apps --disable-logging
