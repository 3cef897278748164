#!/bin/busybox sh
# SPDX-License-Identifier: BSD-2-Clause
# The suite that runs in the virtual machine, under busybox: guest.sh [PART[:ARGUMENT]...]. One TAP line a check ("ok PART/NAME"),
# anything else is detail. Small volumes: the processors are emulated, some 10 to 30 times slower than real ones.
build=/smaccel/build
work=/tmp/vm
socket=$work/socket
pins=/sys/fs/bpf/vm
helper_pid=
helper_options=
failures=0
DETAIL_LINES=60
# With vm_every=N, N > 1, long parts have half of their cases or bytes.
every=$(sed -n 's/.*\bvm_every=\([0-9]*\).*/\1/p' /proc/cmdline)
thinned=$((${every:-1} > 1 ? 2 : 1))
iterations=$((12 / thinned))
export TEST_EMULATED=1

ok() { echo "ok $1"; }
not_ok() { # NAME REMARK
	echo "not ok $1 # $2"
	failures=$((failures + 1))
}

# NAME FILE STATUS: what a program said, when it failed.
expect_success() {
	if [ "$3" = 0 ]; then
		ok "$1"
		return 0
	fi
	tail -n $DETAIL_LINES "$2"
	not_ok "$1" "exit status $3"
	return 1
}

# ---- the helper and what it counts -----------------------------------------------------------------------------------

# [OPTION...]: has it running with these options, ready within 30 s. Loading takes seconds of emulated time: one that runs
# as wanted is kept, and it goes before the traffic of the tests.
helper_start() {
	local tries=0
	[ -z "$helper_pid" ] || [ "$*" != "$helper_options" ] || return 0
	helper_stop
	helper_options=$*
	: >"$work/helper" # at once: the last one's log says "ready", too
	"$build/smacceld" --socket "$socket" --pin-dir "$pins" --verbose "$@" >"$work/helper" 2>&1 &
	helper_pid=$!
	renice -n -15 -p $helper_pid 2>/dev/null
	until grep -q 'smacceld: ready' "$work/helper"; do
		if ! kill -0 "$helper_pid" 2>/dev/null || [ $tries -ge 300 ]; then
			tail -n $DETAIL_LINES "$work/helper"
			return 1
		fi
		tries=$((tries + 1))
		usleep 100000
	done
}

helper_stop() {
	[ -n "$helper_pid" ] || return 0
	kill "$helper_pid" 2>/dev/null
	wait "$helper_pid"
	helper_pid=
	rm -rf "$pins" "$socket"
}

# As it would die by accident: what it has pinned stays.
helper_kill() {
	kill -9 "$helper_pid"
	wait "$helper_pid"
	helper_pid=
}

# NAME: a number of the totals.
total() {
	SMACCEL_SOCKET=$socket timeout 10 "$build/smaccel" status --json | tr ',{}' '\n\n\n' |
		sed -n "s/^ *\"$1\": *\([0-9]*\).*/\1/p" | head -n 1 | grep . || echo 0
}

# ADMIT PROGRAM ARGUMENT...: under the shim.
accelerated() {
	local admit=$1
	shift
	SMACCEL_SOCKET=$socket SMACCEL_ADMIT=$admit LD_PRELOAD=$build/libsmaccel.so PATH=/bin:$PATH "$@"
}

# TOTAL NAME ADMIT SECONDS PROGRAM ARGUMENT...: runs it under the shim; it must succeed, and the total have grown.
run_counted() {
	local counter=$1 name=$2 admit=$3 seconds=$4 before after status
	shift 4
	before=$(total "$counter")
	accelerated "$admit" timeout -s KILL "$seconds" "$@" >"$work/out" 2>&1
	status=$?
	expect_success "$name" "$work/out" $status || { tail -n 15 "$work/helper"; return; }
	after=$(total "$counter")
	if [ "$after" -gt "$before" ]; then
		ok "$name-$counter $((after - before))"
	else
		tail -n 3 "$work/out"
		SMACCEL_SOCKET=$socket timeout 10 "$build/smaccel" status --json
		tail -n 15 "$work/helper"
		not_ok "$name-$counter" "has not grown"
	fi
}

