#!/usr/bin/env bash
# services.sh start|stop|status
#
# The servers that some tests talk to: PostgreSQL, MariaDB and Redis, each on a loopback port of its own, with its data below
# target/services (or, where their user cannot get there, below /tmp). They run as an unprivileged user; whoever has root or sudo gets Debian's packages installed where they are
# missing. `start` writes target/services/env, from which the tests read the addresses, and does nothing for what runs already.
#
# Environment: TOOLPOST_PORTS, the first of three ports (default 27431).
set -euo pipefail
export LC_ALL=C

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
HOME_DIR=$ROOT/target/services
DATA=$HOME_DIR
FIRST=${TOOLPOST_PORTS:-27431}
PG_PORT=$FIRST MARIA_PORT=$((FIRST + 1)) REDIS_PORT=$((FIRST + 2))
WAIT=60

main() {
  case ${1:-} in
    start) start ;;
    stop) stop ;;
    status) status ;;
    *) die "usage: services.sh start|stop|status" ;;
  esac
}

start() {
  mkdir -p "$HOME_DIR"
  # Two that start at once would start everything twice.
  exec 9> "$HOME_DIR/lock"
  flock 9
  install_missing
  choose_user
  prepare_folder
  postgres_runs || start_postgres
  mariadb_runs || start_mariadb
  redis_runs || start_redis
  write_env
  status
}

stop() {
  choose_user
  local bin
  bin=$(postgres_bin)
  if [ -n "$bin" ] && [ -f "$DATA/postgres/data/postmaster.pid" ]; then
    as_user "$bin/pg_ctl" --pgdata="$DATA/postgres/data" --mode=fast --silent stop || true
  fi
  if mariadb_runs; then maria shutdown || true; fi
  if redis_runs; then redis-cli -p "$REDIS_PORT" shutdown nosave || true; fi
  rm -f "$HOME_DIR/env"
}

status() {
  say "PostgreSQL $(runs postgres_runs "$PG_PORT")"
  say "MariaDB    $(runs mariadb_runs "$MARIA_PORT")"
  say "Redis      $(runs redis_runs "$REDIS_PORT")"
}
runs() { if "$1"; then echo "runs on 127.0.0.1:$2"; else echo "does not run"; fi; }

# ---- packages and the user

