# A MariaDB of its own on a loopback port, in the genuine image: PORT and ADMIN (root's password) come from outside.
set -e
umask 077
mariadb-install-db --no-defaults --datadir=/data/db --auth-root-authentication-method=normal --skip-test-db > /dev/null
cat > /data/init.sql <<SQL
CREATE USER root@'%' IDENTIFIED BY '$ADMIN';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
DELETE FROM mysql.global_priv WHERE User IN ('root', '') AND Host <> '%';
FLUSH PRIVILEGES;
SQL
exec mariadbd --no-defaults --datadir=/data/db --port="$PORT" --bind-address=127.0.0.1 --socket=/data/db.sock \
  --skip-name-resolve --init-file=/data/init.sql --innodb-buffer-pool-size=32M --innodb-log-file-size=8M \
  --innodb-flush-log-at-trx-commit=0