# ---- the parts ---------------------------------------------------------------------------------------------------------

# PROGRAM: of tests/kernel.
kernel_program() {
	local name status begun out=$work/out-${1##*/}
	begun=$(date +%s)
	name=kernel/$(basename "$1" | sed 's/^test_//')
	timeout -s KILL 60 "$1" >"$out" 2>"$out.errors"
	status=$?
	sed -E "s,^(ok|not ok) ,\1 $name ," "$out"
	if [ $status = 0 ]; then
		grep -qE '^ok ' "$out" || not_ok "$name" "no result"
	else
		tail -n 200 "$out.errors"
		grep -q '^not ok ' "$out" || not_ok "$name" "exit status $status"
	fi
	echo "$name: $(($(date +%s) - begun)) s"
}

# [NAME]: what the design stands on, and the data path by itself. Those that mostly wait do so beside the others.
part_kernel() {
	local program waiting='memory stopping stops' pids=
	for program in "$build"/tests/kernel/test_${1:-*}; do
		case " $waiting " in *" ${program##*/test_} "*) ;; *) continue ;; esac
		kernel_program "$program" >"$work/kernel-${program##*/}" &
		pids="$pids $!"
	done
	for program in "$build"/tests/kernel/test_${1:-*}; do
		case " $waiting " in *" ${program##*/test_} "*) continue ;; esac
		kernel_program "$program" >"$work/kernel-${program##*/}"
		cat "$work/kernel-${program##*/}"
	done
	# shellcheck disable=SC2086  # numbers
	[ -z "$pids" ] || wait $pids # and not for the helper
	for program in $waiting; do
		[ ! -e "$work/kernel-test_$program" ] || cat "$work/kernel-test_$program"
	done
	failures=$((failures + $(cat "$work"/kernel-* | grep -c '^not ok ')))
}

part_probe() {
	timeout -s KILL 60 "$build/smaccel" probe >"$work/out" 2>&1
	expect_success probe "$work/out" $?
	cat "$work/out"
}

# From connect() to a redirected byte.
part_smoke() {
	local admit address
	helper_start || { not_ok smoke "the helper does not start"; return; }
	for admit in eager auto; do
		for address in 127.0.0.1 ::1; do
			run_counted redirected_bytes "smoke/$admit-$address" $admit 30 "$build/tests/conformance/exchange" both connections=8 turns=60 \
				close=fin deadline=20 "listen=$address" "connect=$address"
		done
	done
}

# Invariant 1 under small bounds, where spills and returns are constant.
part_order() {
	local bound admit bytes
	for bound in none 4096 65536; do
		# shellcheck disable=SC2046  # two words or none
		helper_start $([ $bound = none ] || echo --test-bound $bound) || { not_ok "order/bound-$bound" "the helper does not start"; continue; }
		for admit in eager 1; do
			bytes=$((1000000 / thinned))
			[ $bound != 4096 ] || bytes=$((300000 / thinned))
			run_counted redirected_bytes "order/$admit-bound-$bound" $admit 60 "$build/tests/conformance/order" threads seed=7 connections=12 \
				concurrency=4 bytes=$bytes write_max=65536 deadline=50
		done
	done
}

# NAME ADMIT KIND: late (0.2 s) can be this emulated machine; stranded (3 s), wrong or EAGAIN cannot.
blocked_reader() {
	local status
	accelerated "$2" timeout -s KILL 40 "$build/tests/conformance/blocked_reader" "$3" thread iterations=$iterations deadline=30 >"$work/out" 2>&1
	status=$?
	if [ $status = 1 ] && grep -q "\"iterations\": $iterations," "$work/out" && ! grep -qE 'STRANDED|FAILED' "$work/out"; then
		echo "late: $(tail -n 1 "$work/out")"
		status=0
	fi
	[ "$3" = raw ] || ! grep -q '"eagain": [1-9]' "$work/out" || status=EAGAIN
	expect_success "$1" "$work/out" $status
}

