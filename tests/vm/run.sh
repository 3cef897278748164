#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs tests/vm/guest.sh under other kernels: `make check-vm`.
#   tests/vm/run.sh [KERNEL...]          6.1 6.12 when none is named
#   tests/vm/run.sh fetch [KERNEL...]    only gets them, as far as they can be had
#   VM_PARTS="kernel order" tests/vm/run.sh 6.1      only these parts of the suite
#   VM_EVERY=2 tests/vm/run.sh           every second semantics case, on each kernel others (6.1: the odd ones), and half of what takes long
#   VM_LATER_PARTS="kernel" tests/vm/run.sh          only these on all kernels but the first
#   VM_SECONDS=600 tests/vm/run.sh       a suite's limit, for a machine that is slow or busy
#
# Each kernel is booted by QEMU without hardware help, all side by side, from an initial file system made of this build (see
# kernel.sh and initramfs.sh; both are cached in build/vm). There is no disk and no network: kernel messages and results come
# over two serial ports into files. Every wait is bounded. Prints TAP lines with the kernel's name in front, kernel after kernel;
# one that cannot be had is a skip, what the kernel complains about is a failure.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=${SMACCEL_BUILD:-$(cd "$here/../.." && pwd)/build}
cache=${VM_CACHE:-$build/vm}
BOOT_S=60
SUITE_S=${VM_SECONDS:-540}
LATE_S=15       # for the guest to end by itself after its own limit
DETAIL_LINES=40 # of a log, when something failed

# What no kernel may say. Stalls of the machine that emulates (rcu) are not the guest's fault and not listed.
COMPLAINTS='BUG:|WARNING:|Oops|Kernel panic|general protection|KASAN|UBSAN|refcount_t|blocked for more than|unregister_netdevice: waiting'
# A static key that one processor switches while another one comes by: the emulator may show that one the breakpoint when the kernel has taken it back.
STUMBLED='Oops: int3'
failures=0
qemu_pid=

end_qemu() {
	[ -n "$qemu_pid" ] || return 0
	kill -KILL "$qemu_pid" 2>/dev/null
	wait "$qemu_pid" 2>/dev/null
	qemu_pid=
}
trap 'exit 143' TERM INT HUP

report() { # ok|"not ok" NAME [REMARK]
	echo "$1 $kernel $2${3:+ # $3}"
	[ "$1" = ok ] || failures=$((failures + 1))
}

# Shows what the guest has printed since: its results with the kernel in front, whatever else it said indented.
show_results() {
	local lines
	lines=$(wc -l <"$results")
	[ "$lines" -gt "$shown" ] || return 0
	tail -n "+$((shown + 1))" "$results" | head -n $((lines - shown)) | tr -d '\r' | sed -E "/^vm /d; s/^(ok|not ok) /\1 $kernel /; t; s/^/  /"
	shown=$lines
}

# Waits until the guest has printed a line that starts with TEXT (empty: none is wanted) or the machine has ended.
wait_guest() { # SECONDS TEXT
	local until=$((SECONDS + $1))
	while kill -0 "$qemu_pid" 2>/dev/null && [ "$SECONDS" -lt "$until" ]; do
		[ -z "$2" ] || ! grep -q "^$2" "$results" || break
		show_results
		sleep 0.3
	done
	show_results
}

start_qemu() {
	local parts=${VM_PARTS:-}
	[ "$kernel" = "${ready[0]}" ] || parts=${VM_LATER_PARTS:-$parts}
	qemu-system-x86_64 -accel tcg,thread=multi -machine q35 -cpu max,la57=off -smp 2 -m 1024 \
		-nodefaults -no-user-config -display none -no-reboot \
		-serial "file:$log/console" -serial "file:$results" \
		-kernel "$cache/$kernel/vmlinuz" -initrd "$cache/initramfs" \
		-append "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off tsc=reliable random.trust_cpu=on vm_limit=$SUITE_S vm_parts=${parts// /,} vm_every=${VM_EVERY:-1}" \
		</dev/null >"$log/qemu" 2>&1 9>&- &
	qemu_pid=$!
}

