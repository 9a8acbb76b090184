#!/usr/bin/env bash
# Runs units of the official test suite, from a checkout elsewhere, against a server of ours.
#
#   tests/official/run.sh CHECKOUT [UNIT ...]
#
# CHECKOUT is a checkout of Valkey 8.0.1 (its suite is in Tcl; the server there need not be built, a few tests need its
# command line tools). Without units: those whose commands we have. Every unit gets a fresh server, because settings
# that one leaves behind fail the next. RAMKEEP_BINARY is the server (target/release/ramkeep without it),
# RAMKEEP_SUITE_ARGS are further options of the suite, such as --ignore-encoding or --tags.
set -euo pipefail

checkout=${1:?the path of a checkout of valkey 8.0.1}
shift
here=$(cd "$(dirname "$0")/../.." && pwd)
binary=${RAMKEEP_BINARY:-$here/target/release/ramkeep}
port=${RAMKEEP_SUITE_PORT:-21111}
units=("$@")
[ "${#units[@]}" -gt 0 ] ||
  units=(unit/type/string unit/type/incr unit/type/hash unit/expire unit/keyspace unit/scan unit/multi unit/protocol
    unit/quit unit/bitops unit/bitfield unit/other unit/introspection unit/introspection-2 unit/slowlog
    unit/latency-monitor unit/info-command unit/lazyfree unit/pause unit/replybufsize)

folder=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT

start() {
  mkdir -p "$folder/data"
  "$binary" --port "$port" --dir "$folder/data" --enable-debug-command yes >"$folder/server.log" 2>&1 &
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
  kill -9 "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  pid=
  rm -rf "$folder/data"
}

printf '%-32s %7s %7s %8s  %s\n' unit passed failed ignored seconds
total_passed=0 total_failed=0 total_ignored=0
for unit in "${units[@]}"; do
  start
  log="$folder/$(echo "$unit" | tr / _).log"
  began=$SECONDS
  # shellcheck disable=SC2086 # the options are meant to be split
  (cd "$checkout" && timeout "${RAMKEEP_SUITE_SECONDS:-300}" ./runtest --host 127.0.0.1 --port "$port" --single "$unit" \
    --tags "-slow -cluster:skip" --durable ${RAMKEEP_SUITE_ARGS:-}) >"$log" 2>&1 || true
  plain=$(sed 's/\x1b\[[0-9;]*m//g' "$log")
  count() { grep -c "^\[$1\]" <<<"$plain" || true; }
  passed=$(count ok) failed=$(($(count err) + $(count exception))) ignored=$(count ignore)
  note=
  grep -q 'All tests passed\|The End' <<<"$plain" || note="did not end"
  printf '%-32s %7d %7d %8d  %d %s\n' "$unit" "$passed" "$failed" "$ignored" "$((SECONDS - began))" "$note"
  grep '^\[err\]\|^\[exception\]' <<<"$plain" | cut -c1-160 | sed 's/^/    /' || true
  total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed))
  total_ignored=$((total_ignored + ignored))
  stop
done
printf '%-32s %7d %7d %8d\n' all "$total_passed" "$total_failed" "$total_ignored"
[ "$total_failed" = 0 ]
