#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Compares the names of preload/intercept.def with what the library exports, with libsmaccel.map and with the wrappers, and
# makes sure that the shim itself calls none of them.
# usage: check_exports.sh [LIBRARY [FOLDER OF THE SHIM'S OBJECTS]]
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
library=${1:-${SMACCEL_BUILD:-$root/build}/libsmaccel.so}
objects=${2:-$(dirname "$library")/obj/shim}
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
passed=0 failed=0

names_in_def() { sed -n 's/^INTERCEPT([^,]*, *\([A-Za-z0-9_]*\),.*/\1/p' "$root/preload/intercept.def"; }
aliases() { sed -n 's/^\([A-Za-z0-9_]*\) = [a-z0-9]*;$/\1/p' "$root/preload/aliases.ld"; }
names_in_map() { sed -n '/^global:/,/^local:/s/^[[:space:]]*\([A-Za-z0-9_]*\);.*/\1/p' "$root/preload/libsmaccel.map"; }
names_exported() { nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $3); print $3 }'; }
names_wrapped() {
	# fcntl and fcntl64 are one macro, as are signal() and its relatives.
	sed -n -e 's/^[^[:space:]#].*[ *]wrap_\([A-Za-z0-9_]*\)(.*/\1/p' -e 's/^[A-Z]*(\([a-z0-9_]*\))$/\1/p' \
		"$root"/preload/intercept_*.c
}

result() { # result NAME FILE: an empty file is a success, else it says what is wrong
	if [ -s "$2" ]; then
		echo "not ok $1"
		sed 's/^/    /' "$2"
		failed=$((failed + 1))
	else
		echo "ok $1"
		passed=$((passed + 1))
	fi
}

same() { # same NAME FILE: the sorted names in FILE are those of the list
	sort "$2" | diff "$folder/def" - | sed -n 's/^< /only in intercept.def: /p; s/^> /not in intercept.def: /p' >"$folder/difference"
	result "$1" "$folder/difference"
}

[ -r "$library" ] || { echo "$library: not there" >&2; exit 1; }
names_in_def | sort >"$folder/def"
uniq -d "$folder/def" >"$folder/twice"
[ "$(wc -l <"$folder/def")" -ge 60 ] || echo 'the list cannot be read' >>"$folder/twice"
# Of these there is a second name each, not a wrapper.
aliases >"$folder/aliases"
[ -s "$folder/aliases" ] || echo 'the list of aliases cannot be read' >>"$folder/twice"
result test_exports_list_is_sound "$folder/twice"
echo smaccel_shim >>"$folder/aliases" # by which a second copy finds the first
names_exported | grep -vxFf "$folder/aliases" >"$folder/exported"
same test_exports_equal_the_list "$folder/exported"
names_in_map | grep -vxFf "$folder/aliases" >"$folder/map"
same test_exports_map_equals_the_list "$folder/map"
names_wrapped | sort -u >"$folder/wrapped" # one of them is written for several machines
same test_exports_wrappers_equal_the_list "$folder/wrapped"

# At the address of what they are another name for.
nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $3); print $3, $1, $2 }' >"$folder/addresses"
sed -n 's/^\([A-Za-z0-9_]*\) = \([a-z0-9]*\);$/\1 \2/p' "$root/preload/aliases.ld" | while read -r alias name; do
	[ "$(grep "^$alias " "$folder/addresses" | cut -d' ' -f2-)" = "$(grep "^$name " "$folder/addresses" | cut -d' ' -f2-)" ] ||
		echo "$alias is not $name"
done >"$folder/aliased"
result test_exports_aliases_are_the_wrappers "$folder/aliased"

# A versioned definition would not be found by a reference to NAME@GLIBC_x.
readelf -V "$library" | grep -q 'Version definition section' && echo 'the library defines versions' >"$folder/versions"
touch "$folder/versions"
result test_exports_carry_no_version "$folder/versions"

# The shim calls real_NAME only: a reference to NAME would be a wrapper calling itself, or the application's interposer.
{
	readelf -rW "$library" | awk '$3 ~ /GLOB_DAT|JUMP_SLO|_64$|ABS/ { sub(/@.*/, "", $5); print $5 }'
	[ -d "$objects" ] && find "$objects" -name '*.o' -exec nm --undefined-only {} + | awk '$1 == "U" { print $2 }'
} | sort -u | comm -12 - "$folder/def" | sed 's/^/called by the shim itself: /' >"$folder/called"
result test_exports_shim_calls_no_wrapper "$folder/called"

# Lazily bound symbols and lazily allocated thread-local storage would allocate inside a wrapper.
{
	readelf -dW "$library" | grep -q BIND_NOW || echo 'not linked with -z now'
	readelf -rW "$library" | grep -E 'TLSDESC|DTPMOD' | sed 's/^/not initial-exec: /'
} >"$folder/lazy"
result test_exports_nothing_is_lazy "$folder/lazy"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
