#!/bin/busybox sh
# SPDX-License-Identifier: BSD-2-Clause
# The first process of the virtual machine: makes a minimal system of it, runs the suite, turns it off.
# Kernel messages go to the first serial port; all that is printed here goes to the second.
/bin/busybox --install -s /busybox
export PATH=/busybox

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
exec </dev/null >/dev/ttyS1 2>&1

ip link set lo up
# A way to nowhere, where a connect stays pending: forwarding is off, and nothing answers.
ip address add 198.51.100.1/24 dev lo
ip route add 192.0.2.0/24 dev lo src 198.51.100.1
ulimit -n 65536
for module in /modules/"$(uname -r)"/*.ko; do
	[ ! -f "$module" ] || insmod "$module"
done

parts=$(sed -n 's/.*\bvm_parts=\([^ ]*\).*/\1/p' /proc/cmdline | tr , ' ')
limit=$(sed -n 's/.*\bvm_limit=\([^ ]*\).*/\1/p' /proc/cmdline)
echo "vm up $(uname -r)"
# shellcheck disable=SC2086  # the parts are words
timeout -s KILL "${limit:-240}" /smaccel/guest.sh $parts
echo "vm done $?"
sync
poweroff -f