install_missing() {
  local missing=()
  [ -n "$(postgres_bin)" ] || missing+=(postgresql)
  [ -n "$(mariadb_server)" ] || missing+=(mariadb-server)
  [ -n "$(find_program redis-server)" ] || missing+=(redis-server)
  [ ${#missing[@]} -gt 0 ] || return 0
  local root=()
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2> /dev/null || die "install these packages first: ${missing[*]}"
    root=(sudo -n)
  fi
  say "installing ${missing[*]}"
  # The packages would start services of the machine: here nothing but the tests' own are to run.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy > /dev/null
    "${root[@]}" chmod 755 $policy
    made=1
  fi
  local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update > /dev/null || true
  "${apt[@]}" install --yes --no-install-recommends "${missing[@]}" > "$HOME_DIR/install.log" 2>&1 || {
    tail -20 "$HOME_DIR/install.log" >&2
    die "the packages cannot be installed"
  }
  [ -z "$made" ] || "${root[@]}" rm -f $policy
}

# PostgreSQL refuses to run as root, and the others should.
choose_user() {
  RUN_AS=
  [ "$(id -u)" = 0 ] || return 0
  RUN_AS=nobody
  mkdir -p "$HOME_DIR"
  # The repository may lie in a folder that only root can pass.
  if ! as_user test -x "$HOME_DIR" 2> /dev/null; then
    DATA=/tmp/toolpost-services-$(printf '%s' "$ROOT" | cksum | cut -d' ' -f1)
    mkdir -p "$DATA"
  fi
}
as_user() { # $@: a command
  if [ -z "$RUN_AS" ]; then (cd "$DATA" && "$@"); else (cd "$DATA" && setpriv --reuid="$RUN_AS" --regid="$(id -g "$RUN_AS")" --clear-groups env HOME="$DATA" "$@"); fi
}

prepare_folder() {
  local name
  for name in postgres mariadb redis; do
    mkdir -p "$DATA/$name"
    [ -z "$RUN_AS" ] || chown "$RUN_AS" "$DATA/$name"
  done
}

find_program() { # $1: a name
  command -v "$1" 2> /dev/null || { [ ! -x "/usr/sbin/$1" ] || echo "/usr/sbin/$1"; }
}

# ---- PostgreSQL

# The newest that is there.
postgres_bin() {
  local found
  found=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/initdb' 2> /dev/null | sort -V | tail -1)
  [ -z "$found" ] || dirname "$found"
}
postgres_runs() {
  local bin
  bin=$(postgres_bin)
  [ -n "$bin" ] && "$bin/pg_isready" --quiet --host=127.0.0.1 --port="$PG_PORT"
}
start_postgres() {
  local bin data=$DATA/postgres/data
  bin=$(postgres_bin)
  if [ ! -f "$data/PG_VERSION" ]; then
    as_user rm -rf "$data"
    printf '%s' toolpost-admin > "$DATA/password"
    chmod 644 "$DATA/password"
    as_user "$bin/initdb" --pgdata="$data" --username=admin --pwfile="$DATA/password" --auth=scram-sha-256 \
      --encoding=UTF8 --no-locale --no-sync > "$DATA/postgres.log"
  fi
  as_user "$bin/pg_ctl" --pgdata="$data" --silent --wait --timeout=$WAIT --log="$DATA/postgres/log" \
    --options="-h 127.0.0.1 -p $PG_PORT -k '' -c fsync=off -c max_connections=200" start < /dev/null > /dev/null 9>&- \
    || die "PostgreSQL does not start: $(tail -5 "$DATA/postgres/log")"
}

# ---- MariaDB

mariadb_server() { find_program mariadbd || find_program mysqld; }
maria() { # $@: arguments of the administrator's program
  local admin
  admin=$(find_program mariadb-admin || find_program mysqladmin)
  "$admin" --no-defaults --protocol=tcp --host=127.0.0.1 --port="$MARIA_PORT" --user=admin --password=toolpost-admin "$@" 2> /dev/null
}
mariadb_runs() { [ -n "$(mariadb_server)" ] && maria ping > /dev/null; }
start_mariadb() {
  local data=$DATA/mariadb/data server install
  server=$(mariadb_server)
  install=$(find_program mariadb-install-db || find_program mysql_install_db)
  if [ ! -d "$data/mysql" ]; then
    as_user "$install" --no-defaults --datadir="$data" --auth-root-authentication-method=normal --skip-test-db \
      > "$DATA/mariadb.log" 2>&1 || die "MariaDB cannot be set up: $(tail -5 "$DATA/mariadb.log")"
  fi
  printf '%s\n' "CREATE OR REPLACE USER admin@'127.0.0.1' IDENTIFIED BY 'toolpost-admin';" \
    "GRANT ALL PRIVILEGES ON *.* TO admin@'127.0.0.1' WITH GRANT OPTION;" > "$DATA/mariadb.sql"
  chmod 644 "$DATA/mariadb.sql"
  as_user setsid "$server" --no-defaults --datadir="$data" --bind-address=127.0.0.1 --port="$MARIA_PORT" \
    --socket="$data/socket" --pid-file="$data/pid" --skip-name-resolve --max-connections=200 \
    --innodb-flush-log-at-trx-commit=0 --init-file="$DATA/mariadb.sql" \
    < /dev/null >> "$DATA/mariadb/log" 2>&1 9>&- &
  wait_for mariadb_runs || die "MariaDB does not start: $(tail -5 "$DATA/mariadb/log")"
}

# ---- Redis

redis_runs() { [ -n "$(find_program redis-server)" ] && [ "$(redis-cli -p "$REDIS_PORT" ping 2> /dev/null)" = PONG ]; }
start_redis() {
  local log=$DATA/redis/log
  as_user setsid redis-server --bind 127.0.0.1 --port "$REDIS_PORT" --dir "$DATA/redis" --save '' --appendonly no \
    < /dev/null >> "$log" 2>&1 9>&- &
  wait_for redis_runs || die "Redis does not start: $(tail -5 "$log")"
}

# ---- the rest

write_env() {
  cat > "$HOME_DIR/env.new" << END
TOOLPOST_POSTGRES=postgres://admin:toolpost-admin@127.0.0.1:$PG_PORT/postgres
TOOLPOST_MYSQL=mysql://admin:toolpost-admin@127.0.0.1:$MARIA_PORT/mysql
TOOLPOST_REDIS=redis://127.0.0.1:$REDIS_PORT
END
  mv "$HOME_DIR/env.new" "$HOME_DIR/env"
}

wait_for() { # $@: a command that is to succeed
  local tries=$((WAIT * 10))
  while [ $tries -gt 0 ]; do
    ! "$@" || return 0
    sleep 0.1
    tries=$((tries - 1))
  done
  return 1
}

say() { printf 'services: %s\n' "$*"; }
die() {
  printf 'services.sh: %s\n' "$*" >&2
  exit 1
}

main "$@"
