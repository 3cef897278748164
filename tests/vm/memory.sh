#!/bin/busybox sh
# SPDX-License-Identifier: BSD-2-Clause
# shellcheck disable=SC2154  # work, build and so on are guest.sh's
# A part of guest.sh: TCP's memory is short, which only a machine of the test's own can be made to be.

# What was dropped for want of room, since the start.
dropped() {
	awk '/^TcpExt:/ { if (!names++) split($0, name); else for (i = 2; i <= NF; i++)
		if (name[i] ~ /^(RcvPruned|TCPRcvQDrop|TCPZeroWindowDrop|TCPBacklogDrop)$/) sum += $i } END { print sum + 0 }' /proc/net/netstat
}

# NAME OPTION...: streams to a reader that sleeps, plain and accelerated. Beyond tcp_mem[0] no receive buffer grows for what is passed behind
# redirected bytes (tcp_clamp_window()): it would be dropped, and come again by a timer.
stalled_reader() {
	local name=memory/$1 before plain
	shift
	set -- "$build/tests/conformance/stalled_reader" stall_ms=1500 deadline=50 "$@"
	before=$(dropped)
	timeout -s KILL 60 "$@" >"$work/out" 2>&1
	expect_success "$name-plain" "$work/out" $? || return
	plain=$(($(dropped) - before))
	before=$(dropped)
	run_counted redirected_bytes "$name" eager 60 "$@"
	[ $(($(dropped) - before)) -le $plain ] && ok "$name-drops" || not_ok "$name-drops" "$(($(dropped) - before)), with plain TCP $plain"
}

# Readers in a cgroup that is filled. What is redirected is charged to it, and in a way that ends one of its processes (here none is in it).
MEMORY_MAX=8388608
limited_reader() {
	local cgroups=$work/cgroups ended
	mkdir -p "$cgroups"
	mount -t cgroup2 none "$cgroups" && echo +memory >"$cgroups/cgroup.subtree_control" && mkdir "$cgroups/reader" &&
		echo $MEMORY_MAX >"$cgroups/reader/memory.max" || { not_ok memory/cgroup "no memory controller of version 2"; return; }
	stalled_reader cgroup others=8 after=262144 cgroup="$cgroups/reader"
	ended=$(sed -n 's/^oom //p' "$cgroups/reader/memory.events")
	[ "$ended" = 0 ] && ok memory/cgroup-ends-nobody || not_ok memory/cgroup-ends-nobody "$ended times somebody was to be ended"
	rmdir "$cgroups/reader"
	umount "$cgroups"
}

# Pages of all of TCP's memory.
tcp_pages() { awk '$1 == "TCP:" { print $NF }' /proc/net/sockstat; }

# A program that has all that the kernel still promises. Its library's shared memory is charged page by page, when it is touched: what cannot be
# had is SIGBUS.
COMMITTED_CONNECTIONS=100
committed() {
	local usual admit
	usual=$(cat /proc/sys/vm/overcommit_memory)
	echo 2 >/proc/sys/vm/overcommit_memory
	"$build/tests/environment/committed" $COMMITTED_CONNECTIONS >"$work/out" 2>&1
	expect_success memory/committed-plain "$work/out" $?
	for admit in eager 1; do
		run_counted redirected_bytes "memory/committed-$admit" $admit 60 "$build/tests/environment/committed" $COMMITTED_CONNECTIONS
	done
	echo "$usual" >/proc/sys/vm/overcommit_memory
	kill -0 "$helper_pid" && ok memory/committed-helper-lives || not_ok memory/committed-helper-lives "it has ended"
}

# A plain connection whose reader sleeps has some MB all the time.
MEMORY_LOW_PAGES=256
part_memory() {
	local usual holder tries=0
	helper_start || { not_ok memory "the helper does not start"; return; }
	limited_reader
	committed
	usual=$(cat /proc/sys/net/ipv4/tcp_mem)
	echo "$MEMORY_LOW_PAGES ${usual#*[	 ]}" >/proc/sys/net/ipv4/tcp_mem
	"$build/tests/conformance/stalled_reader" stall_ms=100000 deadline=120 filled=2097152 >"$work/holder" 2>&1 &
	holder=$!
	while [ "$(tcp_pages)" -lt $((4 * MEMORY_LOW_PAGES)) ] && [ $tries -lt 150 ]; do
		tries=$((tries + 1))
		usleep 100000
	done
	stalled_reader fresh
	stalled_reader filled blocking=1 filled=1048576
	[ "$(tcp_pages)" -gt $MEMORY_LOW_PAGES ] && ok memory/was-short || not_ok memory/was-short "TCP has no more than $(tcp_pages) pages"
	kill $holder
	wait $holder 2>/dev/null
	echo "$usual" >/proc/sys/net/ipv4/tcp_mem
}
