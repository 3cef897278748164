#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Makes the initial file system of the virtual machine: busybox, the programs and tests of a build folder, their libraries.
#   tests/vm/initramfs.sh BUILD OUT BUSYBOX [MODULES_FOLDER=RELEASE...]
# Libraries go where the dynamic linker of this machine finds them, as ldd says. Needs no root: there are no device nodes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1 out=$2 busybox=$3
shift 3

root=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$root" "$out.new"' EXIT
mkdir -p "$root"/{bin,busybox,dev,etc,proc,run,sys,tmp,modules,smaccel/build/tests}
chmod 1777 "$root/tmp"

add_libraries() { # PROGRAM...: each ldd line is "name => /path (address)" or "/path (address)"
	local library
	ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }' | sort -u |
		while IFS= read -r library; do
			[ -e "$root$library" ] || install -D -m 755 "$library" "$root$library"
		done
}

install -m 755 "$busybox" "$root/bin/busybox"
# What the tests execute is dynamically linked, so that the shim is in it; the guest's own scripts use busybox.
for program in cat echo env head ls true; do
	install -D -m 755 "$(type -P $program)" "$root/bin/$program"
done
install -m 755 "$(readlink -f /bin/sh)" "$root/bin/sh"
install -m 755 "$here/init.sh" "$root/init"
install -m 755 "$here/guest.sh" "$here/memory.sh" "$here/semantics.sh" "$root/smaccel/"
cp "$here/../conformance/semantics/differences" "$here"/differences-* "$root/smaccel/"
echo 'root:x:0:0:root:/:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:
nogroup:x:65534:' >"$root/etc/group"
echo '127.0.0.1 localhost' >"$root/etc/hosts"

programs=("$build/libsmaccel.so" "$build/smacceld" "$build/smaccel")
for suite in kernel conformance process chaos environment; do
	for program in "$build/tests/$suite"/*; do
		case $program in *.d | *.o | *.h) continue ;; esac
		[ ! -f "$program" ] || [ ! -x "$program" ] || programs+=("$program")
	done
done
for program in "${programs[@]}"; do
	# A part of the build may be missing; the guest's tests then fail by name.
	[ ! -e "$program" ] || install -D -m 755 "$program" "$root/smaccel/build/${program#"$build"/}"
done
add_libraries "${programs[@]}" "$root"/bin/{cat,echo,env,head,ls,sh,true}

for pair in "$@"; do
	mkdir -p "$root/modules/${pair#*=}"
	cp "${pair%%=*}"/*.ko "$root/modules/${pair#*=}/"
done

(cd "$root" && find . | "$busybox" cpio -o -H newc) >"$out.new" 2>/dev/null
mv "$out.new" "$out"