# The late server and the blocked reader (invariant 3).
part_entering() {
	local admit kind
	helper_start || { not_ok entering "the helper does not start"; return; }
	for admit in eager 1; do
		for kind in thread process; do
			# Its client always has bytes under way: in one thread hardly a message is redirected.
			run_counted pairs_armed_total "entering/late-server-$kind-$admit" $admit 40 "$build/tests/conformance/late_server" $kind iterations=$iterations deadline=30
		done
		for kind in recv raw stdio; do
			blocked_reader "entering/blocked-reader-$kind-$admit" $admit $kind
		done
	done
}

# PROGRAM [CASE]: its cases one after the other, the roles taking turns.
process_program() {
	local case role=accept out=$work/out-$1 number=0
	for case in $("$build/tests/process/$1"); do
		[ "$case" != inetd-python ] || continue # no Python here
		[ $role = accept ] && role=connect || role=accept
		number=$((number + 1))
		[ $thinned = 1 ] || [ $((number % 4)) = 0 ] || [ $((number % 4)) = 3 ] || continue # of either role
		[ -z "$2" ] || [ "$case" = "$2" ] || continue
		accelerated eager timeout -s KILL 25 "$build/tests/process/$1" "$case" $role >"$out" 2>&1
		expect_success "process/$case-$role" "$out" $?
	done
}

# [CASE]: fork, exec, dup, close and passing of accelerated sockets. The programs run side by side: they mostly wait.
part_process() {
	local program pids=
	helper_start || { not_ok process "the helper does not start"; return; }
	for program in fork_cases exec_cases spawn_cases fd_cases; do
		process_program $program "$1" >"$work/process-$program" 2>&1 &
		pids="$pids $!"
	done
	# shellcheck disable=SC2086  # numbers
	wait $pids
	cat "$work"/process-*
	failures=$((failures + $(cat "$work"/process-* | grep -c '^not ok')))
}

# ---- kTLS, which these kernels have as a module ------------------------------------------------------------------------

# ARM: keys are set on both ends of a connection that is armed (or in plain TCP): TLS bytes are right, and the reason is shown.
# $2: how many more attempts there are. Under emulation a process can miss the 50 ms bound at that very moment; it has
# given its helper up then, which shows its connections as they were, or not at all.
ktls_arm() {
	local name=ktls/$1 tries=0 before status=0
	before=$(total redirected_bytes)
	rm -f "$work/go"
	if [ "$1" = plain ]; then
		"$build/tests/environment/ktls" "$work/go" >"$work/out" 2>&1 &
	else
		accelerated "$1" "$build/tests/environment/ktls" "$work/go" >"$work/out" 2>&1 &
	fi
	ktls_pid=$!
	until grep -q '^keyed' "$work/out" || ! kill -0 $ktls_pid 2>/dev/null || [ $tries -ge 300 ]; do
		tries=$((tries + 1))
		usleep 50000
	done
	SMACCEL_SOCKET=$socket timeout 10 "$build/smaccel" ss --json >"$work/ss"
	touch "$work/go"
	wait $ktls_pid || status=$?
	if [ "$1" != plain ] && [ "$2" -gt 0 ] && [ "$(grep -o '"reason": *"ulp"' "$work/ss" | wc -l)" != 2 ]; then
		ktls_arm "$1" $(($2 - 1))
		return
	fi
	expect_success "$name-bytes" "$work/out" $status || return
	[ "$1" != plain ] || return 0
	[ "$(total redirected_bytes)" -gt "$before" ] && ok "$name-was-armed" || not_ok "$name-was-armed" "no byte was redirected before"
	[ "$(grep -o '"reason": *"ulp"' "$work/ss" | wc -l)" = 2 ] && ok "$name-reason" || { cat "$work/ss"; not_ok "$name-reason" "not both ends say ulp"; }
}

part_ktls() {
	local arm
	helper_start || { not_ok ktls "the helper does not start"; return; }
	for arm in plain eager 1; do
		ktls_arm $arm 2
	done
}