judge_console() { # FILE
	if tr -d '\r' <"$1" | grep -E "$COMPLAINTS" >"$1.complaints"; then
		head -3 "$1.complaints" | sed 's/^/  /'
		grep -aE -m1 -A"$DETAIL_LINES" "$COMPLAINTS" "$1" | tr -d '\r' | sed 's/^/  | /'
		report "not ok" kernel-messages "$(wc -l <"$1.complaints") complaints of the kernel"
	else
		report ok kernel-messages
	fi
}

run_kernel() {
	local log=$cache/$kernel begun=$SECONDS shown=0
	local results=$log/results
	failures=0
	trap end_qemu EXIT # of this subshell
	rm -f "$log/console" "$results"
	touch "$log/console" "$results"
	start_qemu
	wait_guest "$BOOT_S" 'vm up'
	if ! grep -q '^vm up' "$results"; then
		end_qemu
		tail -n "$DETAIL_LINES" "$log/console" "$log/qemu" | tr -d '\r' | sed 's/^/  | /'
		report "not ok" boot "not up within $BOOT_S s, or ended before"
		return
	fi
	report ok "boot Linux $(tr -d '\r' <"$results" | sed -n 's/^vm up //p') in $((SECONDS - begun)) s"
	wait_guest $((SUITE_S + LATE_S)) 'vm done'
	wait_guest "$LATE_S" '' # powers itself off
	end_qemu
	failures=$((failures + $(grep -c '^not ok ' "$results")))
	if grep -q '^vm done [01]' "$results"; then
		report ok "suite took $((SECONDS - begun)) s"
	else
		tail -n 5 "$log/console" | tr -d '\r' | sed 's/^/  | /'
		report "not ok" suite "$(tr -d '\r' <"$results" | sed -n 's/^vm done /exit status /p' | grep . || echo 'it did not end')"
	fi
	judge_console "$log/console"
}

command -v qemu-system-x86_64 >/dev/null || {
	echo "ok vm # SKIP no qemu-system-x86_64"
	exit 0
}
[ "$(uname -m)" = x86_64 ] || {
	echo "ok vm # SKIP the programs are not for x86_64"
	exit 0
}
is_fetch=
[ "${1:-}" != fetch ] || { is_fetch=1; shift; }
mkdir -p "$cache"
exec 9>"$cache/lock"
flock -w 600 9 || exit 1 # one virtual machine at a time
"$here/kernel.sh" busybox "$cache/busybox" || exit 1

[ $# != 0 ] || set -- 6.1 6.12
modules=() ready=()
for kernel in "$@"; do
	if why=$("$here/kernel.sh" "$kernel" "$cache/$kernel" 2>&1); then
		ready+=("$kernel")
		modules+=("$cache/$kernel/modules=$(cat "$cache/$kernel/release")")
	else
		echo "ok $kernel boot # SKIP ${why##*$'\n'}"
	fi
done
[ ${#ready[@]} != 0 ] && [ -z "$is_fetch" ] || exit 0
"$here/initramfs.sh" "$build" "$cache/initramfs" "$cache/busybox/busybox" "${modules[@]}" || exit 1
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait' EXIT
for kernel in "${ready[@]}"; do
	(
		run_kernel >"$cache/$kernel/report"
		if grep -q "$STUMBLED" "$cache/$kernel/console"; then
			run_kernel >"$cache/$kernel/report"
			echo "  $kernel: once more, the emulator had stumbled over code that was being changed" >>"$cache/$kernel/report"
		fi
		exit $((failures > 0))
	) &
	pids+=($!)
done
for i in "${!ready[@]}"; do
	wait "${pids[$i]}" || failures=1
	cat "$cache/${ready[$i]}/report"
done
pids=()
exit $failures
