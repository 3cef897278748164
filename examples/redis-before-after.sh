#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# redis-benchmark against redis-server, before and after: plain TCP and accelerated by turns, with a helper of its own.
# Needs root (the helper loads BPF programs), redis-server, redis-benchmark and a built tree (or an installed smaccel).
# Nothing of it is left behind. Fails if nothing was redirected.
#   REQUESTS=N requests a run (50000)    ROUNDS=N pairs of runs (2)
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
build=${SMACCEL_BUILD:-$here/build}
requests=${REQUESTS:-50000}
rounds=${ROUNDS:-2}
work=$(mktemp -d "${TMPDIR:-/tmp}/smaccel-try.XXXXXX") || exit 1
pins=/sys/fs/bpf/smaccel-try-$$
export SMACCEL_SOCKET=$work/socket
helper_pid='' server_pids=()

say() { printf '%s\n' "$*"; }
give_up() {
	say "redis-before-after: $*" >&2
	[ ! -s "$work/helper.log" ] || tail -5 "$work/helper.log" >&2
	exit 1
}

# Ends a process that this script started: SIGTERM, then SIGKILL after 5 s.
end_process() {
	kill "$1" 2>/dev/null || return 0
	for _ in $(seq 100); do
		kill -0 "$1" 2>/dev/null || break
		sleep 0.05
	done
	kill -KILL "$1" 2>/dev/null
	wait "$1" 2>/dev/null
}

clean_up() {
	trap - EXIT INT TERM
	local pid
	for pid in "${server_pids[@]}" $helper_pid; do end_process "$pid"; done
	[ ! -d "$pins" ] || { rm -f "$pins"/*; rmdir "$pins"; } 2>/dev/null
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Waits until a command succeeds, at most 10 s, as long as the process lives.
wait_for() { # PID COMMAND...
	local pid=$1
	shift
	for _ in $(seq 200); do
		"$@" >/dev/null 2>&1 && return 0
		kill -0 "$pid" 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}

find_program() { # a built one, else an installed one
	if [ -x "$build/$1" ]; then echo "$build/$1"; else PATH="$PATH:/usr/local/sbin:/usr/sbin" command -v "$1"; fi
}

free_port() { # one that nothing listens on now
	local port
	for _ in $(seq 50); do
		port=$((20000 + RANDOM % 10000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
	done
	return 1
}

[ "$(id -u)" = 0 ] || give_up 'needs root: the helper loads BPF programs'
smaccel=$(find_program smaccel) || give_up 'smaccel is not built: run make'
smacceld=$(find_program smacceld) || give_up 'smacceld is not built: run make'
for program in redis-server redis-benchmark redis-cli; do
	command -v $program >/dev/null || give_up "$program is not installed (Debian: redis-server, redis-tools)"
done

# ---- the helper: socket and pins of its own -------------------------------------------------------------------------
[ "$(stat -f -c %T /sys/fs/bpf)" = bpf_fs ] || mount -t bpf bpf /sys/fs/bpf || give_up 'cannot mount /sys/fs/bpf'
"$smacceld" --socket "$SMACCEL_SOCKET" --pin-dir "$pins" 2>"$work/helper.log" &
helper_pid=$!
wait_for $helper_pid grep -q 'smacceld: ready' "$work/helper.log" || give_up 'the helper does not start'

# ---- two servers: one plain, one under the shim ------------------------------------------------------------------------
declare -A port
start_server() { # ARM COMMAND...
	local arm=$1
	shift
	port[$arm]=$(free_port) || give_up 'no free port'
	mkdir "$work/$arm"
	"$@" redis-server --port "${port[$arm]}" --bind 127.0.0.1 --save '' --appendonly no --dir "$work/$arm" \
		--loglevel warning >"$work/$arm/log" 2>&1 </dev/null &
	server_pids+=($!)
	wait_for $! redis-cli -p "${port[$arm]}" ping || give_up "redis-server ($arm) does not start"
}
start_server plain env
start_server accelerated "$smaccel" run --

# Prints "TEST RPS P99_MS" lines.
benchmark() { # ARM
	local preload=(env)
	[ "$1" = plain ] || preload=("$smaccel" run --)
	timeout 60 "${preload[@]}" redis-benchmark -p "${port[$1]}" -c 50 -n "$requests" -t set,get -d 64 --csv |
		awk -F'","' 'NR > 1 { gsub(/"/, ""); split($0, f, ","); print f[1], f[2], f[7] }'
}

total() { # a member of "totals"
	"$smaccel" status --json | grep -o "\"$1\": *[0-9]*" | grep -o '[0-9]*$'
}

say "redis-benchmark, 50 connections, $requests requests a run, $rounds rounds plain / accelerated / accelerated / plain"
benchmark plain >/dev/null       # warm up
for _ in $(seq "$rounds"); do
	for arm in plain accelerated accelerated plain; do
		benchmark $arm >"$work/run" && [ -s "$work/run" ] || give_up "redis-benchmark ($arm) failed"
		sed "s/^/$arm /" "$work/run" >>"$work/results"
	done
done

# ---- before and after: medians -------------------------------------------------------------------------------------------
awk '
function median(list,   values, n, i, j, t) {
	n = split(list, values, " ")
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && values[j - 1] + 0 > values[j] + 0; j--) { t = values[j]; values[j] = values[j - 1]; values[j - 1] = t }
	return n % 2 ? values[(n + 1) / 2] : (values[n / 2] + values[n / 2 + 1]) / 2
}
{ rps[$1, $2] = rps[$1, $2] " " $3; p99[$1, $2] = p99[$1, $2] " " $4; tests[$2] }
END {
	printf "\n%-6s %18s %18s %8s %14s %14s\n", "", "before (req/s)", "after (req/s)", "ratio", "p99 before", "p99 after"
	for (test in tests) {
		before = median(rps["plain", test]); after = median(rps["accelerated", test])
		printf "%-6s %18.0f %18.0f %7.2fx %11.3f ms %11.3f ms\n", test, before, after, after / before,
			median(p99["plain", test]), median(p99["accelerated", test])
	}
}' "$work/results"

redirected=$(total redirected_msgs)
say
say "redirected messages: ${redirected:-0}"
[ "${redirected:-0}" -gt 0 ] || give_up 'nothing was redirected'
