#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# `smaccel explain` of processes in which the shim is not, or does nothing. TAP. No root, no helper (with one: tests/environment/test_starting.py).
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
build=${SMACCEL_BUILD:-$here/build}
work=$(mktemp -d)
cc=${CC:-gcc}
unset LD_PRELOAD SMACCEL SMACCEL_ADMIT SMACCEL_LOG SMACCEL_SECCOMP ASAN_OPTIONS
export SMACCEL_SOCKET=$work/no-helper
library=$build/libsmaccel.so
failures=0
subject=
finish() {
	[ -z "$subject" ] || kill "$subject" 2>/dev/null
	rm -rf "$work"
}
trap finish EXIT

expect() { # NAME STATUS PATTERN: of `smaccel explain` of the process $subject
	local out status
	out=$("$build/smaccel" explain "$subject" 2>&1 </dev/null)
	status=$?
	# shellcheck disable=SC2053
	if [ "$status" = "$2" ] && [[ $out == $3 ]]; then
		echo "ok $1"
	else
		echo "not ok $1 # status $status: ${out//$'\n'/ | }"
		failures=$((failures + 1))
	fi
}

begin() { # [NAME=VALUE...] PROGRAM: it is there when it has said so
	coproc SUBJECT { exec env "$@"; }
	subject=$SUBJECT_PID
	read -r -t 20 -u "${SUBJECT[0]}" _ || echo "not ok begin # $*"
}

end() {
	kill "$subject"
	wait "$subject" 2>/dev/null
	subject=
}

{
	echo '#include <stdio.h>'
	echo '#include <unistd.h>'
	echo '#include <sys/prctl.h>'
	echo '#include <stddef.h>'
	echo '#include <linux/filter.h>'
	echo '#include <linux/seccomp.h>'
	echo 'int main(int argc, char **argv) {'
	echo '  struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);'
	echo '  struct sock_fprog filter = { 1, &allow };'
	echo '  if (argc > 1 && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))) return 1;'
	echo '  puts("up"); fflush(stdout); alarm(60); pause(); }'
} >"$work/up.c"
"$cc" -o "$work/up" "$work/up.c" && "$cc" -static -o "$work/static" "$work/up.c" || exit 1

begin "$work/up"
expect not-preloaded 1 '*NO*library*did not name it*ok*filter*ok*settings*SMACCEL_SOCKET=*NO*helper*none at*no-helper*'
end
begin LD_PRELOAD="$library" "$work/up"
expect preloaded 1 "up/$subject, user $(id -u)*ok*library*$library is loaded*ok*filter*NO*helper*none at*no-helper*"
end
begin prlimit --nofile=26: env LD_PRELOAD="$library" "$work/up"
expect too-few-files 1 '*NO*limits*26 files*RLIMIT_NOFILE*not the 3 *LimitNOFILE=*'
end
begin prlimit --nofile=27: env LD_PRELOAD="$library" "$work/up"
expect enough-files 1 '*ok*limits*NO*helper*none at*'
end
begin prlimit --as=37748735 env LD_PRELOAD="$library" "$work/up"
expect too-few-addresses 1 '*NO*limits*RLIMIT_AS*to 36864 KiB*LimitAS=*'
end
begin prlimit --as=37748736 env LD_PRELOAD="$library" "$work/up"
expect enough-addresses 1 '*ok*limits*NO*helper*none at*'
end
begin prlimit --data=4000000 env LD_PRELOAD="$library" "$work/up"
expect too-little-data 1 '*NO*limits*RLIMIT_DATA*to 36864 KiB*LimitDATA=*'
end
begin prlimit --data=40000000 env LD_PRELOAD="$library" SMACCEL_SECCOMP=trust "$work/up"
expect too-little-for-a-whole-session 1 '*NO*limits*RLIMIT_DATA*'
end
begin LD_PRELOAD="$library" SMACCEL=No SMACCEL_LOG=error "$work/up"
expect switched-off 1 '*ok*library*NO*settings*SMACCEL=No SMACCEL_LOG=error *: switched off*'
end
begin LD_PRELOAD="$library" SMACCEL_ADMIT=never "$work/up"
expect never-joins 1 '*NO*settings*SMACCEL_ADMIT=never *never join*'
end
begin LD_PRELOAD="$library" "$work/up" filtered
expect filtered 1 '*NO*filter*seccomp*SMACCEL_SECCOMP=trust*'
end
begin LD_PRELOAD="$library" SMACCEL_SECCOMP=trust "$work/up" filtered
expect trusted 1 '*ok*filter*SMACCEL_SECCOMP=trust:*'
end
begin LD_PRELOAD="$library" SMACCEL_SECCOMP=trust-all "$work/up" filtered
expect trusted-wholly 1 '*ok*filter*SMACCEL_SECCOMP=trust-all:*'
end
begin LD_PRELOAD="$library" "$work/static"
expect static 1 "*NO*library*of $work/static, it is statically linked*"
end
begin LD_PRELOAD="$work/libsmaccel.so" "$work/up" 2>/dev/null
expect not-mapped 1 "*NO*library*LD_PRELOAD=$work/libsmaccel.so, but it is not loaded*"
end
cp "$library" "$work/libsmaccel.so"
begin LD_PRELOAD="$work/libsmaccel.so" "$work/up"
rm "$work/libsmaccel.so"
expect replaced 1 '*ok*library*libsmaccel.so is loaded as it was before it was replaced*'
end
begin LD_PRELOAD="$library" SMACCEL_GROUP=$'\e[31m\x01\xff' "$work/up"
expect no-control-characters 1 "*SMACCEL_GROUP=[?][[]31m[?]*SMACCEL_SOCKET*"
end
begin LD_PRELOAD="$library" SMACCEL_LOG=$'\xc2\x9b\xc3\xa9' "$work/up"
expect no-c1-characters 1 $'*SMACCEL_LOG=??\xc3\xa9*'
end
mkdir "$work/folder"
python3 -c 'import socket, sys, time
there = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
there.bind(sys.argv[1])
there.listen()
print("up", flush=True)
time.sleep(60)' "$work/folder/s" >"$work/listening" &
listener=$!
for _ in {1..100}; do
	[ -s "$work/listening" ] && break
	sleep 0.05
done
cd "$work/folder" || exit 1
begin LD_PRELOAD="$library" SMACCEL_SOCKET=s "$work/up"
cd "$work" || exit 1
expect its-own-folder 1 '*NO*helper*at s: *'
end
kill $listener
cd "$here" || exit 1
begin python3 -c 'import threading, time
threading.Thread(target=lambda: (print("up", flush=True), time.sleep(60)), daemon=True).start()
time.sleep(60)'
process=$subject
subject=$(printf "%s\n" /proc/"$process"/task/* | sed 's,.*/,,' | grep -v "^$process$" | head -1)
expect number-of-a-thread 1 "*/$process, user *"
subject=$process
end
subject=$$
out=$("$build/smaccel" explain --json $subject)
if python3 -c 'import json, sys; seen = json.load(sys.stdin); sys.exit(not (seen["hindered"] and seen["connections"] is None and
[each["subject"] for each in seen["findings"]] == ["library", "filter", "settings", "helper"]))' <<<"$out"; then
	echo "ok json"
else
	echo "not ok json # $out"
	failures=1
fi
subject=999999999
expect no-process 1 '*process 999999999: No such process'
subject=12x
expect no-number 2 '*"12x" is no process*'
subject=
exit "$((failures > 0))"
