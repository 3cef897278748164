#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Does acceleration help redis? A trial: redis-benchmark against a fresh redis-server in each run, plain and accelerated by turns.
# Needs root, redis-server and redis-benchmark. Fails if the accelerated runs redirected nothing, or the plain ones anything.
#   REQUESTS=N requests a run (50000)     Arguments are options for smaccel ab, such as --rounds 20 or --html FILE.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/smaccel-redis.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
port=${PORT:-$((20000 + RANDOM % 10000))}

"$here/with-helper" smaccel ab "$@" --primary 'GET requests' \
	--server "redis-server --port $port --bind 127.0.0.1 --save '' --appendonly no --dir $work" --ready "$port" -- \
	redis-benchmark -p "$port" -c 50 -n "${REQUESTS:-50000}" -t set,get -d 64
