# A RabbitMQ of its own on loopback ports (management: PORT), in the genuine image.
set -e
export HOME=/data RABBITMQ_MNESIA_BASE=/data/mnesia RABBITMQ_LOGS=- RABBITMQ_PID_FILE=/data/pid
export RABBITMQ_NODENAME="rt$PORT@localhost" RABBITMQ_DIST_PORT="$PORT_2" ERL_EPMD_PORT="$PORT_3" ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_CONFIG_FILE=/data/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE=/data/plugins
echo "[rabbitmq_management]." > /data/plugins
cat > /data/rabbitmq.conf <<CONF
listeners.tcp.1 = 127.0.0.1:$PORT_4
management.tcp.ip = 127.0.0.1
management.tcp.port = $PORT
default_user = admin
default_pass = $ADMIN
CONF
exec rabbitmq-server