# ---- the helper dies: traffic goes on, the next one takes over -----------------------------------------------------------

# COMMAND: to the traffic program; its one line of answer in $answer.
ask() {
	echo "$1" >&3
	answer=
	read -r -t 20 answer <&4 || { not_ok takeover "no answer to '$1'"; return 1; }
}

# The bytes that have gone there and back.
traffic_bytes() {
	ask stat || return 1
	bytes=$(echo "$answer" | sed -n 's/.*"bytes": *\([0-9]*\).*/\1/p')
	bytes=${bytes:-0}
}

# NAME: the traffic grows by some, within 10 s.
expect_growth() {
	local start tries=0
	traffic_bytes || return 1
	start=$bytes
	while [ "$bytes" -lt $((start + 200000)) ]; do
		[ $tries -lt 100 ] || { not_ok "$1" "traffic stands still"; return 1; }
		tries=$((tries + 1))
		usleep 100000
		traffic_bytes || return 1
	done
	ok "$1"
}

# NAME TOTAL NUMBER: the helper's total comes to that number, within 10 s.
expect_total() {
	local tries=0 now=
	while [ $tries -lt 50 ]; do
		now=$(total "$2")
		[ "$now" != "$3" ] || { ok "$1"; return 0; }
		tries=$((tries + 1))
		usleep 200000
	done
	SMACCEL_SOCKET=$socket timeout 10 "$build/smaccel" status --json
	tail -n 15 "$work/helper"
	not_ok "$1" "$2 is $now, not $3"
}

# ADMIT
takeover_with() {
	local name=takeover/$1 before after
	ask "open 4" && ask go || return
	expect_total "$name-armed" pairs_armed 4
	expect_growth "$name-before"
	before=$(total redirected_bytes)
	helper_kill
	expect_growth "$name-traffic-without-helper" || return
	ask "probe 5" || return
	helper_start || { not_ok "$name-restart" "the helper does not start"; return; }
	after=$(total redirected_bytes)
	[ "$after" -gt "$before" ] && ok "$name-redirected-without-helper" || not_ok "$name-redirected-without-helper" "$before, then $after"
	expect_total "$name-taken-over" pairs_armed 4
	expect_growth "$name-traffic-with-next-helper" || return
	ask "open 4" || return
	expect_total "$name-new-pairs" pairs_armed 8
	ask halt && ask "turns 10" || return
	echo quit >&3
	wait $traffic_pid && ok "$name-bytes" || not_ok "$name-bytes" "the traffic program failed"
	traffic_pid=
}

# [ADMIT]
part_takeover() {
	local admit
	for admit in ${1:-auto}; do
		helper_start || { not_ok "takeover/$admit" "the helper does not start"; return; }
		rm -f "$work/commands" "$work/answers"
		mkfifo "$work/commands" "$work/answers"
		accelerated $admit "$build/tests/chaos/traffic" <"$work/commands" >"$work/answers" 2>"$work/out" &
		traffic_pid=$!
		exec 3>"$work/commands" 4<"$work/answers"
		read -r -t 20 answer <&4 # it is ready
		takeover_with $admit
		if [ -n "$traffic_pid" ]; then
			kill -9 $traffic_pid
			wait $traffic_pid
			tail -n $DETAIL_LINES "$work/out"
		fi
		exec 3>&- 4<&-
	done
}

# To see that the harness notices a kernel that dies; not part of the suite.
part_panic() { echo c >/proc/sysrq-trigger; }

. "${0%/*}/memory.sh"
. "${0%/*}/semantics.sh"
mkdir -p "$work"
[ $# != 0 ] || set -- kernel probe smoke entering process takeover order ktls memory semantics
for part in "$@"; do
	begun=$(date +%s)
	argument=${part#*:}
	[ "$argument" != "$part" ] || argument=
	"part_${part%%:*}" $argument
	echo "$part: $(($(date +%s) - begun)) s"
done
helper_stop
exit $((failures > 0))
