#!/usr/bin/env bash
# Runs units of the official test suite, from a checkout elsewhere, against a server of ours.
#
#   tests/official/run.sh CHECKOUT [UNIT ...]
#   RAMKEEP_SUITE_MODE=internal tests/official/run.sh CHECKOUT [UNIT ...]
#
# CHECKOUT is a checkout of Valkey 8.0.1 (its suite is in Tcl; the server there need not be built, a few tests need its
# command line tools). Without units: those whose commands we have. In external mode every unit gets a fresh server of
# ours, because settings that one leaves behind fail the next; in internal mode the suite starts the servers itself, by
# a copy of the checkout's folder in which `src/valkey-server` is ours.
#
# RAMKEEP_BINARY is the server (target/release/ramkeep without it), RAMKEEP_SUITE_ARGS are further options of the suite,
# such as --ignore-encoding or --tags, RAMKEEP_SUITE_PORT the port, in internal mode the first of a thousand, in external mode of a hundred and fifty.
# `expected.txt` beside this script lists how many tests of a unit pass in which mode; fewer are a failure.
#
# RAMKEEP_SUITE_LOGS is a folder that keeps the suite's output, a file for each unit. RAMKEEP_SUITE_ORACLE=1 runs the
# installed valkey-server instead, in either mode: what it passes is attainable.
set -euo pipefail

checkout=$(cd "${1:?the path of a checkout of valkey 8.0.1}" && pwd)
shift
here=$(cd "$(dirname "$0")/../.." && pwd)
binary=$(realpath "${RAMKEEP_BINARY:-$here/target/release/ramkeep}")
mode=${RAMKEEP_SUITE_MODE:-external}
port=${RAMKEEP_SUITE_PORT:-21111}
oracle=${RAMKEEP_SUITE_ORACLE:-}
units=("$@")
external_units=(unit/type/string unit/type/incr unit/type/hash unit/expire unit/keyspace unit/scan unit/multi
  unit/protocol unit/quit unit/bitops unit/bitfield unit/other unit/introspection unit/introspection-2 unit/slowlog
  unit/latency-monitor unit/info-command unit/lazyfree unit/pause unit/replybufsize)
internal_units=("${external_units[@]}" unit/auth unit/info unit/limits unit/networking unit/maxmemory unit/obuf-limits
  unit/wait unit/querybuf unit/tracking unit/client-eviction)
if [ "${#units[@]}" = 0 ]; then
  case "$mode" in
    external) units=("${external_units[@]}") ;;
    internal) units=("${internal_units[@]}") ;;
    *) echo "RAMKEEP_SUITE_MODE is external or internal" >&2 && exit 2 ;;
  esac
fi

folder=$(mktemp -d)
logs=${RAMKEEP_SUITE_LOGS:-$folder/logs}
mkdir -p "$logs"
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT

start() {
  [ "$mode" = external ] || return 0
  mkdir -p "$folder/data"
  if [ -n "$oracle" ]; then
    (cd "$folder/data" && exec valkey-server --port "$port" --save "" --enable-debug-command yes) \
      >"$folder/server.log" 2>&1 &
  else
    "$binary" --port "$port" --dir "$folder/data" --enable-debug-command yes >"$folder/server.log" 2>&1 &
  fi
  pid=$!
  for _ in $(seq 200); do
    # A server that still loads answers too, with an error.
    [ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ] && return 0
    sleep 0.05
  done
  cat "$folder/server.log" >&2
  exit 1
}

stop() {
  [ "$mode" = external ] || return 0
  kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  pid=
  rm -rf "$folder/data"
}

# A folder in which the suite finds everything where it looks for it, and our server as its own.
prepare_internal() {
  local suite=$folder/suite
  mkdir -p "$suite/src" "$suite/tests/tmp"
  ln -s "$checkout"/{runtest,deps,utils} "$suite/"
  ln -s "$checkout"/src/* "$suite/src/"
  for entry in "$checkout"/tests/*; do
    [ "$(basename "$entry")" = tmp ] || ln -s "$entry" "$suite/tests/"
  done
  for tool in cli benchmark; do
    [ -e "$suite/src/valkey-$tool" ] || ln -s "$(command -v "valkey-$tool" || command -v "redis-$tool")" \
      "$suite/src/valkey-$tool"
  done
  rm -f "$suite/src/valkey-server"
  if [ -n "$oracle" ]; then
    ln -s "$(command -v valkey-server)" "$suite/src/valkey-server"
    return
  fi
  # The suite asks every server for a Unix socket and connects to its port: what this server refuses is taken out.
  cat >"$suite/src/valkey-server" <<WRAPPER
#!/bin/sh
case "\$1" in
  *.conf*) sed -i '/^unixsocket /d' "\$1" ;;
esac
exec "$binary" "\$@"
WRAPPER
  chmod +x "$suite/src/valkey-server"
}

# The suite's own output of one unit.
suite() {
  local options=(--single "$1" --tags "-slow -cluster:skip" --durable)
  if [ "$mode" = external ]; then
    cd "$checkout" && options+=(--host 127.0.0.1 --port "$port" --baseport "$((port + 50))" --portcount 100)
  else
    cd "$folder/suite" && options+=(--clients 1 --baseport "$port" --portcount 1000)
    options[3]="-slow"
  fi
  # shellcheck disable=SC2086 # the options are meant to be split
  timeout "${RAMKEEP_SUITE_SECONDS:-300}" ./runtest "${options[@]}" ${RAMKEEP_SUITE_ARGS:-}
}

[ "$mode" = external ] || prepare_internal
printf '%-32s %7s %7s %8s  %s\n' unit passed failed ignored seconds
total_passed=0 total_failed=0 total_ignored=0 worse=0
for unit in "${units[@]}"; do
  start
  log="$logs/$mode-$(echo "$unit" | tr / _).log"
  began=$SECONDS
  (suite "$unit") >"$log" 2>&1 || true
  plain=$(sed 's/\x1b\[[0-9;]*m//g' "$log")
  count() { grep -c "^\[$1\]" <<<"$plain" || true; }
  passed=$(count ok) failed=$(($(count err) + $(count exception))) ignored=$(count ignore)
  note=
  grep -q 'All tests passed\|The End' <<<"$plain" || note="did not end"
  expected=$(awk -v mode="$mode" -v unit="$unit" '$1 == mode && $2 == unit { print $3 }' "$here/tests/official/expected.txt")
  if [ -n "$expected" ] && [ "$passed" -lt "$expected" ]; then
    note="$note; $expected are expected to pass"
    worse=$((worse + 1))
  fi
  printf '%-32s %7d %7d %8d  %d %s\n' "$unit" "$passed" "$failed" "$ignored" "$((SECONDS - began))" "$note"
  grep '^\[err\]\|^\[exception\]' <<<"$plain" | cut -c1-160 | sed 's/^/    /' || true
  total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed))
  total_ignored=$((total_ignored + ignored))
  stop
done
printf '%-32s %7d %7d %8d\n' all "$total_passed" "$total_failed" "$total_ignored"
[ "$worse" = 0 ]
