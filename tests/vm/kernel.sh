#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Fetches a kernel, or busybox, from the distribution and unpacks what the virtual machine needs; installs nothing.
#   tests/vm/kernel.sh SERIES FOLDER     SERIES as in 6.1: FOLDER/vmlinuz, FOLDER/release, FOLDER/modules/*.ko
#   tests/vm/kernel.sh busybox FOLDER    FOLDER/busybox, static
# What is there already is kept, so that it works without a network from then on. On failure: one line on stderr says why.
#
# A series is looked for in the archives that apt knows here, then in Debian 12, its backports and Debian 13 on the first Debian
# mirror among them, with lists and a cache of their own in FOLDER.
set -u
# Which the tests use and the kernels do not have built in; the guest inserts them in the order of their names. For kTLS: tls,
# and gcm(aes), which 6.1 has of fewer modules than 6.12.
MODULES="crypto_null ctr gcm gf128mul ghash-generic tls veth"

mkdir -p "$2" || exit 1
name=$1 folder=$(cd "$2" && pwd)
arch=$(dpkg --print-architecture) || exit 1
apt=(-q -o APT::Sandbox::User=root) # the folder need not be readable for apt's own user

fail() {
	echo "$*" >&2
	exit 1
}

candidate_of() { # PACKAGE: its version that apt would take
	apt-cache "${apt[@]}" policy "$1" 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" { print $2; exit }'
}

# The real package behind the newest image of the series; fails when apt knows none.
image_package() {
	local meta
	for meta in "linux-image-$name-cloud-$arch" "linux-image-cloud-$arch"; do
		case $(candidate_of "$meta") in
		"$name".*)
			apt-cache "${apt[@]}" depends "$meta" | awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }' | grep .
			return
			;;
		esac
	done
	return 1
}

# SUITE: lets `apt` mean this suite alone, on a mirror that this machine is configured for.
use_private_archive() {
	local mirror key=/usr/share/keyrings/debian-archive-keyring.gpg private=$folder/apt-$1
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
		awk '$1 ~ /\/debian\/$/ && $2 !~ /[-\/]/ { print $1; exit }')
	[ -n "$mirror" ] || return 1
	mkdir -p "$private/lists/partial" "$private/cache/archives/partial" "$private/parts"
	printf '%s\n' 'Types: deb' "URIs: $mirror" "Suites: $1" 'Components: main' >"$private/parts/debian.sources"
	[ ! -r "$key" ] || echo "Signed-By: $key" >>"$private/parts/debian.sources"
	apt=("${apt[@]:0:3}" -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$private/parts"
		-o "Dir::State::lists=$private/lists" -o "Dir::Cache=$private/cache")
	timeout 120 apt-get "${apt[@]}" update >"$private/log" 2>&1
}

# Downloads PACKAGE and unpacks it to $unpacked.
unpack() {
	unpacked=$(mktemp -d "$folder/unpack.XXXXXX") || exit 1
	trap 'rm -rf "$unpacked"' EXIT
	(cd "$unpacked" && timeout 300 apt-get "${apt[@]}" download "$1") >"$folder/download.log" 2>&1 ||
		fail "cannot download $1: $(tail -1 "$folder/download.log")"
	dpkg-deb -x "$unpacked/$1"_*.deb "$unpacked" || fail "cannot unpack $1"
}

fetch_busybox() {
	local own
	[ ! -x "$folder/busybox" ] || exit 0
	own=$(command -v busybox)
	if [ -n "$own" ] && ! ldd "$own" >/dev/null 2>&1; then
		cp "$own" "$folder/busybox"
		exit 0
	fi
	[ -n "$(candidate_of busybox-static)" ] || use_private_archive bookworm || fail "no package source for busybox-static"
	unpack busybox-static
	cp "$unpacked"/*bin/busybox "$folder/busybox.new" 2>/dev/null || cp "$unpacked"/usr/*bin/busybox "$folder/busybox.new" || fail "no busybox in the package"
	mv "$folder/busybox.new" "$folder/busybox"
}

# A module, uncompressed: some kernels cannot do that themselves.
take_module() {
	local file
	file=$(find "$unpacked" -name "$1.ko*" -type f | head -1)
	case $file in
	*.ko) cp "$file" "$folder/modules/$1.ko" ;;
	*.xz) xz -dc "$file" >"$folder/modules/$1.ko" ;;
	*.zst) zstd -qdc "$file" >"$folder/modules/$1.ko" ;;
	'') echo "no module $1 in Linux $name" >&2 ;; # the test that wants it will say so
	esac
}

fetch_kernel() {
	local package suite module image
	[ ! -s "$folder/vmlinuz" ] || [ "$(cat "$folder/modules.list" 2>/dev/null)" != "$MODULES" ] || exit 0
	package=$(image_package)
	for suite in bookworm bookworm-backports trixie; do
		[ -z "$package" ] || break
		use_private_archive $suite && package=$(image_package)
	done
	[ -n "$package" ] || fail "no cloud kernel $name in the package sources"
	unpack "$package"
	image=$(find "$unpacked/boot" -name 'vmlinuz-*' | head -1)
	[ -n "$image" ] || fail "no kernel image in $package"
	mkdir -p "$folder/modules"
	for module in $MODULES; do
		take_module "$module"
	done
	echo "$MODULES" >"$folder/modules.list"
	basename "$image" | sed 's/^vmlinuz-//' >"$folder/release"
	mv "$image" "$folder/vmlinuz" # last: says that all is there
}

if [ "$name" = busybox ]; then
	fetch_busybox
else
	fetch_kernel
fi
